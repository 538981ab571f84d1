"""All that stands beside `comparison.json`: the page, the text for a pull request, and JUnit XML where there are gates."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sim.experiment.compare import REPORT
from sim.experiment.comparison import Comparison
from sim.report.html import write_page
from sim.report.junit import junit
from sim.report.markdown import markdown

MARKDOWN: Final = "report.md"
JUNIT: Final = "junit.xml"


def write_reports(comparison: Comparison, out: Path) -> None:
    """Write them into the directory of the comparison."""
    write_page(comparison, out / REPORT)
    (out / MARKDOWN).write_text(markdown(comparison), encoding="utf-8")
    if comparison.gates:
        (out / JUNIT).write_text(junit(comparison), encoding="utf-8")
