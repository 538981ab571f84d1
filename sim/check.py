"""The check before the run: what cannot end well, found from the trace, the fleet and the rules alone.

Nothing is simulated. A finding says how grave it is, where, what is the matter, and what will come of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple

from policies.api import NodeSet, QueueView, Request, Semantics
from policies.bitset import bits
from policies.topology import Topology
from sim.fleet.model import ANY_ACCELERATOR
from sim.fleet.problems import did_you_mean, shown
from sim.requests import RequestMaker, is_there
from sim.rules import Rules
from traces.job import JobRecord

Severity = Literal["error", "warning", "info"]
RANK: Final = {"error": 0, "warning": 1, "info": 2}

KINDS_MAX: Final = 100
"""More different sets of allowed servers are not looked at one by one: their loads are only added up."""

UNBOUNDED: Final = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a person should know before the run."""

    severity: Severity
    place: str
    what: str
    consequence: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.place}: {self.what}; {self.consequence}"

    def as_data(self) -> dict[str, str]:
        """For the manifest."""
        return asdict(self)


class Demand(NamedTuple):
    """What all jobs with one request ask for together."""

    request: Request
    queue: str
    jobs: int
    milli_ms: int
    first_id: str


def check(
    records: Sequence[JobRecord],
    topology: Topology,
    queues: Mapping[str, QueueView],
    rules: Rules,
    policies: Mapping[str, Semantics],
) -> list[Finding]:
    """Everything that is found, the gravest first. `policies` are those that will be run, by name."""
    maker = RequestMaker(topology, rules.split, {name: queue.pools for name, queue in queues.items()})
    demands = _demands(records, maker)
    possible = [demand for demand in demands if demand.request not in maker.impossible]
    found = [*_larger_than_fleet(demands, maker, rules), *_unknown_accelerators(records, topology)]
    if not rules.fill:
        span_ms = _span_ms(records)
        found += [*_above_capacity(possible, topology, span_ms), *_ties(records, rules)]
        if any(policy.quota != "not kept" for policy in policies.values()):
            found += _quotas(possible, topology, queues, span_ms)
    found += [*_unknown_queues(demands, queues), *_estimates(records, rules, policies), *_measured(rules)]
    return sorted(found, key=lambda finding: (RANK[finding.severity], finding.place))


def _demands(records: Sequence[JobRecord], maker: RequestMaker) -> list[Demand]:
    sums: dict[tuple[Request, str], list[Any]] = {}
    for record in records:
        key = (maker.request(record), record.queue or "")
        held = sums.get(key)
        if held is None:
            held = sums[key] = [0, 0, record.job_id]
        held[0] += 1
        held[1] += record.gpu_count * record.gpu_milli * _wanted_ms(record)
    return [Demand(request, queue, *held) for (request, queue), held in sums.items()]


def _span_ms(records: Sequence[JobRecord]) -> int:
    """From first to last submission; 0 for a trace that is shorter than its jobs, which has no load to speak of."""
    span_ms = max((job.submit_ms for job in records), default=0) - min((job.submit_ms for job in records), default=0)
    ending = [job.run_ms for job in records if job.lifetime_ms is None]
    return span_ms if span_ms * len(ending) >= sum(ending) else 0


def _wanted_ms(record: JobRecord) -> int:
    """How long a job wants its devices: what has a lifetime does not end with its work."""
    return record.run_ms if record.lifetime_ms is None else record.lifetime_ms


def _measured(rules: Rules) -> Iterator[Finding]:
    if rules.thinking == "measured":
        yield Finding(
            severity="warning",
            place="rules.thinking",
            what="passes are charged the wall time that they take on this machine",
            consequence="the run cannot be reproduced: the next one gives another result",
        )


