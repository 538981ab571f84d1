"""Over the pipe as in process: the same schedule to the bit, messages as the schema says, books that agree with the view."""

from __future__ import annotations

import functools
import json
import operator
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import policy, replay
from hypothesis import assume, event, given
from hypothesis import strategies as st
from process_stub import PROCESSES, nothing_is_left_behind
from properties.test_engine_properties import fleets, same, speeds, tried, workloads
from pydantic import TypeAdapter

from benchmarks.replay import flat_servers, synthetic
from policies.api import Policy
from policies.catalogue import Parts, make_policy
from policies.conformance import check_policy
from policies.serving import process
from policies.serving.process import ProcessPolicy
from policies.serving.process_books import ARRIVAL, Books
from policies.serving.process_messages import FROM_DRIVER, ActionsMessage, PolicyHello, encode, schema
from policies.topology import Topology
from sim.engine import Engine
from sim.rules import Rules
from sim.streams import Streams
from sim.world.speed import SpeedModel

__all__ = ["nothing_is_left_behind"]

pytestmark = PROCESSES

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
IN_PROCESS = "best-effort-fifo:place=best-fit"

COMMANDS = {
    "python": [sys.executable, "-S", "-E", str(EXAMPLES / "best_fit.py")],
    "node": ["node", str(EXAMPLES / "best-fit.mjs")],
}
LANGUAGES = [
    "python",
    pytest.param("node", marks=pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")),
]

_FROM_DRIVER = TypeAdapter(functools.reduce(operator.or_, FROM_DRIVER))


@pytest.fixture(autouse=True)
def every_message_is_as_the_schema_says(monkeypatch):
    def checked(message) -> bytes:
        line = encode(message)
        assert json.loads(_FROM_DRIVER.validate_json(line).model_dump_json()) == message
        return line

    monkeypatch.setattr(process, "encode", checked)


def anew(speed: SpeedModel | None, topology: Topology) -> SpeedModel | None:
    """The same model as before its changes."""
    if speed is None:
        return None
    return SpeedModel(topology, card_ppm=speed._card_ppm, locality_ppm=speed._locality_ppm, changes=speed.changes)


@pytest.mark.parametrize("language", LANGUAGES)
def test_five_hundred_jobs(language):
    records, topology = synthetic(500, 128), flat_servers(16)
    outside = ProcessPolicy(COMMANDS[language])
    found = replay(records, topology, outside, validate=False)
    outside.close()
    expected = replay(records, topology, IN_PROCESS, validate=False)
    assert (np.diff(expected.timeline.at_ms) == 0).any()
    assert same(found, expected)
    assert (found.passes, found.end_ms) == (expected.passes, expected.end_ms)


@pytest.mark.parametrize(("language", "times"), [("python", 40), pytest.param("node", 10, marks=LANGUAGES[1].marks)])
def test_random_traces(language, times):
    """Gangs, shares, islands, CPU, memory and pods, kinds of servers, overruns, changes of speed, passes on a clock."""
    outside = ProcessPolicy(COMMANDS[language])
    rules = st.sampled_from(
        (
            Rules(),
            Rules(split="free", ties="file"),
            Rules(oracle=True, overrun="requeue", restart_ms=3, cycle_ms=20),
            Rules(oracle=True, overrun="kill"),
            Rules(fill=True),
            Rules(thinking="fixed", thinking_ms=7),
        )
    )

    @tried(times)
    @given(st.data(), fleets(), workloads(), rules)
    def check(data, topology, records, rules):
        speed = data.draw(speeds(topology))
        event(f"fill: {rules.fill}, gangs of {max(record.gpu_count for record in records)}")
        one, other = (
            Engine(records, topology, what, rules=rules, speed=anew(speed, topology)).run()
            for what in (outside, policy(IN_PROCESS))
        )
        assert same(one, other)

    check()
    outside.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_keeps_what_every_policy_must_keep(language):
    assert check_policy(lambda: ProcessPolicy(COMMANDS[language]), cases=2) == []


def test_the_kit_finds_what_is_wrong_on_the_other_side(tmp_path):
    """The kit looks through the pipe: a program that starts whatever waits on server 0."""
    (tmp_path / "greedy.py").write_text(
        "import json, sys\nfor line in sys.stdin:\n    m = json.loads(line)\n    if m['type'] == 'hello':\n"
        "        said = {'order': 'a', 'blocking': 'b', 'placement': 'c'}\n"
        "        print(json.dumps({'type': 'hello', 'protocol': 1, 'name': 'g', 'semantics': said}), flush=True)\n"
        "    if m['type'] == 'pass':\n        jobs = [c['job']['job_id'] for c in m['changes'] if 'job' in c]\n"
        "        start = [{'action': 'start', 'job_id': j, 'placement': [{'node': 0}]} for j in jobs]\n"
        "        print(json.dumps({'type': 'actions', 'seq': m['seq'], 'actions': start}), flush=True)\n"
    )
    command = [sys.executable, "-S", "-E", str(tmp_path / "greedy.py")]
    found = {finding.check for finding in check_policy(lambda: ProcessPolicy(command), cases=6)}
    assert found
    assert found <= {"legal", "gang", "stalls"}


class Mirrored(Policy):
    """Decides as another policy, and keeps at each pass the books that a process would keep: they agree with the view."""

    name = "mirrored"

    def __init__(self, inner: Policy) -> None:
        self.inner = inner
        self.books: Books | None = None
        self.waiting: dict[str, dict] = {}
        self.running: dict[str, dict] = {}
        self.servers: dict[int, dict] = {}
        self.requests: dict[int, dict] = {}
        self.runs_on_empty_queue = getattr(inner, "runs_on_empty_queue", False)

    def decide(self, view):
        if self.books is None:
            self.books = Books(view)
        self.compare(view)
        for action in self.inner.decide(view):
            yield action
            self.books.note(action)
        self.compare(view)

    def compare(self, view) -> None:
        message = self.books.message(1, attained=True)
        self.learn(json.loads(encode(message)))
        pending = {job.job_id: job for job in view.pending.by(ARRIVAL)}
        assert self.waiting.keys() == pending.keys()
        for job_id, job in pending.items():
            told = self.waiting[job_id]
            assert told | {"request": None} == job._replace(request=None)._asdict()
            request = self.requests[told["request"]]
            assert request["gang"] == [group._asdict() for group in job.request.gang]
            ranges = request["eligible"]
            everywhere = view.nodes.topology.everywhere
            nodes = [n for first, last in ranges or () for n in range(first, last + 1)]
            assert (everywhere if ranges is None else sum(1 << n for n in nodes)) == job.request.eligible
        assert self.running.keys() == {each.job.job_id for each in view.running}
        for each in view.running:
            told = self.running[each.job.job_id]
            placed = [
                (s["node"], sum(1 << d for d in s["devices"]), s["pods"], s["group"]) for s in told["placement"]
            ]
            assert placed == [tuple(share) for share in each.placement]
            times = (told["start_ms"], told["expected_end_ms"], told["overhead_ms"])
            assert times == (each.start_ms, each.expected_end_ms, each.overhead_ms)
            assert message["attained_ms"][each.job.job_id] == view.running.attained_ms(each.job.job_id)
        self.compare_servers(view.nodes)

    def compare_servers(self, nodes) -> None:
        columns = nodes.columns()
        for number, told in self.servers.items():
            row = columns.left_milli[number].tolist()
            assert told["left_milli"] == row[: nodes.topology.nodes[number].devices]
            for key, column in (
                ("cpu_milli", columns.cpu_milli),
                ("memory_mib", columns.memory_mib),
                ("pods", columns.pods),
            ):
                assert (1 << 60 if told[key] is None else told[key]) == column[number]
        assert len(self.servers) == len(nodes)

    def learn(self, message) -> None:
        self.requests.update((request["request"], request) for request in message["requests"])
        self.servers.update((server["node"], server) for server in message["servers"])
        for each in message["changes"]:
            kind, job_id = each["change"], each.get("job", each)["job_id"]
            if kind in ("arrived", "preempted"):
                assert (job_id in self.running) == (kind == "preempted")
                self.running.pop(job_id, None)
                self.waiting[job_id] = each["job"]
            elif kind == "started":
                del self.waiting[job_id]
                self.running[job_id] = each
            else:
                assert kind == "ended"
                assert (self.waiting.pop(job_id, None) is None) != (self.running.pop(job_id, None) is None)


NAMES = st.sampled_from(("fifo", "best-effort-sjf", "easy", "srtf-oracle", "preempt-priority"))
PLACES = st.sampled_from(("best-fit", "spread", "random", "consolidate"))


@tried(80)
@given(st.data(), fleets(), workloads(), NAMES, PLACES)
def test_the_books_agree_with_the_view(data, topology, records, name, place):
    """Under policies that preempt and that reserve, with requeued jobs, fills and changes of speed."""
    rules = data.draw(
        st.sampled_from(
            (
                Rules(oracle=True),
                Rules(oracle=True, overrun="requeue", progress="lose", restart_ms=9),
                Rules(oracle=True, overrun="kill", decide="event"),
                Rules(oracle=True, fill=True),
            )
        )
    )
    assume(not rules.fill or name not in ("srtf-oracle", "preempt-priority"))
    parts = Parts(generator=Streams(0).generator)
    spec = f"{name}:place={place}"
    speed = data.draw(speeds(topology))
    mirrored = Mirrored(make_policy(spec, parts))
    found = Engine(records, topology, mirrored, rules=rules, speed=anew(speed, topology)).run()
    parts = Parts(generator=Streams(0).generator)
    plain = Engine(records, topology, make_policy(spec, parts), rules=rules, speed=anew(speed, topology)).run()
    assert same(found, plain)


# -- the schema --------------------------------------------------------------------------------------------------------


def test_the_published_schema_is_that_of_the_program():
    published = (ROOT / "docs" / "reference" / "process-policy.schema.json").read_text(encoding="utf-8")
    assert published == schema(), (
        "python -m policies.serving.process_messages > docs/reference/process-policy.schema.json"
    )


def test_every_message_that_the_page_shows_is_one():
    page = (ROOT / "docs" / "reference" / "process-policy.md").read_text(encoding="utf-8")
    shown = [line for line in page.splitlines() if line.startswith('{"type"')]
    from_policy = TypeAdapter(PolicyHello | ActionsMessage)
    kinds = set()
    for line in shown:
        try:
            kinds.add(type(_FROM_DRIVER.validate_json(line)).__name__)
        except ValueError:
            kinds.add(type(from_policy.validate_json(line)).__name__)
    assert kinds == {"DriverHello", "ClusterMessage", "PassMessage", "ByeMessage", "PolicyHello", "ActionsMessage"}
