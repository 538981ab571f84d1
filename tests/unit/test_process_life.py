"""The life of a policy in another process: how it begins, what it is told, and that it ends."""

from __future__ import annotations

import fcntl
import signal
import sys
import time

import pytest
from audited import audited, refused
from builders import golden, job, policy, servers
from process_stub import PROCESSES, TOPOLOGY, nothing_is_left_behind, program

from policies.api import ExternalPolicyError, JobView, PodGroup
from policies.conformance_cluster import Case, Cluster
from policies.nodes import NodeLedger
from policies.serving import process_link
from policies.serving.process import ProcessPolicy
from policies.topology import Node, Topology

__all__ = ["nothing_is_left_behind"]

pytestmark = PROCESSES

# -- beginning and end -------------------------------------------------------------------------------------------------

HELLOS = {
    "another version": ("{**HELLO, 'protocol': 2}", "it speaks version 2 of the protocol, this program speaks 1"),
    "a version of another form": (
        "{'type': 'hello', 'protocol': '1.0', 'x': 5}",
        "it speaks version '1.0' of the protocol, this program speaks 1",
    ),
    "no version": ("{**HELLO, 'protocol': None}", "protocol: input should be 1, got None"),
    "no meaning": (
        "{**HELLO, 'semantics': {'order': 'x', 'blocking': ''}}",
        "semantics.blocking: string should have at least 1 character, got ''; semantics.placement: is required",
    ),
    "unknown wishes": ("{**HELLO, 'wants': ['truth']}", "wants[0]: input should be 'attained', got 'truth'"),
    "garbage": ("'Hello!'", "it is not JSON"),
}


@pytest.mark.parametrize("case", HELLOS)
def test_a_hello_that_is_none(tmp_path, case):
    hello, said = HELLOS[case]
    with pytest.raises(ExternalPolicyError) as caught:
        ProcessPolicy(program(tmp_path, f"read(); say({hello}); read()\n"))
    assert str(caught.value).startswith("its answer to the hello is wrong: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("command", "cwd", "said"),
    [
        (["./no-such-program"], None, "./no-such-program cannot be started: No such file or directory"),
        (["."], None, "cannot be started: Permission denied"),
        ([sys.executable], "/no/such/folder", "cannot be started: No such file or directory: /no/such/folder"),
        ([sys.executable, "a\0b"], None, "cannot be started: embedded null byte"),
        ([sys.executable, "-c", "raise SystemExit('no licence')"], None, "it ended with status 1 before it answered"),
    ],
)
def test_a_program_that_does_not_begin(command, cwd, said):
    with pytest.raises(ExternalPolicyError) as caught:
        ProcessPolicy(command, cwd=cwd)
    assert said in str(caught.value)


def test_one_process_a_run(tmp_path):
    """A new view is a new run: the process says its number, and `close` ends it."""
    body = (
        "read(); say({**HELLO, 'runs_on_empty_queue': True})\n"
        "for m in passes(): answer(m, {'action': 'reject', 'job_id': 'a', 'reason': str(os.getpid())})\n"
    )
    again = ProcessPolicy(program(tmp_path, body))
    assert again.runs_on_empty_queue
    said = [set(audited([job("a", 0, 5)], TOPOLOGY, again).rejections.values()) for _ in range(2)]
    assert said[0] != said[1]
    again.close()
    again.close()
    assert audited([job("a", 0, 5)], TOPOLOGY, again).rejections.keys() == {0}
    again.close()


def test_a_program_that_changes_its_mind(tmp_path):
    body = "read(); say({**HELLO, 'name': str(os.getpid())})\nfor m in passes(): answer(m)\n"
    fickle = ProcessPolicy(program(tmp_path, body))
    fickle.close()
    with pytest.raises(ExternalPolicyError, match="something else than in the run before"):
        list(fickle.decide(object()))


