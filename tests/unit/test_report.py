"""The page: it stands alone, escapes what it did not write, shows what it should, and says it in two languages."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builders import job
from paired_days import days
from reports import full, renamed, side_by_side
from runs import GOLDEN, run_of

from sim.cli import main
from sim.experiment.comparison import compare_runs, no_ties
from sim.experiment.comparison_file import read_comparison
from sim.metrics.registry import summary
from sim.report.data import tables, write_tables
from sim.report.files import data_folder, write_page
from sim.report.html import page, picture_file, picture_names
from sim.report.markdown import markdown
from sim.report.shown import shown
from sim.report.text import comparison_lines, run_lines
from sim.report.voice import markup, plain
from sim.results import RunDirectoryError

EVIL = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</style></svg></title><b>&amp;&",
    "{{ 7*7 }}{% raw %}{name}",
    "url(https://example.org/x)\\",
)
VOID = {"meta", "br", "wbr", "path", "use", "rect", "line", "circle"}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "report.md"


class Tags(HTMLParser):
    """The tags with their attributes, and the text; void elements need no end."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links, self.texts, self.attributes = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.tags.append((tag, tuple(sorted(name for name, _ in attributes))))
        self.attributes += attributes
        self.links += [value for name, value in attributes if name in {"src", "href", "xlink:href", "data", "action"}]

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()
        elif tag in self.open:
            raise AssertionError(f"</{tag}> closes <{self.open[-1]}>")

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append((tuple(self.open), data))


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


@pytest.fixture(scope="module")
def full_one(tmp_path_factory):
    return full(tmp_path_factory.mktemp("report") / "out")


@pytest.fixture(scope="module")
def whole_page(full_one):
    return page(full_one)


def test_the_page_is_well_formed_and_asks_for_nothing(whole_page):
    tags = parsed(whole_page)
    assert [link for link in tags.links if not link.startswith("#")] == []
    anchors = {value for name, value in tags.attributes if name == "id"}
    assert {link.removeprefix("#") for link in tags.links} <= anchors
    assert len([value for name, value in tags.attributes if name == "id"]) == len(anchors), "ids are unique"
    assert re.findall(r"https?://[^\s\"'<]+", whole_page) == []
    assert "@import" not in whole_page
    assert "<script" not in whole_page


