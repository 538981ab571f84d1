"""The smallest fleet: known answers, and what is said when there is none."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from builders import job, small_jobs
from hypothesis import given
from hypothesis import strategies as st
from runs import trace_of

from sim.experiment.prepare import prepare
from sim.experiment.scenario import make_scenario
from sim.experiment.shake import Shake
from sim.fleet.load import LoadedFleet
from sim.fleet.model import Fleet, Queue, Server
from sim.planning.levels import levels_of, parse_levels
from sim.planning.load import full_pools, load_of
from sim.planning.looks import Looker, replay_on
from sim.planning.mix import plan_mix
from sim.planning.plan import Question, Search, _answer, differences, plan, rank_of
from sim.planning.probes import largest_gang, worth_of_one_more
from sim.planning.question import checked
from sim.planning.search import Found
from sim.planning.text import answer_lines, gang_line, mix_lines, quota_lines
from sim.planning.written import Planned, as_data
from sim.report.words import value
from sim.run import InputError


def prepared_of(records, cluster, *policies, **more):
    fleet = None if isinstance(cluster, str) else cluster
    scenario = make_scenario({"trace": "made", "cluster": "1x1" if fleet else cluster, **more}, source="test")
    prepared = prepare(scenario, list(policies), trace=trace_of(records))
    if fleet is None:
        return prepared
    return replace(prepared, loaded=LoadedFleet(fleet=fleet, source="made", sha256=None))


def erlang_c_quantile_met(servers, load, mean_run, limit, q):
    """Whether P(wait <= limit) >= q in an M/M/c queue: the formula of Erlang, by its recursion."""
    if load >= servers:
        return False
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    waits = blocked / (1 - load / servers * (1 - blocked))
    return 1 - waits * math.exp(-(servers - load) / mean_run * limit) >= q


def mmc(jobs, load, mean_run, seed):
    rng = np.random.default_rng(seed)
    submits = np.cumsum(rng.exponential(mean_run / load, jobs)).astype(int)
    runs = rng.exponential(mean_run, jobs).astype(int)
    return [job(f"j{i}", int(at), int(run)) for i, (at, run) in enumerate(zip(submits, runs, strict=True))]


@pytest.mark.parametrize(("load", "limit"), [(6.0, 15_000), (18.0, 5_000)])
def test_an_mmc_fleet_is_as_large_as_erlang_says(load, limit):
    known = min(c for c in range(1, 60) if erlang_c_quantile_met(c, load, 10_000, limit, 0.95))
    prepared = prepared_of(mmc(12_000, load, 10_000, seed=5), "24x1", "fifo")
    gates = parse_levels([f"wait.p95 <= {limit}ms"])
    question = Question(policies=("fifo",), gates=gates, pool="default", least=known - 4, replications=1)
    (answer,) = plan(prepared, question)
    assert (answer.servers, answer.devices, answer.monotone) == (known, known, True)
    assert answer.at_answer.load == pytest.approx(load / known, rel=0.05)
    assert answer.below.figures.values[0] > limit


# -- the percentile of the replications ------------------------------------------------------------------------------


@given(st.integers(1, 1000))
def test_the_rank_is_that_of_the_ninetieth_percentile(replications):
    rank = rank_of(replications)
    assert Fraction(rank, replications) >= Fraction(9, 10) > Fraction(rank - 1, replications)


def test_replications_are_paired_and_the_answer_is_their_ninetieth_percentile():
    prepared = prepared_of(small_jobs(np.random.default_rng(2)), "14x8", "fifo", "best-effort-fifo")
    gates = parse_levels(["wait.p95{queue=a} <= 1s", "wait.mean <= 2s"])
    shake = Shake(submit=0.3, run=0.3)
    question = Question(policies=("fifo", "best-effort-fifo"), gates=gates, replications=10, shake=shake)
    first, second = plan(prepared, question)
    counts = sorted(first.counts)
    assert (first.servers, first.devices) == (counts[8], 8 * counts[8])
    assert first.range == (counts[0], counts[-1])
    assert counts[0] < counts[-1], "another copy of the trace each"
    assert differences(first, second) == [8 * (a - b) for a, b in zip(first.counts, second.counts, strict=True)]
    assert plan(prepared, question, workers=2) == [first, second], "processes change nothing"
    # each replication by looking at every count
    looker = Looker(prepared, checked(prepared, question), "fifo", 3)
    met = [count for count in range(1, 15) if looker.look((count,)).enough]
    assert met == list(range(first.counts[3], 15))


def answer_of(policy, counts, most):
    """An answer as if each replication had looked at the counts around its own."""
    prepared = prepared_of([job("a", 0, 1)], f"{most}x8", "fifo")
    question = checked(prepared, Question(policies=("fifo",), gates=parse_levels(["wait.p95 <= 1s"]), most=most))
    look = Looker(prepared, question, "fifo", 0).look
    searches = []
    for count in counts:
        tried = [most] if count is None else [count - 1, count]
        looks = tuple(look((each,))._replace(enough=each == count) for each in tried)
        searches.append(Search(Found(count, {each: each == count for each in tried}), looks))
    return _answer(policy, searches), question


def test_a_replication_beyond_the_largest_count_is_more_than_any_number():
    answer, question = answer_of("fifo", [5, 3, None, 4, 6, 3, 4, 4, 5, 4, 4], most=8)
    assert (answer.servers, answer.devices, answer.range) == (6, 48, (3, None)), "the tenth of eleven"
    lost, _ = answer_of("fifo", [5, 3, None, None, 4, 4, 4, 4, 4, 4, 4], most=8)
    assert (lost.servers, lost.devices, lost.range) == (None, None, (3, None))
    assert differences(answer, answer) is None
    text = "\n".join(answer_lines([answer, answer, lost], question))
    assert "3 to more than 8" in text
    assert "2 of 22 searches found no count up to 8, so the difference is not known" in text


def test_the_headline_counts_cards_and_says_how_many_pairs_agree():
    first, question = answer_of("fifo", [6, 6, 5], most=8)
    other, _ = answer_of("easy", [4, 5, 5], most=8)
    text = "\n".join(answer_lines([first, other], question))
    assert (
        "easy needs 8 fewer cards than fifo (1 servers): the middle of 3 paired replications, from 0 to 16 fewer; fewer in 2"
        in text
    )
    backward = "\n".join(answer_lines([other, first], question))
    assert "fifo needs 8 more cards than easy (1 servers)" in backward


# -- spares, growth, quotas, pools -----------------------------------------------------------------------------------


def racks(quotas=()):
    """Two zones of two racks of three servers."""
    servers = tuple(
        Server(name=f"{zone}{rack}{n}", pool="p", accelerator="x", devices=8, domains=(f"{zone}{rack}", zone))
        for zone in "ab"
        for rack in range(2)
        for n in range(3)
    )
    return Fleet(name="f", levels=("leaf", "zone"), servers=servers, queues=quotas)


@pytest.mark.parametrize(
    ("spare", "needed"),
    # six jobs that fill a server each, at once: 6; one server more; a rack of three more; as many again in the other zone
    [(None, 6), ("server", 7), ("leaf", 9), ("zone", 12)],
)
def test_a_spare_is_what_the_largest_loss_takes(spare, needed):
    prepared = prepared_of([job(f"j{i}", 0, 1000, 8) for i in range(6)], racks(), "fifo", locality="off")
    question = Question(
        policies=("fifo",), gates=parse_levels(["wait.p99 <= 0"]), pool="p", most=16, replications=1, spare=spare
    )
    (answer,) = plan(prepared, question)
    assert (answer.servers, answer.at_answer.load) == (needed, None)
    assert answer.below.without == {None: "", "server": "a00", "leaf": "a0", "zone": "a"}[spare]


def test_growth_needs_more():
    prepared = prepared_of(small_jobs(np.random.default_rng(3)), "20x8", "fifo")
    base = {"policies": ("fifo",), "gates": parse_levels(["wait.p95 <= 2s"]), "pool": "default", "replications": 1}
    plain, jobs, density = (
        plan(prepared, Question(**base, most=30, **more))[0].servers
        for more in ({}, {"growth": Fraction(2)}, {"growth": Fraction(2), "growth_as": "density"})
    )
    assert plain < jobs
    assert plain < density


def test_quotas_that_stay_keep_a_larger_fleet_idle_and_it_is_said():
    queue = Queue(name="q", nominal={"x": 8})
    prepared = prepared_of(
        [job(f"j{i}", 0, 1000, 8, queue="q") for i in range(3)], racks((queue,)), "fifo", locality="off"
    )
    base = {
        "policies": ("fifo:quota=keep",),
        "gates": parse_levels(["wait.p99 <= 0"]),
        "pool": "p",
        "replications": 1,
    }
    kept = plan(prepared, Question(**base, most=40))[0]
    assert kept.servers is None
    # 8 of 96 devices are the queue's: three times as much takes three times the twelve servers
    assert plan(prepared, Question(**base, most=40, quotas="scale"))[0].servers == 36
    (warning,) = quota_lines(prepared, checked(prepared, Question(**base, most=40)))
    assert "of 320 devices (x) quotas hand out 8" in warning
    assert not list(quota_lines(prepared, checked(prepared, Question(**{**base, "policies": ("fifo",)}, most=40))))


def test_a_queue_whose_pool_is_gone_does_not_run_elsewhere():
    servers = tuple(Server(name=f"{p}", pool=p, accelerator="x", devices=8) for p in "ab")
    fleet = Fleet(name="f", servers=servers, queues=(Queue(name="q", nominal={}, pools=("b",)),))
    prepared = prepared_of([job("mine", 0, 10, 1, queue="q"), job("other", 0, 10, 1)], fleet, "fifo")
    gone = Question(
        policies=("fifo",), gates=parse_levels(["wait.p95 <= 1h"]), pools={"b": range(2)}, prices={"*": 1.0}
    )
    looker = Looker(prepared, checked(prepared, gone), "fifo", 0)
    assert looker.look((1,)).enough
    assert looker.look((0,)).figures.never == 0.5


def test_no_fleet_is_enough_for_a_job_larger_than_all_of_them():
    prepared = prepared_of([job("big", 0, 10, 64), job("small", 0, 10, 1)], "4x8", "fifo")
    question = Question(policies=("fifo",), gates=parse_levels(["wait.p50 <= 1s"]), replications=2)
    (answer,) = plan(prepared, question)
    assert answer.servers is None
    assert "even 4 are not enough: 50.00% of the jobs never start; wait.p50 is" in "\n".join(
        answer_lines([answer], checked(prepared, question))
    )
    lenient = Question(policies=("fifo",), gates=question.gates, replications=1, left_out=0.5)
    assert plan(prepared, lenient)[0].servers is None, "half of the waits are without end"


def test_a_run_that_only_ends_because_the_trace_does_is_told():
    prepared = prepared_of([job(f"j{i}", i * 10, 25, 8) for i in range(100)], "4x8", "fifo")
    question = checked(
        prepared, Question(policies=("fifo",), gates=parse_levels(["wait.p95 <= 600ms"]), replications=1)
    )
    (answer,) = plan(prepared, question)
    assert answer.servers == 2
    # 100 jobs of 25 ms on a server each, in 990 ms of two servers
    assert answer.at_answer.load == pytest.approx(100 * 25 / (2 * 990))
    text = "\n".join(answer_lines([answer], question))
    assert "the trace brings 126% of what the fleet can do while it lasts" in text
    assert "with one server less, wait.p95 is" in text


def test_the_load_is_that_of_the_pools_that_are_searched():
    records = [job("big", 0, 300, 8, accelerators=("x",)), job("part", 0, 100, 1, gpu_milli=500, accelerators=("y",))]
    prepared = prepared_of([*records, job("last", 200, 50, 2, accelerators=("y",))], two_pools(), "fifo", speed="off")
    run = replay_on(prepared, "fifo", prepared.loaded.fleet)
    held = {"big": 8 * 300, "small": 0.5 * 100 + 2 * 50}
    could = {"big": 4 * 8 * 200, "small": 4 * 2 * 200}
    for pools in (["big"], ["small"], ["big", "small"], []):
        expected = sum(held[p] for p in pools or held) / sum(could[p] for p in pools or could)
        assert load_of(run, prepared.loaded.fleet, pools) == pytest.approx(expected)
    whole = run.manifest["held_milli_ms"] / (run.capacity_milli * 200)
    assert load_of(run, prepared.loaded.fleet, []) == pytest.approx(whole)


def test_the_smallest_count_asked_for_is_no_lower_bound():
    prepared = prepared_of([job("a", 0, 10, 8)], "4x8", "fifo")
    question = checked(
        prepared, Question(policies=("fifo",), gates=parse_levels(["wait.p95 <= 1s"]), least=2, replications=1)
    )
    assert "2 is the smallest count asked for; fewer may do" in "\n".join(
        answer_lines(plan(prepared, question), question)
    )


# -- levels ----------------------------------------------------------------------------------------------------------


def test_levels_report_every_problem():
    with pytest.raises(InputError) as error:
        parse_levels(
            ["wait.p95", "nonsense", "wait.mean <= 3s", "allocated_share >= 70 %", "wait.p95 >= 3s", "wait.p95: +5 %"]
        )
    said = str(error.value).splitlines()
    assert [line[: line.index(":")] for line in said] == [f"levels[{n}]" for n in (0, 1, 3, 4, 5)]
    assert "falls when servers are added" in said[2]
    assert "a level is a limit with <=" in said[3]


def test_levels_are_spelled_out_for_each_queue_and_an_unknown_one_is_refused():
    prepared = prepared_of(small_jobs(np.random.default_rng(1), 30), "4x8", "fifo")
    question = Question(policies=("fifo",), gates=parse_levels(["wait.p95{queue=*} <= 1s", "makespan <= 2h"]))
    assert [gate.text for gate in checked(prepared, question).gates] == [
        "wait.p95{queue=a} <= 1s",
        "wait.p95{queue=b} <= 1s",
        "makespan <= 2h",
    ]
    with pytest.raises(InputError, match="no job that counts has queue 'c'"):
        checked(prepared, Question(policies=("fifo",), gates=parse_levels(["wait.p95{queue=c} <= 1s"])))


def test_a_level_on_labels_that_no_job_has_together_is_refused_and_left_out_of_a_star():
    jobs = [
        job("a", 0, 10, queue="a", user="ann", deadline_ms=20),
        job("b", 0, 10, queue="a", user="bob"),
        job("c", 0, 10, queue="b", user="bob", deadline_ms=20),
    ]
    prepared = prepared_of(jobs, "1x8", "fifo")

    def asked(*texts):
        gates = checked(prepared, Question(policies=("fifo",), gates=parse_levels(texts))).gates
        return [str(gate.selector) for gate in gates]

    both = "wait.p95{queue=*,user=*} <= 1s"
    assert asked(both) == [f"wait.p95{{queue={q},user={u}}}" for q, u in (("a", "ann"), ("a", "bob"), ("b", "bob"))]
    assert asked("deadline_missed{queue=a,user=*} <= 5%") == ["deadline_missed{queue=a,user=ann}"]
    with pytest.raises(InputError, match=r"no job that counts has \{queue=b,user=ann\}"):
        asked("wait.p95{queue=b,user=ann} <= 1s")
    with pytest.raises(InputError, match=r"no job with a deadline that counts has \{queue=a,user=bob\}"):
        asked("deadline_missed{queue=a,user=bob} <= 5%")


def test_only_jobs_between_warm_up_and_drain_count():
    records = [job("early", 0, 100, 8), job("mid", 1, 10, 8), job("late", 500, 10, 8), job("last", 1000, 1, 8)]
    prepared = prepared_of([*records, job("huge", 1000, 1, 99)], "1x8", "fifo")
    gates = parse_levels(["wait.mean <= 1s", "not_started <= 0"])
    run = replay_on(prepared, "fifo", prepared.loaded.fleet)
    assert levels_of(gates, prepared).figures(run) == ((99 / 4, 1.0), 0.2)
    assert levels_of(gates, prepared, warm_up_ms=1, drain_ms=1).figures(run) == ((99 / 2, 0.0), 0.0)
    with pytest.raises(InputError, match="leave no job"):
        levels_of(gates, prepared, warm_up_ms=600, drain_ms=600)


# -- mixes -----------------------------------------------------------------------------------------------------------


def two_pools():
    servers = [Server(name=f"big{n}", pool="big", accelerator="x", devices=8) for n in range(4)]
    servers += [Server(name=f"small{n}", pool="small", accelerator="y", devices=2) for n in range(4)]
    return Fleet(name="f", servers=tuple(servers))


def test_the_cheapest_mix_is_that_of_looking_at_all():
    rng = np.random.default_rng(8)
    records = [
        job(f"j{i}", int(at), int(rng.integers(50, 400)), int(rng.choice((1, 1, 2, 4))))
        for i, at in enumerate(np.sort(rng.integers(0, 3000, 80)))
    ]
    prepared = prepared_of(records, two_pools(), "best-effort-fifo", speed="off")
    question = Question(
        policies=("best-effort-fifo",),
        gates=parse_levels(["wait.p95 <= 100ms"]),
        pools={"big": range(6), "small": range(8)},
        prices={"x": 1.0, "y": 1.5},
        replications=3,
        shake=Shake(submit=0.1, run=0.1),
    )
    with pytest.raises(InputError, match="fleet has 1 to"):
        checked(prepared, question)
    question = replace(question, pools={"big": range(6), "small": range(1, 8)})
    (answer,) = plan_mix(prepared, question)
    lookers = [Looker(prepared, question, "best-effort-fifo", number) for number in range(3)]
    good = [
        counts
        for counts in itertools.product(range(6), range(1, 8))
        if all(looker.look(counts).enough for looker in lookers)
    ]
    assert min(8 * big + 3 * small for big, small in good) == answer.best.cost
    assert tuple(answer.best.servers.values()) in good
    assert answer.best.devices == 8 * answer.best.servers["big"] + 2 * answer.best.servers["small"]
    assert len(answer.frontier) > 1
    assert len(answer.looks) < 3 * 6 * 7 / 2
    assert plan_mix(prepared, question, workers=2) == [answer], "processes change nothing"
    poor = replace(question, budget=answer.best.cost - 0.5)
    assert plan_mix(prepared, poor)[0].best is None
    assert "no mix in these ranges and this budget" in "\n".join(mix_lines(plan_mix(prepared, poor), poor))


def test_a_budget_ends_the_search_of_one_pool():
    prepared = prepared_of([job("a", 0, 10, 8)], two_pools(), "fifo", speed="off")
    base = {
        "policies": ("fifo",),
        "gates": parse_levels(["wait.p95 <= 1s"]),
        "pool": "big",
        "prices": {"x": 2.0, "y": 0.0},
    }
    assert checked(prepared, Question(**base, most=9, budget=50.0)).most == 3
    with pytest.raises(InputError, match="1 servers cost 16 already"):
        checked(prepared, Question(**base, budget=15.0))


# -- the pools that are full -----------------------------------------------------------------------------------------


def one_pool_too_small():
    """A job every 100 ms, of which every fifth needs y: 20 of 1100 ms on both devices of a server, until 9900 ms."""
    records = [
        job(f"j{i}", 100 * i, 1100, 2, accelerators=("y",)) if i % 5 == 0 else job(f"j{i}", 100 * i, 50, 8)
        for i in range(100)
    ]
    servers = [Server(name=f"big{n}", pool="big", accelerator="x", devices=8) for n in range(2)]
    servers.append(Server(name="small0", pool="small", accelerator="y", devices=2))
    return prepared_of(records, Fleet(name="f", servers=tuple(servers)), "best-effort-fifo", speed="off")


def test_the_pool_that_is_full_is_named_where_more_servers_of_another_are_not_enough():
    prepared, load = one_pool_too_small(), 20 * 1100 / 9900
    gates = parse_levels(["wait.p95 <= 100ms"])
    base = Question(policies=("best-effort-fifo",), gates=gates, replications=1)
    cannot = "pool small is at 222% of what it can do: more servers of big cannot help the jobs that need it"
    one = checked(prepared, replace(base, pool="big", most=8))
    answers = plan(prepared, one)
    assert f"best-effort-fifo: {cannot}" in list(answer_lines(answers, one))
    (full,) = as_data(prepared, [Planned(one, answers)], {})["plans"][0]["answers"][0]["one_less"]["full_pools"]
    assert full == {"pool": "small", "load": pytest.approx(load), "only_elsewhere": pytest.approx(load)}
    # nothing of the kind about the pool that is searched itself; without a pool all are named, and nothing is advised
    small = checked(prepared, replace(base, pool="small", most=2))
    below = plan(prepared, small)[0].below
    assert (below.enough, below.full) == (False, ())
    whole = checked(prepared, base)
    lines = list(answer_lines(plan(prepared, whole), whole))
    assert "best-effort-fifo: pool small is at 222% of what it can do" in lines


def test_jobs_that_could_run_elsewhere_are_not_said_to_need_a_full_pool():
    """On one server of each pool: what is held on y by jobs that ask for no model is no reason that x could not help."""
    records = [job("need", 0, 100, 2, accelerators=("y",)), *(job(f"j{i}", i, 500, 2) for i in range(1, 101))]
    servers = [Server(name=f"{pool}0", pool=pool, accelerator=pool, devices=2) for pool in "xy"]
    prepared = prepared_of(records, Fleet(name="f", servers=tuple(servers)), "fifo", speed="off")
    run = replay_on(prepared, "fifo", prepared.loaded.fleet)
    (full,) = full_pools(run, prepared.loaded.fleet, ["x"], prepared.rules.split)
    assert full.load == pytest.approx(load_of(run, prepared.loaded.fleet, ["y"]))
    assert (full.pool, full.only_elsewhere) == ("y", 1.0), "100 ms of the 100 in which jobs came"
    half = replace(prepared, trace=trace_of([replace(records[0], run_ms=50), *records[1:]]))
    question = checked(
        half, Question(policies=("fifo",), gates=parse_levels(["wait.p95 <= 1s"]), pool="x", replications=1)
    )
    text = "\n".join(answer_lines(plan(half, question), question))
    assert "; jobs that cannot run on x take 50%" in text
    assert "cannot help" not in text


def test_where_no_mix_is_enough_the_level_that_fails_is_named_with_the_pool_that_is_full():
    prepared = one_pool_too_small()
    servers = (*prepared.loaded.fleet.servers, Server(name="more0", pool="more", accelerator="x", devices=8))
    prepared = replace(
        prepared, loaded=replace(prepared.loaded, fleet=replace(prepared.loaded.fleet, servers=servers))
    )
    question = Question(
        policies=("best-effort-fifo",),
        gates=parse_levels(["wait.mean <= 1h", "wait.p95 <= 100ms"]),
        pools={"big": range(1, 3), "more": range(1, 4)},
        prices={"*": 1.0},
        replications=1,
    )
    question = checked(prepared, question)
    (answer,) = plan_mix(prepared, question)
    found = Looker(prepared, question, "best-effort-fifo", 0).look((2, 3)).figures.values
    lines = list(mix_lines([answer], question))
    start = "best-effort-fifo: no mix in these ranges is enough: with 2 of big + 3 of more, wait.p95 is "
    (said,) = (line for line in lines if line.startswith(start))
    assert said.removeprefix(start) == value(question.gates[1].selector.quantity.metric, found[1])
    assert "more servers of big or more cannot help the jobs that need it" in lines[2]
    data = as_data(prepared, [Planned(question, [answer])], {})["plans"][0]["answers"][0]["dearest_failed"]
    assert (data["servers"], data["figures"]) == ([2, 3], list(found))
    assert [each["pool"] for each in data["full_pools"]] == ["small"]
    unaffordable = checked(prepared, replace(question, budget=1.0))
    (answer,) = plan_mix(prepared, unaffordable)
    assert answer.dearest_failed is None
    assert "best-effort-fifo: no mix in these ranges and this budget is enough" in list(
        mix_lines([answer], unaffordable)
    )


# -- the largest gang, one more server -------------------------------------------------------------------------------


def test_the_largest_gang_and_what_one_more_server_is_worth():
    records = [job(f"j{i}", i * 100, 1000, 8) for i in range(40)]
    prepared = prepared_of([*records, job("long", 0, 20_000, 8)], "16x8", "best-effort-fifo")
    gang = largest_gang(prepared, "best-effort-fifo", within_ms=0)
    # about ten jobs of eight and the long one run at any time: of sixteen servers five are left
    assert gang.devices == 5 * 8
    assert gang.waits_ms == [0] * 10
    assert largest_gang(prepared, "best-effort-fifo", within_ms=10**9).devices == 16 * 8
    busy = prepared_of([*records, job("huge", 0, 1, 99)], "8x8", "fifo")
    none = largest_gang(prepared_of([job("all", 0, 10**6, 8)], "1x8", "fifo"), "fifo", within_ms=1000)
    assert (
        gang_line("fifo", none, "1s")
        == "fifo: no gang started within 1s in 9 of 10 cases, not even one of a single device"
    )
    gates = parse_levels(["wait.mean <= 1s", "wait.p99 <= 1s"])
    (worth,) = worth_of_one_more(busy, "fifo", Question(policies=("fifo",), gates=gates, prices={"*": 2.0}))
    assert worth.after[0] < worth.before[0]
    assert (worth.before[1], worth.cost) == (math.inf, 16)


# -- the command -----------------------------------------------------------------------------------------------------
