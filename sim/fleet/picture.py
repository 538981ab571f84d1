"""The fleet as a picture: a box for each device, a block for each narrowest domain, a colour for each model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sim.fleet.model import Fleet, Server

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_BOXES: Final = 4096
"""Above this many devices one box is a server, and above this many servers it is several."""

MAX_FULL_LABELS: Final = 40
"""Above this many blocks a label is only the last step of the path of its domain."""

_COLOURS: Final = (
    *("#3b75af", "#e08214", "#4d9a51", "#b2182b", "#7f6fb0"),
    *("#8c5a3c", "#c95f9c", "#5e5e5e", "#a6a437", "#35a0a8"),
)

Blocks = dict[str, list[list[Server]]]
"""For each block its boxes, each of one server or of several neighbours."""

_ROWS: Final = 16
"""Boxes above each other in a block, before it goes on to the right."""


def save_picture(fleet: Fleet, path: Path) -> None:
    """Write an SVG of the fleet to `path`; the same fleet gives the same bytes. Raises `OSError`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    blocks = _blocks(fleet)
    with warnings.catch_warnings(), rc_context({"svg.hashsalt": "rehearse", "svg.fonttype": "none"}):
        # because: a name in a script that the font lacks is drawn by the viewer, which has other fonts
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(11, 7), layout="constrained")
        axes = figure.add_subplot()
        _draw(axes, fleet, blocks)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": "rehearse fleet show"})


def _blocks(fleet: Fleet) -> Blocks:
    """For each narrowest domain (each pool, without levels) its boxes in columns of servers."""
    blocks: dict[str, list[Server]] = {}
    for server in sorted(fleet.servers, key=lambda each: each.domains[::-1]):
        blocks.setdefault(server.domains[0] if server.domains else server.pool, []).append(server)
    step = math.ceil(len(fleet.servers) / MAX_BOXES)
    return {
        name: [servers[start : start + step] for start in range(0, len(servers), step)]
        for name, servers in blocks.items()
    }


def _draw(axes: Axes, fleet: Fleet, blocks: Blocks) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Patch, Rectangle

    counts = fleet.devices_by_accelerator
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(counts)}
    by_device = fleet.devices <= MAX_BOXES
    width = max(server.devices for server in fleet.servers) or 1 if by_device else 4
    limit = _page_width(blocks, width)
    patches, faces, bottom = [], [], 0.0
    for name, boxes, x, y in _flow(blocks, width, limit):
        label = name if len(blocks) <= MAX_FULL_LABELS else name.rsplit("/", 1)[-1]
        axes.text(x, y - 0.3, label, fontsize=6, va="bottom")
        bottom = max(bottom, y + min(len(boxes), _ROWS))
        for index, servers in enumerate(boxes):
            left, top = x + (index // _ROWS) * (width + 1), y + index % _ROWS
            for shift, span in _spans(servers[0]) if by_device else [(0.0, width - 0.2)]:
                patches.append(Rectangle((left + shift, top), span, 0.8))
                faces.append(colours.get(servers[0].accelerator or "", "#dddddd"))
    axes.add_collection(PatchCollection(patches, facecolors=faces, linewidths=0))
    axes.set_xlim(-1, limit + 1)
    axes.set_ylim(bottom + 1, -2)
    axes.set_axis_off()
    axes.set_title(f"{fleet.name}: {len(fleet.servers):,} servers, {fleet.devices:,} devices ({_unit(fleet)})")
    keys = [Patch(color=shade, label=f"{name}: {counts[name]:,}") for name, shade in colours.items()]
    if keys:
        axes.legend(handles=keys, loc="upper left", bbox_to_anchor=(0, 0), ncols=3, frameon=False, fontsize=8)


def _flow(blocks: Blocks, width: int, limit: float) -> Iterator[tuple[str, list[list[Server]], float, float]]:
    """Each block with its left upper corner, in rows like words on a page of width `limit`."""
    x, y, height = 0.0, 0.0, 0
    for name, boxes in blocks.items():
        span = math.ceil(len(boxes) / _ROWS) * (width + 1)
        if x and x + span > limit:
            x, y, height = 0.0, y + height + 2.5, 0
        yield name, boxes, x, y
        x += span + 1
        height = max(height, min(len(boxes), _ROWS))


def _spans(server: Server) -> Iterator[tuple[float, float]]:
    """Left edge and width of the box of each device; after an island there is a wider gap."""
    position = 0
    for island in server.islands or (tuple(range(server.devices)),):
        for rest in range(len(island), 0, -1):
            yield float(position), 0.7 if rest == 1 else 0.9
            position += 1
    if server.devices == 0:
        yield 0.0, 0.9


def _page_width(blocks: Blocks, width: int) -> float:
    """A width that makes the page about half again as wide as it is high."""
    area = sum((math.ceil(len(boxes) / _ROWS) * (width + 1) + 1) * (_ROWS + 2.5) for boxes in blocks.values())
    widest = max(math.ceil(len(boxes) / _ROWS) * (width + 1) for boxes in blocks.values())
    return max(float(widest), math.sqrt(area * 1.5))


def _unit(fleet: Fleet) -> str:
    if fleet.devices <= MAX_BOXES:
        return "a box is a device, a row a server"
    step = math.ceil(len(fleet.servers) / MAX_BOXES)
    return "a box is a server" if step == 1 else f"a box is {step} servers"
