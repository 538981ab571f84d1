"""The resources of the API that scheduling reads and writes, and where the API server has them."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote


class Resource(NamedTuple):
    """One kind of object. An empty `version` is found by discovery, and the server may not have it."""

    group: str
    version: str
    plural: str
    kind: str
    field_selector: str = ""
    """Which objects are listed and watched; empty is all."""

    @property
    def optional(self) -> bool:
        """Whether the server may not have it."""
        return not self.version

    @property
    def name(self) -> str:
        """`pods`, `podgroups.scheduling.volcano.sh`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def type_meta(self) -> dict[str, str]:
        """`apiVersion` and `kind` of its objects."""
        version = f"{self.group}/{self.version}" if self.group else self.version
        return {"apiVersion": version, "kind": self.kind}

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Its path; without a namespace that of all namespaces."""
        parts = [f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"]
        if namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


NODES: Final = Resource("", "v1", "nodes", "Node")
PODS: Final = Resource("", "v1", "pods", "Pod")
LIVE_PODS: Final = PODS._replace(field_selector="status.phase!=Succeeded,status.phase!=Failed")
"""Pods that have not ended: one that ends is DELETED."""
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS: Final = Resource("events.k8s.io", "v1", "events", "Event")
POD_GROUPS: Final = (
    Resource("scheduling.x-k8s.io", "", "podgroups", "PodGroup"),
    Resource("scheduling.volcano.sh", "", "podgroups", "PodGroup"),
    Resource("scheduling.k8s.io", "", "podgroups", "PodGroup"),
)
"""The objects that say how large a gang is: of the coscheduling plugin, of Volcano, and Kubernetes' own."""
