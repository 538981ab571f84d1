"""The values of the contract: jobs, requests, placements and actions. Plain, immutable, without behaviour.

Policies import them from `policies.api`. Units: time in integer milliseconds, device share in milli-devices, memory in
MiB, CPU in milli-cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from policies.kube.terms import PodTerms

DEVICE_MILLI = 1000
"""One whole device, in milli-devices."""

NodeSet: TypeAlias = int
"""A set of servers as the bits of one integer: bit n is server n of the `NodeTable`."""

DeviceMask: TypeAlias = int
"""A set of devices of one server as the bits of one integer."""


class PodGroup(NamedTuple):
    """Equal pods of one gang. The amounts are of each pod."""

    pods: int
    devices: int
    cpu_milli: int = 0
    memory_mib: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What a job asks of the fleet. One object for all jobs that ask for the same.

    Two jobs with the same (identical) request are interchangeable for placement, so an answer found for one holds
    for all: that is what makes a pass over a long queue cheap.
    """

    gang: tuple[PodGroup, ...]
    """All of it or nothing starts. Larger pods first."""
    devices: int
    """Devices of the whole gang."""
    device_milli: int = DEVICE_MILLI
    """The share taken of each device, 1..1000."""
    device_memory_mib: int | None = None
    """Least memory of each device."""
    accelerators: tuple[str, ...] = ()
    """Allowed models, or extended resources that count them (`nvidia.com/gpu`); empty is any."""
    pools: tuple[str, ...] | None = None
    """Allowed pools of servers (from the job's queue); None is any."""
    terms: PodTerms | None = None
    """What Kubernetes knows of each pod beyond that; None where the trace is not of Kubernetes."""
    side: bool = False
    """True if any pod asks for CPU or memory."""
    eligible: NodeSet = 0
    """The servers whose kind it allows, whatever they hold now. Filled in by `Topology.request`."""
    plain: bool = False
    """True if whole devices are all that can stand in its way. Filled in by `Topology.request`."""
    simple: bool = False
    """True if it is plain, has equal pods, and may go anywhere: `NodeLedger.take` refuses all that can be wrong."""

    @property
    def demand_milli(self) -> int:
        """What the job takes of the fleet, in milli-devices."""
        return self.devices * self.device_milli


class JobView(NamedTuple):
    """What a scheduler may know of a job. The true run time is not here."""

    job_id: str
    arrival: int
    """Rank in the order of arrival (submit time, then the tie order): unique, so it ends every ordering."""
    submit_ms: int
    request: Request
    queue: str = ""
    user: str | None = None
    priority: int = 0
    estimate_ms: int | None = None
    """What the user says it will run, start-up not included; None where unknown."""
    family: str | None = None
    attained_ms: int = 0
    """Work done and kept when it was last preempted, as run time at full speed."""
    preemptions: int = 0
    oracle_run_ms: int | None = None
    """The true run time, only where the driver grants the oracle."""


class Share(NamedTuple):
    """`pods` pods of the gang's group `group` on server `node`, on the devices of `device_mask`."""

    node: int
    device_mask: DeviceMask
    pods: int = 1
    group: int = 0


Placement: TypeAlias = tuple[Share, ...]
"""Where a whole gang runs. Servers may repeat; groups are complete."""


class RunningJob(NamedTuple):
    """A job that holds devices."""

    job: JobView
    placement: Placement
    start_ms: int
    """Start of this stretch, not of the job's first one."""
    expected_end_ms: int | None
    """By the user's estimate, restart cost included; in the past for a job that outran it; None without an estimate."""
    overhead_ms: int = 0
    """What a restart, and the thinking where it is charged, cost at the beginning of this stretch."""


class Start(NamedTuple):
    """Start the whole gang of a pending job on `placement`."""

    job_id: str
    placement: Placement


class Preempt(NamedTuple):
    """Take a running job off its devices and put it back among the pending."""

    job_id: str
    reason: str = ""


class Resize(NamedTuple):
    """Change the placement of a running elastic job. No driver grants it yet: see docs/decisions/0005."""

    job_id: str
    placement: Placement


class Reject(NamedTuple):
    """Turn a pending job away for good."""

    job_id: str
    reason: str


class WakeAt(NamedTuple):
    """Ask for a pass at `at_ms`, which must be later than now, even if nothing happens."""

    at_ms: int


Action: TypeAlias = Start | Preempt | Resize | Reject | WakeAt


class QueueView(NamedTuple):
    """A queue of the fleet: what it is entitled to, and what its jobs hold now."""

    name: str
    nominal_milli: Mapping[str, int]
    """Entitlement per accelerator, in milli-devices; key `*` is any accelerator together; empty is no limit."""
    borrowing_limit_milli: Mapping[str, int] | None
    """How far above nominal it may go inside its cohort; None is without limit."""
    cohort: str | None
    weight: int
    pools: tuple[str, ...] | None
    held_milli: dict[str, int]
    """What its running jobs hold, per accelerator and under `*`; live."""
