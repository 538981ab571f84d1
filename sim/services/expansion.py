"""From the services of a scenario to a trace that has their replicas, behind its own jobs; and anew when the trace changes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from sim.fleet.problems import FleetError, Problem
from sim.run import InputError
from sim.services.keys import ServiceKeys
from sim.services.rates import RateFile, between, denser, read_rates
from sim.services.replicas import jobs_of, replicas_of, wanted
from sim.services.service import Service, Steps
from traces.job import JobRecord
from traces.trace import Trace

JOBS_MAX = 1_000_000
"""Replicas of one service: each time for which one is wanted is a job."""

PROBLEMS_MAX = 20
"""Jobs of the trace that are told for one service."""


def services_of(keys: Sequence[ServiceKeys], trace: Trace) -> tuple[Service, ...]:
    """The services, from the first to the last submission of the trace. Raises `InputError` with all that is wrong."""
    if not keys:
        return ()
    problems: list[Problem] = []
    files = _files(keys, problems)
    begin_ms, end_ms = _lasts(trace.own.records)
    if end_ms <= begin_ms:
        problems.append(Problem("services", f"last as long as the submissions of the trace: {end_ms - begin_ms} ms"))
    found: list[Service] = []
    for number, each in enumerate(keys):
        place = f"services[{number}]"
        file = files.get(each.rate.file or "")
        if end_ms > begin_ms and (each.rate.file is None or file is not None):
            try:
                found.append(each.to_service(begin_ms, end_ms, file))
            except ValueError as error:
                problems.append(Problem(f"{place}.rate", f"{each.rate.file or ''} {error}".strip()))
            else:
                problems += (problem.under(place) for problem in _counts(found[-1]))
        problems += (problem.under(place) for problem in _collisions(each.name, trace.own))
    if problems:
        raise InputError(str(FleetError(problems, source=trace.path)))
    return tuple(found)


def with_replicas(trace: Trace, services: Sequence[Service]) -> Trace:
    """The trace with the replicas of the services behind its own jobs, instead of any that it has."""
    return trace.with_made([job for service in services for job in replicas_of(service)])


def until_last(services: Sequence[Service], records: Sequence[JobRecord]) -> tuple[Service, ...]:
    """The services, ended with the last submission. Raises `InputError` where nothing is left of them."""
    if not services:
        return ()
    _, end_ms = _lasts(records)
    begin_ms = max(int(service.rate.at_ms[0]) for service in services)
    if end_ms <= begin_ms:
        raise InputError("services: last until the last submission of the trace, so nothing is left of them")
    return tuple(
        replace(each, rate=between(each.rate, int(each.rate.at_ms[0]), end_ms), end_ms=end_ms) for each in services
    )


def more_requests(services: Sequence[Service], factor: Fraction) -> tuple[Service, ...]:
    """The services with so many times the requests in the same time."""
    return tuple(replace(each, rate=Steps(each.rate.at_ms, each.rate.value * float(factor))) for each in services)


def in_less_time(services: Sequence[Service], factor: Fraction, records: Sequence[JobRecord]) -> tuple[Service, ...]:
    """The services in step with jobs that come so many times as densely. Raises `InputError` where no time is left."""
    return until_last([replace(each, rate=denser(each.rate, factor)) for each in services], records)


def _files(keys: Sequence[ServiceKeys], problems: list[Problem]) -> dict[str, RateFile]:
    """Each file of rates once, by its path."""
    found: dict[str, RateFile] = {}
    for path in dict.fromkeys(each.rate.file for each in keys if each.rate.file is not None):
        try:
            found[path] = read_rates(path)
        except InputError as error:
            number = next(number for number, each in enumerate(keys) if each.rate.file == path)
            problems.append(Problem(f"services[{number}].rate.file", str(error)))
    return found


def _lasts(records: Sequence[JobRecord]) -> tuple[int, int]:
    """First and last submission."""
    submits = [job.submit_ms for job in records]
    return min(submits, default=0), max(submits, default=0)


def _counts(service: Service) -> Iterator[Problem]:
    """No replica at all, or more than can be replayed."""
    jobs = jobs_of(wanted(service))
    if not jobs:
        yield Problem("", "wants no replica at any time: no requests come and least is 0")
    elif jobs > JOBS_MAX:
        yield Problem("", f"brings {jobs} jobs, one for each time that a replica is wanted again; at most {JOBS_MAX}")


def _collisions(name: str, trace: Trace) -> Iterator[Problem]:
    """Jobs of the trace that replicas could not be told from, now or once they are more."""
    own = [job.job_id for job in trace.records if job.service == name]
    if own:
        yield Problem("name", f"{len(own)} jobs of the trace are of a service {name!r} already, such as {own[0]}")
    taken = re.compile(rf"{re.escape(name)}/\d+(\.\d+)?", re.ASCII)
    start = f"{name}/"
    ids = [job.job_id for job in trace.records if job.job_id.startswith(start) and taken.fullmatch(job.job_id)]
    for job_id in ids[:PROBLEMS_MAX]:
        yield Problem("name", f"a job of the trace is called {job_id!r}, as a replica is")