def test_headings_descend_one_by_one_and_tables_have_scopes(whole_page):
    levels = [int(tag[1]) for tag, _ in parsed(whole_page).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(" scope=" in each for each in re.findall("<th(?: [^>]*)?>", whole_page))
    assert whole_page.count("<table") == whole_page.count("<caption")


def test_every_picture_is_described_drawn_and_has_its_table(full_one, whole_page):
    assert list(picture_names(full_one)) == [
        *("effects", "by_queue", "by_user", "by_size", "movers"),
        *("waits", "causes", "allocated", "queued", "heat", "fragmented"),
    ]
    pictures = re.findall(r'<svg class="plot".*?</svg>(?=\s*(?:<p class="panel"|</figure>))', whole_page, re.DOTALL)
    assert len(pictures) == 6 + 2 + 4 * 3  # one for all; one for each policy but the baseline; one for each policy
    for picture in pictures:
        drawn = ET.fromstring(picture)  # because: drawn two lines above
        assert len(drawn.find("title").text) > 20
        assert len(drawn.findall(".//*[@d]")) + len(drawn.findall(".//rect")) + len(drawn.findall(".//circle")) > 1
    kept = set(tables(shown(full_one)))
    assert {"effects", "movers", "gantt", "waits", "causes", "over_time", "heat", "metrics", "bounds"} <= kept


def test_the_page_says_what_it_must(whole_page):
    text = "".join(data for _, data in parsed(whole_page.replace("</t", " </t")).texts)
    for said in (
        "the first job that does not fit blocks all behind it",
        "skips jobs that do not fit, without reservation",
        "jobs of the same millisecond arrive in the order of their ids",
        "one pass after all events of the same millisecond",
        "PEEKED AT: an oracle, which cannot be deployed",
        "peeked at true run times: a bound, not something that can be deployed",
        "simulator only: it reads true run times",
        "larger than the fleet",
        "The best oracle here is",
        "There is none for waits or tails",
        "95 % intervals over 2,000 resamples of blocks",
        "accelerator speeds: off.",
        "a device about which nothing is assumed",
        "sha256 " + "0" * 64,
        "must be >= 0, got -1",
        "wait.p95{user=bob}: no worse than +2 h",
    ):
        assert said in re.sub(r"\s+", " ", text), said
    assert "best-effort-fifo fails 1 of 3 gates" in whole_page
    for rule in ("prefers-color-scheme: dark", 'name="viewport"', "@media print", 'lang="en"'):
        assert rule in whole_page


@pytest.mark.parametrize("evil", EVIL)
def test_names_are_escaped_everywhere(full_one, evil):
    """Whatever the names are, the elements and attributes of the page are the same."""
    plain_one, evil_one = (page(renamed(full_one, name)) for name in ("plain", evil))
    wanted, found = (
        [each for each in parsed(text).tags if each[0] not in ("wbr", "title")] for text in (plain_one, evil_one)
    )
    assert found == wanted
    assert unescape(evil_one.replace("<wbr>", "")).count(evil) > 100
    values = " ".join(
        value or "" for name, value in parsed(evil_one).attributes if name in ("style", "class", "id", "d")
    )
    assert "script" not in values
    assert "example.org" not in values


def test_names_that_turn_the_writing_round_or_never_end(full_one):
    turned = page(renamed(full_one, "a\u202eb\u200e\u2066c\x07"))
    for letter in "\u202e\u200e\u2066\x07":
        assert letter not in turned
    assert "a[U+202E]b[U+200E][U+2066]c[U+0007]" in turned
    assert len(page(renamed(full_one, "שלום" * 50))) < 3_000_000
    long = parsed(page(renamed(full_one, "x" * 300)))
    assert max(len(data) for inside, data in long.texts if inside[-1:] == ("text",)) < 110, "pictures shorten them"


def test_a_terminal_shows_names_as_they_are():
    evil = EVIL[0] + "&"
    run = run_of(
        [job(evil, 0, 10_000, 6, user=evil, queue=evil), job("b", 1000, 10_000, 8, queue="q")], "1x8", "fifo"
    )
    assert evil in "".join(run_lines(run, summary(run)))  # because: a terminal is no browser


def test_a_long_name_may_break():
    voice = markup()
    assert voice.breakable(voice.whole("a:b=c,<d>&'")) == "a:<wbr>b=<wbr>c,<wbr>&lt;d&gt;&amp;&#39;"


def test_one_run_alone_has_a_page():
    run = run_of(GOLDEN, "1x8", "fifo")
    alone = page(compare_runs([run], "fifo", no_ties("a single run")))
    assert "One run: fifo." in alone
    assert 'id="waits"' in alone
    assert 'id="who"' not in alone


def test_a_run_without_any_start_has_a_page():
    assert "One run" not in page(side_by_side([job("big", 0, 1, 99)]))


def test_a_fill_has_its_own_picture_and_headline():
    found = side_by_side([job("a", 0, 1, 6), job("b", 1, 1, 4)], fill=True)
    assert "How far the fleet fills" in page(found)
    assert "Allocated share: all the same, 75.0%." in page(found)
    assert "jobs never started" in "\n".join(comparison_lines(found))
    assert tables(shown(found))["fill"].num_rows == 4


def test_a_policy_that_broke_off_is_said_at_the_top(full_one):
    runs = dict(full_one.runs)
    broken = runs["best-effort-fifo"]
    runs["best-effort-fifo"] = replace(broken, manifest={**broken.manifest, "complete": False, "message": "it lied"})
    text = page(replace(full_one, runs=runs, paired=None, gates=()))
    assert "broke the contract and stopped early: no comparison is possible." in text
    assert "it lied" in text


def test_the_same_comparison_is_the_same_page_live_and_read_back(full_one, whole_page, tmp_path):
    assert page(full_one) == whole_page
    full(tmp_path / "again")
    assert page(read_comparison(tmp_path / "again")) == whole_page


# -- Chinese -------------------------------------------------------------------------------------------------------

NAMES_IN_CHINESE = {
    *(
        "SHA",
        "sha256",
        "PrioritySort",
        "Holm",
        "Parquet",
        "cohort",
        "extender",
        "kube",
        "scheduler",
        "Pod",
        "best",
        "fit",
    ),
    *("Rehearse", "cycle", "replication", "trace", "compare", "ties", "rule", "job_id", "oracle", "seed"),
}
"""Words of Latin letters that an engineer leaves as they are."""


def latin_words(text: str, comparison) -> set[str]:
    """What is left of the words once names, code and what is marked as English are taken out."""
    for tag in ("bdi", "code", "style"):
        text = re.sub(rf"<{tag}\b[^>]*>.*?</{tag}>", " ", text, flags=re.DOTALL)
    text = re.sub(r'<span lang="en">.*?</span>', " ", text, flags=re.DOTALL)
    text = re.sub(r"`[^`]*`", " ", text)
    texts = [data for _, data in parsed(text).texts]
    texts += [value for name, value in parsed(text).attributes if name in ("aria-label", "title", "alt") and value]
    said = " ".join(texts)
    run = comparison.runs[comparison.baseline]
    names = {*comparison.names, *run.jobs.text("job_id").to_pylist(), *run.jobs.text("user").to_pylist()}
    names |= {*run.jobs.text("queue").to_pylist(), "generic", "memory", "canonical", "1x8", "gpus", "best-fit"} - {
        None
    }
    names |= {*run.manifest["versions"]}
    for name in sorted(filter(None, names), key=len, reverse=True):
        said = said.replace(name, " ")
    return {word for word in re.findall(r"[A-Za-z_]{2,}\d*", said) if word not in NAMES_IN_CHINESE}


def test_no_english_is_left_on_the_chinese_page(full_one):
    text = page(full_one, "zh")
    assert '<html lang="zh-CN">' in text
    assert latin_words(text, full_one) == set()
    spans = re.findall(r'<span lang="en">(.*?)</span>', text)
    allowed = ("must be >= 0", "a device about which nothing is assumed", "as fast as")
    assert [each for each in spans if not unescape(each).startswith(allowed)] == [], "add it to [told]"
    for word in ("排队等待", "碎片", "抢占", "配额", "区间", "先知策略", "不通过"):
        assert word in text


def test_no_english_is_left_in_the_chinese_markdown(full_one):
    text = markdown(full_one, plain("zh"))
    text = re.sub(r"`[^`]*`|\| ❌ .*|\| ✅ .*|\| ❔ .*", " ", text)
    assert latin_words(text.replace("\\", ""), full_one) - {"wait", "mean", "p95"} == set()
    assert text.startswith("## ❌ 准入门槛：不通过")


def test_warnings_of_the_evidence_are_said_in_chinese(tmp_path):
    found = full(tmp_path / "few", list(days(5)), gates=(), replications=2, blocks="replication")
    found = replace(found, paired=replace(found.paired, evidence=replace(found.paired.evidence, traces=["a", "b"])))
    assert len(found.paired.evidence.warnings) >= 2
    text = page(found, "zh")
    assert re.findall('<span lang="en">(?!as fast|a device|must be)(.*?)</span>', text) == []
    assert latin_words(text, found) == set()
    assert "每种组合重放 2 次" in text


def test_english_pages_do_not_change_with_chinese_ones(full_one, whole_page):
    chinese = page(full_one, "zh")
    wanted, found = (re.findall(r' d="[^"]*"', text) for text in (whole_page, chinese))
    assert found == wanted, "the same curves"


# -- files ---------------------------------------------------------------------------------------------------------


def test_what_is_shown_stands_in_parquet(full_one, tmp_path):
    write_page(full_one, tmp_path / "a.html")
    folder = data_folder(tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    assert folder.name == "a_data"
    documented = DOCS.read_text(encoding="utf-8")
    for path in sorted(folder.iterdir()):
        found = pq.read_table(path)
        assert f"<code>{path.name}</code>" in text
        section = documented.partition(f"\n| `{path.name}` |")[2].partition("\n|")[0]
        missing = [name for name in found.column_names if f"`{name}`" not in section]
        assert missing == [], f"{path.name}: not in docs/reference/report.md"
    effects = pq.read_table(folder / "effects.parquet").to_pylist()
    wait = next(each for each in effects if (each["quantity"], each["kind"]) == ("wait.mean", "all"))
    own = full_one.paired.policies["best-effort-fifo"].metrics[0]
    assert (wait["value"], wait["difference_low"]) == (own.value, own.difference.low)


def test_columns_have_the_same_types_in_any_comparison(full_one):
    wanted = {name: table.schema for name, table in tables(shown(full_one)).items()}
    for other in (side_by_side(), side_by_side(specs=("fifo",)), side_by_side([job("big", 0, 1, 99)])):
        for name, table in tables(shown(other)).items():
            assert table.schema == wanted[name], name


def test_a_folder_of_somebody_else_is_left_alone(full_one, tmp_path):
    folder = tmp_path / "x_data"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match="x_data: exists and holds something else"):
        write_page(full_one, tmp_path / "x.html")
    assert (folder / "thesis.txt").read_text() == "mine"
    assert not (tmp_path / "x.html").exists()
    (folder / "thesis.txt").unlink()
    write_tables({}, folder)


def rehearse(*args: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    return int(stop.value.code or 0)


def test_the_command_works_from_the_directory_alone(tmp_path, capsys):
    full(tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "moved")
    out = tmp_path / "page.html"
    assert rehearse("report", str(tmp_path / "moved"), "--lang", "zh", "--out", str(out)) == 0
    assert capsys.readouterr().out == f"report: {out}\n"
    assert "准入门槛" in out.read_text(encoding="utf-8")
    assert "准入门槛" in out.with_suffix(".md").read_text(encoding="utf-8")
    picture = tmp_path / "waits.svg"
    assert rehearse("report", str(tmp_path / "moved"), "--picture", "waits", "--out", str(picture)) == 0
    assert ET.parse(picture).getroot().get("viewBox").startswith("0 0 760 ")
    assert rehearse("report", str(tmp_path / "moved"), "--picture", "wait") == 2
    assert "did you mean 'waits'?" in capsys.readouterr().err
    assert rehearse("report", str(tmp_path / "moved" / "fifo"), "--out", str(tmp_path / "one.html")) == 0
    assert not (tmp_path / "one.md").exists()


def test_a_picture_alone_is_xml_and_has_no_hole(full_one):
    for name in picture_names(full_one):
        text = picture_file(renamed(full_one, EVIL[1]), name, "zh")
        found = ET.fromstring(text)
        names = set(re.findall(r"url\(#([\w-]+)\)", text))
        assert names <= {each.get("id") for each in found.iter() if each.get("id")}
    assert picture_file(full_one, "nothing") is None
