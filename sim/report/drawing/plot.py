"""An SVG whose plot area stretches with the page while its letters keep their size.

The outer element has no view box: text and marks stand at percentages of the plot area, and the space around it is
padding. Curves and areas are paths, which know no percentages: they stand in an inner element that is stretched, with strokes
that are not. So one picture reads well at 340 and at 1100 pixels. Colours are classes of the page's style sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from markupsafe import escape
from numpy.typing import NDArray

from sim.report.names import fitted, visible

ACROSS: Final = 2000
DOWN: Final = 1000
"""Units of the inner element: finer than any screen that the page is read on."""

Anchor = Literal["start", "middle", "end"]

FIRST, REST = "\u2068", "\u2069"
"""Around a name: its writing direction ends with it."""


@dataclass(slots=True, kw_only=True)
class Plot:
    """One plot area of `height` pixels; coordinates are parts of it, from 0 to 1, y upwards."""

    height: int
    left: int = 8
    right: int = 8
    above: int = 8
    below: int = 8
    _parts: list[str] = field(default_factory=list)
    _paths: list[str] = field(default_factory=list)

    def curve(self, x: NDArray[np.float64], y: NDArray[np.float64], css: str) -> None:
        """A line through points, in the order of x."""
        path = polyline(x, y)
        if path:
            self._inside(f'<path class="line {css}" d="{path}"/>')

    def area(self, x: NDArray[np.float64], y: NDArray[np.float64], css: str) -> None:
        """What lies between the points and the bottom."""
        path = polyline(x, y)
        if path:
            last, first = _across(float(x[-1])), _across(float(x[0]))
            self._inside(f'<path class="area {css}" d="{path}L{last} {DOWN}L{first} {DOWN}z"/>')

    def cells(self, levels: NDArray[np.int64], css: str, lowest: int = 1) -> None:
        """A grid of whole levels, shape (rows, columns), top row first; one path a level, neighbours joined."""
        rows, columns = levels.shape
        found: dict[int, list[str]] = {}
        for number, row in enumerate(levels):
            cuts = np.flatnonzero(np.diff(row, prepend=row[0] - 1))
            for begin, end in zip(cuts.tolist(), [*cuts[1:].tolist(), columns], strict=True):
                if row[begin] >= lowest:
                    found.setdefault(int(row[begin]), []).append(f"M{begin} {number}h{end - begin}v1h{begin - end}z")
        paths = "".join(f'<path class="{css}{level}" d="{"".join(found[level])}"/>' for level in sorted(found))
        self._settle()
        self._parts.append(
            f'<svg class="in cells" width="100%" height="100%" viewBox="0 0 {columns} {rows}" preserveAspectRatio="none">'
            f"{paths}</svg>"
        )

    def line(self, start: tuple[float, float], end: tuple[float, float], css: str, *, dy: float = 0) -> None:
        """A straight line, moved down by `dy` pixels."""
        self._settle()
        self._parts.append(
            f'<line class="{css}" x1="{_x(start[0])}" y1="{_y(start[1])}" x2="{_x(end[0])}" y2="{_y(end[1])}"'
            f"{_moved(dy)}/>"
        )

    def bar(self, x: tuple[float, float], y: float, css: str, *, dy: float = 0, tall: float = 8) -> None:
        """A bar from one x to another, `tall` pixels, its upper edge `dy` pixels below y."""
        self._settle()
        begin, end = sorted(x)
        wide = max(end - begin, 0.002)  # because: what was short must still be seen
        self._parts.append(
            f'<rect class="{css}" x="{_x(begin)}" y="{_y(y)}" width="{_x(wide)}" height="{tall:g}"{_moved(dy)}/>'
        )

    def dot(self, x: float, y: float, css: str, letter: str = "", *, dy: float = 0) -> None:
        """A mark with a letter in it."""
        self._settle()
        radius = 7.5 if letter else 3.5
        self._parts.append(f'<circle class="dot {css}" cx="{_x(x)}" cy="{_y(y)}" r="{radius:g}"{_moved(dy)}/>')
        if letter:
            self.text(x, y, letter, "letter", anchor="middle", dy=dy + 3.4)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        css: str = "",
        *,
        anchor: Anchor = "start",
        dx: float = 0,
        dy: float = 0,
        whole: str = "",
    ) -> None:
        """Letters of the page's size. `whole` is the name of which a part is shown: the browser tells it on demand."""
        self._settle()
        attributes = f' class="{css}"' if css else ""
        attributes += f' text-anchor="{anchor}"' if anchor != "start" else ""
        attributes += f' dx="{dx:g}"' if dx else ""
        attributes += f' dy="{dy:g}"' if dy else ""
        title = f"<title>{escape(visible(whole))}</title>" if whole and whole not in text else ""
        self._parts.append(f'<text x="{_x(x)}" y="{_y(y)}"{attributes}>{title}{escape(text)}</text>')

    def for_page(self, key: str, alt: str) -> str:
        """The element, described by `alt` for those who cannot see it."""
        self._settle()
        padding = f"{self.above}px {self.right}px {self.below}px {self.left}px"
        return (
            f'<svg class="plot" role="img" aria-labelledby="{key}" style="height:{self.tall}px;padding:{padding}">'
            f'<title id="{key}">{escape(alt)}</title>{"".join(self._parts)}</svg>'
        )

    def inside(self, width: int, top: int) -> str:
        """The same as a part of a picture of that width, from `top` pixels on."""
        self._settle()
        return (
            f'<svg x="{self.left}" y="{top + self.above}" width="{width - self.left - self.right}" height="{self.height}"'
            f' overflow="visible">{"".join(self._parts)}</svg>'
        )

    @property
    def tall(self) -> int:
        """Pixels from the upper to the lower edge."""
        return self.height + self.above + self.below

    def _inside(self, path: str) -> None:
        self._paths.append(path)

    def _settle(self) -> None:
        """What is drawn later lies above what was drawn before."""
        if self._paths:
            paths, self._paths = "".join(self._paths), []
            self._parts.append(
                f'<svg class="in" width="100%" height="100%" viewBox="0 0 {ACROSS} {DOWN}" preserveAspectRatio="none">'
                f"{paths}</svg>"
            )


