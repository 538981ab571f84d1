"""The causes of a whole run, live or read from its directory: from its manifest, its timeline and its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from policies.quota.nominal import NominalQuota
from sim.causes.table import WaitCauses, causes_of
from sim.fleet.model import Fleet
from sim.fleet.table import queues_of, topology_of
from sim.results import Run, SumsDisagreeError
from sim.rules import Rules
from traces.job import JobRecord


def causes_of_run(run: Run, fleet: Fleet, records: Sequence[JobRecord]) -> WaitCauses:
    """Why each job of a run waited. Raises ValueError for a static fill, `SumsDisagreeError` for a defect of this program."""
    found = causes_of(
        records,
        run.timeline,
        topology_of(fleet),
        rules=Rules(**run.manifest["rules"]),
        end_ms=run.manifest["end_ms"],
        queues=queues_of(fleet),
        admission=NominalQuota() if run.manifest["policy"]["keeps_quota"] else None,
    )
    started = run.jobs.started
    if not np.array_equal(found.columns.first.sum(axis=0)[started], run.jobs.wait_ms[started]):
        raise SumsDisagreeError("the causes of a job's waiting do not add up to its wait")
    return found


def with_causes(run: Run, fleet: Fleet) -> Run:
    """The run with the causes of each job, for its directory. A live run: it has its records."""
    return replace(run, causes=causes_of_run(run, fleet, run.records).columns)
