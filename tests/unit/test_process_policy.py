"""A policy in another process that does not do its part: a clear error with its story, nothing lost, no hang."""

from __future__ import annotations

import time

import pytest
from audited import audited, refused
from builders import golden, job
from process_stub import JOBS, PROCESSES, TOPOLOGY, nothing_is_left_behind, program

from policies.serving import process_link
from policies.serving.process import ProcessPolicy
from policies.topology import Node, Topology
from sim.timeline import Happened

__all__ = ["nothing_is_left_behind"]

pytestmark = PROCESSES


AT_THE_PASS = {
    "ends": ("os._exit(3)", "it ended with status 3 before it answered"),
    "ends and says why": (
        "sys.stderr.write('no such queue\\ngiving up\\n'); sys.exit(4)",
        "it ended with status 4 before it answered\n  stderr: no such queue\n  stderr: giving up",
    ),
    "raises": ("raise KeyError('x')", "stderr: KeyError: 'x'"),
    "is killed": ("os.kill(os.getpid(), signal.SIGKILL)", "it was ended by signal 9 (SIGKILL) before it answered"),
    "ends in a line": (
        "sys.stdout.write('{\"type\"'); sys.stdout.flush(); os._exit(0)",
        "it ended with status 0 before it answered in the middle of a line: '{\"type\"'",
    ),
    "writes garbage": ("say('hello, world')", "is wrong: it is not JSON: expected value at line 1 column 1"),
    "writes an empty line": ("say('')", "is wrong: it is not JSON"),
    "writes what is no UTF-8": ("os.write(1, b'\\xff\\xfe\\n')", "is wrong: it is not JSON"),
    "writes a list": ("say([1])", "the message: input should be an object"),
    "writes another message": ("say(HELLO)", "type: input should be 'actions', got 'hello'; seq: is required"),
    "writes one line too many": ("say('{}\\n{}')", "is wrong: type: is required"),
    "answers another pass": (
        "say({'type': 'actions', 'seq': 7, 'actions': []})",
        "is wrong: seq: must be 2, got 7",
    ),
    "asks for more of nothing": ("answer(message, more=True)", "more: must be false where there is no action"),
    "a key that does not exist": (
        "answer(message, {**start('last'), 'when': 5})",
        "is wrong: actions[0].when: unknown key",
    ),
    "an action that does not exist": (
        "answer(message, {'action': 'stop', 'job_id': 'last'})",
        "actions[0]: input tag 'stop' found using 'action' does not match",
    ),
    "a server as text": (
        "answer(message, start('last', node='n0'))",
        "actions[0].placement[0].node: input should be a valid integer, got 'n0'",
    ),
    "a device that no server has": (
        "answer(message, start('last', devices=[64]))",
        "actions[0].placement[0].devices[0]: input should be less than 64, got 64",
    ),
    "a device twice": (
        "answer(message, start('last', devices=[1, 1]))",
        "actions[0].placement[0].devices: names a device twice: [1, 1]",
    ),
    "a fraction": (
        "answer(message, start('last', pods=1.5))",
        "actions[0].placement[0].pods: input should be a valid",
    ),
    "a wake without a time": ("answer(message, {'action': 'wake_at'})", "actions[0].at_ms: is required"),
    "a time beyond all": (
        "answer(message, {'action': 'wake_at', 'at_ms': 10**30})",
        "actions[0].at_ms: input should",
    ),
    "many problems": (
        "answer(message, *[{'action': 'preempt'}] * 9)",
        "actions[4].job_id: is required; and 4 more",
    ),
}


@pytest.mark.parametrize("case", AT_THE_PASS)
def test_an_answer_that_is_none(tmp_path, case):
    body, said = AT_THE_PASS[case]
    command = program(tmp_path, f"def act(message):\n    {body}\nfirst_then(act)\n")
    bad = ProcessPolicy(command, name="bad")
    error = refused(JOBS, TOPOLOGY, bad)
    message = str(error)
    assert message.startswith("bad at 100 ms: the policy failed: "), message
    assert "message 2 (the pass at 100 ms)" in message
    assert said in message
    assert len(message) < 1500
    assert (error.outcome.timeline.happened == Happened.ARRIVE).sum() == 3, "what happened until then is kept"
    bad.close()


