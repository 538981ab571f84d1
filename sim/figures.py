"""What the figures of the notebooks share: the colours of the report, axes of time, intervals, short names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

TICKS_S: Final = {
    1: "at once", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 86_400: "1 d", 864_000: "10 d"
}  # fmt: skip
"""Where an axis of time has marks, and their words."""

LINES: Final = ("--", "-", "-.", ":")
PATTERNS: Final = ("", "///", "...", "xxx", "---")
"""Lines and areas differ in more than colour."""


ROWS_SHOWN: Final = 25
"""Of a forest."""


def _colours() -> dict[str, str]:
    """The colours of the report's page on white paper, by their names there."""
    sheet = resources.files("sim.report.templates").joinpath("picture.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--([a-z]+\d?): (#[0-9a-f]{6})", sheet.partition("}")[0]))


COLOURS: Final = _colours()
"""`c0` is that of the baseline, `c1` to `c7` are those of what is compared with it; `good`, `bad`, `doubt`, `ink`, `soft`."""

SERIES: Final = tuple(COLOURS[name] for name in sorted(COLOURS) if re.fullmatch(r"c\d", name))


OUTCOMES: Final = {
    "better": ("c1", "o"), "pass": ("c1", "o"), "no worse": ("soft", "s"),
    "undecided": ("ghost", "D"), "worse": ("c2", "X"), "fail": ("c2", "X"),
}  # fmt: skip
"""Colour and marker of what a comparison says; no two markers that mean different things are alike."""


def set_up() -> None:
    """Give the figures of this process the colours and the quiet look of the report. The first line drawn is the baseline's."""
    import matplotlib.pyplot as plt
    from cycler import cycler

    lines = [LINES[number % len(LINES)] for number in range(len(SERIES))]
    style: Any = {
        "figure.figsize": (8.6, 4.0),
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "axes.prop_cycle": cycler(color=SERIES) + cycler(linestyle=lines),
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.edgecolor": COLOURS["soft"],
        "axes.labelcolor": COLOURS["soft"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlecolor": COLOURS["ink"],
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.titlesize": 11.5,
        "axes.titlepad": 10,
        "grid.color": COLOURS["line"],
        "legend.frameon": False,
        "lines.linewidth": 1.9,
        "text.color": COLOURS["ink"],
        "xtick.color": COLOURS["soft"],
        "ytick.color": COLOURS["soft"],
    }
    plt.rcParams.update(style)


def time_axis(axis: Axis, longest_s: float, *, every: int = 1) -> None:
    """Make an axis of seconds logarithmic, from one second to a little more than `longest_s`, with marks in words.

    What is shorter than a second belongs at 1: clip it before it is drawn. A narrow axis has a mark at `every` second place.
    """
    end = max(longest_s, 60.0) * 1.4
    marks = [tick for tick in TICKS_S if tick <= end][::every]
    name = "x" if axis is axis.axes.xaxis else "y"
    axis.axes.set(**{f"{name}scale": "log", f"{name}lim": (0.8, end)})
    axis.set_ticks(marks, labels=[TICKS_S[tick] for tick in marks])
    axis.set_ticks([], minor=True)


def forest(axes: Axes, frame: pd.DataFrame) -> None:
    """One row for each row of the frame, from above: a mark at its first column, a line from its second to its third.

    The fourth column is an outcome, which gives colour and mark. What has no figure has no mark, and what has no ends no line.
    Of a long frame only the rows with the largest figures are shown.
    """
    if len(frame) > ROWS_SHOWN:
        axes.set_ylabel(f"the {ROWS_SHOWN} largest of {len(frame)}")
        frame = frame[frame.iloc[:, 0].rank(ascending=False, method="first") <= ROWS_SHOWN]
    known = frame[frame.iloc[:, 0].notna()]
    for outcome, rows in known.groupby(frame.columns[3], sort=False):
        colour, marker = OUTCOMES[str(outcome)]
        figure, low, high = (rows.iloc[:, number].astype(float) for number in range(3))
        ends = [each.clip(lower=0).fillna(0) for each in (figure - low, high - figure)]
        places = frame.index.get_indexer(rows.index)
        axes.errorbar(
            figure,
            places,
            xerr=ends,
            fmt=marker,
            markersize=7,
            color=COLOURS[colour],
            label=str(outcome),
            linestyle="",
        )
    axes.axvline(0, color=COLOURS["ink"], linewidth=1)
    axes.set(yticks=range(len(frame)), yticklabels=frame.index, ylim=(len(frame) - 0.4, -0.6))
    _legend_beside(axes)


def stacked(axes: Axes, frame: pd.DataFrame) -> None:
    """One bar for each row of the frame, from above; one part of it for each column."""
    left = frame.cumsum(axis="columns") - frame
    for number, name in enumerate(frame.columns):
        look: Any = {
            "color": SERIES[1 + number],
            "hatch": PATTERNS[number % len(PATTERNS)],
            "edgecolor": COLOURS["paper"],
        }
        axes.barh(range(len(frame)), frame[name], left=left[name], height=0.7, label=str(name), **look)
    axes.set(yticks=range(len(frame)), yticklabels=frame.index, ylim=(len(frame) - 0.4, -0.6))
    axes.grid(visible=False, axis="y")
    _legend_beside(axes)


def _legend_beside(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def short_names(policies: Sequence[str]) -> dict[str, str]:
    """Policies without the parameters that all of them have in common, as long as that leaves them apart."""
    parts = {policy: policy.partition(":")[::2] for policy in policies}
    lists = [more.split(",") for _, more in parts.values()]
    short = {
        policy: ":".join(filter(None, (name, ",".join(each for each in more.split(",") if not _in_all(each, lists)))))
        for policy, (name, more) in parts.items()
    }
    return short if len(set(short.values())) == len(parts) else {policy: policy for policy in policies}


def _in_all(parameter: str, lists: Sequence[Sequence[str]]) -> bool:
    return all(parameter in each for each in lists)