def test_a_program_that_does_not_want_to_end(tmp_path, monkeypatch):
    """It ignores the end of its input and the first signal, and so does its child; both hold a lock while they live."""
    monkeypatch.setattr(process_link, "GRACE_S", 0.2)
    lock = tmp_path / "lock"
    lock.touch()
    body = (
        f"import fcntl; held = open({str(lock)!r}); fcntl.flock(held, fcntl.LOCK_EX)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nif not os.fork():\n    time.sleep(60)\n"
        "read(); say(HELLO); time.sleep(60)\n"
    )
    stays = ProcessPolicy(program(tmp_path, body))
    with lock.open() as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stays.close()
        for _ in range(100):  # because: the child was killed and nobody waits for it here
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.02)
            else:
                return
    raise AssertionError("its child outlives it")


def test_a_policy_that_is_forgotten_ends(tmp_path):
    forgotten = ProcessPolicy(program(tmp_path, "read(); say(HELLO); read()\n"))
    del forgotten  # because: the fixture finds what is left


def test_goodbye_is_said_and_waited_for(tmp_path):
    note = tmp_path / "note"
    body = f"read(); say(HELLO)\nlist(passes())\nopen({str(note)!r}, 'w').write('done')\n"
    polite = ProcessPolicy(program(tmp_path, body))
    polite.close()
    assert note.read_text() == "done"


def test_what_it_says_of_itself(tmp_path):
    body = (
        "read(); say({**HELLO, 'semantics': {**HELLO['semantics'], 'peeks': True, 'options': {'k': 'v'}}})\nread()\n"
    )
    found = ProcessPolicy(program(tmp_path, body), oracle=True)
    said = found.semantics()
    assert (said.order, said.blocking, said.placement) == ("arrival", "none", "first")
    assert (said.scope, said.quota, said.needs_estimates, said.peeks) == ("fleet", "not kept", False, True)
    assert said.options == {"program": "stub 1", "k": "v"}
    found.close()


# -- what it is told ---------------------------------------------------------------------------------------------------


def test_a_whole_run_word_by_word(tmp_path):
    """Starting, preempting, rejecting and waking over the pipe, and every word of it; times computed by hand."""
    body = """
seen = open(sys.argv[1], "w")
read(); say({**HELLO, "wants": ["attained"]})
for m in passes():
    told = " ".join(c["change"] + " " + c.get("job", c)["job_id"] for c in m["changes"])
    left = [(s["node"], s["left_milli"]) for s in m["servers"]]
    seen.write(f"{m['seq']} at {m['now_ms']}: {told} {left} {m['attained_ms']}\\n")
    actions = {
        1: [start("low", devices=[1]), {"action": "wake_at", "at_ms": 60}],
        3: [{"action": "preempt", "job_id": "low", "reason": "test"}, start("high", pods=2)],
        4: [{"action": "reject", "job_id": "bad", "reason": "never"}],
        6: [start("low")],
    }
    answer(m, *actions.get(m["seq"], []), more=m["seq"] == 3)
"""
    seen = tmp_path / "seen"
    jobs = [job("low", 0, 100), job("bad", 10, 1), job("high", 30, 40, 2, pods=2), job("tail", 70, 1)]
    topology = servers(1, 2)
    told = ProcessPolicy([*program(tmp_path, body), str(seen)], name="told")
    error = refused(jobs, topology, told, restart_ms=5)
    told.close()
    assert golden(error.outcome, topology).splitlines() == [
        "0 arrive low",
        "0 start low n0[1]",
        "10 arrive bad",
        "30 arrive high",
        "30 preempt low",
        "30 start high n0[0-1]",
        "30 reject bad",
        "70 finish high",
        "70 arrive tail",
        "70 start low n0[0]",
        "145 finish low",  # 70 + 5 of restart + the 70 that are left
    ]
    assert "told at 145 ms: 1 jobs wait, nothing runs" in str(error)
    assert seen.read_text().splitlines() == [
        "1 at 0: arrived low [(0, [1000, 1000])] {}",
        "2 at 10: started low arrived bad [(0, [1000, 0])] {'low': 10}",
        "3 at 30: arrived high [] {'low': 30}",
        "4 at 30: preempted low started high [(0, [0, 0])] {'high': 0}",
        "5 at 60: ended bad [] {'high': 30}",
        "6 at 70: ended high arrived tail [(0, [1000, 1000])] {}",
        "7 at 145: started low ended low [(0, [1000, 1000])] {}",
    ]


