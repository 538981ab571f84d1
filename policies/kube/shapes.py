"""Whether an object has the form that Kubernetes gives it: what must be text is text, what must be a list is a list.

A form is a type (`str`, `bool`, `dict`), a `range` of whole numbers, a set of allowed words, a list of one form, a mapping of
keys to forms, or `Each`. Null is allowed everywhere, as absent; keys that are not named are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from policies.kube.objects import Fault, shown


class Each(NamedTuple):
    """A mapping with any keys, whose values have this form."""

    form: Any


def fits(value: object, form: Any) -> bool:
    """Whether a value that is not null has the form."""
    kind = type(form)
    if kind is type:
        return type(value) is form
    if kind is dict:
        return type(value) is dict and _fields_fit(value, form)
    if kind is list:
        return type(value) is list and _all_fit(value, form[0])
    if kind is Each:
        return type(value) is dict and _all_fit(value.values(), form.form)
    if kind is range:
        return type(value) is int and value in form
    return type(value) is str and value in form


def _fields_fit(value: dict[str, Any], form: dict[str, Any]) -> bool:
    for key, inner in form.items():
        found = value.get(key)
        # because: most fields are text or absent, and a cluster has tens of thousands of pods
        if found is not None and type(found) is not inner and (type(inner) is type or not fits(found, inner)):
            return False
    return True


def _all_fit(values: Iterable[object], form: Any) -> bool:
    for found in values:
        if found is not None and type(found) is not form and (type(form) is type or not fits(found, form)):
            return False
    return True


def misfits(value: object, form: Any, path: str = "") -> Iterator[Fault]:
    """Everything in which a value departs from the form, with its path. For values that do not fit: it takes its time."""
    if value is None:
        return
    kind = type(form)
    if kind in (dict, Each) and isinstance(value, dict):
        for key, inner in _fields(value, form):
            yield from misfits(value[key], inner, f"{path}.{key}" if path else str(key))
    elif kind is list and isinstance(value, list):
        for place, each in enumerate(value):
            yield from misfits(each, form[0], f"{path}[{place}]")
    elif not fits(value, form):
        yield Fault(path, f"must be {_words(form)}, got {shown(value)}")


def _fields(value: dict[str, Any], form: Any) -> list[tuple[str, Any]]:
    if isinstance(form, Each):
        return [(key, form.form) for key in value]
    return [(key, inner) for key, inner in form.items() if key in value]


def _words(form: Any) -> str:
    named = {str: "text", bool: "true or false", dict: "an object", list: "a list", Each: "an object"}
    if isinstance(form, range):
        return f"a whole number from {form.start} to {form.stop - 1}"
    if isinstance(form, frozenset):
        return f"one of {', '.join(sorted(form))}"
    return named[form if isinstance(form, type) else type(form)]


INT32: Final = range(-(2**31), 2**31)
COUNT: Final = range(2**31)

_REQUIREMENT: Final = {
    "key": str,
    "operator": frozenset({"In", "NotIn", "Exists", "DoesNotExist"}),
    "values": [str],
}
_NODE_REQUIREMENT: Final = {**_REQUIREMENT, "operator": _REQUIREMENT["operator"] | {"Gt", "Lt"}}  # type: ignore[operator]  # because: the table holds forms of several types
_SELECTOR: Final = {"matchLabels": Each(str), "matchExpressions": [_REQUIREMENT]}
_NODE_TERM: Final = {"matchExpressions": [_NODE_REQUIREMENT], "matchFields": [_NODE_REQUIREMENT]}
_POD_TERM: Final = {
    "topologyKey": str,
    "labelSelector": _SELECTOR,
    "namespaces": [str],
    "namespaceSelector": _SELECTOR,
    "matchLabelKeys": [str],
    "mismatchLabelKeys": [str],
}
_POD_AFFINITY: Final = {
    "requiredDuringSchedulingIgnoredDuringExecution": [_POD_TERM],
    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": INT32, "podAffinityTerm": _POD_TERM}],
}
_CONTAINER: Final = {
    "name": str,
    "image": str,
    "restartPolicy": str,
    "resources": {"requests": dict, "limits": dict},
    "ports": [{"hostPort": COUNT, "containerPort": COUNT, "protocol": str, "hostIP": str}],
}
_CONTAINER_STATUS: Final = {
    "name": str,
    "state": {"terminated": {"finishedAt": str}},
    "resources": {"requests": dict},
    "allocatedResources": dict,
}

METADATA: Final = {
    "name": str,
    "namespace": str,
    "uid": str,
    "labels": Each(str),
    "annotations": Each(str),
    "creationTimestamp": str,
    "deletionTimestamp": str,
    "ownerReferences": [{"kind": str, "name": str, "uid": str}],
}

POD_SPEC: Final = {
    "containers": [_CONTAINER],
    "initContainers": [_CONTAINER],
    "overhead": dict,
    "resources": {"requests": dict, "limits": dict},
    "nodeSelector": Each(str),
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_NODE_TERM]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": INT32, "preference": _NODE_TERM}],
        },
        "podAffinity": _POD_AFFINITY,
        "podAntiAffinity": _POD_AFFINITY,
    },
    "tolerations": [{"key": str, "operator": str, "value": str, "effect": str}],
    "topologySpreadConstraints": [
        {
            "topologyKey": str,
            "maxSkew": INT32,
            "minDomains": INT32,
            "whenUnsatisfiable": frozenset({"DoNotSchedule", "ScheduleAnyway"}),
            "labelSelector": _SELECTOR,
            "nodeAffinityPolicy": frozenset({"Honor", "Ignore"}),
            "nodeTaintsPolicy": frozenset({"Honor", "Ignore"}),
            "matchLabelKeys": [str],
        }
    ],
    "hostNetwork": bool,
    "priority": INT32,
    "preemptionPolicy": str,
    "nodeName": str,
    "schedulerName": str,
    "schedulingGates": [{"name": str}],
    "schedulingGroup": {"podGroupName": str},
    "workloadRef": {"name": str, "podGroup": str, "podGroupReplicaKey": str},
    "activeDeadlineSeconds": range(2**53),
    "resourceClaims": [dict],
}

POD: Final = {
    "metadata": METADATA,
    "spec": POD_SPEC,
    "status": {
        "phase": str,
        "startTime": str,
        "nominatedNodeName": str,
        "containerStatuses": [_CONTAINER_STATUS],
        "initContainerStatuses": [_CONTAINER_STATUS],
        "reason": str,
        "conditions": [{"type": str, "reason": str, "status": str, "lastTransitionTime": str}],
    },
}

NODE: Final = {
    "metadata": METADATA,
    "spec": {"unschedulable": bool, "taints": [{"key": str, "value": str, "effect": str}]},
    "status": {"allocatable": dict},
}

HYPERNODE: Final = {
    "metadata": METADATA,
    "spec": {
        "tier": range(65),
        "tierName": str,
        "members": [
            {
                "type": frozenset({"Node", "HyperNode"}),
                "selector": {
                    "exactMatch": {"name": str},
                    "regexMatch": {"pattern": str},
                    "labelMatch": _SELECTOR,
                },
            }
        ],
    },
}
