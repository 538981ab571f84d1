"""The journal as it is written: what is kept and what never is, whatever becomes of the process, the disk or the file."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kube_objects import added, deleted, modified, node_object, pod_object

from policies.kube.nodes import read_node
from policies.kube.pods import read_pod
from policies.serving import journal as journal_module
from policies.serving.cluster import Cluster
from policies.serving.journal import Journal, Limits
from policies.serving.journal_decisions import NodeIndex, Read, Written
from policies.serving.journal_names import Names
from policies.serving.journal_objects import ANNOTATIONS, reduce_object
from sim.fleet.kinds import device_kinds
from sim.replay.journal_reading import Entry, open_journal
from sim.run import InputError
from traces.registry import read_trace

KUBE = Path(journal_module.__file__).parents[1] / "kube"


def opened(folder, **more) -> Journal:
    return Journal.open(folder, **{"driver": "extender", "policy": "fifo", **more})


def read(path) -> tuple[list[Entry | None], list[str]]:
    """All entries of all processes, and the problems in words."""
    found = open_journal(path)
    entries = [entry for process in found.processes for file in process.files for entry in file.entries()]
    problems = [*found.problems, *(p for process in found.processes for file in process.files for p in file.problems)]
    return entries, [str(problem) for problem in problems]


def write_some(journal: Journal, count: int = 3) -> None:
    journal.event(1000, added(node_object("n0")))
    for number in range(count):
        journal.event(1001 + number, added(pod_object(f"p{number}")))
        journal.decision(1001 + number, {"verb": "bind", "request": {"PodUID": f"uid-p{number}", "Node": "n0"}})


# -- what is kept ------------------------------------------------------------------------------------------------------

SECRET = "hunter2"


def secretive(item: dict) -> dict:
    """The object with secrets wherever Kubernetes has room for them."""
    meta, spec = item["metadata"], item["spec"]
    meta["managedFields"] = [{"manager": SECRET, "fieldsV1": {f"f:{SECRET}": {}}}]
    meta["annotations"] = {
        **meta.get("annotations", {}),
        "kubectl.kubernetes.io/last-applied-configuration": json.dumps({"env": SECRET}),
        "vault.bank/token": SECRET,
    }
    spec["containers"][0] |= {
        "env": [{"name": "PASSWORD", "value": SECRET}],
        "envFrom": [{"secretRef": {"name": SECRET}}],
        "command": ["train", f"--token={SECRET}"],
        "args": [SECRET],
        "volumeMounts": [{"mountPath": SECRET}],
        "livenessProbe": {"exec": {"command": [SECRET]}},
        "lifecycle": {"preStop": {"exec": {"command": [SECRET]}}},
    }
    spec["initContainers"] = [
        {"name": "i", "image": "x", "env": [{"name": "A", "value": SECRET}], "command": [SECRET]}
    ]
    spec["volumes"] = [{"name": "v", "secret": {"secretName": SECRET}}]
    spec["imagePullSecrets"] = [{"name": SECRET}]
    spec["serviceAccountName"] = SECRET
    spec["hostAliases"] = [{"ip": SECRET}]
    item["status"] |= {
        "message": SECRET,
        "podIP": SECRET,
        "conditions": [{"type": "PodScheduled", "status": "True", "message": SECRET}],
        "containerStatuses": [{"name": "main", "state": {"terminated": {"message": SECRET}}, "imageID": SECRET}],
    }
    return item


def test_a_pod_full_of_secrets_leaves_none_in_the_journal(tmp_path):
    pod = secretive(pod_object("p0", gang=("g", 2)))
    node = node_object("n0")
    node["status"] |= {"addresses": [{"address": SECRET}], "images": [{"names": [SECRET]}], "nodeInfo": {"x": SECRET}}
    with_secrets = {
        "extenders": [{"urlPrefix": "http://x", "tlsConfig": {"keyData": SECRET, "certFile": SECRET}}],
        "clientConnection": {"kubeconfig": SECRET},
        "token": SECRET,
    }
    journal = opened(tmp_path, policy=f"process:./scheduler --token {SECRET}", configuration=with_secrets)
    journal.event(1, added(node))
    journal.event(2, added(pod))
    request = {"Pod": pod, "Nodes": {"items": [node]}, "NodeNames": None, "Token": SECRET}
    reply = {"Nodes": {"items": [node]}, "NodeNames": None, "FailedNodes": {}, "Error": ""}
    journal.decision(3, {"verb": "filter", "request": request, "reply": reply})
    victims = {"n0": {"Pods": [pod], "NumPDBViolations": 0}}
    journal.decision(4, {"verb": "preempt", "request": {"Pod": pod, "NodeNameToVictims": victims}, "reply": {}})
    journal.event(
        5, {"type": "ADDED", "object": {"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": SECRET}}}
    )
    journal.close()
    written = journal.path.read_text()
    assert SECRET not in written
    assert len(written.splitlines()) == 2 + 5
    assert json.loads(written.splitlines()[0])["policy"] == "process:./scheduler"


def test_what_is_dropped_changes_nothing_that_scheduling_reads():
    pod = secretive(
        pod_object(
            "p0",
            2,
            gang=("g", 2),
            spec={
                "nodeSelector": {"zone": "a"},
                "tolerations": [{"key": "busy", "operator": "Exists"}],
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
                            ]
                        }
                    }
                },
                "topologySpreadConstraints": [
                    {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
                ],
                "schedulingGates": [{"name": "wait"}],
                "activeDeadlineSeconds": 60,
                "overhead": {"cpu": "10m"},
            },
            metadata={"deletionTimestamp": "2026-11-23T13:00:00Z"},
            status={"startTime": "2026-11-23T12:30:00Z", "nominatedNodeName": "n0"},
        )
    )
    node = node_object("n0", labels={"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"})
    node["spec"] = {"taints": [{"key": "busy", "effect": "NoSchedule"}], "unschedulable": True}
    assert read_pod(reduce_object(pod), device_kinds()) == read_pod(pod, device_kinds())
    assert read_node(reduce_object(node), device_kinds()) == read_node(node, device_kinds())


def test_every_annotation_that_is_read_is_kept():
    """Whoever reads a new one finds here that the journal must keep it."""
    sources = [(KUBE / name).read_text() for name in ("gangs.py", "pods.py", "registry.py", "sharing.py")]
    known = r'"((?:[\w-]+\.)*(?:hami|kueue|volcano|koordinator|kai|x-k8s|metax-tech|scheduling)[\w.-]*/[\w.-]+|rehearse/[\w-]+)"'
    named = {name for source in sources for name in re.findall(known, source)}
    resources = set(device_kinds().resources)
    assert len(named) > 15
    lost = {name for name in named - resources if not name.startswith(ANNOTATIONS)}
    shared = {
        name for name in lost if re.search(r"(mem|memory|core|cores|vgpu|gpu|percentage|vcore|Mem|Core)[\w-]*$", name)
    }
    assert lost - shared == set(), "add it to ANNOTATIONS of policies/serving/journal_objects.py"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "spec", "labels", "x"]), inner)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(["kind", "metadata", "spec", "status", "name", "uid", "containers", "labels", "annotations"])


@settings(max_examples=60, deadline=None)
@given(item=st.dictionaries(KEYS, JSON), verb=JSON, hashed=st.booleans())
def test_no_object_stops_the_scheduler(tmp_path_factory, item, verb, hashed):
    journal = opened(tmp_path_factory.mktemp("j"), anonymise="key" if hashed else None)
    for kind in ("Pod", "Node", "Other"):
        journal.event(1, {"type": "ADDED", "object": {**item, "kind": kind}})
    journal.decision(2, {"verb": verb, "request": {**item, "Pod": item, "NodeNames": verb}, "reply": verb})
    journal.decision(2, {"verb": verb, "reply": item})
    journal.close()
    entries, problems = read(journal.path)
    assert not problems
    assert len(entries) + journal.lost >= 5


# -- short decisions ---------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(data=st.data(), count=st.integers(0, 70))
def test_decisions_come_back_as_they_were(data, count):
    names = [f"n{number:03}" for number in range(count)]
    index = NodeIndex()
    for name in names:
        index.add(name)
    chosen = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    others = [name for name in names if name not in set(chosen)] + data.draw(st.sampled_from([[], ["unknown"]]))
    scores = [{"Host": name, "Score": data.draw(st.integers(-5, 99))} for name in chosen]
    decisions = [
        {
            "verb": "filter",
            "request": {"Pod": {"kind": "Pod"}, "NodeNames": names},
            "reply": {"NodeNames": chosen, "FailedNodes": {name: f"no {len(name) % 2}" for name in others}},
        },
        {"verb": "prioritize", "request": {"Pod": {"kind": "Pod"}, "NodeNames": chosen}, "reply": scores},
    ]
    for decision in decisions:
        written = json.loads(json.dumps(Written(index).decision(decision)))
        found = Read(index).decision(written)
        assert sorted(found["request"]["NodeNames"]) == sorted(decision["request"]["NodeNames"])
        reply, before = found["reply"], decision["reply"]
        if isinstance(before, list):
            assert sorted(reply, key=str) == sorted(before, key=str)
        else:
            assert sorted(reply["NodeNames"]) == sorted(before["NodeNames"])
            assert reply.get("FailedNodes", {}) == before["FailedNodes"]


def test_a_question_about_five_thousand_nodes_is_short():
    index = NodeIndex()
    names = [f"gpu-node-{number:05}" for number in range(5000)]
    for name in names:
        index.add(name)
    decision = {"request": {"NodeNames": names}, "reply": {"NodeNames": names[::2], "FailedNodes": {}}}
    assert len(json.dumps(decision)) > 100_000
    assert len(json.dumps(Written(index).decision(decision))) < 3_000


def test_a_set_of_other_nodes_is_refused():
    index = NodeIndex()
    index.add("a")
    for wrong in ({"of": 2, "bits": "3"}, {"of": 1, "bits": "2"}, {"of": 1, "bits": "x"}, 5):
        with pytest.raises(ValueError, match=r"nodes|bits|invalid"):
            index.read(wrong)


# -- hashed names ------------------------------------------------------------------------------------------------------


def test_hashed_names_hide_everybody_and_keep_every_relation(tmp_path):
    node = node_object("gpu-7", labels={"team": "fraud", "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"})
    node["spec"] = {"taints": [{"key": "team", "value": "fraud", "effect": "NoSchedule"}]}
    pod = pod_object(
        "payroll-0",
        2,
        namespace="fraud",
        gang=("payroll", 2),
        spec={
            "nodeSelector": {"team": "fraud"},
            "tolerations": [{"key": "team", "operator": "Equal", "value": "fraud"}],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [{"key": "team", "operator": "In", "values": ["fraud"]}],
                                "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gpu-7"]}],
                            }
                        ]
                    }
                }
            },
        },
    )
    pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "payroll-queue"
    pod["metadata"]["annotations"]["hami.io/vgpu-devices-allocated"] = "GPU-1,NVIDIA,1024,50:;"
    journal = opened(tmp_path, anonymise="key")
    journal.event(1, added(node))
    journal.event(2, added(pod))
    reply = {"NodeNames": ["gpu-7"], "FailedNodes": {"gpu-8": "no room for payroll"}}
    journal.decision(3, {"verb": "filter", "request": {"Pod": pod, "NodeNames": ["gpu-7"]}, "reply": reply})
    journal.decision(4, {"pass": 1, "starts": [{"job": "fraud/payroll#gang", "pods": [{"uid": "uid-payroll-0"}]}]})
    journal.close()
    written = journal.path.read_text()
    for name in ("gpu-7", "gpu-8", "payroll", "fraud"):
        assert name not in written, name
    (node_entry, pod_entry, asked, started) = [entry for entry in read(tmp_path)[0] if entry.snapshot is None]
    hashed_pod = read_pod(pod_entry.event["object"], device_kinds())
    hashed_node = read_node(node_entry.event["object"], device_kinds())
    assert hashed_pod.terms.allows(hashed_node.labels, hashed_node.name, hashed_node.taints)
    assert (hashed_pod.gang.size, hashed_pod.devices) == (2, 2)
    assert hashed_node.accelerator == "nvidia-a100-80g" or "a100" in hashed_node.accelerator
    assert asked.decision["reply"]["NodeNames"] == [hashed_node.name]
    start = started.decision["starts"][0]
    assert start["job"] == f"{hashed_pod.namespace}/{hashed_pod.gang.name}#gang"
    assert start["pods"] == [{"uid": hashed_pod.uid}]
    assert "GPU-1,NVIDIA" in written
    assert Names("other").name("fraud") != Names("key").name("fraud") == hashed_pod.namespace
    with pytest.raises(ValueError, match="must not be empty"):
        opened(tmp_path, anonymise="")


# -- files -------------------------------------------------------------------------------------------------------------


def test_each_file_stands_alone(tmp_path):
    cluster = Cluster(device_kinds())
    journal = opened(tmp_path, cluster=cluster, limits=Limits(file_ms=100))
    for at_ms, event in (
        (1000, added(node_object("n0"))),
        (1001, added(pod_object("p0", 2, node="n0"))),
        (1002, added(pod_object("gone"))),
        (1003, deleted(pod_object("gone"))),
        (1200, modified(pod_object("p0", 2, node="n0", priority=7))),
        (1201, added(pod_object("p1"))),
    ):
        item = event["object"]
        if item["kind"] == "Node":
            cluster.set_node(item)
        elif event["type"] == "DELETED":
            cluster.delete_pod(item["metadata"]["uid"])
        else:
            cluster.set_pod(item)
        cluster.settle()
        journal.event(at_ms, event)
    journal.close()
    first, second = sorted(tmp_path.iterdir())
    assert len(open_journal(tmp_path).processes) == 1
    entries, problems = read(second)
    assert not problems
    snapshot = [entry for entry in entries if entry.is_snapshot]
    assert [entry.event["object"]["metadata"]["name"] for entry in snapshot] == ["n0", "p0"]
    assert snapshot[1].event["object"]["spec"]["priority"] == 7
    (end,) = (entry.snapshot for entry in entries if entry.snapshot)
    assert end == {
        "objects": 2,
        "holds": [{"uid": "uid-p0", "node": "n0", "devices": 3, "start_ms": 0, "assumed": False}],
        "leaving": [],
        "parked": {},
    }
    assert entries[-1].event["object"]["metadata"]["name"] == "p1"
    assert len(read(first)[0]) == 1 + 5


def test_closed_files_are_compressed_and_the_oldest_removed(tmp_path):
    journal = opened(tmp_path, limits=Limits(file_ms=10, keep_files=3, compress=True))
    for number in range(8):
        journal.event(1000 + 20 * number, added(pod_object(f"p{number}")))
        time.sleep(0.02)  # because: files are tidied up by a thread of their own
    journal.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) <= 4
    assert names[-1].endswith(".jsonl")
    assert any(name.endswith(".gz") for name in names)
    entries, problems = read(tmp_path)
    assert not problems
    assert {entry.event["object"]["metadata"]["name"] for entry in entries if entry.is_snapshot} >= {"p0", "p5"}


def test_two_processes_in_one_folder_are_kept_apart(tmp_path):
    first, second = opened(tmp_path), opened(tmp_path, limits=Limits(file_ms=1, keep_files=1))
    write_some(first)
    write_some(second)
    write_some(second)
    second.close()
    assert first.path.exists(), "a file that a process writes to is not removed by another"
    assert len(open_journal(tmp_path).processes) == 2
    first.close()


@pytest.mark.parametrize("sync", ["off", "second", "line"])
def test_lines_are_written_under_every_sync(tmp_path, sync):
    journal = opened(tmp_path, limits=Limits(sync=sync))
    write_some(journal)
    journal.close()
    assert len(read(tmp_path)[0]) == 1 + 7
    assert journal.lost == 0


def test_without_the_fast_library_the_lines_are_the_same(tmp_path, monkeypatch):
    lines = []
    for name in ("fast", "plain"):
        if name == "plain":
            monkeypatch.setitem(sys.modules, "orjson", None)
            monkeypatch.setattr(journal_module, "dumps", journal_module._dumps())
        journal = opened(tmp_path / name)
        write_some(journal)
        journal.event(2000, added(pod_object("p\u00e9\ud800", labels={"n": "\u96ea"})))
        journal.close()
        assert journal.lost == 0
        lines.append([json.loads(line) for line in journal.path.read_text().splitlines()[1:]])
    assert lines[0] == lines[1]


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        opened(tmp_path / "file")


# -- a journal is a trace too ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anonymise", [None, "key"])
def test_pods_that_came_were_bound_and_ended_are_jobs(tmp_path, anonymise):
    """A gang of two: made at 1 s, bound at 61 s, its last container ends at 361 s. So it waited 60 s and ran 300 s."""

    def stamp(second: int) -> str:
        return f"2026-11-23T12:{second // 60:02}:{second % 60:02}Z"

    def pods(node: str = "", **status) -> list[dict]:
        return [
            pod_object(f"g-{number}", 2, gang=("g", 2), queue="research", created=stamp(1), node=node, status=status)
            for number in range(2)
        ]

    bound = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(61)}]
    ended = [{"name": "main", "state": {"terminated": {"exitCode": 0, "finishedAt": stamp(361)}}}]
    journal = opened(tmp_path, driver="scheduler", anonymise=anonymise, limits=Limits(file_ms=100_000))
    journal.event(0, added(node_object("n0")))
    for at_ms, events in (
        (1_000, map(added, pods())),
        (61_000, map(modified, pods("n0", phase="Pending", conditions=bound))),
        (200_000, map(modified, pods("n0", phase="Running", conditions=bound))),
        (362_000, map(deleted, pods("n0", phase="Succeeded", conditions=bound, containerStatuses=ended))),
    ):
        for event in events:
            journal.event(at_ms, event)
        journal.decision(at_ms, {"pass": 1})
    journal.close()
    whole = tmp_path / "whole.jsonl"
    whole.write_bytes(b"".join(path.read_bytes() for path in sorted(tmp_path.glob("journal-*"))))
    found = read_trace(whole, "k8s-pods")
    (job,) = found.records
    assert not found.rejections
    assert (job.submit_ms, job.recorded_start_ms, job.run_ms) == (0, 60_000, 300_000)
    assert (job.gpu_count, job.pods, job.outcome) == (4, 2, "completed")
    assert job.queue == ("research" if anonymise is None else Names("key").name("research"))


# -- trouble -----------------------------------------------------------------------------------------------------------

FULL_DISK = """
import logging, resource, signal, sys, time
sys.path.insert(0, sys.argv[2])
from kube_objects import added, pod_object
from policies.serving.journal import Journal, Limits

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
logging.basicConfig(format="%(message)s")
journal = Journal.open(sys.argv[1], driver="extender", policy="fifo")

