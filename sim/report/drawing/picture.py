"""What a picture of the page is made of."""

from __future__ import annotations

from typing import NamedTuple

from sim.report.drawing.plot import Plot


class Key(NamedTuple):
    """An entry of a legend that is no policy: a pattern or a shade, and what it means."""

    css: str
    text: str


class Panel(NamedTuple):
    """One plot of a picture."""

    plot: Plot
    alt: str
    """What it shows, for those who cannot see it."""
    policy: str | None = None
    """Whose it is; None where it shows all."""


class Picture(NamedTuple):
    """A figure of the page."""

    key: str
    """Its anchor, and the name of its Parquet file."""
    title: str
    """Plain text."""
    caption: str
    """Markup."""
    panels: list[Panel]
    policies: tuple[str, ...] = ()
    """Those that the legend names; none where each panel has its own."""
    keys: tuple[Key, ...] = ()