def short(name: str, columns: int) -> str:
    """A name of others for a picture: visible, at most so wide, and with its writing direction kept inside."""
    return f"{FIRST}{fitted(name, columns)}{REST}"


def polyline(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """A path in whole units, relative, without points that change nothing."""
    if not len(x):
        return ""
    across = np.clip(np.rint(x * ACROSS), -ACROSS, 2 * ACROSS).astype(np.int64)
    down = np.clip(np.rint((1 - y) * DOWN), -DOWN, 2 * DOWN).astype(np.int64)
    step_x, step_y = np.diff(across), np.diff(down)
    said = [f"M{across[0]} {down[0]}"]
    for dx, dy in zip(step_x.tolist(), step_y.tolist(), strict=True):
        if dx and dy:
            said.append(f"l{dx} {dy}")
        elif dx:
            said.append(f"h{dx}")
        elif dy:
            said.append(f"v{dy}")
    return "".join(said)


def steps(
    edges: Sequence[float] | NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """The points of a step function that has a value between each two edges."""
    x = np.repeat(np.asarray(edges, dtype=np.float64), 2)[1:-1]
    return x, np.repeat(values, 2)


def _across(x: float) -> int:
    return round(x * ACROSS)


def _x(x: float) -> str:
    return f"{100 * x:.2f}".rstrip("0").rstrip(".") + "%"


def _y(y: float) -> str:
    return _x(1 - y)


def _moved(dy: float) -> str:
    return f' transform="translate(0 {dy:g})"' if dy else ""