def _larger_than_fleet(demands: Sequence[Demand], maker: RequestMaker, rules: Rules) -> Iterator[Finding]:
    impossible = [demand for demand in demands if demand.request in maker.impossible]
    if not impossible:
        return
    jobs = sum(demand.jobs for demand in impossible)
    largest = max(impossible, key=lambda demand: demand.request.demand_milli)
    refused = rules.impossible == "refuse"
    yield Finding(
        severity="error",
        place="jobs",
        what=f"{jobs} of them fit nowhere even on the empty fleet, such as {shown([d.first_id for d in impossible])};"
        f" the largest, {largest.first_id}, asks for {largest.request.demand_milli / 1000:g} devices",
        consequence="the run is refused (rule impossible: refuse)" if refused else "they are rejected and counted",
    )


def _unknown_accelerators(records: Sequence[JobRecord], topology: Topology) -> Iterator[Finding]:
    asked = Counter(record.accelerators for record in records if record.accelerators)
    there = {name for names in asked for name in names if is_there(topology, name)}
    absent: Counter[str] = Counter()
    for names, jobs in asked.items():
        for name in set(names) - there:
            absent[name] += jobs
    for name, jobs in sorted(absent.items()):
        only = sum(n for names, n in asked.items() if name in names and not set(names) & there)
        yield Finding(
            severity="error" if only else "warning",
            place=f"accelerator {name}",
            what=f"{jobs} jobs allow it, no server has it{did_you_mean(name, filter(None, topology.by_accelerator))}",
            consequence=f"{only} of them can run nowhere" if only else "they run on the others that they allow",
        )


def _above_capacity(demands: Sequence[Demand], topology: Topology, span_ms: int) -> Iterator[Finding]:
    """Offered load of the jobs that can only go to some servers, against those servers, for each such set."""
    if span_ms <= 0:
        return
    by_servers: Counter[NodeSet] = Counter()
    for demand in demands:
        by_servers[demand.request.eligible] += demand.milli_ms
    sets = {topology.everywhere, *by_servers} if len(by_servers) <= KINDS_MAX else {topology.everywhere}
    for servers in sorted(sets, key=lambda each: (-each.bit_count(), each)):
        capacity = _devices(servers, topology)
        offered = sum(milli_ms for inside, milli_ms in by_servers.items() if not inside & ~servers)
        if capacity and offered > capacity * 1000 * span_ms:
            load = offered / (capacity * 1000 * span_ms)
            yield Finding(
                severity="warning",
                place=_where(servers, topology),
                what=f"jobs ask for {load:.2f} times the {capacity} devices, from first to last submission",
                consequence="the queue grows as long as jobs arrive, and waits say more about the trace's length "
                "than about the policy",
            )


def _devices(servers: NodeSet, topology: Topology) -> int:
    return sum(topology.nodes[number].devices for number in bits(servers))


def _where(servers: NodeSet, topology: Topology) -> str:
    if servers == topology.everywhere:
        return "fleet"
    models = [name for name, members in topology.by_accelerator.items() if name and members & servers]
    return f"accelerators {shown(models)}"


def _ties(records: Sequence[JobRecord], rules: Rules) -> Iterator[Finding]:
    tied = sum(count for count in Counter(record.submit_ms for record in records).values() if count > 1)
    if tied:
        yield Finding(
            severity="info",
            place="jobs",
            what=f"{tied} of {len(records)} ({tied / len(records):.1%}) share their submit time with another",
            consequence=f"their order is a choice (rule ties: {rules.ties}); compare says what it moves",
        )


def _unknown_queues(demands: Sequence[Demand], queues: Mapping[str, QueueView]) -> Iterator[Finding]:
    if not queues:
        return
    unknown: Counter[str] = Counter()
    for demand in demands:
        if demand.queue not in queues:
            unknown[demand.queue] += demand.jobs
    for name, jobs in sorted(unknown.items()):
        yield Finding(
            severity="warning",
            place=f"queue {name}" if name else "jobs without a queue",
            what=f"{jobs} jobs, but the fleet has no such queue{did_you_mean(name, queues) if name else ''}",
            consequence="no entitlement and no limit is kept for them",
        )