def settle():
    time.sleep(0.05)

for number in range(4):
    journal.event(1000 + number, added(pod_object(f"p{number}")))
settle()
size = journal.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
for number in range(4, 8):
    journal.event(1000 + number, added(pod_object(f"p{number}")))
    settle()
assert journal.lost == 4, journal.lost
journal.event(1500, added(pod_object("p8")))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.event(9000, added(pod_object("p9")))
journal.event(9001, added(pod_object("p10")))
journal.close()
print(journal.lost, journal.gaps)
"""


def test_a_full_disk_is_counted_and_survived(tmp_path):
    """A limit on the size of files makes the same short write, and then the error, as a full disk."""
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), tests], capture_output=True, text=True, check=True
    )
    lost, gaps = map(int, done.stdout.split())
    assert (lost, gaps) == (6, 1)
    assert "cannot be written" in done.stderr
    assert "6 lines were lost" in done.stderr
    first, second = sorted(tmp_path.iterdir())
    entries, problems = read(first)
    assert [bool(entry) for entry in entries] == [True] * 5 + [False]
    assert "torn" in problems[0]
    header = json.loads(second.read_text().splitlines()[0])
    assert (header["after_gap"], header["lost"]) == (True, 6)
    names = [entry.event["object"]["metadata"]["name"] for entry in read(second)[0] if entry.event]
    assert names == [f"p{number}" for number in range(11)], "the new file begins with everything that is known"


def test_a_disk_that_is_too_slow_is_counted_and_survived(tmp_path, caplog):
    journal = opened(tmp_path, limits=Limits(queue_mib=0))
    journal.event(1000, added(pod_object("p0")))
    assert (journal.lost, journal.gaps) == (1, 1)
    assert "too slow" in caplog.text
    journal.event(1001, added(pod_object("p1")))
    journal.close()
    assert journal.lost == 2


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from kube_objects import added, pod_object
from policies.serving.journal import Journal, Limits

journal = Journal.open(sys.argv[1], driver="extender", policy="fifo", limits=Limits(file_ms=700))
print("ready", flush=True)
for number in range(10**9):
    journal.event(1000 + number, added(pod_object(f"p{number % 50}", metadata={"uid": str(number % 50)})))
    journal.decision(1000 + number, {"verb": "bind", "number": number})
"""


