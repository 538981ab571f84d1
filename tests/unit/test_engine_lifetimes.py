"""Jobs with a lifetime: they run until they are not wanted, and are taken away then, waiting or running."""

from dataclasses import replace

import pytest
from audited import audited
from builders import golden, job, servers

from policies.api import Preempt, Share, Start
from sim.audit import AuditError, audit
from sim.jobs_table import STATES, jobs_table
from sim.timeline import Happened
from sim.world.speed import PPM, SpeedModel
from traces.job import InvalidJobError


def test_what_runs_ends_with_its_lifetime_and_what_waits_is_withdrawn():
    fleet = servers(1)
    records = [
        job("batch", 0, 40, 8),
        job("late", 10, 100, 8, lifetime_ms=100),  # begins 30 ms late, and ends as if it had not
        job("never", 20, 50, 8, lifetime_ms=50),
        job("zlast", 20, 10, 8),
    ]
    outcome = audited(records, fleet, "fifo")
    assert golden(outcome, fleet).splitlines() == [
        "0 arrive batch",
        "0 start batch n0[0-7]",
        "10 arrive late",
        "20 arrive never",
        "20 arrive zlast",
        "40 finish batch",
        "40 start late n0[0-7]",
        "70 withdraw never",
        "110 expire late",
        "110 start zlast n0[0-7]",
        "120 finish zlast",
    ]
    table = jobs_table(outcome, fleet)
    assert [STATES[code] for code in table.state] == ["finished", "finished", "withdrawn", "finished"]
    assert table.text("reason").to_pylist()[2] == "its lifetime was over while it waited"
    assert table.held_ms.tolist() == [40, 70, 0, 10]
    assert table.started.tolist() == table.ended.tolist() == [True, True, False, True]


def test_a_lifetime_that_ends_frees_the_queue_behind_it():
    fleet = servers(1)
    records = [job("a", 0, 99, 4), job("big", 1, 9, 8, lifetime_ms=30), job("small", 2, 5, 4)]
    outcome = audited(records, fleet, "fifo")
    assert golden(outcome, fleet).splitlines()[-4:-2] == ["31 withdraw big", "31 start small n0[4-7]"]


def test_a_lifetime_gives_its_devices_to_whoever_arrives_in_its_last_instant():
    fleet = servers(1)
    outcome = audited([job("a", 0, 9, 8, lifetime_ms=50), job("b", 50, 5, 8)], fleet, "fifo")
    assert golden(outcome, fleet).splitlines()[2:5] == ["50 expire a", "50 arrive b", "50 start b n0[0-7]"]


@pytest.mark.parametrize("factor", [2 * PPM, PPM // 2])
def test_speed_does_not_move_the_end_of_a_lifetime(factor):
    fleet = servers(1, accelerator="x")
    model = SpeedModel(fleet, card_ppm=lambda *_: factor)
    outcome = audited([job("a", 0, 50, 8, lifetime_ms=50)], fleet, "fifo", speed=model)
    assert golden(outcome, fleet).splitlines()[-1] == "50 expire a"


def test_a_limit_before_the_lifetime_kills():
    fleet = servers(1)
    outcome = audited([job("a", 0, 5, 8, lifetime_ms=50, estimate_ms=20)], fleet, "fifo", overrun="kill")
    assert golden(outcome, fleet).splitlines()[-1] == "20 kill a"
    assert outcome.end_ms == 20, "a lifetime of what has gone is no part of the run"


class StopsOnce:
    """Starts everything once on the only server; stops `a` when `b` comes."""

    name = "stops-once"

    def decide(self, view):
        for waiting in list(view.pending):
            if waiting.job_id == "b":
                yield Preempt("a")
            if not waiting.preemptions:
                yield Start(waiting.job_id, (Share(0, 0xFF, 1, 0),))


def test_what_was_preempted_is_withdrawn_too():
    fleet = servers(1)
    outcome = audited([job("a", 0, 50, 8, lifetime_ms=50), job("b", 10, 100, 8)], fleet, StopsOnce())
    assert "50 withdraw a" in golden(outcome, fleet).splitlines()
    table = jobs_table(outcome, fleet)
    assert (STATES[table.state[0]], table.held_ms[0], bool(table.ended[0])) == ("withdrawn", 10, False)


def test_a_static_fill_has_no_lifetimes():
    fleet = servers(1)
    outcome = audited([job("a", 0, 5, 8, lifetime_ms=1), job("b", 0, 5, 8)], fleet, "fifo", fill=True)
    assert Happened.EXPIRE not in outcome.timeline.happened


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("at_ms", 49, "its lifetime is 50"),
        ("happened", Happened.FINISH, "ends with it, not with its work"),
    ],
)
def test_the_auditor_finds_a_wrong_end(column, value, why):
    fleet = servers(1)
    outcome = audited([job("a", 0, 50, 8, lifetime_ms=50)], fleet, "fifo")
    line = outcome.timeline
    wrong = getattr(line, column).copy()
    wrong[-1] = value
    with pytest.raises(AuditError, match=why):
        audit(replace(outcome, timeline=line._replace(**{column: wrong})), fleet)


def test_a_lifetime_is_at_least_a_millisecond():
    with pytest.raises(InvalidJobError, match="lifetime_ms: must be from 1"):
        job("a", 0, 1, lifetime_ms=0)
    with pytest.raises(InvalidJobError, match="deadline_ms: must be from 0"):
        job("a", 0, 1, deadline_ms=-1)
