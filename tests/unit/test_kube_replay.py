"""`rehearse replay` on a log of decisions: what it explains, what it does not, and what it refuses."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from sim.cli import main

NODES = [
    {"name": "a", "labels": {"zone": "1"}, "taints": [], "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "10"}},
    {"name": "b", "labels": {}, "taints": [], "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "10"}},
]
CONFIG = (
    "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\npercentageOfNodesToScore: 100\n"
)


def create(name, node, cpu="2", **more):
    requests = {"cpu": cpu, "memory": "4Gi"}
    spec = {"containers": [{"name": "c", "resources": {"requests": requests}}], **more.pop("spec", {})}
    return {"op": "create", "pod": name, "spec": spec, "node": node, "message": None, **more}


def delete(name):
    return {"op": "delete", "pod": name}


TIGHT = (
    "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: "
)

GOOD = [
    create("p1", "a"),
    create("p2", "b"),  # a has less left
    create("p3", "b"),  # both are equal: a tie
    create("p4", "a"),
    delete("p1"),
    create("p5", "a", cpu="6"),
    create("big", None, cpu="7", message=f"{TIGHT}2 No preemption victims found for incoming pod."),
    create("vip", "a", cpu="6", spec={"priority": 9}, nominated="a", victims=["p5"], start=7),
    create("huge", None, cpu="9", spec={"priority": 99}, message="other words"),
]


def written(path: Path, entries, nodes=NODES) -> Path:
    log = path / "log.jsonl.gz"
    with gzip.open(log, "wt", encoding="utf-8") as file:
        for entry in [{"nodes": nodes}, *entries]:
            file.write((entry if isinstance(entry, str) else json.dumps(entry)) + "\n")
    return log


def run(*args) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["replay", *map(str, args)])
    return stop.value.code


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    return path


def test_a_log_that_is_explained(tmp_path, config, capsys):
    log = written(tmp_path, GOOD)
    assert run(log, "--policy", "kube-default", "--scheduler-config", config) == 0
    out = capsys.readouterr()
    assert "log.jsonl.gz and kube-default: explained 8 of 8 decisions" in out.out
    assert "5 placements, 1 preemptions, 2 not scheduled" in out.out
    assert "1 of 2 messages are the same, word by word" in out.out
    assert "line 10 recorded: other words" in out.out
    assert "not modelled, as if no pod needed them" in out.err


def test_as_json(tmp_path, config, capsys):
    assert run(written(tmp_path, GOOD), "--scheduler-config", config, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["decisions"], found["explained"], found["ties"], found["deletions"]) == (8, 8, 3, 1)
    assert found["messages_differ"][0]["line"] == 10


def test_a_decision_that_is_not_explained(tmp_path, capsys):
    entries = [*GOOD[:1], create("p2", "a"), create("p3", "b")]
    assert run(written(tmp_path, entries)) == 1
    out = capsys.readouterr().out
    assert "explained 2 of 3 decisions" in out
    # a: cpu (8 - 4) * 100 / 8 = 50, memory (32 - 8) * 100 / 32 = 75 -> 62; b: 75 and 87 -> 81;
    # balance: a 93 -> 87: 50 + (50 + 87 - 93) // 2 = 72; b 100 -> 93: 71; and 300 for no taints
    assert "line 3: p2 bound to a: a scores 434, b 452: NodeResourcesFit 62 against 81" in out
    assert "NodeResourcesBalancedAllocation 72 against 71" in out


def test_another_strategy_in_the_parameters(tmp_path, capsys):
    entries = [*GOOD[:1], create("p2", "a"), create("p3", "a")]
    assert run(written(tmp_path, entries), "--policy", "kube-default:strategy=most-allocated") == 0
    assert run(written(tmp_path, entries), "--policy", "kube-default:strategy=least-allocated", "--json") == 1
    assert '"explained": 1' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (create("p", "a", cpu="9"), "a does not pass the filters: Insufficient cpu; it fits nowhere"),
        (
            create("p", "b", spec={"nodeSelector": {"zone": "1"}}),
            "b does not pass the filters: node(s) didn't match Pod's node affinity/selector; it fits on a",
        ),
        (create("p", None), "p not scheduled: it fits on b"),
        (
            create("p", "a", spec={"priority": 1}, nominated="a", victims=["x"]),
            "no preemption is needed: it fits on b",
        ),
        (
            create("p", "a", cpu="9", spec={"priority": 1}, nominated="a", victims=["x"]),
            "no preemption helps: 0/2 nodes",
        ),
        (
            create("p", "a", cpu="7", spec={"priority": 1}, nominated="a", victims=["x"]),
            "no preemption is needed: it fits on b",
        ),
    ],
)
def test_every_way_of_not_being_explained(tmp_path, capsys, entry, why):
    entries = [create("x", "a"), create("y", "b", cpu="1"), entry]
    assert run(written(tmp_path, entries), "--first", "9") == 1
    assert why in capsys.readouterr().out


def test_a_worse_preemption(tmp_path, capsys):
    entries = [
        create("x", "a", cpu="8"),
        create("y", "b", cpu="8", spec={"priority": 1}),
        create("p", "b", spec={"priority": 5}, nominated="b", victims=["y"]),
        create("q", None, spec={"priority": 5}, cpu="8"),
    ]
    assert run(written(tmp_path, entries)) == 1
    out = capsys.readouterr().out
    assert "p nominated for b, preempting y: a better candidate is a: x" in out
    assert "q not scheduled: it would preempt x" in out


# -- what is refused -------------------------------------------------------------------------------------------------


def test_everything_that_is_wrong_with_its_line(tmp_path, capsys):
    entries = [
        "{",
        "[]",
        {"op": "move"},
        delete("nobody"),
        create("p", "z"),
        create("p", "a", nominated="a"),
        create("p", "a", victims=["q"], nominated="b"),
        create("p", 7),
        create("p", "a", cpu="lots"),
        create("p", "a", start=1.5),
        create("p", "a", victim=[]),
        create("p", "a", victims="x"),
        create(None, "a"),
        create("ok", "a"),
        create("ok", "a"),
    ]
    assert run(written(tmp_path, entries)) == 2
    err = capsys.readouterr().err
    for expected in (
        "15 problems",
        "line 2: is not JSON",
        "line 3: must be a JSON object",
        "line 4: op must be create or delete, got 'move'",
        "line 5: pod 'nobody' is nowhere: it cannot be deleted",
        "line 6: node 'z' is not in the first line",
        "line 7: nominated and victims go together",
        "line 8: victim 'q' is not on b",
        "line 8: nominated for b but bound to a",
        "line 9: node must be text or null, got 7",
        "line 10: pod default/p: spec.containers[0].resources.requests.cpu",
        "line 11: start must be whole seconds, got 1.5",
        "line 12: 'victim' is not known; did you mean 'victims'?",
        "line 13: victims must be a list of names",
        "line 14: pod is required",
        "line 16: pod 'ok' is on a already",
    ):
        assert expected in err, expected


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([], "line 1: nodes must be a list of at least one node"),
        ([NODES[0], NODES[0]], "line 1: node a is given twice"),
        ([{"name": "a", "allocatable": {"cpu": "x"}}], "line 1: node a: status.allocatable.cpu"),
        ([{**NODES[0], "label": {}}], "line 1: nodes: 'label' is not known; did you mean 'labels'?"),
    ],
)
def test_nodes_that_cannot_be(tmp_path, capsys, nodes, why):
    assert run(written(tmp_path, [], nodes)) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "line 1: the file is empty"),
        (b"\n\n", "line 1: the file is empty"),
        (b"x", "line 1: is not JSON"),
        (b"[1]\n", "a log of decisions (a line with the nodes"),
        (b"\xff\xfe", "cannot be read"),
        (b"\x1f\x8bxx", "cannot be read"),
        (None, "cannot be read: No such file"),
    ],
)
def test_files_that_cannot_be(tmp_path, capsys, content, why):
    path = tmp_path / "log"
    if content is not None:
        path.write_bytes(content)
    assert run(path) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ("fifo", "explained by kube-default only"),
        ("kube-default:x", "'x' is not key=value"),
        ("kube-default:strateg=most-allocated", "did you mean 'strategy'?"),
        ("kube-default:strategy=most", "known are profile"),
        ("kube-default:profile=x", "the configuration has default-scheduler"),
    ],
)
def test_policies_that_cannot_be(tmp_path, capsys, policy, why):
    assert run(written(tmp_path, GOOD), "--policy", policy) == 2
    assert why in capsys.readouterr().err


def test_extenders_are_not_in_a_log(tmp_path, config, capsys):
    config.write_text(f"{CONFIG}extenders: [{{urlPrefix: 'http://127.0.0.1:1'}}]\n")
    assert run(written(tmp_path, GOOD), "--scheduler-config", config) == 2
    assert "extenders: what they answered is not in a log" in capsys.readouterr().err
