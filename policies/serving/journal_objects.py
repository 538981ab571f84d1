"""Objects of Kubernetes reduced to what scheduling reads.

What is kept is named by the forms of `policies.kube.shapes`, which also say what reading looks at: environment variables,
command lines, volumes, messages and managed fields are in none of them. Annotations may hold anything (`kubectl apply` keeps a
copy of the whole object in one), so they are kept by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from policies.kube.objects import Json, text
from policies.kube.shapes import COUNT, METADATA, NODE, POD, Each

ANNOTATIONS: Final = (
    "gang.scheduling.koordinator.sh/",
    "gpu-fraction",
    "gpu-memory",
    "hami.io/",
    "kai.scheduler/",
    "kubernetes.io/config.mirror",
    "kueue.x-k8s.io/",
    "metax-tech.com/",
    "nvidia.com/",
    "pod-group-name",
    "pod-group.scheduling.sigs.k8s.io",
    "quota.scheduling.koordinator.sh/",
    "rehearse/",
    "scheduling.k8s.io/",
    "scheduling.volcano.sh/",
    "scheduling.x-k8s.io/",
    "volcano.sh/",
)
"""Beginnings of the names of annotations that are kept: those of gangs, queues and shared devices."""

GROUP: Final = {
    "metadata": METADATA,
    "spec": {
        "minMember": COUNT,
        "minCount": COUNT,
        "queue": str,
        "schedulingPolicy": {"basic": dict, "gang": {"minCount": COUNT}},
    },
}
"""The object of a gang, in the words of those who have one."""

OTHER: Final = {"metadata": {"name": str, "namespace": str, "uid": str}}
"""Of a kind about which nothing is known: that it exists."""

FORMS: Final[Mapping[str, Any]] = {"Pod": POD, "Node": NODE, "PodGroup": GROUP}


def reduce_object(item: Json, kind: str = "") -> dict[str, Any]:
    """What scheduling reads of an object; `kind` is for objects that do not say theirs."""
    kind = text(item.get("kind")) or kind
    kept = _pruned(item, FORMS.get(kind, OTHER))
    return {"kind": kind, **kept} if kind else dict(kept)


def _pruned(value: Any, form: Any) -> Any:
    """The part of a value that the form names. A value of another type is still one of that type, but without content."""
    if type(form) is dict:
        if type(value) is not dict:
            return _empty(value)
        kept = {}
        for key, inner in form.items():
            found = value.get(key)
            if found is not None:
                kept[key] = _annotations(found) if key == "annotations" else _pruned(found, inner)
        return kept
    if type(form) is list:
        return [_pruned(each, form[0]) for each in value] if type(value) is list else _empty(value)
    if form is dict or type(form) is Each:
        return {key: _empty(each) for key, each in value.items()} if type(value) is dict else _empty(value)
    return _empty(value)


def _empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {}
    return [] if isinstance(value, list) else value


def _annotations(value: Any) -> Any:
    if not isinstance(value, dict):
        return _empty(value)
    return {key: each for key, each in value.items() if str(key).startswith(ANNOTATIONS)}
