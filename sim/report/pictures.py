"""The pictures of a page, as SVG text: they are drawn once, in colours that the page's style sheet may change."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from sim.experiment.comparison import Comparison
from sim.report.words import duration
from sim.results import Run
from sim.timeline import RELEASES, Happened

COLOURS: Final = ("#3f7fbf", "#d9822b", "#2f9e6e", "#b65fc0", "#c94f4f", "#8a7a2f", "#4aa7b5", "#7a7f8c")
"""Apart for most eyes, and on white and on black."""

INK: Final = "#010203"
"""Stands for the colour of the text; the page replaces it."""

POINTS_MAX: Final = 1200
"""A curve is thinned out to this many points: a page must stay small."""

DAY_MS: Final = 86_400_000

_TICKS_MS: Final = (1000, 10_000, 60_000, 600_000, 3_600_000, DAY_MS, 10 * DAY_MS, 100 * DAY_MS)

_UNITS: Final = (("days", DAY_MS), ("hours", 3_600_000), ("minutes", 60_000), ("seconds", 1000))

_STYLE: Final = {
    "svg.hashsalt": "rehearse",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": f"cycler('color', {list(COLOURS)})",
    "text.parse_math": False,
}


def waiting_times(comparison: Comparison) -> str:
    """The share of jobs that wait at most so long, on a logarithmic axis that begins at one second."""

    def draw(axes: Any) -> None:
        for name, run in comparison.runs.items():
            waits = np.sort(run.jobs.wait_ms[run.jobs.started])
            if len(waits):
                share = np.arange(1, len(waits) + 1) / len(waits)
                keep = _thin(len(waits))
                axes.step(np.maximum(waits[keep], 1000), share[keep], where="post", label=name)
        axes.set_xscale("log")
        axes.set_ylim(0, 1.01)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
        low, high = axes.get_xlim()
        ticks = [tick for tick in _TICKS_MS if low <= tick <= high] or [1000]
        axes.set_xticks(ticks, [("≤ " if tick == 1000 else "") + _plain(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("wait")
        axes.set_ylabel("share of jobs")

    return _svg(draw, height=3.6)


def devices_over_time(comparison: Comparison) -> str:
    """The devices that jobs hold, mean over each of some hundred intervals, and the capacity."""

    def draw(axes: Any) -> None:
        for name, run in comparison.runs.items():
            at, held = held_devices(run)
            _over_time(axes, run, at, held, name)
        capacity = next(iter(comparison.runs.values())).capacity_milli / 1000
        axes.axhline(capacity, color=INK, linewidth=0.8, linestyle=":")
        axes.annotate(
            f"{capacity:,.0f} devices", (1, capacity), xycoords=("axes fraction", "data"), ha="right", va="bottom"
        )
        axes.set_ylim(0, capacity * 1.12)
        axes.set_ylabel("devices held")

    return _svg(draw, height=3.0)


def queue_over_time(comparison: Comparison) -> str:
    """The jobs that wait, mean over each of some hundred intervals."""

    def draw(axes: Any) -> None:
        for name, run in comparison.runs.items():
            at, waiting = queue_length(run)
            _over_time(axes, run, at, waiting, name)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("jobs waiting")

    return _svg(draw, height=3.0)


def who_waits_longer(comparison: Comparison) -> str:
    """The mean change of the wait against the baseline, by size class and queue: to the right waits longer."""
    labels = [f"{group.kind} {group.name}" for group in comparison.groups if group.kind != "all"][:24]
    names = list(comparison.shifts)
    changes = [abs(each["mean_change_ms"]) for found in comparison.shifts.values() for each in found.groups]
    largest = max(changes, default=0)
    unit, length = next((each for each in _UNITS if largest >= 2 * each[1]), _UNITS[-1])

    def draw(axes: Any) -> None:
        thickness = 0.8 / max(len(names), 1)
        for number, name in enumerate(names):
            found = {
                f"{each['kind']} {each['name']}": each["mean_change_ms"] for each in comparison.shifts[name].groups
            }
            y = np.arange(len(labels)) + (number - (len(names) - 1) / 2) * thickness
            x = [found.get(label, 0.0) / length for label in labels]
            colour = COLOURS[(comparison.names.index(name)) % len(COLOURS)]
            axes.barh(y, x, thickness * 0.9, label=name, color=colour)
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}" if x else "0"))
        axes.set_xlabel(f"mean change of the wait against {comparison.baseline}, {unit}")

    return _svg(draw, height=1.0 + len(labels) * (0.18 + 0.14 * len(names)))


def fill_curves(comparison: Comparison) -> str:
    """A static fill: allocated (lines) and fragmented (dotted) share of the capacity against the arrived load."""

    def draw(axes: Any) -> None:
        for number, (name, run) in enumerate(comparison.runs.items()):
            if run.fill is None:
                continue
            keep = _thin(len(run.fill.arrived_gpu_milli))
            x = run.fill.arrived_gpu_milli[keep] / run.capacity_milli
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(x, run.fill.allocated_gpu_milli[keep] / run.capacity_milli, label=name, color=colour)
            axes.plot(x, run.fill.fragmented_gpu_milli[keep] / run.capacity_milli, ":", color=colour)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0%}"))
        axes.set_xlabel("arrived, of the capacity")
        axes.set_ylabel("allocated (line), fragmented (dots)")

    return _svg(draw, height=3.6)


def held_devices(run: Run) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times, and the devices held from each until the next."""
    line = run.timeline
    moves = np.flatnonzero((line.happened == Happened.START) | np.isin(line.happened, RELEASES))
    sign = np.where(line.happened[moves] == Happened.START, 1, -1)
    return line.at_ms[moves], np.cumsum(sign * run.jobs.demand_milli[line.job[moves]]) / 1000