SHARING = [job("three", 0, 9, 3), job("part", 0, 9, gpu_milli=300), job("more", 0, 9, gpu_milli=500)]


def test_the_driver_chooses_the_devices_as_the_catalogue_does(tmp_path):
    """Close together, shared ones that are begun first, and two pods on one server do not get the same."""
    topology = Topology([Node(name="n", devices=8, islands=((0, 1, 2), (3, 4, 5, 6, 7)))])
    jobs = [
        job("three", 0, 9, 3),
        job("part", 0, 9, gpu_milli=300),
        job("more", 0, 9, gpu_milli=500),
        job("two", 0, 9, 2, pods=2),
    ]
    body = (
        "read(); say(HELLO)\nfor m in passes():\n    answer(m, start('three'), start('part'), start('more'), "
        "{'action': 'start', 'job_id': 'two', 'placement': [{'node': 0}, {'node': 0}]})\n"
    )
    chooses = ProcessPolicy(program(tmp_path, body))
    found = golden(audited(jobs, topology, chooses, ties="file"), topology).splitlines()
    assert [line for line in found if "start" in line] == [
        "0 start three n[0-2]",
        "0 start part n[3]",
        "0 start more n[3]",
        "0 start two n[4] n[5]",
    ]
    chooses.close()


def test_an_interrupt_ends_the_process(tmp_path):
    """An exception that is no error of the policy, while it thinks: `close` does not wait for an answer."""
    body = "read(); say(HELLO)\nfor m in passes(): time.sleep(60)\n"
    slow = ProcessPolicy(program(tmp_path, body))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            audited([job("a", 0, 5)], TOPOLOGY, slow)
    finally:
        signal.signal(signal.SIGALRM, before)
    began = time.monotonic()
    slow.close()
    assert time.monotonic() - began < 1.5


def test_the_catalogue_has_the_devices_that_the_driver_chooses():
    """The same jobs in process, to keep the test above honest."""
    topology = Topology([Node(name="n", devices=8, islands=((0, 1, 2), (3, 4, 5, 6, 7)))])
    found = golden(audited(SHARING, topology, policy("fifo:place=best-fit"), ties="file"), topology)
    assert "start three n[0-2]" in found
    assert "start part n[3]" in found
    assert "start more n[3]" in found


def test_servers_that_change_are_told_anew_to_the_same_process(tmp_path):
    """As in a cluster in production: the view stays, its table of servers is another one."""
    body = """
seen = open(sys.argv[1], "w")
read(); say(HELLO)
while (m := read())["type"] != "bye":
    if m["type"] == "cluster":
        seen.write(f"cluster of {len(m['nodes'])}\\n")
    else:
        jobs = [c["job"]["job_id"] for c in m["changes"]]
        seen.write(f"{m['seq']} arrived {jobs}, servers {[s['node'] for s in m['servers']]}\\n")
        answer(m)
"""
    small, large = servers(1, 1), servers(2, 1)
    request = small.request((PodGroup(1, 1),))
    cluster = Cluster(Case("grows", small, (), tuple(JobView(name, i, 0, request) for i, name in enumerate("ab"))))
    told = ProcessPolicy([*program(tmp_path, body), str(tmp_path / "seen")])
    cluster.advance()
    assert list(told.decide(cluster)) == []
    assert list(told.decide(cluster)) == []
    cluster.nodes = cluster.ledger = NodeLedger(large)
    assert list(told.decide(cluster)) == []
    told.close()
    assert (tmp_path / "seen").read_text().splitlines() == [
        "cluster of 1",
        "1 arrived ['a', 'b'], servers [0]",
        "2 arrived [], servers []",
        "cluster of 2",
        "3 arrived ['a', 'b'], servers [0, 1]",
    ]
