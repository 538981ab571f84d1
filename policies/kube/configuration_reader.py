"""An unmodified KubeSchedulerConfiguration, as plain data, to the values of `policies.kube.configuration`.

Everything that is wrong is said at once, with its path. What kube-scheduler knows and this model does not is a note, never
dropped in silence; what has no bearing on decisions (`leaderElection`, `clientConnection`, ...) is accepted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from policies.kube.configuration import (
    Configuration,
    ConfigurationError,
    ExtenderConfig,
    ManagedResource,
    Profile,
    TlsConfig,
)
from policies.kube.fields import Section, near
from policies.kube.objects import Fault
from policies.kube.plugin_args import ARGS, read_args
from policies.kube.plugin_sets import read_plugins
from policies.kube.plugins import DEFAULTS

GROUP: Final = "kubescheduler.config.k8s.io"
VERSIONS: Final = ("v1", "v1beta3", "v1beta2", "v1beta1")
KIND: Final = "KubeSchedulerConfiguration"

TOP: Final = (
    "apiVersion", "kind", "profiles", "extenders", "percentageOfNodesToScore", "podInitialBackoffSeconds",
    "podMaxBackoffSeconds", "parallelism", "leaderElection", "clientConnection", "enableProfiling",
    "enableContentionProfiling", "delayCacheUntilActive", "healthzBindAddress", "metricsBindAddress",
)  # fmt: skip
EXTENDER: Final = (
    "urlPrefix", "filterVerb", "prioritizeVerb", "preemptVerb", "bindVerb", "weight", "enableHTTPS", "tlsConfig",
    "httpTimeout", "nodeCacheCapable", "managedResources", "ignorable",
)  # fmt: skip
TLS: Final = (
    "insecure", "serverName", "certFile", "keyFile", "caFile", "certData", "keyData", "caData",
)  # fmt: skip

NOT_MODELLED: Final = tuple(name for name, plugin in DEFAULTS.items() if not plugin.modelled)


def read_configuration(data: object) -> Configuration:
    """The configuration that plain data says. Raises `ConfigurationError` with everything that is wrong."""
    faults: list[Fault] = []
    notes: list[Fault] = []
    top = Section(data, "", TOP, faults)
    if data is None:
        top.wrong("", "is empty")
    _check_version(top, notes)
    extenders = tuple(_extender(each) for each in top.items("extenders", EXTENDER))
    _check_extenders(extenders, top)
    ignored = frozenset(
        resource.name for each in extenders for resource in each.managed_resources if resource.ignored_by_scheduler
    )
    initial_s = top.whole("podInitialBackoffSeconds", 1, 1)
    max_s = top.whole("podMaxBackoffSeconds", 10, 1)
    if max_s < initial_s:
        top.wrong(
            "podMaxBackoffSeconds", f"must not be less than podInitialBackoffSeconds ({initial_s}), got {max_s}"
        )
    found = Configuration(
        profiles=_profiles(top, notes, ignored),
        percentage=top.whole("percentageOfNodesToScore", 0, 0, 100),
        backoff_initial_ms=initial_s * 1000,
        backoff_max_ms=max_s * 1000,
        extenders=extenders,
        notes=tuple(notes),
    )
    if faults:
        raise ConfigurationError(tuple(dict.fromkeys(faults)))
    return found


def _check_version(top: Section, notes: list[Fault]) -> None:
    kind = top.text("kind", KIND)
    if kind != KIND:
        top.wrong("kind", f"must be {KIND}, got {kind!r}")
    group, _, version = top.text("apiVersion", f"{GROUP}/v1", required=True).partition("/")
    if group != GROUP or version not in VERSIONS:
        top.wrong("apiVersion", f"must be {GROUP}/v1, got {top.values.get('apiVersion')!r}")
    elif version in ("v1beta1", "v1beta2"):
        notes.append(Fault("apiVersion", f"{version} had other default weights; those of v1 are used"))


def _profiles(top: Section, notes: list[Fault], ignored: frozenset[str]) -> tuple[Profile, ...]:
    keys = ("schedulerName", "plugins", "pluginConfig", "percentageOfNodesToScore")
    found = [_profile(each, notes) for each in top.items("profiles", keys)]
    if not found:
        found = [Profile()]
    names: set[str] = set()
    for place, profile in enumerate(found):
        if profile.scheduler_name in names:
            top.wrong(f"profiles[{place}].schedulerName", f"{profile.scheduler_name!r} is given twice")
        names.add(profile.scheduler_name)
    here = sorted({name for profile in found for name in profile.filters if name in NOT_MODELLED})
    if here:
        notes.append(Fault("profiles", f"not modelled, as if no pod needed them: {', '.join(here)}"))
    return tuple(
        replace(each, fit=replace(each.fit, ignored_resources=each.fit.ignored_resources | ignored)) for each in found
    )


def _profile(section: Section, notes: list[Fault]) -> Profile:
    profile = Profile(
        scheduler_name=section.text("schedulerName", "default-scheduler"),
        percentage=None
        if "percentageOfNodesToScore" not in section
        else section.whole("percentageOfNodesToScore", 0, 0, 100),
    )
    profile = read_plugins(profile, section, notes)
    seen: set[str] = set()
    for entry in section.items("pluginConfig", ("name", "args")):
        name = entry.text("name", required=True)
        if name in seen:
            entry.wrong("name", f"{name!r} is given twice")
        seen.add(name)
        if name in ARGS:
            profile = read_args(profile, name, entry, notes)
        elif name in DEFAULTS:
            what = "takes no arguments" if DEFAULTS[name].modelled else "is not modelled: its arguments are not used"
            notes.append(Fault(entry.at("args"), f"{name} {what}"))
        elif name:
            entry.wrong("name", f"kube-scheduler has no plugin {name!r}{near(name, DEFAULTS)}")
    return profile


def _extender(section: Section) -> ExtenderConfig:
    return ExtenderConfig(
        url_prefix=section.text("urlPrefix", required=True),
        filter_verb=section.text("filterVerb"),
        prioritize_verb=section.text("prioritizeVerb"),
        preempt_verb=section.text("preemptVerb"),
        bind_verb=section.text("bindVerb"),
        weight=_weight(section),
        enable_https=section.flag("enableHTTPS"),
        tls=_tls(section.inner("tlsConfig", TLS)) if "tlsConfig" in section else None,
        http_timeout_ms=section.duration("httpTimeout", 5000),
        node_cache_capable=section.flag("nodeCacheCapable"),
        managed_resources=tuple(
            ManagedResource(
                name=each.text("name", required=True), ignored_by_scheduler=each.flag("ignoredByScheduler")
            )
            for each in section.items("managedResources", ("name", "ignoredByScheduler"))
        ),
        ignorable=section.flag("ignorable"),
    )


def _weight(section: Section) -> int:
    """Must be given, and positive, where the extender prioritizes."""
    if section.text("prioritizeVerb") and not section.values.get("weight"):
        section.wrong("weight", "must be a whole number from 1 where prioritizeVerb is set")
        return 1
    return section.whole("weight", 1, 0) or 1


def _tls(section: Section) -> TlsConfig:
    return TlsConfig(
        insecure=section.flag("insecure"),
        server_name=section.text("serverName"),
        cert_file=section.text("certFile"),
        key_file=section.text("keyFile"),
        ca_file=section.text("caFile"),
        cert_data=section.text("certData"),
        key_data=section.text("keyData"),
        ca_data=section.text("caData"),
    )


def _check_extenders(extenders: tuple[ExtenderConfig, ...], top: Section) -> None:
    binders = [place for place, each in enumerate(extenders) if each.bind_verb]
    if len(binders) > 1:
        top.wrong("extenders", f"at most one may have a bindVerb, got {len(binders)}")
    owner: dict[str, int] = {}
    for place, each in enumerate(extenders):
        for number, resource in enumerate(each.managed_resources):
            path = f"extenders[{place}].managedResources[{number}].name"
            if owner.setdefault(resource.name, place) != place:
                top.wrong(path, f"{resource.name!r} is managed by extenders[{owner[resource.name]}] too")
            if resource.name and "/" not in resource.name:
                top.wrong(path, f"must be an extended resource such as example.com/gpu, got {resource.name!r}")
