"""The page: it stands alone, escapes what it did not write, and shows what it should."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from builders import job
from runs import GOLDEN, run_of

from sim.experiment.comparison import compare_runs, no_ties
from sim.metrics.registry import summary
from sim.report.html import breakable, page
from sim.report.pictures import held_devices, means, queue_length
from sim.report.text import comparison_lines, run_lines

EVIL = '<script>alert("x")</script>&'


def compared(jobs=GOLDEN, specs=("fifo", "best-effort-fifo"), **rules):
    return compare_runs([run_of(jobs, "1x8", spec, **rules) for spec in specs], specs[0], no_ties("a test"))


class Tags(HTMLParser):
    """Collects tags and what they refer to; void elements need no end."""

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in {"meta", "br", "wbr", "path", "use", "rect", "line"}:
            self.open.append(tag)
        self.links += [value for name, value in attributes if name in {"src", "href", "xlink:href", "data", "action"}]

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        elif tag in self.open:
            raise AssertionError(f"</{tag}> closes <{self.open[-1]}>")


@pytest.fixture(scope="module")
def whole_page():
    return page(compared())


def test_the_page_is_well_formed_and_asks_for_nothing(whole_page):
    tags = Tags()
    tags.feed(whole_page)
    assert tags.open == []
    assert [link for link in tags.links if not link.startswith("#")] == []
    outside = re.findall(r"https?://[^\s\"'<]+", whole_page)
    assert {url for url in outside if "www.w3.org" not in url} == set()  # names of XML namespaces, never fetched
    assert "@import" not in whole_page
    assert "<script" not in whole_page


def test_the_pictures_are_there_and_take_the_colour_of_the_text(whole_page):
    pictures = re.findall(r"<svg.*?</svg>", whole_page, re.DOTALL)
    assert len(pictures) == 4
    for picture in pictures:
        assert ET.fromstring(picture) is not None  # because: drawn two lines above
        assert "currentColor" in picture
        assert "#010203" not in picture


def test_the_page_says_what_it_must(whole_page):
    for text in (
        "Mean wait: ",
        "the first job that does not fit blocks all behind it",
        "skips jobs that do not fit, without reservation",
        "jobs of the same millisecond arrive in the order of their ids",
        "one pass after all events of the same millisecond",
        "keeps its progress",
        "larger than the fleet",
        "prefers-color-scheme: dark",
        'name="viewport"',
    ):
        assert text in whole_page, text


def test_names_are_escaped_everywhere():
    jobs = [
        job(EVIL, 0, 10_000, 6, user=EVIL, queue=EVIL),
        job("b", 1000, 10_000, 8, user=EVIL + "2", queue="q"),
        job("c", 2000, 20_000, 2, user="u", queue="q"),
    ]
    found = page(compared(jobs))
    assert "<script" not in found
    assert "&lt;script&gt;" in found
    run = run_of(jobs, "1x8", "fifo")
    assert EVIL in "".join(run_lines(run, summary(run)))  # because: a terminal is no browser


def test_a_long_name_may_break():
    assert breakable("a:b=c,<d>") == "a:<wbr>b=<wbr>c,<wbr>&lt;d&gt;"


def test_an_oracle_is_named():
    assert "PEEKED AT: an oracle, which cannot be deployed" in page(compared(specs=("fifo", "sjf-oracle")))


def test_one_run_alone_has_a_page():
    run = run_of(GOLDEN, "1x8", "fifo")
    assert "One run: fifo." in page(compare_runs([run], "fifo", no_ties("a single run")))


def test_a_run_without_any_start_has_a_page():
    assert "<svg" in page(compared([job("big", 0, 1, 99)]))


def test_a_fill_has_its_own_picture_and_headline():
    found = compared([job("a", 0, 1, 6), job("b", 1, 1, 4)], fill=True)
    assert "How far the fleet fills" in page(found)
    assert "Allocated share: all the same, 75.0%." in page(found)
    assert "jobs never started" in "\n".join(comparison_lines(found))


def test_the_same_comparison_is_the_same_page(whole_page):
    assert page(compared()) == whole_page


def test_the_curves_by_hand():
    run = run_of(GOLDEN, "1x8", "fifo")
    at, held = held_devices(run)
    # ends come before starts of the same instant; each entry is one change
    assert list(zip(at.tolist(), held.tolist(), strict=True)) == [
        (0, 8),
        (10_000, 0),
        (10_000, 4),
        (10_000, 5),
        (14_000, 4),
        (30_000, 0),
        (30_000, 8),
        (35_000, 0),
    ]
    at, waiting = queue_length(run)
    assert waiting.max() == 2
    assert waiting[-1] == 0


def test_means_of_steps_are_exact():
    at = np.array([0, 10, 30])
    values = np.array([4.0, 1.0, 0.0])
    assert means(at, values, np.array([0.0, 5.0, 15.0, 30.0])).tolist() == [4.0, 2.5, 1.0]


def test_the_table_for_a_terminal():
    lines = comparison_lines(compared())
    assert lines[0].split() == ["all", "jobs", "(5)", "fifo", "best-effort-fifo"]
    assert lines[1].startswith("wait, mean")
    assert any(line.startswith("size 9-63 (1)") for line in lines)
