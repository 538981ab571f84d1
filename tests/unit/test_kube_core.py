"""The scheduling cycle of one pod: sampling, ties, nominated pods, and the extenders in their places."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kube_cluster import GPU, Stub, matches, names, node, pod, scheduler

from policies.kube.configuration import Profile
from policies.kube.core import nodes_to_find
from policies.kube.extender import Extender, ExtenderError, Victims
from policies.kube.ledger import Ledger
from policies.kube.terms import PodAffinityTerm


def abc(**more):
    return [node(name, **more) for name in "abc"]


def best(made, wanted):
    return names(made, made.attempt(wanted).best)


# -- without extenders ---------------------------------------------------------------------------------------------


def test_the_choice_among_the_best_is_drawn():
    drawn = []
    made = scheduler(abc(), draw=lambda count: drawn.append(count) or count - 1)
    attempt = made.attempt(pod("p", cpu=1000))
    assert attempt.best == (0, 1, 2)
    assert attempt.node == 2
    assert drawn == [3]
    made.ledger.add(pod("x", cpu=4000), 1)
    made.ledger.add(pod("y", cpu=4000), 2)
    assert made.attempt(pod("p", cpu=1000)).node == 0
    assert drawn == [3]  # one best: nothing to draw


def test_one_node_that_is_left_is_not_scored():
    made = scheduler([node("a"), node("b", cpu=10)])
    attempt = made.attempt(pod("p", cpu=1000))
    assert (attempt.node, attempt.scores) == (0, None)


def test_no_nodes_at_all():
    assert scheduler([]).attempt(pod("p")).message == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("percentage", "nodes", "wanted"),
    [
        (0, 99, 99),
        (0, 100, 100),
        (0, 1000, 420),
        (0, 6000, 300),
        (0, 5000, 500),
        (10, 5000, 500),
        (1, 5000, 100),
        (100, 5000, 5000),
    ],
)  # fmt: skip
def test_how_many_feasible_nodes_are_looked_for(percentage, nodes, wanted):
    assert nodes_to_find(percentage, nodes) == wanted


def test_the_search_goes_on_where_the_last_one_ended():
    made = scheduler([node(f"n{i}", cpu=1000 if i != 50 else 10) for i in range(250)], percentage=1)
    assert made.attempt(pod("p", cpu=20)).candidates.tolist() == [i for i in range(101) if i != 50]
    assert made.attempt(pod("p", cpu=20)).candidates.tolist() == list(range(101, 201))
    assert made.attempt(pod("p", cpu=20)).candidates.tolist() == sorted(
        [*range(201, 250), *(i for i in range(52) if i != 50)]
    )


def test_nodes_are_looked_at_zone_by_zone_in_turn():
    zone = "topology.kubernetes.io/zone"
    nodes = [node(f"n{i}", labels={zone: z}) for i, z in enumerate("aaabbc")]
    assert Ledger(nodes).tree_order() == [0, 3, 5, 1, 4, 2]


def test_nominated_pods_of_no_lower_priority_count_as_there():
    made = scheduler([node("a", gpus=8), node("b")])
    made.nominate(pod("rival", gpus=8, priority=5), 0)
    assert made.attempt(pod("p", gpus=1, priority=5)).node is None
    assert made.attempt(pod("p", gpus=1, priority=6)).node == 0
    assert made.attempt(pod("rival", gpus=8, priority=5)).node == 0
    made.nominate(pod("boss", gpus=8, priority=9), 0)  # takes the claim of the lower one
    assert list(made.nominated) == ["boss"]
    made.forget("boss")
    assert made.attempt(pod("p", gpus=1, priority=0)).node == 0


def test_a_nominated_pod_is_no_company_yet():
    near = PodAffinityTerm("kubernetes.io/hostname", matches(app="db"), ())
    made = scheduler([node("a"), node("b")])
    made.nominate(pod("db", labels={"app": "db"}, priority=5), 0)
    assert made.attempt(pod("p", near=(near,))).node is None


def test_the_nominated_node_comes_first():
    made = scheduler(abc(), (pod("x", cpu=4000), "b"))
    wanted = pod("p", cpu=1000)
    assert best(made, wanted) == {"a", "c"}
    made.nominate(wanted, 1)
    assert best(made, wanted) == {"b"}
    made.ledger.add(pod("y", cpu=4000), 1)
    assert best(made, wanted) == {"a", "c"}  # it does not fit there any more


def test_a_pod_can_be_only_in_one_place():
    made = scheduler(abc(), (pod("x"), "a"))
    with pytest.raises(ValueError, match="is on a already"):
        made.ledger.add(pod("x"), 1)
    with pytest.raises(KeyError):
        made.ledger.remove("y")


def test_the_ledger_forgets_completely():
    made = scheduler(abc(gpus=2))
    ledger = made.ledger
    for number in range(200):  # more than the table begins with
        ledger.add(pod(f"x{number}", cpu=7, gpus=1, priority=number % 3, labels={"app": str(number % 5)}), number % 3)
    below, held = ledger.pod_table.held_below(2, ["cpu", GPU, "unknown"])
    assert below.tolist() == [67, 67, 0]
    assert held["cpu"].tolist() == [469, 469, 0]
    assert held["unknown"].tolist() == [0, 0, 0]
    for number in range(200):
        ledger.remove(f"x{number}")
    assert not any(
        column.any() for column in (*ledger.requested.values(), *ledger.nonzero.values(), ledger.pods_held)
    )
    assert not ledger.label_groups
    assert not ledger.pod_of
    assert not ledger.pod_table.any_below(99)


# -- extenders: filter ---------------------------------------------------------------------------------------------


def with_stub(stub, *held, nodes=None, **more):
    protocol: Extender = stub  # the stub is one
    return scheduler(nodes or abc(), *held, extenders=(protocol,), **more)


def test_an_extender_filters_what_the_plugins_left():
    stub = Stub(passes=["c"])
    made = with_stub(stub, nodes=[node("a"), node("b", cpu=10), node("c")])
    assert best(made, pod("p", cpu=1000)) == {"c"}
    assert stub.calls == [("know", 3), ("filter", ["a", "c"])]  # one is left: no prioritize
    stub.calls.clear()
    assert made.attempt(pod("p", cpu=9000)).node is None
    assert stub.calls == []  # nothing is left: no filter


def test_an_extender_that_is_not_interested_is_not_called():
    stub = Stub(interested=False, passes=[])
    made = with_stub(stub)
    assert best(made, pod("p")) == {"a", "b", "c"}
    assert stub.calls == [("know", 3)]


def test_an_empty_answer_is_nowhere_and_its_reasons_are_told():
    stub = Stub(passes=[], failed={"a": "no card", "b": "no card"}, for_good={"b": "wrong card"})
    attempt = with_stub(stub).attempt(pod("p"))
    assert attempt.node is None
    assert attempt.error is None
    assert attempt.message.startswith("0/3 nodes are available: 1 no card, 1 wrong card.")
    assert attempt.verdict.unresolvable.tolist() == [False, True, False]


def test_a_failed_filter_ends_the_attempt_unless_it_is_ignorable():
    stub = Stub(passes=ExtenderError("stub: refused"))
    attempt = with_stub(stub).attempt(pod("p"))
    assert (attempt.node, attempt.error) == (None, "stub: refused")
    attempt = with_stub(replace(stub, ignorable=True)).attempt(pod("p"))
    assert attempt.best == (0, 1, 2)
    unknown = Stub(passes=["zzz"])
    assert "names node 'zzz', which was not offered" in with_stub(unknown).attempt(pod("p")).error


def test_extenders_filter_one_after_the_other():
    one, two = Stub(passes=["a", "b"]), Stub(passes=["b"])
    made = scheduler(abc(), extenders=(one, two))
    assert best(made, pod("p")) == {"b"}
    assert two.calls[-1] == ("filter", ["a", "b"])
    one.passes, two.calls[:] = [], []
    assert made.attempt(pod("p")).node is None
    assert two.calls == []


# -- extenders: prioritize -----------------------------------------------------------------------------------------


def test_points_are_added_times_weight_times_ten_and_not_clamped():
    stub = Stub(points={"b": 3, "elsewhere": 99}, weight=2)
    scores = with_stub(stub).attempt(pod("p", cpu=1000)).scores
    plain = scheduler(abc()).attempt(pod("p", cpu=1000)).scores
    assert (scores.total - plain.total).tolist() == [0, 60, 0]
    stub.points = {"c": 1_000_000}
    assert with_stub(stub).attempt(pod("p", cpu=1000)).node == 2


def test_a_failed_prioritize_is_ignored():
    stub = Stub(points=ExtenderError("no"))
    attempt = with_stub(stub).attempt(pod("p"))
    assert attempt.error is None
    assert attempt.best == (0, 1, 2)


def test_an_extender_without_node_cache_makes_scores_forget_the_pods():
    held = (pod("x", cpu=4000, memory_gib=16), "b")
    assert best(with_stub(Stub(), held), pod("p", cpu=1000)) == {"a", "c"}
    assert best(with_stub(Stub(forgets_pods=True), held), pod("p", cpu=1000)) == {"a", "b", "c"}
    uninterested = Stub(forgets_pods=True, interested=False)
    assert best(with_stub(uninterested, held), pod("p", cpu=1000)) == {"a", "c"}


# -- extenders: preempt and bind -----------------------------------------------------------------------------------

FULL = [node("a", gpus=2), node("b", gpus=2)]
HELD = (
    (pod("x", gpus=1, priority=1), "a"),
    (pod("y", gpus=1, priority=2), "a"),
    (pod("z", gpus=2, priority=3), "b"),
)


def preempting(agrees, **more):
    stub = Stub(preempts=True, agrees=agrees, **more)
    return with_stub(stub, *HELD, nodes=FULL), stub


def test_an_extender_sees_all_candidates_and_may_drop_and_shrink_them():
    made, stub = preempting(None)
    wanted = pod("p", gpus=2, priority=9)
    assert made.attempt(wanted).preemption.node == 0  # the lower victims
    assert stub.calls[-1] == ("preempt", {"a": ["y", "x"], "b": ["z"]})
    made, _ = preempting({"b": Victims(("z",), 0)})
    assert made.attempt(wanted).preemption.node == 1
    made, _ = preempting({"a": Victims(("x",), 0)})
    assert [victim.uid for victim in made.attempt(wanted).preemption.victims] == ["x"]
    made, _ = preempting({})
    attempt = made.attempt(wanted)
    assert attempt.preemption is None
    assert attempt.error is None


@pytest.mark.parametrize(
    ("agrees", "why"),
    [
        ({"q": Victims(("x",))}, "names node 'q', which was not offered"),
        ({"a": Victims(("z",))}, "names pod 'z', which was no victim on node 'a'"),
        ({"a": Victims(())}, "leaves no victim on node 'a'"),
        (ExtenderError("it failed"), "it failed"),
    ],
)
def test_an_answer_that_cannot_be_ends_the_attempt_unless_it_is_ignorable(agrees, why):
    wanted = pod("p", gpus=2, priority=9)
    made, _ = preempting(agrees)
    assert why in made.attempt(wanted).error
    made, _ = preempting(agrees, ignorable=True)
    attempt = made.attempt(wanted)
    assert attempt.error is None
    dropped = why.startswith("leaves no victim")
    assert (attempt.preemption is None) == dropped


def test_the_first_extender_that_binds_and_is_interested_binds():
    deaf, binder = Stub(binds=True, interested=False), Stub(binds=True)
    made = scheduler(abc(), extenders=(deaf, binder))
    made.bind(pod("p"), 1)
    assert binder.calls[-1] == ("bind", "p", "b")
    assert deaf.calls == [("know", 3)]
    scheduler(abc()).bind(pod("p"), 1)  # the default binder has nothing to do here


def test_extenders_see_pods_as_they_are_shown():
    stub = Stub(binds=True)
    made = scheduler(abc(), extenders=(stub,), show=lambda each: replace(each, uid=f"shown-{each.uid}"))
    made.bind(pod("p"), 0)
    assert stub.calls[-1] == ("bind", "shown-p", "a")


def test_what_a_profile_does_not_have_does_not_act():
    none = replace(Profile(), scores=(), filters=())
    attempt = scheduler([node("a", cpu=1), node("b")], profile=none).attempt(pod("p", cpu=10_000))
    assert attempt.best == (0, 1)
