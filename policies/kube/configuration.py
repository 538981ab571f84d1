"""What a KubeSchedulerConfiguration says, as values. `policies.kube.configuration_reader` makes them.

The defaults are those of kube-scheduler v1.36, so `Configuration()` is a scheduler without a configuration file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from policies.kube.objects import Fault
from policies.kube.plugins import DEFAULTS
from policies.kube.terms import NodeTerm, PreferredNode, SpreadConstraint

Strategy = Literal["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"]


class ConfigurationError(ValueError):
    """A configuration that kube-scheduler, or this model of it, cannot run. `faults` lists everything that is wrong."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))

    def __reduce__(self) -> tuple[object, ...]:
        return (ConfigurationError, (self.faults,))


class ResourceWeight(NamedTuple):
    """A resource that counts in a score."""

    name: str
    weight: int = 1


class ShapePoint(NamedTuple):
    """A point of the function from utilization (percent) to score (0..10)."""

    utilization: int
    score: int


CPU_AND_MEMORY: Final = (ResourceWeight("cpu"), ResourceWeight("memory"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FitArgs:
    """`NodeResourcesFitArgs`."""

    strategy: Strategy = "LeastAllocated"
    resources: tuple[ResourceWeight, ...] = CPU_AND_MEMORY
    shape: tuple[ShapePoint, ...] = ()
    """Of `RequestedToCapacityRatio`, by ascending utilization."""
    ignored_resources: frozenset[str] = frozenset()
    """Extended resources that the filter does not look at; those that extenders manage alone are among them."""
    ignored_groups: frozenset[str] = frozenset()
    """The same for all resources of a domain (`example.com`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreemptionArgs:
    """`DefaultPreemptionArgs`."""

    min_candidate_percentage: int = 10
    min_candidates: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One profile: which plugins act, in which order and with which weight, and their arguments."""

    scheduler_name: str = "default-scheduler"
    filters: tuple[str, ...] = tuple(name for name, plugin in DEFAULTS.items() if "filter" in plugin.points)
    scores: tuple[tuple[str, int], ...] = tuple(
        (name, plugin.weight) for name, plugin in DEFAULTS.items() if "score" in plugin.points
    )
    post_filters: tuple[str, ...] = tuple(name for name, plugin in DEFAULTS.items() if "postFilter" in plugin.points)
    fit: FitArgs = FitArgs()
    balanced: tuple[ResourceWeight, ...] = CPU_AND_MEMORY
    added_required: tuple[NodeTerm, ...] | None = None
    """Node affinity that every pod has on top of its own."""
    added_preferred: tuple[PreferredNode, ...] = ()
    spread_defaults: tuple[SpreadConstraint, ...] = ()
    """Constraints for pods without any; known, but not applied: see `notes` of the configuration."""
    hard_pod_affinity_weight: int = 1
    ignore_preferred_terms_of_existing: bool = False
    preemption: PreemptionArgs = PreemptionArgs()
    percentage: int | None = None
    """`percentageOfNodesToScore` of this profile; None is that of the configuration."""

    @property
    def preempts(self) -> bool:
        """Whether the default preemption acts."""
        return "DefaultPreemption" in self.post_filters


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedResource:
    """An extended resource that an extender looks after."""

    name: str
    ignored_by_scheduler: bool = False
    """True if NodeResourcesFit does not look at it then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """How an extender is reached over TLS."""

    insecure: bool = False
    server_name: str = ""
    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    cert_data: str = ""
    """Base64, as in the file."""
    key_data: str = ""
    ca_data: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtenderConfig:
    """One entry of `extenders`. A verb that is empty is not called."""

    url_prefix: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    preempt_verb: str = ""
    bind_verb: str = ""
    weight: int = 1
    enable_https: bool = False
    tls: TlsConfig | None = None
    http_timeout_ms: int = 5000
    node_cache_capable: bool = False
    managed_resources: tuple[ManagedResource, ...] = ()
    """Only pods that ask for one of them are sent; empty is every pod."""
    ignorable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A whole configuration."""

    profiles: tuple[Profile, ...] = (Profile(),)
    percentage: int = 0
    """`percentageOfNodesToScore`; 0 adapts to the size of the cluster."""
    backoff_initial_ms: int = 1000
    backoff_max_ms: int = 10_000
    extenders: tuple[ExtenderConfig, ...] = ()
    notes: tuple[Fault, ...] = ()
    """What is known of kube-scheduler and not modelled, with its place."""

    def profile(self, scheduler_name: str | None = None) -> Profile:
        """The profile of a `schedulerName`, or the first. Raises KeyError if there is none."""
        if scheduler_name is None:
            return self.profiles[0]
        for profile in self.profiles:
            if profile.scheduler_name == scheduler_name:
                return profile
        raise KeyError(scheduler_name)

    def percentage_of(self, profile: Profile) -> int:
        """`percentageOfNodesToScore` of a profile."""
        return self.percentage if profile.percentage is None else profile.percentage
