"""NodeResourcesFit, the filter: what is asked for must be left. Whole numbers throughout."""

from __future__ import annotations

from typing import Final

import numpy as np

from policies.kube.configuration import FitArgs
from policies.kube.ledger import NATIVE, PODS, Ledger, Mask
from policies.kube.terms import PodTerms

TOO_MANY_PODS: Final = "Too many pods"


def insufficient(resource: str) -> str:
    """The reason that kube-scheduler gives."""
    return f"Insufficient {resource}"


def looked_at(terms: PodTerms, args: FitArgs) -> list[tuple[str, int]]:
    """The requests that the filter looks at, in the order of its reasons: native ones first."""
    asked = dict(terms.requests)
    native = [(name, asked[name]) for name in NATIVE if asked.get(name)]
    return native + [
        (name, amount)
        for name, amount in terms.requests
        if amount and name not in NATIVE and name != PODS and not _ignored(name, args)
    ]


def _ignored(resource: str, args: FitArgs) -> bool:
    extended = "/" in resource and "kubernetes.io/" not in resource
    return extended and (resource in args.ignored_resources or resource.partition("/")[0] in args.ignored_groups)


def fit_faults(terms: PodTerms, ledger: Ledger, args: FitArgs) -> tuple[list[tuple[str, Mask]], Mask]:
    """(reason, nodes) for each thing that is short anywhere; and the nodes too small even when empty."""
    faults: list[tuple[str, Mask]] = []
    full = ledger.pods_held >= ledger.pods_max
    if full.any():
        faults.append((TOO_MANY_PODS, full))
    never = np.zeros(len(ledger), dtype=np.bool_)
    for name, amount in looked_at(terms, args):
        allocatable, requested = ledger.column(name)
        short = allocatable - requested < amount
        if short.any():
            faults.append((insufficient(name), short))
            never |= allocatable < amount
    return faults, never


def fit_faults_at(terms: PodTerms, ledger: Ledger, args: FitArgs, node: int) -> list[str]:
    """The reasons of one node; empty where the pod fits."""
    faults = [TOO_MANY_PODS] if ledger.pods_held[node] >= ledger.pods_max[node] else []
    for name, amount in looked_at(terms, args):
        allocatable, requested = ledger.column(name)
        if allocatable[node] - requested[node] < amount:
            faults.append(insufficient(name))
    return faults
