"""Nodes, pods and groups of Kubernetes as JSON, for tests."""

from __future__ import annotations

from typing import Any

from policies.kube.devices import DeviceKind, DeviceKinds

GPU = "nvidia.com/gpu"
KINDS = DeviceKinds([DeviceKind("a100", (GPU,), 81920)], lambda _: None)
MINE = "rehearse"


def node(name: str, gpus: int = 8, **more: Any) -> dict[str, Any]:
    """`labels`, `taints`, `unschedulable`; `cpu`, `memory` and `pods` as quantities."""
    allocatable = {
        "cpu": more.get("cpu", "64"),
        "memory": more.get("memory", "512Gi"),
        "pods": more.get("pods", "110"),
    }
    if gpus:
        allocatable[GPU] = str(gpus)
    spec = {key: more[key] for key in ("taints", "unschedulable") if key in more}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": more.get("labels", {})},
        "spec": spec,
        "status": {"allocatable": allocatable, "capacity": allocatable},
    }


def pod(name: str, gpus: int = 1, **more: Any) -> dict[str, Any]:
    """`namespace`, `uid`, `priority`, `node`, `phase`, `gang` (a name, or name and size), `queue`, `scheduler`, `cpu`,
    `created`, `spec` (merged in), `labels`, `annotations`, `leaving`."""
    labels, annotations = dict(more.get("labels", {})), dict(more.get("annotations", {}))
    gang = more.get("gang")
    if gang is not None:
        labels["scheduling.x-k8s.io/pod-group"] = gang if isinstance(gang, str) else gang[0]
        if not isinstance(gang, str):
            annotations["rehearse/gang-size"] = str(gang[1])
    if "queue" in more:
        labels["kueue.x-k8s.io/queue-name"] = more["queue"]
    requests = {GPU: str(gpus)} if gpus else {}
    if "cpu" in more:
        requests["cpu"] = more["cpu"]
    metadata = {"name": name, "namespace": more.get("namespace", "default"), "labels": labels}
    metadata |= {"annotations": annotations, "creationTimestamp": more.get("created", "2026-01-01T00:00:00Z")}
    if "uid" in more:
        metadata["uid"] = more["uid"]
    if more.get("leaving"):
        metadata["deletionTimestamp"] = "2026-01-01T01:00:00Z"
    spec = {
        "schedulerName": more.get("scheduler", MINE),
        "priority": more.get("priority", 0),
        "containers": [{"name": "main", "image": "main", "resources": {"requests": requests, "limits": requests}}],
        **more.get("spec", {}),
    }
    if more.get("node"):
        spec["nodeName"] = more["node"]
    phase = more.get("phase", "Running" if more.get("node") else "Pending")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}}


def pod_group(name: str, size: int, namespace: str = "default") -> dict[str, Any]:
    """A PodGroup of the coscheduling plugin."""
    return {
        "apiVersion": "scheduling.x-k8s.io/v1alpha1",
        "kind": "PodGroup",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"minMember": size},
    }


def gpus_of(item: dict[str, Any]) -> int:
    """Devices that a pod asks for."""
    containers = item["spec"]["containers"]
    return sum(int(each.get("resources", {}).get("requests", {}).get(GPU, 0)) for each in containers)
