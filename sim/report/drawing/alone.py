"""A picture as a file of its own, for slides and documents: the same SVG with its style sheet, title and legend inside."""

from __future__ import annotations

from typing import Final

from markupsafe import escape

from sim.report.drawing.picture import Picture
from sim.report.drawing.plot import short
from sim.report.shown import Shown

WIDTH: Final = 760
LINE_PX: Final = 18
COLUMN_PX: Final = 250
NAME_COLUMNS: Final = 30


def alone(picture: Picture, shown: Shown, css: str, patterns: str) -> str:
    """The file. It follows the light or dark mode of whoever shows it."""
    title = escape(picture.title)
    parts = [f'<text class="title" x="4" y="16">{title}</text>']
    top = 30
    entries = [_sample(shown, policy) for policy in picture.policies]
    entries += [
        f'<rect class="{each.css}" y="-9" width="22" height="11"/>{_name(each.text)}' for each in picture.keys
    ]
    across = WIDTH // COLUMN_PX
    for number, entry in enumerate(entries):
        x, y = 8 + (number % across) * COLUMN_PX, top + 8 + (number // across) * LINE_PX
        parts.append(f'<g transform="translate({x} {y})">{entry}</g>')
    top += LINE_PX * -(-len(entries) // across)
    for panel in picture.panels:
        if panel.policy is not None:
            parts.append(f'<g transform="translate(8 {top + 14})">{_sample(shown, panel.policy)}</g>')
            top += LINE_PX + 4
        parts.append(panel.plot.inside(WIDTH, top))
        top += panel.plot.tall
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {top}" role="img" aria-label="'
        f'{title}"><style>{css}.title {{ font-size: 15px; font-weight: 600; }}</style>{patterns}'
        f'<rect width="{WIDTH}" height="{top}" fill="var(--paper)"/>{"".join(parts)}</svg>\n'
    )


def _sample(shown: Shown, policy: str) -> str:
    number = shown.series(policy)
    line = f'<line class="line s{number % 8} d{number % 6}" x1="0" y1="-4" x2="28" y2="-4"/>'
    return f'{line}<text class="strong" x="34">{shown.letter(policy)}</text>{_name(short(policy, NAME_COLUMNS), 48)}'


def _name(text: str, x: int = 28) -> str:
    return f'<text x="{x}">{escape(text)}</text>'
