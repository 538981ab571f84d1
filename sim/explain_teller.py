"""Finds the story of one job of a finished run: why it waited, who was in the way, where it ran."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from policies.api import Request
from policies.bitset import ranges
from policies.topology import Topology
from policies.values import DEVICE_MILLI, NodeSet
from sim.causes.cause import CAUSES, Cause
from sim.causes.holding import Holding, holding_of, milli_inside, overlap
from sim.causes.kinds import Integers
from sim.causes.of_run import causes_of_run
from sim.causes.table import Interval, WaitCauses
from sim.explain_inputs import Inputs
from sim.explain_story import Holder, Overtaker, Story, Stretch, Waited
from sim.fleet.table import queues_of, topology_of
from sim.jobs_table import STATES
from sim.results import Run
from sim.timeline import Happened
from traces.job import JobRecord

LISTED: Final = 5
"""Jobs that were in the way, listed by name."""

FOR_DEVICES: Final = (Cause.CAPACITY, Cause.FRAGMENTATION)


def story_of(run: Run, row: int, inputs: Inputs) -> Story:
    """The story of the job in `row` of the run. A static fill has none: raises ValueError."""
    return _Teller(run, inputs).tell(row)


class _Teller:
    """A run, and what is computed once for it."""

    def __init__(self, run: Run, inputs: Inputs) -> None:
        self.run = run
        self.records = inputs.records
        self.topology: Topology = topology_of(inputs.fleet)
        self.queues = queues_of(inputs.fleet)
        self.causes: WaitCauses = causes_of_run(run, inputs.fleet, inputs.records)
        self.held: Holding = holding_of(run.timeline, run.manifest["end_ms"])
        self.rank = np.full(len(self.records), len(self.records), dtype=np.int64)
        """Order of arrival; behind all others where the run stopped before the job was submitted."""
        arrived = run.timeline.job[run.timeline.happened == Happened.ARRIVE]
        self.rank[arrived] = np.arange(len(arrived))

    def tell(self, row: int) -> Story:
        """The story of one job."""
        run, jobs, record = self.run, self.run.jobs, self.records[row]
        request = self.causes.request_of(row)
        waited = self.causes.intervals(row)
        first_ms = self._first_in_line(row)
        passed = self._overtakers(row, waited, first_ms)
        for_devices = [(part.from_ms, part.until_ms) for part in waited if part.cause in FOR_DEVICES]
        for_quota = [(part.from_ms, part.until_ms) for part in waited if part.cause is Cause.QUOTA]
        holders = self._holders(row, for_devices, request.eligible)
        quota_holders = self._holders(row, for_quota, self.topology.everywhere, self._same_pot(record))
        columns = self.causes.columns
        return Story(
            job_id=record.job_id,
            policy=run.name,
            state=STATES[int(jobs.state[row])],
            reason=jobs.text("reason")[row].as_py(),
            asked=asked(record, request, self.topology),
            submit_ms=record.submit_ms,
            end_ms=self._end_ms(row),
            wait_ms=int(jobs.wait_ms[row]) if jobs.started[row] else None,
            causes_ms=_by_name(columns.first[:, row]),
            causes_again_ms=_by_name(columns.again[:, row]),
            startup_ms=None if columns.startup_ms is None else int(columns.startup_ms[row]),
            waited=self._with_free(waited, request),
            ahead=self._ahead(row),
            first_in_line_ms=first_ms,
            overtakers=passed[:LISTED],
            overtakers_count=len(passed),
            overtakers_while_first=sum(each.while_first for each in passed),
            holders=holders[:LISTED],
            holders_count=len(holders),
            quota_holders=quota_holders[:LISTED],
            quota_holders_count=len(quota_holders),
            stretches=self._stretches(row),
        )

    def _end_ms(self, row: int) -> int:
        if STATES[int(self.run.jobs.state[row])] in ("waiting", "running"):
            return int(self.run.manifest["end_ms"])
        line = self.run.timeline
        return int(line.at_ms[np.flatnonzero(line.job == row)[-1]])

    # -- who was in the way ----------------------------------------------------------------------------------

    def _ahead(self, row: int) -> int:
        waits = self.causes.stretches
        at_ms = self.records[row].submit_ms
        there = (waits.from_ms <= at_ms) & (waits.until_ms > at_ms) & (self.rank[waits.row] < self.rank[row])
        return int(there.sum())

    def _first_in_line(self, row: int) -> int | None:
        """When the last job that had arrived before it stopped waiting, if that is before it started itself."""
        waits = self.causes.stretches
        own = waits.row == row
        if not own.any():
            return None
        submit_ms, until_ms = self.records[row].submit_ms, int(waits.until_ms[own].max())
        earlier = (self.rank[waits.row] < self.rank[row]) & (waits.until_ms > submit_ms) & (waits.from_ms < until_ms)
        last_ms = max(submit_ms, int(waits.until_ms[earlier].max(initial=submit_ms)))
        return last_ms if last_ms < until_ms else None

    def _overtakers(self, row: int, waited: list[Interval], first_ms: int | None) -> list[Overtaker]:
        """Whoever arrived later and started while it waited, the largest first."""
        held = self.held
        later = self.rank[held.row] > self.rank[row]
        during = np.zeros(len(later), dtype=bool)
        for part in waited:
            during |= (held.from_ms >= part.from_ms) & (held.from_ms < part.until_ms)
        found = np.flatnonzero(later & during & (held.is_first == 1))
        demand = self.run.jobs.demand_milli[held.row[found]]
        found = found[np.lexsort((held.row[found], held.from_ms[found], -demand))]
        return [
            Overtaker(
                job_id=self.records[other].job_id,
                gpus=self.records[other].gpus,
                at_ms=at_ms,
                while_first=first_ms is not None and at_ms >= first_ms,
            )
            for other, at_ms in zip(held.row[found].tolist(), held.from_ms[found].tolist(), strict=True)
        ]

    def _holders(
        self, row: int, times: list[tuple[int, int]], nodes: NodeSet, among: NDArray[np.bool_] | None = None
    ) -> list[Holder]:
        """Whoever held devices of `nodes` in those times, most device time first."""
        held = self.held
        shared_ms = overlap(held.from_ms, held.until_ms, times)
        shared_ms[held.row == row] = 0
        if among is not None:
            shared_ms[~among[held.row]] = 0
        found = np.flatnonzero(shared_ms)
        milli = milli_inside(
            self.run.timeline, held.entry[found], self._gpu_milli(held.row[found]), self.topology, nodes
        )
        by_job: dict[int, int] = {}
        for other, amount, length in zip(
            held.row[found].tolist(), milli.tolist(), shared_ms[found].tolist(), strict=True
        ):
            if amount:
                by_job[other] = by_job.get(other, 0) + amount * length
        whole = sum(by_job.values())
        return [
            Holder(
                job_id=self.records[other].job_id,
                gpus=self.records[other].gpus,
                held_milli_ms=amount,
                share=amount / whole,
            )
            for other, amount in sorted(by_job.items(), key=lambda item: (-item[1], item[0]))
        ]

    def _gpu_milli(self, rows: Integers) -> Integers:
        return np.fromiter((self.records[row].gpu_milli for row in rows.tolist()), dtype=np.int64, count=len(rows))

    def _same_pot(self, record: JobRecord) -> NDArray[np.bool_]:
        """The jobs whose holdings count for the job's entitlement: of its queue, or of its cohort."""
        own = self.queues.get(record.queue or "")
        names = {record.queue or ""}
        if own is not None and own.cohort is not None:
            names |= {queue.name for queue in self.queues.values() if queue.cohort == own.cohort}
        return np.fromiter(
            ((each.queue or "") in names for each in self.records), dtype=bool, count=len(self.records)
        )

    # -- what was free, and where it ran ---------------------------------------------------------------------

    def _with_free(self, waited: list[Interval], request: Request) -> list[Waited]:
        """The intervals with the least and the most that was free while they lasted."""
        if not waited:
            return []
        line, held = self.run.timeline, self.held
        milli = milli_inside(line, held.entry, self._gpu_milli(held.row), self.topology, request.eligible)
        whole = _devices(self.topology, request.eligible) * DEVICE_MILLI
        at_ms = np.concatenate(([-1], held.from_ms, held.until_ms))
        steps = np.concatenate(([whole], -milli, milli))
        order = np.argsort(at_ms, kind="stable")
        at_ms, free = at_ms[order], np.cumsum(steps[order])
        last_of_instant = np.append(at_ms[1:] != at_ms[:-1], [True])
        at_ms, free = at_ms[last_of_instant], free[last_of_instant]
        found = []
        for part in waited:
            first = int(np.searchsorted(at_ms, part.from_ms, side="right")) - 1
            behind = int(np.searchsorted(at_ms, part.until_ms, side="left"))
            inside = free[first:behind]
            found.append(
                Waited(
                    from_ms=part.from_ms,
                    until_ms=part.until_ms,
                    cause=part.cause.name.lower(),
                    after_preemption=part.again,
                    free_milli_least=int(inside.min()),
                    free_milli_most=int(inside.max()),
                )
            )
        return found

    def _stretches(self, row: int) -> list[Stretch]:
        held, line = self.held, self.run.timeline
        found = []
        for number in np.flatnonzero(held.row == row).tolist():
            entry, how = int(held.entry[number]), int(held.how[number])
            first, behind = int(line.share_start[entry]), int(line.share_start[entry + 1])
            places: dict[int, int] = {}
            for node, mask in zip(
                line.share_node[first:behind].tolist(), line.share_devices[first:behind].tolist(), strict=True
            ):
                places[node] = places.get(node, 0) | mask
            found.append(
                Stretch(
                    from_ms=int(held.from_ms[number]),
                    until_ms=int(held.until_ms[number]),
                    ended="still running" if how < 0 else Happened(how).name.lower(),
                    where=[f"{self.topology.nodes[node].name}[{ranges(mask)}]" for node, mask in places.items()],
                )
            )
        return found


