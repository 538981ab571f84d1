"""The pages on traces are true: the example runs, and the table of columns is the schema."""

from __future__ import annotations

import re
from pathlib import Path

from traces.conformance import check_trace_format
from traces.schema import COLUMNS, REQUIRED_COLUMNS, SCHEMA_VERSION

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_example_of_a_format_keeps_every_promise(tmp_path):
    page = (DOCS / "how-to" / "add-a-trace-format.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    good, broken = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    namespace: dict[str, object] = {"__name__": "minutes"}
    exec(compile(code, "minutes.py", "exec"), namespace)
    found = {}
    for name, text in (("good", good), ("broken", broken)):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        assert check_trace_format(namespace["FORMAT"], path) == []
        found[name] = list(namespace["FORMAT"].read(path))
    assert [(job.submit_ms, job.run_ms, job.queue) for job in found["good"]] == [
        (0, 5_400_000, "risk"),
        (150_000, 0, "risk"),
    ]
    assert [(row.line, row.problems[0].field) for row in found["broken"][1:]] == [
        (3, "id"),
        (4, "start_min"),
        (5, "len_min"),
        (6, "cards"),
        (7, "row"),
        (8, "id"),
    ]


def test_the_page_on_the_canonical_trace_lists_the_columns():
    page = (DOCS / "reference" / "canonical-trace.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*?) \|$", page, re.MULTILINE)
    assert tuple(name for name, _ in rows) == COLUMNS
    assert tuple(name for name, absent in rows if absent == "required") == REQUIRED_COLUMNS
    assert f"version {SCHEMA_VERSION}" in page.splitlines()[0]
