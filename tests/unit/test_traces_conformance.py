"""The kit for authors: every real format passes, and every check has a stub that fails it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.test_traces_formats import BROKEN, GOOD, SAMPLES

from traces.conformance import CHECKS, check_trace_format
from traces.job import FieldProblem, JobRecord
from traces.registry import FORMATS, as_reading
from traces.textfile import numbered_lines
from traces.trace import Rejection
from traces.write import write_trace


@pytest.mark.parametrize("sample", [*GOOD, *BROKEN])
def test_every_format_keeps_every_promise(sample):
    path = SAMPLES / sample
    name = next(n for n, f in FORMATS.items() if f.sniff(path, path.read_bytes()))
    assert check_trace_format(FORMATS[name], path) == []


def test_parquet_keeps_every_promise(tmp_path):
    path = tmp_path / "t.parquet"
    write_trace([JobRecord(job_id=str(n), submit_ms=n, run_ms=1, gpu_count=1) for n in range(100)], path)
    assert check_trace_format(FORMATS["canonical"], path) == []


class Sound:
    """A line is a job id; an empty one is rejected. A plain generator, as a small format of an author would be."""

    name = "sound"
    description = "a line a job"

    def sniff(self, path: Path, head: bytes) -> bool:
        return head[:1].isalpha()

    def read(self, path: Path) -> Iterator[JobRecord | Rejection]:
        seen: set[str] = set()
        for line, text in numbered_lines(path):
            yield self.row(line, text, seen)

    def row(self, line: int, text: str, seen: set[str]) -> JobRecord | Rejection:
        if text.strip() and text not in seen:
            seen.add(text)
            return JobRecord(job_id=text, submit_ms=0, run_ms=0, gpu_count=1)
        return Rejection(line, text or None, (FieldProblem("job_id", "must be unique and not empty"),))


class Shouting(Sound):
    name = "Not a name"


class Undescribed(Sound):
    description = " "


class Blind(Sound):
    def sniff(self, path, head):
        return False


class Greedy(Sound):
    def sniff(self, path, head):
        return True


class AllAtOnce(Sound):
    def read(self, path):
        return list(super().read(path))


class Untyped(Sound):
    def row(self, line, text, seen):
        return text


class NothingAccepted(Sound):
    def row(self, line, text, seen):
        return Rejection(line, None, (FieldProblem("job_id", "no"),))


class Lineless(Sound):
    def row(self, line, text, seen):
        row = super().row(line, text, seen)
        return row._replace(line=0) if isinstance(row, Rejection) else row


class Backwards(Sound):
    def row(self, line, text, seen):
        row = super().row(line, text, seen)
        return row._replace(line=100 - line) if isinstance(row, Rejection) else row


class Silent(Sound):
    def row(self, line, text, seen):
        row = super().row(line, text, seen)
        return row._replace(problems=()) if isinstance(row, Rejection) else row


class Unreasoned(Sound):
    def row(self, line, text, seen):
        row = super().row(line, text, seen)
        return row._replace(problems=(FieldProblem("job_id", ""),)) if isinstance(row, Rejection) else row


class Repeating(Sound):
    def row(self, line, text, seen):
        return super().row(line, text, set())


class Remembering(Sound):
    def __init__(self):
        self.seen = set()

    def row(self, line, text, seen):
        return super().row(line, text, self.seen)


class Sharing(Sound):
    """One cursor for all readings: alone each is right, two at a time tear the file apart."""

    def read(self, path):
        self.rows = super().read(path)
        while True:
            try:
                row = next(self.rows)
            except StopIteration:
                return
            yield row


class Uncompressed(Sound):
    def read(self, path):
        seen: set[str] = set()
        for line, text in enumerate(path.read_bytes().split(b"\n"), start=1):
            yield self.row(line, text.decode("latin-1"), seen)


class Dropping(Sound):
    def read(self, path):
        return (row for row in super().read(path) if isinstance(row, JobRecord))


class Traceback(Sound):
    def read(self, path):
        with path.open(encoding="utf-8") as stream:
            yield from (self.row(line, text.strip(), set()) for line, text in enumerate(stream, start=1))


class Forgiving(Sound):
    def read(self, path):
        try:
            yield from super().read(path)
        except ValueError:
            return


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.txt"
    path.write_text("a\nb\n\na\n\nc\n")
    return path


def test_a_sound_format_passes(sample):
    assert check_trace_format(Sound(), sample) == []


@pytest.mark.parametrize(
    ("stub", "check"),
    [
        (Shouting, "named"),
        (Undescribed, "named"),
        (Blind, "recognised"),
        (Greedy, "recognised"),
        (AllAtOnce, "streaming"),
        (Untyped, "rows have types"),
        (NothingAccepted, "rows have types"),
        (Lineless, "rejections are complete"),
        (Backwards, "rejections are complete"),
        (Silent, "rejections are complete"),
        (Unreasoned, "rejections are complete"),
        (Repeating, "ids are unique"),
        (Remembering, "deterministic"),
        (Sharing, "interleaved"),
        (Uncompressed, "gzip equals plain"),
        (Dropping, "every line counts"),
        (Traceback, "refuses what is no text"),
        (Forgiving, "refuses what is no text"),
    ],
)
def test_every_check_has_a_stub_that_fails_it(stub, check, sample):
    broken = check_trace_format(stub(), sample)
    assert check in {promise.check for promise in broken}
    assert all(promise.reason for promise in broken)


def test_no_check_is_without_a_stub():
    marks = test_every_check_has_a_stub_that_fails_it.pytestmark
    assert {check for _, check in marks[0].args[1]} == set(CHECKS)


def test_an_unreadable_sample_is_a_finding_and_no_exception(tmp_path):
    broken = check_trace_format(Sound(), tmp_path / "absent")
    assert broken
    assert any("No such file" in promise.reason for promise in broken)


def test_a_plain_generator_is_read_like_any_format(sample):
    reading = as_reading(Sound(), sample)
    assert [isinstance(row, JobRecord) for row in reading] == [True, True, False, False, False, True]
    assert (reading.notes, reading.unknown_columns) == ((), ())
