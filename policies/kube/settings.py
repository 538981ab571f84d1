"""The parameters of `kube-default` in the catalogue, on top of a configuration.

`strategy` is the scoring strategy of NodeResourcesFit, under which the devices of the servers count too, with `device-weight`;
`profile` takes everything from the configuration. The others: see `OPTIONS` and docs/reference/kube-default.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from policies.kube.configuration import Configuration, FitArgs, Profile, ResourceWeight, ShapePoint, Strategy

STRATEGIES: Final[dict[str, Strategy]] = {
    "least-allocated": "LeastAllocated",
    "most-allocated": "MostAllocated",
    "requested-to-capacity-ratio": "RequestedToCapacityRatio",
}

BIN_PACKING: Final = (ShapePoint(0, 0), ShapePoint(100, 10))
"""The shape where only the name of the strategy is given: the fuller, the better."""

OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "strategy": ("profile", *STRATEGIES),
    "device-weight": (),
    "ties": ("random", "first"),
    "preemption": ("on", "off"),
    "backoff": ("wait", "pop", "off"),
    "percentage": (),
    "profile": (),
}
"""Parameter -> the values that it takes; an empty tuple is any text. The first is the default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How `kube-default` is to decide."""

    profile: Profile
    percentage: int
    """0 adapts to the size of the cluster."""
    device_weight: int | None = None
    """Of the devices in the score by resources; None where the profile says what counts."""
    random_ties: bool = True
    preempts: bool = True
    backoff: str = "wait"
    backoff_initial_ms: int = 1000
    backoff_max_ms: int = 10_000


def settings_of(own: Mapping[str, str], configuration: Configuration | None = None) -> Settings:
    """The settings that parameters and a configuration give. Raises ValueError with everything that is wrong."""
    configuration = configuration or Configuration()
    problems: list[str] = []
    profile = _profile(own, configuration, problems)
    percentage = configuration.percentage_of(profile)
    if "percentage" in own:
        percentage = _whole(own, "percentage", 0, 100, problems)
    weight = None
    strategy = STRATEGIES.get(own.get("strategy", "profile"))
    if strategy is not None:
        weight = _whole(own, "device-weight", 0, 100, problems) if "device-weight" in own else 1
        profile = replace(profile, fit=_fit(profile.fit, strategy))
    elif "device-weight" in own:
        problems.append("device-weight goes with strategy: a profile says itself what counts")
    preempts = profile.preempts if own.get("preemption", "on") == "on" else False
    if problems:
        raise ValueError("; ".join(problems))
    return Settings(
        profile=profile,
        percentage=percentage,
        device_weight=weight,
        random_ties=own.get("ties", "random") == "random",
        preempts=preempts,
        backoff=own.get("backoff", "wait"),
        backoff_initial_ms=configuration.backoff_initial_ms,
        backoff_max_ms=configuration.backoff_max_ms,
    )


def _profile(own: Mapping[str, str], configuration: Configuration, problems: list[str]) -> Profile:
    name = own.get("profile")
    try:
        return configuration.profile(name)
    except KeyError:
        known = ", ".join(each.scheduler_name for each in configuration.profiles)
        problems.append(f"profile={name}: the configuration has {known}")
        return configuration.profile()


def _fit(args: FitArgs, strategy: Strategy) -> FitArgs:
    shape = () if strategy != "RequestedToCapacityRatio" else args.shape or BIN_PACKING
    return replace(args, strategy=strategy, shape=shape)


def _whole(own: Mapping[str, str], key: str, low: int, high: int, problems: list[str]) -> int:
    text = own[key]
    if text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high:
        return int(text)
    problems.append(f"{key}={text}: must be a whole number from {low} to {high}")
    return low


def with_devices(profile: Profile, resources: tuple[str, ...], weight: int | None) -> Profile:
    """The profile with the resources that count devices among those that its score looks at, if a weight is given."""
    if not weight:
        return profile
    fit = profile.fit
    known = {each.name for each in fit.resources}
    more = tuple(ResourceWeight(name, weight) for name in resources if name not in known)
    return replace(profile, fit=replace(fit, resources=fit.resources + more))
