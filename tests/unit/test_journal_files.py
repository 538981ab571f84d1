"""The files of a journal: whatever becomes of the process, the disk or the file, what is complete is read."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from journals import opened, read, write_some
from kube_objects import added, deleted, modified, node_object, pod_object

from policies.serving import journal as journal_module
from policies.serving.cluster import Cluster
from policies.serving.journal import Limits
from sim.fleet.kinds import device_kinds
from sim.replay.journal_reading import open_journal
from sim.run import InputError

# -- files -------------------------------------------------------------------------------------------------------------


def test_each_file_stands_alone(tmp_path):
    cluster = Cluster(device_kinds())
    journal = opened(tmp_path, cluster=cluster, limits=Limits(file_ms=100))
    for at_ms, event in (
        (1000, added(node_object("n0"))),
        (1001, added(pod_object("p0", 2, node="n0"))),
        (1002, added(pod_object("gone"))),
        (1003, deleted(pod_object("gone"))),
        (1200, modified(pod_object("p0", 2, node="n0", priority=7))),
        (1201, added(pod_object("p1"))),
    ):
        item = event["object"]
        if item["kind"] == "Node":
            cluster.set_node(item)
        elif event["type"] == "DELETED":
            cluster.delete_pod(item["metadata"]["uid"])
        else:
            cluster.set_pod(item)
        cluster.settle()
        journal.event(at_ms, event)
    journal.close()
    first, second = sorted(tmp_path.iterdir())
    assert len(open_journal(tmp_path).processes) == 1
    entries, problems = read(second)
    assert not problems
    snapshot = [entry for entry in entries if entry.is_snapshot]
    assert [entry.event["object"]["metadata"]["name"] for entry in snapshot] == ["n0", "p0"]
    assert snapshot[1].event["object"]["spec"]["priority"] == 7
    (end,) = (entry.snapshot for entry in entries if entry.snapshot)
    assert end == {
        "objects": 2,
        "holds": [{"uid": "uid-p0", "node": "n0", "devices": 3, "start_ms": 0, "assumed": False}],
        "leaving": [],
        "parked": {},
    }
    assert entries[-1].event["object"]["metadata"]["name"] == "p1"
    assert len(read(first)[0]) == 1 + 5


def test_closed_files_are_compressed_and_the_oldest_removed(tmp_path):
    journal = opened(tmp_path, limits=Limits(file_ms=10, keep_files=3, compress=True))
    for number in range(8):
        journal.event(1000 + 20 * number, added(pod_object(f"p{number}")))
        time.sleep(0.02)  # because: files are tidied up by a thread of their own
    journal.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) <= 4
    assert names[-1].endswith(".jsonl")
    assert any(name.endswith(".gz") for name in names)
    entries, problems = read(tmp_path)
    assert not problems
    assert {entry.event["object"]["metadata"]["name"] for entry in entries if entry.is_snapshot} >= {"p0", "p5"}


def test_two_processes_in_one_folder_are_kept_apart(tmp_path):
    first, second = opened(tmp_path), opened(tmp_path, limits=Limits(file_ms=1, keep_files=1))
    write_some(first)
    write_some(second)
    write_some(second)
    second.close()
    assert first.path.exists(), "a file that a process writes to is not removed by another"
    assert len(open_journal(tmp_path).processes) == 2
    first.close()


@pytest.mark.parametrize("sync", ["off", "second", "line"])
def test_lines_are_written_under_every_sync(tmp_path, sync):
    journal = opened(tmp_path, limits=Limits(sync=sync))
    write_some(journal)
    journal.close()
    assert len(read(tmp_path)[0]) == 1 + 7
    assert journal.lost == 0


def test_without_the_fast_library_the_lines_are_the_same(tmp_path, monkeypatch):
    lines = []
    for name in ("fast", "plain"):
        if name == "plain":
            monkeypatch.setitem(sys.modules, "orjson", None)
            monkeypatch.setattr(journal_module, "dumps", journal_module._dumps())
        journal = opened(tmp_path / name)
        write_some(journal)
        journal.event(2000, added(pod_object("p\u00e9\ud800", labels={"n": "\u96ea"})))
        journal.close()
        assert journal.lost == 0
        lines.append([json.loads(line) for line in journal.path.read_text().splitlines()[1:]])
    assert lines[0] == lines[1]


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        opened(tmp_path / "file")


# -- trouble -----------------------------------------------------------------------------------------------------------

FULL_DISK = """
import logging, resource, signal, sys, time
sys.path.insert(0, sys.argv[2])
from kube_objects import added, pod_object
from policies.serving.journal import Journal, Limits

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
logging.basicConfig(format="%(message)s")
journal = Journal.open(sys.argv[1], driver="extender", policy="fifo")

def settle():
    time.sleep(0.05)

for number in range(4):
    journal.event(1000 + number, added(pod_object(f"p{number}")))
settle()
size = journal.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
for number in range(4, 8):
    journal.event(1000 + number, added(pod_object(f"p{number}")))
    settle()