def test_a_process_that_is_killed_leaves_everything_that_was_complete(tmp_path):
    rng = random.Random(5)
    tests = str(Path(__file__).parents[1])
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / str(number)), tests], stdout=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    for child in children:
        with child:
            child.stdout.readline()
            time.sleep(rng.uniform(0.005, 0.06))
            child.send_signal(signal.SIGKILL)
    for number in range(4):
        entries, problems = read(tmp_path / str(number))
        found = [entry.decision["number"] for entry in entries if entry and entry.decision]
        assert found == list(range(len(found))), "no decision is missing, twice or out of order"
        assert len(found) > 10
        assert len(problems) <= 1
        again = opened(tmp_path / str(number))
        write_some(again)
        again.close()
        assert read(again.path)[1] == [], "a restart begins a file of its own"
        assert len(read(tmp_path / str(number))[1]) == len(problems)


def test_a_file_cut_anywhere_is_read_up_to_there(tmp_path):
    journal = opened(tmp_path / "j")
    write_some(journal, 1)
    journal.close()
    whole = journal.path.read_bytes()
    everything, _ = read(journal.path)
    cut = tmp_path / "cut.jsonl"
    header = whole.index(b"\n")
    for size in range(len(whole) + 1):
        cut.write_bytes(whole[:size])
        if size < header:
            with pytest.raises(InputError, match="no journal that can be read"):
                read(cut)
            continue
        entries, problems = read(cut)
        complete = [entry for entry in entries if entry is not None]
        # a line without its end of line is whole if it is whole JSON
        ends = whole[: size + 1].count(b"\n") - 1
        assert complete == everything[:ends], size
        assert len(problems) == (len(entries) - ends), size


def test_damage_in_the_middle_is_reported_with_its_place(tmp_path):
    journal = opened(tmp_path)
    write_some(journal)
    journal.close()
    lines = journal.path.read_bytes().splitlines(keepends=True)
    lines[3] = b"\x00" * 40 + b"\n"
    lines[5] = b'{"at_ms": "soon", "event": {}}\n'
    journal.path.write_bytes(b"".join(lines))
    entries, problems = read(tmp_path)
    assert [number for number, entry in enumerate(entries, start=2) if entry is None] == [4, 6]
    assert [problem.partition(": ")[0] for problem in problems] == [
        f"{journal.path.name}:4",
        f"{journal.path.name}:6",
    ]


def test_what_is_no_journal_is_refused(tmp_path):
    with pytest.raises(InputError, match="no journal"):
        open_journal(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        open_journal(tmp_path / "absent")
    path = tmp_path / "journal-1.jsonl"
    for text, reason in (
        ('{"nodes": []}\n', "does not begin a journal"),
        ('{"journal": 1}\n', "the header has no at_ms"),
        ('{"journal": 2}\n', "version 2"),
        ("", "no header"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=reason):
            open_journal(tmp_path)
