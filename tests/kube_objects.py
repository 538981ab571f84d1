"""Nodes and pods as the API server writes them, with uids, and events that tell of them."""

from __future__ import annotations

from typing import Any

from kube_builders import node, pod

Item = dict[str, Any]


def node_object(name: str, gpus: int = 8, **more: Any) -> Item:
    item = node(name, gpus, **more)
    item["metadata"]["uid"] = f"uid-{name}"
    return item


def pod_object(
    name: str, gpus: int = 1, *, metadata: Item | None = None, status: Item | None = None, **more: Any
) -> Item:
    """As `kube_builders.pod`, of `default-scheduler` and in `team-a` unless said otherwise."""
    item = pod(name, gpus, **{"namespace": "team-a", "scheduler": "default-scheduler", "cpu": "1", **more})
    item["metadata"] |= {"uid": f"uid-{name}", "resourceVersion": "1", **(metadata or {})}
    item["status"] |= status or {}
    return item


def added(item: Item) -> Item:
    return {"type": "ADDED", "object": item}


def modified(item: Item) -> Item:
    return {"type": "MODIFIED", "object": item}


def deleted(item: Item) -> Item:
    return {"type": "DELETED", "object": item}
