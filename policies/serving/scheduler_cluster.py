"""The cluster as a scheduler of its own sees it; the replay of its journal builds the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from policies.api import Policy, QueueView
from policies.kube.devices import DeviceKinds
from policies.kube.pods import Pod
from policies.serving.cluster import Cluster
from policies.serving.rules import held_back_by, keeps_pod_rules

C = TypeVar("C", bound=Cluster)


def cluster_for(
    policy: Policy, scheduler: str, kinds: DeviceKinds, *, queues: Mapping[str, QueueView] | None = None
) -> Cluster:
    """See `cluster_as`."""
    return cluster_as(Cluster, policy, scheduler, kinds, queues=queues)


def cluster_as(
    made: type[C],
    policy: Policy,
    scheduler: str,
    kinds: DeviceKinds,
    *,
    queues: Mapping[str, QueueView] | None = None,
) -> C:
    """Waiting pods are those that name this scheduler. Of the running ones too, and all others only take their places, unless
    the policy keeps rules that depend on other pods: then it sees, and may preempt, whatever runs, as kube-scheduler does.
    """
    everything = keeps_pod_rules(policy)

    def ours(pod: Pod) -> bool:
        return pod.scheduler == scheduler

    return made(
        kinds,
        ours=ours,
        shown=(lambda _: True) if everything else ours,
        held_back=held_back_by(policy),
        queues=queues,
        labels=everything,
    )
