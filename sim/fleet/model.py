"""The fleet: servers with devices, domains above the servers, queues with quotas. Built once, never changed.

Each type validates itself and reports every problem at once, as a `FleetError`. Counts are whole devices,
memory is MiB, CPU is milli-cores. What is unknown or not modelled is `None`, never a number that stands for
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from policies.kube.terms import Taint
from sim.fleet.problems import FleetError, Problem, did_you_mean

__all__ = [
    "ANY_ACCELERATOR",
    "EFFECTS",
    "GENERIC",
    "MAX_DEVICES",
    "MAX_SERVERS",
    "RESERVED_LEVELS",
    "Fleet",
    "FleetError",
    "Problem",
    "Queue",
    "Server",
]

GENERIC = "generic"
"""The accelerator of the shorthand: a device about which nothing is known."""

ANY_ACCELERATOR = "*"
"""The key of a quota that counts devices of every accelerator together."""

MAX_DEVICES = 64
"""The most devices that one server may have: a set of free devices fits one machine word."""

MAX_SERVERS = 200_000
"""The most servers in one fleet: above every published cluster, yet a slip of the pen is refused."""

MAX_AMOUNT = 2**53
"""Above this an amount is a slip of the pen, and no longer exact in JSON or in a float column."""

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
"""What a taint does to pods that do not tolerate it."""

RESERVED_LEVELS = ("device", "island", "server", "fleet")
"""Names that already have a meaning below or above the levels of a fleet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One machine that runs pods, with `devices` accelerators of one model numbered from 0.

    `accelerator` is an id of the catalogue (`None` exactly when there are no devices). `device_memory_mib` is
    the memory of one device in MiB; when it is `None`, no memory constraint is checked. `islands` names the
    devices that share a fast link (NVLink, HCCS), `numa` those that share a socket; `()` is one group of all.
    `cpu_milli` (milli-cores), `memory_mib` (MiB) and `max_pods` are what pods may use; `None` is not
    modelled, hence unlimited. `domains` holds one name for each entry of `Fleet.levels`, narrow to wide.

    The rest is of fleets of Kubernetes: `resource` is the extended resource that counts the devices, `taints` and
    `unschedulable` (a cordon) keep pods away that do not tolerate them, and `allocatable` is all that pods may
    take, as Kubernetes counts it: CPU in milli-cores, everything else in bytes or in whole numbers.
    """

    name: str
    pool: str
    accelerator: str | None
    devices: int
    device_memory_mib: int | None = None
    islands: tuple[tuple[int, ...], ...] = ()
    numa: tuple[tuple[int, ...], ...] = ()
    cpu_milli: int | None = None
    memory_mib: int | None = None
    max_pods: int | None = None
    domains: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    resource: str = ""
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    allocatable: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        problems = list(_server_problems(self))
        if problems:
            raise FleetError(problems, source=f"server {self.name!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A share of the fleet for a tenant.

    `nominal` is the devices that the queue owns, by accelerator; a queue that counts all models together has
    the one key `*`. `borrowing_limit` is how many devices of others in the same `cohort` it may hold beyond
    that, by the same keys; `None`, or a key that is absent, is no limit. A queue without a cohort cannot
    borrow. `weight` divides what is free among queues that want it. `pools` are the pools that it may use,
    `None` for all of them.
    """

    name: str
    nominal: Mapping[str, int] = field(hash=False)
    borrowing_limit: Mapping[str, int] | None = field(default=None, hash=False)
    cohort: str | None = None
    weight: int = 1
    pools: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        problems = list(_queue_problems(self))
        if problems:
            raise FleetError(problems, source=f"queue {self.name!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Servers in a fixed order, the levels above them (narrow to wide), and the queues that share them.

    Server names are unique. A domain lies in one domain of each wider level, and its name is unique at its
    level, so a leaf name that repeats under two spines has to be written as a path (`G6/P10/S14`).
    """

    name: str
    levels: tuple[str, ...] = ()
    servers: tuple[Server, ...]
    queues: tuple[Queue, ...] = ()

    def __post_init__(self) -> None:
        problems = list(_fleet_problems(self))
        if problems:
            raise FleetError(problems, source=f"fleet {self.name!r}")

    @property
    def devices(self) -> int:
        """All devices of the fleet. Counted on each call."""
        return sum(server.devices for server in self.servers)

    @property
    def devices_by_accelerator(self) -> dict[str, int]:
        """Devices of each accelerator, in the order in which servers name them. Counted on each call."""
        counts: dict[str, int] = {}
        for server in self.servers:
            if server.accelerator is not None:
                counts[server.accelerator] = counts.get(server.accelerator, 0) + server.devices
        return counts

    @property
    def pools(self) -> tuple[str, ...]:
        """Names of the pools, in the order in which the servers first name them."""
        return tuple(dict.fromkeys(server.pool for server in self.servers))


def _server_problems(server: Server) -> Iterator[Problem]:
    yield from _name_problems("name", server.name)
    yield from _name_problems("pool", server.pool)
    if not _is_count(server.devices) or server.devices > MAX_DEVICES:
        yield Problem("devices", f"must be a whole number from 0 to {MAX_DEVICES}, got {server.devices!r}")
        return
    if server.devices == 0 and server.accelerator is not None:
        yield Problem("accelerator", f"must be absent on a server without devices, got {server.accelerator!r}")
    if server.devices > 0 and not _is_name(server.accelerator):
        yield Problem("accelerator", f"a server with {server.devices} devices must name its model")
    if server.devices == 0 and server.device_memory_mib is not None:
        yield Problem("device_memory_mib", "must be absent on a server without devices")
    yield from _amount_problems("device_memory_mib", server.device_memory_mib, least=1)
    yield from _amount_problems("cpu_milli", server.cpu_milli, least=0)
    yield from _amount_problems("memory_mib", server.memory_mib, least=0)
    yield from _amount_problems("max_pods", server.max_pods, least=0)
    yield from _group_problems("islands", server.islands, server.devices)
    yield from _group_problems("numa", server.numa, server.devices)
    for rank, domain in enumerate(server.domains):
        yield from _name_problems(f"domains[{rank}]", domain)
    for key, value in server.labels.items():
        if not _is_name(key) or not isinstance(value, str):
            yield Problem("labels", f"keys and values are text, got {key!r}: {value!r}")

    yield from _kubernetes_problems(server)


def _kubernetes_problems(server: Server) -> Iterator[Problem]:
    if server.resource:
        yield from _name_problems("resource", server.resource)
    for place, taint in enumerate(server.taints):
        yield from _name_problems(f"taints[{place}].key", taint.key)
        if taint.effect not in EFFECTS:
            yield Problem(f"taints[{place}].effect", f"must be one of {', '.join(EFFECTS)}, got {taint.effect!r}")
    for name, amount in server.allocatable.items():
        yield from _name_problems("allocatable", name)
        yield from _amount_problems(f"allocatable.{name}", amount, least=0, optional=False)


def _group_problems(path: str, groups: tuple[tuple[int, ...], ...], devices: int) -> Iterator[Problem]:
    """Groups must hold each device exactly once, or be absent."""
    if not groups:
        return
    seen: dict[int, int] = {}
    for index, group in enumerate(groups):
        if not group:
            yield Problem(f"{path}[{index}]", "is empty; a group holds at least one device")
        for device in group:
            if not _is_count(device) or device >= devices:
                yield Problem(f"{path}[{index}]", f"there is no device {device!r}: {_numbering(devices)}")
            elif device in seen:
                yield Problem(f"{path}[{index}]", f"device {device} is also in {path}[{seen[device]}]")
            else:
                seen[device] = index
    missing = [device for device in range(devices) if device not in seen]
    if missing:
        yield Problem(path, f"must hold every device; missing: {', '.join(map(str, missing))}")


def _numbering(devices: int) -> str:
    return f"devices are 0 to {devices - 1}" if devices else "the server has no devices"


def _queue_problems(queue: Queue) -> Iterator[Problem]:
    yield from _name_problems("name", queue.name)
    if not _is_count(queue.weight) or not 1 <= queue.weight <= MAX_AMOUNT:
        yield Problem("weight", f"must be a whole number of at least 1, got {queue.weight!r}")
    if queue.cohort is not None:
        yield from _name_problems("cohort", queue.cohort)
    yield from _quota_problems("nominal", queue.nominal)
    if ANY_ACCELERATOR in queue.nominal and len(queue.nominal) > 1:
        yield Problem("nominal", "counts either all accelerators together ('*') or each by name, not both")
    if queue.borrowing_limit is not None:
        yield from _quota_problems("borrowing_limit", queue.borrowing_limit)
        if queue.cohort is None:
            yield Problem("borrowing_limit", "a queue without a cohort has nobody to borrow from")
        for key in queue.borrowing_limit:
            if key not in queue.nominal:
                reason = "has no nominal quota, so nothing can be borrowed beyond it; write 0 in nominal"
                yield Problem(f"borrowing_limit.{key}", reason)
    if queue.pools is not None:
        yield from _repeat_problems("pools", queue.pools)
        if not queue.pools:
            yield Problem("pools", "an empty list allows nothing; leave it out to allow every pool")


def _quota_problems(path: str, quota: Mapping[str, int]) -> Iterator[Problem]:
    for key, value in quota.items():
        yield from _name_problems(f"{path}.{key}", key)
        yield from _amount_problems(f"{path}.{key}", value, least=0, optional=False)


def _fleet_problems(fleet: Fleet) -> Iterator[Problem]:
    yield from _name_problems("name", fleet.name)
    for rank, level in enumerate(fleet.levels):
        yield from _name_problems(f"levels[{rank}]", level)
        if level in RESERVED_LEVELS:
            yield Problem(f"levels[{rank}]", f"{level!r} already has a meaning; give the level another name")
    yield from _repeat_problems("levels", fleet.levels)
    if not 1 <= len(fleet.servers) <= MAX_SERVERS:
        yield Problem("servers", f"a fleet has 1 to {MAX_SERVERS} servers, got {len(fleet.servers)}")
    yield from _repeat_problems("servers", [server.name for server in fleet.servers])
    yield from _nesting_problems(fleet)
    yield from _repeat_problems("queues", [queue.name for queue in fleet.queues])
    pools = fleet.pools
    for index, queue in enumerate(fleet.queues):
        for pool in queue.pools or ():
            if pool not in pools:
                yield Problem(f"queues[{index}].pools", f"there is no pool {pool!r}{did_you_mean(str(pool), pools)}")


def _nesting_problems(fleet: Fleet) -> Iterator[Problem]:
    """Every server has a domain at each level, and a domain lies in one domain of the next wider level."""
    parents: dict[tuple[int, str], str] = {}
    reported: set[tuple[int, str, str]] = set()
    for index, server in enumerate(fleet.servers):
        if len(server.domains) != len(fleet.levels):
            reason = f"{server.name} needs one domain for each of {list(fleet.levels)}, got {list(server.domains)}"
            yield Problem(f"servers[{index}].domains", reason)
            continue
        for rank in range(len(fleet.levels) - 1):
            name, parent = server.domains[rank], server.domains[rank + 1]
            first = parents.setdefault((rank, name), parent)
            if first != parent and (rank, name, parent) not in reported:
                reported.add((rank, name, parent))
                reason = (
                    f"{fleet.levels[rank]} {name!r} of {server.name} lies in {fleet.levels[rank + 1]} "
                    f"{parent!r}, but in {first!r} for an earlier one; write a path such as {parent}/{name}"
                )
                yield Problem(f"servers[{index}].domains[{rank}]", reason)


def _repeat_problems(path: str, names: Iterable[str]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in first:
            yield Problem(f"{path}[{index}]", f"the name {name!r} is already that of {path}[{first[name]}]")
        first.setdefault(name, index)


def _name_problems(path: str, name: object) -> Iterator[Problem]:
    if not _is_name(name):
        yield Problem(path, f"must be a text that is not blank and prints on one line, got {name!r}")


def _amount_problems(path: str, amount: object, *, least: int, optional: bool = True) -> Iterator[Problem]:
    if amount is None and optional:
        return
    if not _is_count(amount) or not least <= amount <= MAX_AMOUNT:
        yield Problem(path, f"must be a whole number from {least} to {MAX_AMOUNT}, got {amount!r}")


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name.strip()) and name.isprintable()


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