def _estimates(records: Sequence[JobRecord], rules: Rules, policies: Mapping[str, Semantics]) -> Iterator[Finding]:
    needing = [name for name, policy in policies.items() if policy.needs_estimates]
    jobs = [record for record in records if record.service is None]
    missing = sum(record.estimate_ms is None for record in jobs)
    replicas = sum(record.estimate_ms is None for record in records) - missing
    if needing and replicas and not rules.oracle:
        yield Finding(
            severity="info",
            place=f"policy {shown(needing)}",
            what=f"needs run time estimates, and {replicas} replicas of services have none",
            consequence="it takes them for jobs whose end nobody knows",
        )
    if needing and missing:
        consequence = (
            "the true run time stands for each (--oracle)"
            if rules.oracle
            else "ordered by time they keep the order of arrival, and where ends are not known little or nothing passes a"
            " blocked head; --oracle lets the true run time stand for them"
        )
        yield Finding(
            severity="info" if rules.oracle else "warning",
            place=f"policy {shown(needing)}",
            what=f"needs run time estimates, and {missing} of {len(jobs)} jobs have none",
            consequence=consequence,
        )


# -- queues ----------------------------------------------------------------------------------------------------


def _quotas(
    demands: Sequence[Demand], topology: Topology, queues: Mapping[str, QueueView], span_ms: int
) -> Iterator[Finding]:
    for name, queue in queues.items():
        own = [demand for demand in demands if demand.queue == name]
        if not own or not queue.nominal_milli:
            continue
        stuck = [each for each in own if _most(each.request, queue, queues, topology) < each.request.demand_milli]
        if stuck:
            largest = max(stuck, key=lambda demand: demand.request.demand_milli)
            yield Finding(
                severity="error",
                place=f"queue {name}",
                what=f"{sum(demand.jobs for demand in stuck)} jobs ask for more than it may ever hold, such as"
                f" {largest.first_id} ({largest.request.demand_milli / 1000:g} devices, at most"
                f" {_most(largest.request, queue, queues, topology) / 1000:g})",
                consequence="they never start under a policy that keeps quotas, and the run stops with them waiting",
            )
        yield from _never_drains(name, queue, queues, [demand for demand in own if demand not in stuck], span_ms)


def _never_drains(
    name: str, queue: QueueView, queues: Mapping[str, QueueView], own: Sequence[Demand], span_ms: int
) -> Iterator[Finding]:
    accelerators = [key for key in queue.nominal_milli if key != ANY_ACCELERATOR] or [ANY_ACCELERATOR]
    entitled = sum(min(ceiling(queue, key, queues), UNBOUNDED) for key in accelerators)
    offered = sum(demand.milli_ms for demand in own)
    if span_ms > 0 and entitled and offered > entitled * span_ms:
        yield Finding(
            severity="warning",
            place=f"queue {name}",
            what=f"jobs ask for {offered / (entitled * span_ms):.2f} times what it may hold with all that it can borrow"
            f" ({entitled / 1000:g} devices)",
            consequence="it never drains while jobs arrive under a policy that keeps quotas",
        )


def _most(request: Request, queue: QueueView, queues: Mapping[str, QueueView], topology: Topology) -> int:
    """The most that the queue may ever hold of an accelerator that the job may use, in milli-devices."""
    models = [name for name, servers in topology.by_accelerator.items() if name and servers & request.eligible]
    best = max((ceiling(queue, name, queues) for name in models), default=UNBOUNDED)
    return min(best, ceiling(queue, ANY_ACCELERATOR, queues))


def ceiling(queue: QueueView, accelerator: str, queues: Mapping[str, QueueView]) -> int:
    """Nominal quota and all that can be borrowed of an accelerator, in milli-devices."""
    nominal = queue.nominal_milli
    if accelerator not in nominal:
        named = any(key != ANY_ACCELERATOR for key in nominal)
        return 0 if named and accelerator != ANY_ACCELERATOR else UNBOUNDED
    if queue.cohort is None:
        return nominal[accelerator]
    whole = sum(other.nominal_milli.get(accelerator, 0) for other in queues.values() if other.cohort == queue.cohort)
    limit = queue.borrowing_limit_milli
    if limit is None or accelerator not in limit:
        return whole
    return min(whole, nominal[accelerator] + limit[accelerator])