def queue_length(run: Run) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Times, and the jobs that wait from each until the next."""
    line = run.timeline
    step = np.zeros(len(line.at_ms), dtype=np.int64)
    step[(line.happened == Happened.ARRIVE) | (line.happened == Happened.PREEMPT)] = 1
    gone = (line.happened == Happened.START) | (line.happened == Happened.REJECT) | (line.happened == Happened.DROP)
    step[gone] = -1
    moves = np.flatnonzero(step)
    return line.at_ms[moves], np.cumsum(step[moves]).astype(np.float64)


def means(at: NDArray[np.int64], values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time-weighted means of a step function over intervals: exact, whatever happens inside one."""
    area = np.concatenate(([0.0], np.cumsum(values[:-1] * np.diff(at))))
    upto = np.interp(edges, at, area, left=0.0)
    found: NDArray[np.float64] = np.diff(upto) / np.diff(edges)
    return found


def _over_time(axes: Any, run: Run, at: NDArray[np.int64], values: NDArray[np.float64], name: str) -> None:
    if len(at) < 2 or at[-1] == at[0]:
        return
    edges = np.linspace(at[0], at[-1], min(400, max(2, len(at))))
    first = int(run.jobs.submit_ms.min())
    middle = (edges[:-1] + edges[1:]) / 2 - first
    unit, length = ("days", DAY_MS) if edges[-1] - first > 3 * DAY_MS else ("hours", 3_600_000)
    axes.plot(middle / length, means(at, values, edges), label=name, linewidth=1.2)
    axes.set_xlabel(f"{unit} since the first submission")


def _thin(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, POINTS_MAX)).astype(np.int64)) if count else np.arange(0)


def _plain(ms: float) -> str:
    return duration(ms).replace(".0 ", " ")


def _svg(draw: Callable[[Any], None], *, height: float) -> str:
    with rc_context(cast("Any", _STYLE)):  # because: its type is a closed list of three hundred names
        figure = Figure(figsize=(7.6, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.grid(visible=True, alpha=0.18, color=INK)
        draw(axes)
        _legend(figure, axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return for_page(out.getvalue())


def _legend(figure: Figure, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        columns = 1 if max(map(len, labels)) > 40 else 2 if max(map(len, labels)) > 22 else 3
        figure.legend(handles, labels, loc="outside upper left", ncols=columns, frameon=False)


def for_page(svg: str) -> str:
    """Without prologue, metadata and fixed size, and with the text's own colour instead of `INK`."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head, rest = svg.split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    return f'{head} role="img">{rest}'.replace(INK, "currentColor")


def drawn(comparison: Comparison) -> Sequence[tuple[str, str, str]]:
    """Title, what it shows, SVG: the pictures that mean something for this comparison."""
    if comparison.runs[comparison.baseline].is_fill:
        return [("How far the fleet fills", "Higher lines and lower dots are better.", fill_curves(comparison))]
    found = [
        (
            "How long jobs wait",
            "Share of the jobs that wait at most so long. Higher, and further to the left, is better.",
            waiting_times(comparison),
        ),
        ("Devices held over time", "Mean over each interval.", devices_over_time(comparison)),
        ("Queue length over time", "Jobs that wait, mean over each interval.", queue_over_time(comparison)),
    ]
    if comparison.shifts and len(comparison.groups) > 1:
        text = "To the right of zero: these jobs wait longer than under the baseline."
        found.append(("Who waits longer", text, who_waits_longer(comparison)))
    return found
