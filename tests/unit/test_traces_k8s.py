"""Pods as a trace: times, gangs, shares and outcomes of the samples; logs of events; and a replay that honours selectors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from audited import audited

import traces
from policies.topology import Node, Topology
from sim.audit_entries import entries
from sim.fleet.kubernetes import read_kubernetes_nodes
from sim.fleet.table import topology_of
from sim.requests import RequestMaker, is_there, models_of
from sim.scheduling import read_scheduling, scheduling_problems
from sim.timeline import Happened
from traces.conformance import check_trace_format
from traces.formats.k8s_pods import FORMAT
from traces.job import InvalidJobError, JobRecord
from traces.registry import detect, format_named, read_trace
from traces.trace import TraceError
from traces.transform import anonymise, cpus_as_devices

SAMPLES = Path(traces.__file__).parent / "samples"
MINUTE = 60_000


def records(name):
    return {job.job_id: job for job in read_trace(SAMPLES / name).records}


def test_the_jobs_of_the_dump():
    jobs = records("k8s_pods.json")
    assert list(jobs) == ["team/prepare", "team/train", "team/part", "team/late-x1"]
    prepare, train, part, late = jobs.values()
    assert (prepare.gpu_count, prepare.accelerators, prepare.run_ms, prepare.memory_mib) == (0, (), 0, 16_384)
    # bound 10:10 and 10:11, ended 12:00 and 12:01; time 0 is 9:50, when the job of late-x1 was made
    assert (train.submit_ms, train.recorded_start_ms, train.run_ms) == (15 * MINUTE, 21 * MINUTE, 110 * MINUTE)
    assert (train.gpu_count, train.pods, train.cpu_milli, train.priority) == (16, 2, 8000, 100)
    assert (train.queue, train.accelerators) == ("research-cq", ("NVIDIA-A100-SXM4-80GB",))
    assert (part.gpu_count, part.gpu_milli, part.gpu_memory_mib, part.user) == (1, 250, 20_480, "ada")
    assert part.accelerators == ("nvidia.com/gpu",)
    assert (late.submit_ms, late.outcome, late.estimate_ms, late.family) == (0, "timeout", 7_200_000, "resnet")


def test_the_log_tells_of_pods_that_were_deleted_and_made_anew():
    jobs = records("k8s_events.jsonl")
    assert {name: (job.submit_ms, job.recorded_start_ms, job.run_ms, job.outcome) for name, job in jobs.items()} == {
        "team/a": (0, 2 * MINUTE, 18 * MINUTE, "completed"),
        "team/b": (3 * MINUTE, 5 * MINUTE, 39 * MINUTE, "cancelled"),
        "team/a@2": (60 * MINUTE, 62 * MINUTE, 10 * MINUTE, "completed"),
    }


def test_a_log_without_times_goes_by_the_objects(tmp_path):
    gone = {
        "metadata": {"name": "x", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{}]},
        "status": {"phase": "Running", "startTime": "2026-01-01T00:00:10Z"},
    }
    late = gone | {"metadata": gone["metadata"] | {"deletionTimestamp": "2026-01-01T01:00:00+00:00"}}
    lines = [
        {"type": "ADDED", "object": gone},
        {"type": "BOOKMARK", "object": {}},
        {"type": "DELETED", "object": late},
    ]
    (tmp_path / "log").write_text("\n".join(map(json.dumps, lines)))
    (job,) = read_trace(tmp_path / "log").records
    assert (job.job_id, job.run_ms, job.outcome) == ("default/x", 3_590_000, "cancelled")


def test_bad_lines_of_a_log_are_rejected_and_the_rest_is_read(tmp_path):
    good = (SAMPLES / "k8s_events.jsonl").read_text().splitlines()
    bad = ["{", "[1]", '{"type": "ADDED"}', '{"event": {"type": "MOVED", "object": {}}}']
    (tmp_path / "log").write_text("\n".join([*good[:2], *bad, *good[2:]]))
    trace = read_trace(tmp_path / "log")
    assert len(trace.records) == 3
    assert [(each.line, each.problems[0].reason[:20]) for each in trace.rejections] == [
        (3, "is not JSON: Expecti"),
        (4, "must be a JSON objec"),
        (5, "must have a type (AD"),
        (6, "must have a type (AD"),
    ]


def test_the_gang_is_rejected_with_the_problems_of_each_pod(tmp_path):
    def member(name, gpus, status):
        labels = {"scheduling.x-k8s.io/pod-group": "g"}
        containers = [{"resources": {"limits": gpus}}]
        metadata = {"name": name, "uid": name, "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"}
        return {"kind": "Pod", "metadata": metadata, "spec": {"containers": containers}, "status": status}

    running = {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}
    items = [member("a", {"nvidia.com/gpu": 1}, running), member("b", {"amd.com/gpu": 2}, {"phase": "Pending"})]
    path = tmp_path / "dump"
    path.write_text(json.dumps({"items": items}))
    (rejection,) = read_trace(path).rejections
    assert [f"{each.field}: {each.reason}" for each in rejection.problems] == [
        "a: status.phase: RUNNING: the pod had not ended when the file was written",
        "b: status: PENDING: the pod never started",
        "spec.containers: pods of one gang ask for several kinds of devices: amd.com/gpu, nvidia.com/gpu",
    ]


@pytest.mark.parametrize("name", ["k8s_pods.json", "k8s_events.jsonl", "k8s_pods_broken.json"])
def test_the_format_keeps_every_promise(name):
    assert check_trace_format(FORMAT, SAMPLES / name) == []
    assert format_named("kubernetes", SAMPLES / name) is FORMAT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"kind": "PodList", "items": 5}', "has no list under 'items'"),
        ('{"kind": "PodList", "items": []} x', "there is text after the end"),
        ('{"kind": "PodList", "items": [1, ', "truncated"),
        ('{"kind": "PodList", "items": [],}', "expected another member"),
        ('{"kind": "PodList" "items": []}', "expected , or }"),
        ('{"kind" "PodList"}', "expected the name of a member and a colon"),
        ('["Pod"]', "must be a JSON object"),
    ],
)
def test_files_that_are_no_dump(tmp_path, text, reason):
    path = tmp_path / "dump.json"
    path.write_text(text)
    with pytest.raises(TraceError, match=reason):
        read_trace(path, "k8s-pods")


def test_a_dump_of_nodes_alone_is_known_for_what_it_is(tmp_path):
    path = tmp_path / "nodes.json"
    path.write_text('{"kind": "List", "items": [{"kind": "Node", "metadata": {"name": "n"}}]}')
    assert detect(path) is FORMAT
    assert read_trace(path).rows == 0


# -- the column -------------------------------------------------------------------------------------------------------


def test_the_column_must_be_a_json_object_and_goes_where_names_go():
    kept = JobRecord(job_id="a", submit_ms=0, run_ms=1, gpu_count=1, scheduling='{"spec":{}}')
    for bad in ("[1]", "{", "", 5):
        with pytest.raises(InvalidJobError, match="scheduling: must be a JSON object"):
            JobRecord(job_id="a", submit_ms=0, run_ms=1, gpu_count=1, scheduling=bad)
    assert anonymise([kept], "key")[0].scheduling is None
    assert cpus_as_devices([kept])[0].scheduling is None


def test_terms_are_read_as_in_production_and_problems_come_with_their_job():
    train = records("k8s_pods.json")["team/train"]
    terms = read_scheduling(train.scheduling)
    assert (terms.namespace, terms.labels) == ("team", (("app", "train"),)), "only labels that a pod asks about"
    assert terms.node_selector == (("nvidia.com/gpu.product", "NVIDIA-A100-SXM4-80GB"),)
    assert [each.key for each in terms.tolerations] == ["gpu", "node.kubernetes.io/not-ready"]
    assert len(terms.away) == 1
    bad = [
        JobRecord(job_id=name, submit_ms=0, run_ms=1, gpu_count=1, scheduling=text)
        for name, text in (
            ("a", '{"spec":{"nodeSelector":{"x":1}}}'),
            ("b", '{"metadata":{"labels":[]}}'),
            ("c", "{}"),
        )
    ]
    assert scheduling_problems(bad) == [
        "job a: scheduling: spec.nodeSelector.x: must be text, got 1",
        "job b: scheduling: metadata.labels: must be an object, got []",
    ]
    with pytest.raises(TraceError, match=r"job a: scheduling: spec\.nodeSelector\.x: must be text"):
        RequestMaker(Topology([Node("n")]), "whole", {}).request(bad[0])


# -- on a fleet -------------------------------------------------------------------------------------------------------


def fleet(*nodes):
    items = [
        {
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {"taints": taints, "unschedulable": cordoned},
            "status": {"allocatable": {"nvidia.com/gpu": 8}},
        }
        for name, labels, taints, cordoned in nodes
    ]
    return topology_of(read_kubernetes_nodes(json.dumps({"items": items}), source="s"))


TAINT = [{"key": "gpu", "effect": "NoSchedule"}]
PRODUCT = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
NODES = fleet(
    ("plain", PRODUCT, [], False),
    ("tainted", PRODUCT, TAINT, False),
    ("cordoned", PRODUCT, [], True),
    ("zoned", {"zone": "a"}, [], False),
)


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (None, {"plain", "tainted", "zoned"}),
        ({}, {"plain", "zoned"}),
        ({"tolerations": [{"key": "gpu", "operator": "Exists"}]}, {"plain", "tainted", "zoned"}),
        ({"tolerations": [{"operator": "Exists"}]}, {"plain", "tainted", "cordoned", "zoned"}),
        ({"nodeSelector": {"zone": "a"}}, {"zoned"}),
        ({"nodeSelector": PRODUCT}, {"plain"}),
    ],
)
def test_a_job_goes_where_its_terms_allow(spec, names):
    scheduling = None if spec is None else json.dumps({"spec": spec})
    job = JobRecord(
        job_id="a", submit_ms=0, run_ms=1, gpu_count=1, accelerators=("nvidia.com/gpu",), scheduling=scheduling
    )
    request = RequestMaker(NODES, "whole", {}).request(job)
    assert {node.name for number, node in enumerate(NODES.nodes) if request.eligible >> number & 1} == names


def test_equal_terms_are_one_request():
    maker = RequestMaker(NODES, "whole", {})
    text = '{"spec":{"nodeSelector":{"zone":"a"}}}'
    jobs = [JobRecord(job_id=name, submit_ms=0, run_ms=1, gpu_count=1, scheduling=text) for name in "ab"]
    assert maker.request(jobs[0]) is maker.request(jobs[1])


def test_what_a_resource_means_on_a_fleet_that_is_not_of_kubernetes():
    there = Topology(
        [Node("a", accelerator="nvidia-t4"), Node("b", accelerator="ascend-910b3"), Node("c", accelerator="generic")]
    )
    assert models_of(there, ("nvidia.com/gpu",)) == ("nvidia.com/gpu", "nvidia-t4", "generic")
    assert models_of(there, ("volcano.sh/vgpu-number",)) == ("volcano.sh/vgpu-number", "nvidia-t4", "generic")
    assert models_of(there, ("Tesla T4", "other")) == ("nvidia-t4", "other")
    assert (is_there(there, "nvidia.com/gpu"), is_there(there, "H100"), is_there(NODES, "nvidia.com/gpu")) == (
        True,
        False,
        True,
    )
    assert not is_there(NODES, "amd.com/gpu")


@pytest.mark.parametrize("policy", ["best-effort-fifo", "easy", "fifo:place=consolidate"])
def test_a_replay_keeps_pods_to_their_nodes_and_the_auditor_agrees(policy):
    terms = [{}, {"tolerations": [{"key": "gpu", "operator": "Exists"}]}, {"nodeSelector": {"zone": "a"}}]
    jobs = [
        JobRecord(
            job_id=f"j{number}",
            submit_ms=number,
            run_ms=1000,
            gpu_count=4,
            pods=1,
            accelerators=("nvidia.com/gpu",),
            estimate_ms=1000,
            scheduling=json.dumps({"spec": terms[number % 3]}),
        )
        for number in range(12)
    ]
    outcome = audited(jobs, NODES, policy)
    starts = [entry for entry in entries(outcome.timeline) if entry.happened is Happened.START]
    assert len(starts) == len(jobs)
    for entry in starts:
        names = {NODES.nodes[held.node].name for held in entry.held}
        allowed = ({"plain", "zoned"}, {"plain", "tainted", "zoned"}, {"zoned"})[entry.row % 3]
        assert names <= allowed, entry
