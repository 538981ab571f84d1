"""What a served policy asks of the API server: the rights that its service account needs, and no others.

The manifests under `deploy/` grant these; the tests compare both with what is truly asked. Discovery (`/api`, `/apis`,
`/version`) is open to everybody who has an account.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Need(NamedTuple):
    """Verbs on one resource."""

    group: str
    resource: str
    """With its subresource: `pods/binding`."""
    verbs: tuple[str, ...]
    own_namespace: bool = False
    """Whether it is needed in the namespace of the scheduler only."""
    only_if: str = ""
    """What must be asked for before it is needed; empty is always."""


BIND_VERB: Final = "bindVerb in the KubeSchedulerConfiguration"

EXTENDER: Final = (
    Need("", "nodes", ("list", "watch")),
    Need("", "pods", ("list", "watch")),
    Need("", "pods/binding", ("create",), only_if=BIND_VERB),
)

SCHEDULER: Final = (
    Need("", "nodes", ("list", "watch")),
    Need("", "pods", ("get", "list", "watch")),
    Need("", "pods/binding", ("create",)),
    Need("", "pods/eviction", ("create",)),
    Need("", "pods/status", ("patch",)),
    Need("events.k8s.io", "events", ("create", "patch")),
    Need("scheduling.k8s.io", "podgroups", ("list", "watch")),
    Need("scheduling.volcano.sh", "podgroups", ("list", "watch")),
    Need("scheduling.x-k8s.io", "podgroups", ("list", "watch")),
    Need("coordination.k8s.io", "leases", ("create", "get", "update"), own_namespace=True),
)

NEEDS: Final[Mapping[str, tuple[Need, ...]]] = {"extender": EXTENDER, "scheduler": SCHEDULER}
"""Command of `rehearse serve` -> what it needs."""
