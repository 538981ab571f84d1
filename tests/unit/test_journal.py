"""What a journal keeps of objects and decisions, and what never: secrets, and where it is asked for names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import opened, read
from kube_objects import added, deleted, modified, node_object, pod_object

from policies.kube.nodes import read_node
from policies.kube.pods import read_pod
from policies.serving import journal as journal_module
from policies.serving.journal import Limits
from policies.serving.journal_decisions import NodeIndex, Read, Written
from policies.serving.journal_names import Names
from policies.serving.journal_objects import ANNOTATIONS, reduce_object
from sim.fleet.kinds import device_kinds
from traces.registry import read_trace

KUBE = Path(journal_module.__file__).parents[1] / "kube"


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