REFUSED = {
    "a job that never was": ("start('ghost')", "cannot start 'ghost': no such job waits or runs"),
    "a job that has ended": ("start('first', pods=1)", "cannot start 'first': no such job"),
    "half a gang": ("start('gang')", "cannot start gang on n0[0-1]: the gang lacks 1 of 2 pods"),
    "a server that does not exist": ("start('last', node=2)", "there is no server 2"),
    "a group that does not exist": ("start('last', group=2)", "the gang has no group 2"),
    "no pods": ("start('last', pods=0)", "0 pods on n0"),
    "more pods than anything has": ("start('last', pods=2**40)", "1099511627776 pods need 1099511627776 devices"),
    "a waiting job is preempted": ("{'action': 'preempt', 'job_id': 'gang'}", "cannot preempt gang: it does not run"),
    "a wake in the past": ("{'action': 'wake_at', 'at_ms': 100}", "cannot wake at 100: that is not later than now"),
    "a resize": (
        "{'action': 'resize', 'job_id': 'gang', 'placement': []}",
        "cannot resize gang: this scenario has no elastic jobs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_action_that_cannot_be_is_refused_as_of_any_policy(tmp_path, case):
    action, said = REFUSED[case]
    bad = ProcessPolicy(program(tmp_path, f"first_then(lambda message: answer(message, {action}))\n"), name="bad")
    message = str(refused(JOBS, TOPOLOGY, bad))
    assert message.startswith("bad at 100 ms: cannot ")
    assert said in message
    bad.close()


def test_devices_that_are_held_are_refused_with_the_story(tmp_path):
    """Where the driver chooses the devices and there are too few, it says which is in the way."""
    body = "first_then(lambda message: answer(message, start('gang', pods=2), start('last')))\n"
    bad = ProcessPolicy(program(tmp_path, body), name="bad")
    assert "cannot start last on n0[0]: device 0 of n0 has 0 of 1000" in str(refused(JOBS, TOPOLOGY, bad))
    bad.close()


def test_actions_of_one_answer_are_applied_in_turn_until_the_first_that_cannot_be(tmp_path):
    body = "first_then(lambda message: answer(message, start('last', devices=[3]), start('last')))\n"
    bad = ProcessPolicy(program(tmp_path, body), name="bad")
    error = refused(JOBS, TOPOLOGY, bad)
    assert "cannot start last: it already runs on n0[3]" in str(error)
    assert golden(error.outcome, TOPOLOGY).splitlines()[-1] == "100 start last n0[3]"
    bad.close()


# -- what would hang ---------------------------------------------------------------------------------------------------

HANGS = {
    "silent": ("time.sleep(60)", 300, "it gave no answer within 0.3 s"),
    "a line without end": (
        "sys.stdout.write('{\"type\": '); sys.stdout.flush(); time.sleep(60)",
        300,
        "it gave no answer within 0.3 s; it wrote '{\"type\": ' and no end of the line",
    ),
    "drop by drop": (
        "\n    while True: os.write(1, b'x'); time.sleep(0.01)",
        300,
        "it gave no answer within 0.3 s; it wrote 'xxxx",
    ),
    "100 MB": ("os.write(1, b'x' * (100 << 20))", 20_000, "it wrote a line of more than 16 MiB: 'xxxx"),
    "no output any more": ("os.close(1); time.sleep(60)", 20_000, "it closed its input or output and runs on"),
    "a flood of complaints": (
        "\n    while True: os.write(2, b'no\\n' * 10_000)",
        300,
        "it gave no answer within 0.3 s\n  stderr: no\n  stderr: no",
    ),
}


@pytest.mark.parametrize("case", HANGS)
def test_nothing_hangs(tmp_path, case, monkeypatch):
    body, timeout_ms, said = HANGS[case]
    monkeypatch.setattr(process_link, "GRACE_S", 0.3)
    command = program(tmp_path, f"def act(message):\n    {body}\nfirst_then(act)\n")
    bad = ProcessPolicy(command, timeout_ms=timeout_ms)
    began = time.monotonic()
    message = str(refused(JOBS, TOPOLOGY, bad))
    assert said in message
    bad.close()
    assert time.monotonic() - began < 10


def test_a_program_that_does_not_read(tmp_path, monkeypatch):
    """The cluster does not fit the pipe: writing it must not block."""
    monkeypatch.setattr(process_link, "GRACE_S", 0.1)
    many = Topology([Node(name=f"server-{i}", devices=8) for i in range(2000)])
    bad = ProcessPolicy(program(tmp_path, "read(); say(HELLO); time.sleep(60)\n"), timeout_ms=300)
    message = str(refused(JOBS, many, bad))
    assert "it gave no answer within 0.3 s and left " in message
    assert "bytes of the question unread" in message
    bad.close()


def test_a_large_cluster_passes_through_the_pipe(tmp_path):
    many = Topology([Node(name=f"server-{i}", devices=8) for i in range(2000)])
    body = "read(); say(HELLO)\nfor m in passes(): answer(m, start('a', node=len(m['servers']) - 1))\n"
    good = ProcessPolicy(program(tmp_path, body))
    assert golden(audited([job("a", 0, 5)], many, good), many).splitlines()[1] == "0 start a server-1999[0]"
    good.close()


def test_complaints_do_not_stand_in_the_way(tmp_path, caplog):
    """More on standard error than a pipe holds, before each answer and after the last."""
    caplog.set_level("INFO", logger=process_link.__name__)
    noise = "sys.stderr.write('note\\n' * 15_000)\n"
    body = (
        f"{noise}\nread(); say(HELLO)\nfor m in passes():\n    {noise}"
        f"    answer(m, *[start(c['job']['job_id']) for c in m['changes'] if 'job' in c])\n{noise}"
    )
    good = ProcessPolicy(program(tmp_path, body))
    assert audited([job("a", 0, 5)], TOPOLOGY, good).passes == 1
    good.close()
    assert sum(record.message.endswith("note") for record in caplog.records) == 3 * 15_000
