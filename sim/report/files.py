"""All that stands beside `comparison.json`: the page and its figures, the text for a pull request, and JUnit XML for gates."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sim.experiment.compare import REPORT
from sim.experiment.comparison import Comparison
from sim.report.data import tables, write_tables
from sim.report.html import page
from sim.report.junit import junit
from sim.report.markdown import markdown
from sim.report.shown import shown
from sim.report.voice import plain

MARKDOWN: Final = "report.md"
JUNIT: Final = "junit.xml"


def write_reports(comparison: Comparison, out: Path, code: str = "en") -> None:
    """Write them into the directory of the comparison, in the language `code`. Raises `OSError`."""
    write_page(comparison, out / REPORT, code)
    (out / MARKDOWN).write_text(markdown(comparison, plain(code)), encoding="utf-8")
    if comparison.gates:
        (out / JUNIT).write_text(junit(comparison), encoding="utf-8")


def write_page(comparison: Comparison, path: Path, code: str = "en") -> None:
    """Write the page to `path`, and what stands on it as Parquet into a folder beside it. Raises `OSError`."""
    found = shown(comparison)
    folder = data_folder(path)
    files = write_tables(tables(found), folder)
    text = page(comparison, code, found=found, folder=folder.name, files=files)
    path.write_text(text, encoding="utf-8")


def write_again(comparison: Comparison, path: Path, code: str = "en") -> None:
    """The page at `path`, and of a comparison the Markdown beside it. Raises `OSError`."""
    write_page(comparison, path, code)
    if comparison.others:
        path.with_suffix(".md").write_text(markdown(comparison, plain(code)), encoding="utf-8")


def data_folder(page_path: Path) -> Path:
    """`report_data` of `report.html`."""
    return page_path.with_name(f"{page_path.stem}_data")
