"""The canonical column `scheduling` -> the terms of a pod, as production reads them off the Pod object."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from policies.kube.objects import Fault, ObjectError
from policies.kube.pods import read_terms
from policies.kube.shapes import METADATA, fits, misfits
from policies.kube.terms import PodTerms
from traces.job import JobRecord

PROBLEMS_MAX: Final = 20
"""As many are listed; a trace may have one in every row."""

_FORM: Final = {"metadata": METADATA, "spec": dict}


@lru_cache(maxsize=65_536)
def read_scheduling(text: str) -> PodTerms:
    """The terms of a pod that has this `scheduling`. Raises `ObjectError` with everything that is wrong with it."""
    item = json.loads(text)
    if not fits(item, _FORM):
        raise ObjectError("scheduling", [*misfits(item, _FORM)])
    metadata, spec = item.get("metadata") or {}, item.get("spec") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if value is not None}
    faults: list[Fault] = []
    terms = read_terms(spec, labels=labels, namespace=metadata.get("namespace") or "default", faults=faults)
    if faults:
        raise ObjectError("scheduling", faults)
    return terms


def scheduling_problems(records: Iterable[JobRecord]) -> list[str]:
    """What is wrong with the `scheduling` of records, each thing once, with the first job that has it; the first ones only."""
    first: dict[str, str] = {}
    for record in records:
        if record.scheduling is not None:
            first.setdefault(record.scheduling, record.job_id)
    found = []
    for text, job_id in first.items():
        try:
            read_scheduling(text)
        except ObjectError as error:
            found += [f"job {job_id}: scheduling: {fault}" for fault in error.faults]
        if len(found) > PROBLEMS_MAX:
            return [*found[:PROBLEMS_MAX], "... and more"]
    return found
