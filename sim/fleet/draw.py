"""The fleet as text: a tree of domains down to the servers with a box for each device, totals, and queues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sim.fleet.catalogue import CONFIDENCES, Accelerator, catalogue
from sim.fleet.model import Fleet, Queue, Server

FOLD_CHILDREN: Final = 8
"""Of more children than this, the tree shows the first ones and counts the rest."""


def draw_fleet(fleet: Fleet, *, box: str = "■", whole: bool = False) -> str:
    """The fleet as text; a large one is folded unless `whole`. `box` stands for one device."""
    accelerators = fleet.devices_by_accelerator
    head = f"{fleet.name}: {_size(fleet.servers)}, {_counted(len(accelerators), 'model')} of accelerator"
    parts = [head, *_tree(fleet, box=box, whole=whole), "", *_accelerators(fleet)]
    if fleet.queues:
        parts += ["", *_queues(fleet)]
    return "\n".join(parts)


def draw_catalogue(rows: Iterable[Accelerator]) -> str:
    """One line for each accelerator, and what its letter of confidence means."""
    head = ("id", "name", "software", "memory MiB", "BF16 GFLOPS", "GB/s", "cards", "", "sharing")
    cells = [
        (
            row.id,
            row.name,
            row.software,
            _number(row.memory_mib),
            _number(row.bf16_gflops),
            _number(row.memory_bandwidth_bytes_per_s and row.memory_bandwidth_bytes_per_s // 10**9),
            _number(row.cards_per_server),
            row.confidence,
            row.sharing,
        )
        for row in rows
    ]
    legend = [f"{letter}  {meaning}" for letter, meaning in CONFIDENCES.items()]
    return "\n".join([*_table(head, cells, right=(3, 4, 5, 6)), "", *legend])


def _tree(fleet: Fleet, *, box: str, whole: bool) -> Iterator[str]:
    yield from _domain(fleet.servers, tuple(enumerate(fleet.levels)), "", box=box, whole=whole)


def _domain(
    servers: Sequence[Server], levels: tuple[tuple[int, str], ...], indent: str, *, box: str, whole: bool
) -> Iterator[str]:
    """The lines below one domain: its domains of the next narrower level or, at the bottom, its servers."""
    if not levels:
        yield from _folded([_alike(own, box) for own in _shapes(servers)], indent, whole=whole)
        return
    rank, level = levels[-1]
    members: dict[str, list[Server]] = {}
    for server in servers:
        members.setdefault(server.domains[rank], []).append(server)
    for number, (name, own) in enumerate(members.items()):
        if number == FOLD_CHILDREN and len(members) > FOLD_CHILDREN + 1 and not whole:
            rest = [server for each in list(members.values())[number:] for server in each]
            yield f"{indent}  .. and {len(members) - number} more of level {level}: {_size(rest)}"
            return
        yield f"{indent}  {level} {name}: {_size(own)}"
        yield from _domain(own, levels[:-1], f"{indent}  ", box=box, whole=whole)


def _shapes(servers: Sequence[Server]) -> list[list[Server]]:
    """The servers that are drawn alike together, in the order in which the fleet first has each kind."""
    shapes: dict[object, list[Server]] = {}
    for server in servers:
        shape = (server.pool, server.accelerator, server.devices, server.islands)
        shapes.setdefault(shape, []).append(server)
    return list(shapes.values())


def _alike(servers: Sequence[Server], box: str) -> str:
    first = servers[0]
    others = "" if len(servers) == 1 else f" and {_counted(len(servers) - 1, 'other')}"
    model = first.accelerator or "no devices"
    return f"{len(servers):,} x [{_boxes(first, box)}] {model}  pool {first.pool}  {_short(first.name)}{others}"


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:21]}..."


def _boxes(server: Server, box: str) -> str:
    """One box for each device, a bar between islands."""
    islands = server.islands or (tuple(range(server.devices)),)
    return "|".join(box * len(island) for island in islands)


def _folded(lines: Sequence[str], indent: str, *, whole: bool) -> Iterator[str]:
    if whole or len(lines) <= FOLD_CHILDREN + 1:
        yield from (f"{indent}  {line}" for line in lines)
        return
    yield from (f"{indent}  {line}" for line in lines[:FOLD_CHILDREN])
    yield f"{indent}  .. and {len(lines) - FOLD_CHILDREN} more kinds of server"


def _accelerators(fleet: Fleet) -> list[str]:
    servers: dict[str, list[Server]] = {}
    for server in fleet.servers:
        if server.accelerator is not None:
            servers.setdefault(server.accelerator, []).append(server)
    cells: list[tuple[str, ...]] = []
    for name, own in servers.items():
        row = catalogue().find(name)
        memories = sorted({server.device_memory_mib for server in own if server.device_memory_mib is not None})
        cells.append(
            (
                name,
                row.name if row else "not in the catalogue",
                row.software if row else "-",
                _number(sum(server.devices for server in own)),
                _number(len(own)),
                " ".join(map(_number, memories)) or "-",
                row.confidence if row else "-",
            )
        )
    total = ("all", "", "", _number(fleet.devices), _number(len(fleet.servers)), "", "")
    head = ("accelerator", "name", "software", "devices", "servers", "MiB a device", "confidence")
    return _table(head, [*cells, total], right=(3, 4, 5))


def _queues(fleet: Fleet) -> list[str]:
    cells = [
        (queue.name, queue.cohort or "-", str(queue.weight), _nominal(queue), _limit(queue), _pools(queue))
        for queue in fleet.queues
    ]
    return _table(("queue", "cohort", "weight", "nominal devices", "may borrow", "pools"), cells, right=(2,))


def _nominal(queue: Queue) -> str:
    return ", ".join(f"{count} {key}" for key, count in queue.nominal.items()) or "none"


def _limit(queue: Queue) -> str:
    if queue.cohort is None:
        return "nothing"
    limits = queue.borrowing_limit or {}
    return ", ".join(f"{count} {key}" for key, count in limits.items()) or "without limit"


def _pools(queue: Queue) -> str:
    return "all" if queue.pools is None else ", ".join(queue.pools)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Lines of equal columns; those of the numbers in `right` stand to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]


def _size(servers: Sequence[Server]) -> str:
    devices = sum(server.devices for server in servers)
    return f"{_counted(len(servers), 'server')}, {_counted(devices, 'device')}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
