"""What the pages say is so: code runs, commands run, links lead somewhere, policies keep the contract."""

from __future__ import annotations

import gzip
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
from journals import write_small_journal

from policies.catalogue import POLICIES
from policies.conformance import check_policy
from policies.framework.cycle import StrictCycle
from policies.placement.best_fit import BestFit
from sim.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str


def blocks(language: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            if match[1] == language:
                found.append(Block(str(page.relative_to(ROOT)), line, language, match[2]))
    return found


def place(block: Block) -> str:
    return f"{block.page}:{block.line}"


def run(block: Block) -> dict[str, object]:
    namespace: dict[str, object] = {"__name__": "example"}
    exec(compile(block.text, place(block), "exec"), namespace)
    return namespace


@pytest.mark.parametrize("block", blocks("python"), ids=place)
def test_python_runs(block):
    run(block)


def test_the_policies_of_the_pages_keep_the_contract():
    checked = []
    for block in blocks("python"):
        if block.page != "README.md" and "add-a-policy" not in block.page:
            continue
        namespace = run(block)
        for name, kind in list(namespace.items()):
            if getattr(kind, "__module__", "") != "example" or not isinstance(kind, type):
                continue
            if hasattr(kind, "decide"):
                assert check_policy(kind) == [], name
                checked.append(name)
            elif hasattr(kind, "needs_estimates"):
                make = lambda kind=kind: StrictCycle(name="example", order=kind(), placer=BestFit())  # noqa: E731  # because: it binds the class
                assert check_policy(make) == [], name
                checked.append(name)
    assert len(checked) >= 3, checked


# -- commands ------------------------------------------------------------------------------------------------------


def commands() -> list[tuple[str, str]]:
    """Every `$ rehearse ...` of the pages, continued lines joined, comments off."""
    found = []
    for block in blocks("console"):
        text = block.text.replace("\\\n", " ")
        found += [
            (block.page, line.removeprefix("$ ").partition(" #")[0].strip())
            for line in text.splitlines()
            if line.startswith("$ rehearse ")
        ]
    return found


@pytest.fixture
def desk(tmp_path, monkeypatch) -> Path:
    """The files that the pages speak of as the reader's own."""
    rows = [f"j{i},{i * 1000},{3000 + i},{1 + i % 3}" for i in range(20)]
    (tmp_path / "jobs.csv").write_text("job_id,submit_ms,run_ms,gpus\n" + "\n".join(rows) + "\n", encoding="utf-8")
    fleet = next(block.text for block in blocks("yaml") if "rehearse_fleet" in block.text)
    (tmp_path / "cluster.yaml").write_text(fleet, encoding="utf-8")
    log = "".join(f"{i} {i * 10} -1 {60 + i} 1 -1 -1 1 600 -1 1 1 -1 -1 -1 -1 -1 -1\n" for i in range(1, 20))
    with gzip.open(tmp_path / "log.swf.gz", "wt") as file:
        file.write("; MaxProcs: 100\n" + log)
    write_small_journal(tmp_path / "journal")
    monkeypatch.chdir(tmp_path)
    return tmp_path


OWN_FILE = re.compile(r"\.(csv|ya?ml|gz|txt|json|swf|parquet)$")


OF_A_RUN = ("validate", "explain", "export", "report")
"""Commands whose first word is a directory that an earlier command of the page wrote."""


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_run(page, command, desk, capsys):
    words = shlex.split(command)[1:]
    absent = [word for word in words if OWN_FILE.search(word) and not (desk / word).exists()]
    absent += [word for word in words[1:2] if words[0] in OF_A_RUN and not (desk / word).exists()]
    if absent:  # a file that the page has the reader write: the command must exist at least
        groups = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word) and word not in absent]
        words = [*groups, "--help"]
    with pytest.raises(SystemExit) as exited:
        main(words)
    assert not exited.value.code, f"{page}: {command}\n{capsys.readouterr()}"


def test_there_are_commands_to_run():
    assert len(commands()) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor and found.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_policies_that_a_page_names_exist(page):
    """Paths in backticks that begin with a room of the repository, unless the page has the reader write them."""
    text = page.read_text(encoding="utf-8")
    examples = {"policies/ordering/largest.py", "traces/formats/minutes.py", "sim/metrics/multi_server.py"}
    for named in re.findall(r"`((?:policies|sim|traces|tests|docs|benchmarks)/[\w./-]+)`", text):
        if named in examples or "minutes" in named:
            continue
        assert (ROOT / named).exists(), f"{page.name} names {named}"
    for listed in re.findall(r"--polic(?:y|ies) ([\w,:=-]+)", text):
        for spec in re.split(r",(?![\w-]+=)", listed):
            name = spec.partition(":")[0]
            assert name in POLICIES or name in ("largest-first", "P", "a", "b"), (
                f"{page.name} names the policy {name}"
            )