assert journal.lost == 4, journal.lost
journal.event(1500, added(pod_object("p8")))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.event(9000, added(pod_object("p9")))
journal.event(9001, added(pod_object("p10")))
journal.close()
print(journal.lost, journal.gaps)
"""


def test_a_full_disk_is_counted_and_survived(tmp_path):
    """A limit on the size of files makes the same short write, and then the error, as a full disk."""
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), tests], capture_output=True, text=True, check=True
    )
    lost, gaps = map(int, done.stdout.split())
    assert (lost, gaps) == (6, 1)
    assert "cannot be written" in done.stderr
    assert "6 lines were lost" in done.stderr
    first, second = sorted(tmp_path.iterdir())
    entries, problems = read(first)
    assert [bool(entry) for entry in entries] == [True] * 5 + [False]
    assert "torn" in problems[0]
    header = json.loads(second.read_text().splitlines()[0])
    assert (header["after_gap"], header["lost"]) == (True, 6)
    names = [entry.event["object"]["metadata"]["name"] for entry in read(second)[0] if entry.event]
    assert names == [f"p{number}" for number in range(11)], "the new file begins with everything that is known"


def test_a_disk_that_is_too_slow_is_counted_and_survived(tmp_path, caplog):
    journal = opened(tmp_path, limits=Limits(queue_mib=0))
    journal.event(1000, added(pod_object("p0")))
    assert (journal.lost, journal.gaps) == (1, 1)
    assert "too slow" in caplog.text
    journal.event(1001, added(pod_object("p1")))
    journal.close()
    assert journal.lost == 2


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from kube_objects import added, pod_object
from policies.serving.journal import Journal, Limits

journal = Journal.open(sys.argv[1], driver="extender", policy="fifo", limits=Limits(file_ms=700))
said = False
for number in range(10**9):
    if not said and journal.path is not None and journal.path.stat().st_size > 20_000:
        said = True
        print("ready", flush=True)
    journal.event(1000 + number, added(pod_object(f"p{number % 50}", metadata={"uid": str(number % 50)})))
    journal.decision(1000 + number, {"verb": "bind", "number": number})
"""


def test_a_process_that_is_killed_leaves_everything_that_was_complete(tmp_path):
    rng = random.Random(5)
    tests = str(Path(__file__).parents[1])
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / str(number)), tests], stdout=subprocess.PIPE, text=True
        )
        for number in range(4)
    ]
    for child in children:
        with child:
            child.stdout.readline()
            time.sleep(rng.uniform(0.005, 0.06))
            child.send_signal(signal.SIGKILL)
    for number in range(4):
        entries, problems = read(tmp_path / str(number))
        found = [entry.decision["number"] for entry in entries if entry and entry.decision]
        assert found == list(range(len(found))), "no decision is missing, twice or out of order"
        assert len(found) > 10
        assert len(problems) <= 1
        again = opened(tmp_path / str(number))
        write_some(again)
        again.close()
        assert read(again.path)[1] == [], "a restart begins a file of its own"
        assert len(read(tmp_path / str(number))[1]) == len(problems)


def test_a_file_cut_anywhere_is_read_up_to_there(tmp_path):
    journal = opened(tmp_path / "j")
    write_some(journal, 1)
    journal.close()
    whole = journal.path.read_bytes()
    everything, _ = read(journal.path)
    cut = tmp_path / "cut.jsonl"
    header = whole.index(b"\n")
    for size in range(len(whole) + 1):
        cut.write_bytes(whole[:size])
        if size < header:
            with pytest.raises(InputError, match="no journal that can be read"):
                read(cut)
            continue
        entries, problems = read(cut)
        complete = [entry for entry in entries if entry is not None]
        # a line without its end of line is whole if it is whole JSON
        ends = whole[: size + 1].count(b"\n") - 1
        assert complete == everything[:ends], size
        assert len(problems) == (len(entries) - ends), size


def test_damage_in_the_middle_is_reported_with_its_place(tmp_path):
    journal = opened(tmp_path)
    write_some(journal)
    journal.close()
    lines = journal.path.read_bytes().splitlines(keepends=True)
    lines[3] = b"\x00" * 40 + b"\n"
    lines[5] = b'{"at_ms": "soon", "event": {}}\n'
    journal.path.write_bytes(b"".join(lines))
    entries, problems = read(tmp_path)
    assert [number for number, entry in enumerate(entries, start=2) if entry is None] == [4, 6]
    assert [problem.partition(": ")[0] for problem in problems] == [
        f"{journal.path.name}:4",
        f"{journal.path.name}:6",
    ]


def test_what_is_no_journal_is_refused(tmp_path):
    with pytest.raises(InputError, match="no journal"):
        open_journal(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        open_journal(tmp_path / "absent")
    path = tmp_path / "journal-1.jsonl"
    for text, reason in (
        ('{"nodes": []}\n', "does not begin a journal"),
        ('{"journal": 1}\n', "the header has no at_ms"),
        ('{"journal": 2}\n', "version 2"),
        ("", "no header"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=reason):
            open_journal(tmp_path)