def asked(record: JobRecord, request: Request, topology: Topology) -> dict[str, Any]:
    """What a job asked for, in plain words for keys; what it did not ask for is left out."""
    said: dict[str, Any] = {
        "gpus": record.gpus,
        "pods": [{"pods": group.pods, "gpus": group.devices} for group in request.gang],
        "gpu_milli": record.gpu_milli if record.gpu_milli != DEVICE_MILLI else None,
        "gpu_memory_mib": record.gpu_memory_mib,
        "cpu_milli": record.cpu_milli or None,
        "memory_mib": record.memory_mib or None,
        "accelerators": list(record.accelerators) or None,
        "servers_allowed": request.eligible.bit_count(),
        "servers": len(topology),
        "estimate_ms": record.estimate_ms,
        "deadline_ms": record.deadline_ms,
        "lifetime_ms": record.lifetime_ms,
        "run_ms": record.run_ms,
        "user": record.user,
        "queue": record.queue,
        "priority": record.priority or None,
    }
    return {key: value for key, value in said.items() if value is not None}


def _devices(topology: Topology, nodes: NodeSet) -> int:
    return sum(node.devices for number, node in enumerate(topology.nodes) if nodes >> number & 1)


def _by_name(values: Iterable[Any]) -> dict[str, int]:
    return {name: int(value) for name, value in zip(CAUSES, values, strict=True)}
