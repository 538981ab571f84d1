"""Sessions: what a notebook asks for, against arithmetic that is shown, and each way in which an input can be wrong."""

import csv
import sys
import types
from fractions import Fraction

import pytest

from policies.api import Policy, Semantics, Start
from sim.frames import (
    agreement_frame,
    causes_frame,
    curve_frame,
    effects_frame,
    errors_frame,
    gates_frame,
    groups_frame,
    held_frame,
    jobs_frame,
    members,
    metrics_frame,
    mostly,
    needs_frame,
    plan_text,
    tried_frame,
    waits_frame,
    wrapped,
)
from sim.session import Session, SessionError

HOUR_S = 3600
COLUMNS = ("job_id", "submit_ms", "run_ms", "gpus", "queue", "recorded_start_ms")


@pytest.fixture
def trace(tmp_path):
    """Writes rows of (seconds of submission, seconds of run time, devices, queue, seconds of the recorded start or None)."""

    def write(rows, name="jobs.csv"):
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(COLUMNS)
            for number, (submit, run, gpus, queue, start) in enumerate(rows):
                recorded = "" if start is None else start * 1000
                out.writerow((f"j{number}", submit * 1000, run * 1000, gpus, queue, recorded))
        return str(path)

    return write


@pytest.fixture
def four(trace):
    """Four jobs of an hour, all at once."""
    return trace([(0, HOUR_S, 1, "q", None)] * 4)


def test_the_built_in_trace_is_a_week_and_its_days_and_queues_can_be_chosen():
    whole, part = Session(), Session(days=(1, 3), queues=["risk"], pools=["a100"])
    day = 24 * HOUR_S * 1000
    first = min(job.submit_ms for job in whole.prepared.trace.records)
    wanted = [
        job
        for job in whole.prepared.trace.records
        if job.queue == "risk" and day <= job.submit_ms - first < 3 * day  # days count from the first submission
    ]
    assert part.prepared.trace.records == wanted
    assert part.jobs == len(wanted) < whole.jobs
    assert {server.pool for server in part.prepared.loaded.fleet.servers} == {"a100"}
    lasts = (max(job.submit_ms for job in wanted) - min(job.submit_ms for job in wanted)) / day
    assert str(part).splitlines() == [
        f"trace demo: {len(wanted):,} of {whole.jobs:,} jobs, submitted in {lasts:.1f} days",
        "fleet demo: 24 servers, 192 devices",
    ]


def test_days_count_from_the_first_submission_whatever_the_clock(trace):
    path = trace([(1_700_000_000 + hour * HOUR_S, 60, 1, "q", None) for hour in (0, 23, 24, 47, 48)])
    assert Session(path, "1x8", days=1).jobs == 2
    assert Session(path, "1x8", days=(1, 2)).jobs == 2
    assert [job.submit_ms for job in Session(path, "1x8", days=(2, 3)).prepared.trace.records] == [
        (1_700_000_000 + 48 * HOUR_S) * 1000
    ]


def test_rows_that_are_no_jobs_are_told_of_also_when_days_are_chosen(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_text("job_id,submit_ms,run_ms,gpus\na,0,1,1\nb,1,-1,1\nc,9,1,1\n", encoding="utf-8")
    said = str(Session(str(path), "1x8", days=1))
    assert "2 of 2 jobs" in said
    assert "1 of 3 rows are no jobs" in said.replace("\n", " ")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"queues": ["rsik"]}, ["queues: no job has 'rsik'", "did you mean 'risk'"]),
        ({"pools": ["a101", "b"]}, ["there is no pool 'a101'", "did you mean 'a100'", "there is no pool 'b'"]),
        ({"days": 0}, ["days: must be a number above 0"]),
        ({"days": (3, 3)}, ["or two that ascend, got (3, 3)"]),
        ({"days": (400, 401)}, ["no job is left of days (400, 401)"]),
        ({"rules": {"split": "hole"}}, ["session: rules.split: must be one of", "did you mean 'whole'"]),
        ({"trace": "nowhere.csv", "cluster": "nowhere.yaml"}, ["nowhere.csv", "nowhere.yaml: there is no such file"]),
    ],
)
def test_what_is_wrong_is_said_at_once(keys, words):
    with pytest.raises(SessionError) as told:
        Session(**keys)
    assert all(word in str(told.value) for word in words)


def test_a_notebook_shows_the_message_alone():
    shell = pytest.importorskip(
        "IPython.core.interactiveshell", reason="because: IPython comes with the extra notebooks"
    )
    told = SessionError("jobs.csv: line 3")
    assert told._render_traceback_() == ["Wrong input: jobs.csv: line 3"]
    assert shell.InteractiveShell.showtraceback  # the caller of that method


def test_a_run_is_that_of_the_engine(four):
    session = Session(four, "1x2")
    frame = jobs_frame(session.run("fifo"))
    assert (frame["wait_ms"] / 1000).tolist() == [0, 0, HOUR_S, HOUR_S]
    with pytest.raises(SessionError, match="did you mean 'fifo'"):
        session.run("fifi")


def test_a_plan_of_four_jobs_that_come_at_once(four):
    # mean wait on 1, 2, 3, 4 servers of one device: (0+1+2+3)/4 = 1.5 h, (0+0+1+1)/4 = 0.5 h, 0.25 h, 0
    session = Session(four, "2x1")
    found = session.plan(
        ["fifo", "sjf"], ["wait.mean <= 30m"], pool="default", most=4, replications=1, prices={"*": 7}
    )
    needs = needs_frame(found)
    assert needs.loc["fifo"].to_dict() == {
        "servers": 2, "words": "2", "low": 2, "high": 2, "first": 2, "devices": 2, "cost": 14.0
    }  # fmt: skip
    curve = curve_frame(found).loc["fifo"]
    assert curve["middle"].to_dict() == {1: 5.4e6, 2: 1.8e6, 3: 0.9e6, 4: 0.0}
    assert len(tried_frame(found)) == 2 * len(curve)
    assert "sjf needs as many cards as fifo" in plan_text(found)


def test_a_plan_that_finds_no_count_says_so_in_words(four):
    found = Session(four, "2x1").plan(["fifo"], ["wait.mean <= 0s"], pool="default", most=3, replications=1)
    assert needs_frame(found).loc["fifo", "words"] == "more than 3"
    assert needs_frame(found)["servers"].isna().all()


def test_growth_and_a_spare_ask_for_more(four):
    session = Session(four, "2x1")
    asked = {"pool": "default", "most": 9, "replications": 1}
    twice = session.plan(["fifo"], ["wait.mean <= 0s"], growth=2, **asked)
    assert twice.question.growth == Fraction(2)
    spare = session.plan(["fifo"], ["wait.mean <= 30m"], spare="server", **asked)
    assert needs_frame(spare).loc["fifo", "servers"] == 3  # two, and one that may be gone


def test_a_curve_of_levels_in_several_units_is_refused(four):
    found = Session(four, "2x1").plan(["fifo"], ["wait.mean <= 1d", "not_finished <= 0"], replications=1)
    with pytest.raises(ValueError, match="several units"):
        curve_frame(found)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"levels": ["wait.p95: +5 %"]}, "must be a limit"),
        ({"levels": ["wait.p95 <= 1h"], "shake": "5"}, "shake: must be a percentage"),
        ({"levels": ["wait.p95 <= 1h"], "pool": "a100"}, "there is no pool 'a100'"),
        ({"levels": ["wait.p95 <= 1h"], "prices": {"t4": 1}}, "no server has 't4'"),
    ],
)
def test_a_plan_refuses_what_it_cannot_ask(four, keys, words):
    with pytest.raises(SessionError, match=words):
        Session(four, "2x1").plan(["fifo"], **keys)


def test_prices_of_pools_that_were_left_out_do_not_disturb():
    session = Session(days=(5, 6), queues=["risk"], pools=["a100"])
    prices = {"nvidia-a100-sxm-80gb": 2, "ascend-910b3": 1, "nvidia-t4": 1}
    found = session.plan(["fifo"], ["wait.mean <= 9d"], pool="a100", most=24, least=24, replications=1, prices=prices)
    assert needs_frame(found).loc["fifo", "cost"] == 24 * 8 * 2


def test_what_one_more_server_is_worth(four):
    frame = Session(four, "1x1").worth("fifo", "wait.mean <= 1h", prices={"*": 3})
    (row,) = frame.to_dict("records")
    assert row == {
        "pool": "default", "accelerator": "generic", "devices": 1, "cost": 3.0, "replication": 0,
        "before": 5.4e6, "after": 1.8e6,
    }  # fmt: skip


def test_the_causes_of_a_wait_add_up_to_it(trace):
    # one device: the second waits for it; the third would not fit behind the second
    session = Session(trace([(0, HOUR_S, 1, "q", None), (0, HOUR_S, 1, "r", None)]), "1x1")
    run = session.run("fifo")
    frame = session.causes(run)
    assert frame.loc["j1", ["queue", "gpus", "wait", "capacity", "order"]].tolist() == ["r", 1.0, 1.0, 1.0, 0.0]
    assert frame.loc["j0", "wait"] == 0
    assert frame["size"].tolist() == ["1", "1"]
    assert mostly(frame).tolist() == ["nothing", "capacity"]
    assert members(frame, "queue", "r").index.tolist() == ["j1"]
    assert members(frame, "all", "") is frame
    fleet, records = session.prepared.loaded.fleet, session.prepared.trace.records
    assert causes_frame(run, fleet, records).equals(frame)


def test_a_comparison_with_gates(trace):
    # a job of two devices blocks one of a single device for the two hours of the first
    rows = [(0, 2 * HOUR_S, 1, "q", None), (1, HOUR_S, 2, "q", None), (2, HOUR_S, 1, "r", None)]
    session = Session(trace(rows * 3), "1x2")
    found = session.compare(["fifo", "best-effort-fifo"], gates=["not_finished: +0", "wait.mean{queue=*}: +0 %"])
    judged = gates_frame(found)
    assert judged.index.tolist() == [
        "not_finished: no worse than +0", "wait.mean{queue=q}: no worse than +0 %", "wait.mean{queue=r}: no worse than +0 %"
    ]  # fmt: skip
    assert judged["outcome"].iloc[0] == "pass"
    effects = effects_frame(found, "best-effort-fifo")
    assert effects.index.tolist() == [("all", ""), ("queue", "q"), ("queue", "r"), ("size", "1"), ("size", "2-7")]
    waits = groups_frame(found, "wait_mean_ms")
    assert effects["baseline"].tolist() == pytest.approx(waits["fifo"].tolist())
    assert metrics_frame(found, "wait_mean_ms").loc["fifo", "wait_mean_ms"] == effects["baseline"].iloc[0]
    assert effects["change"].tolist() == pytest.approx((waits["best-effort-fifo"] - waits["fifo"]).tolist())
    assert effects_frame(found, "nobody").empty
    assert gates_frame(session.compare(["fifo", "sjf"])).empty


def test_a_comparison_refuses_gates_that_are_none(four):
    with pytest.raises(SessionError, match=r"gates\[1\]: .*did you mean") as told:
        Session(four, "1x2").compare(["fifo", "sjf"], gates=["wait.mean: +1 %", "wiat.mean: +1 %"])
    assert "gates[0]" not in str(told.value)


class StartsWhatIsNotThere(Policy):
    name = "ghosts"

    def decide(self, view):
        yield Start("nobody", ())

    def semantics(self):
        return Semantics(order="none", blocking="none", placement="none")


def test_a_policy_that_breaks_its_contract_is_named(four, monkeypatch):
    mine = types.ModuleType("mine")
    mine.Ghosts = StartsWhatIsNotThere
    monkeypatch.setitem(sys.modules, "mine", mine)
    session = Session(four, "1x2")
    with pytest.raises(SessionError, match=r"mine:Ghosts: .*nobody"):
        session.compare(["fifo", "mine:Ghosts"])
    with pytest.raises(SessionError, match="nobody"):
        session.run("mine:Ghosts")


def test_a_record_that_is_made_costs_its_overhead_and_no_more(trace):
    # one device, two jobs of an hour; each start costs a minute in which the device is held
    session = Session(trace([(0, HOUR_S, 1, "q", None), (0, HOUR_S, 1, "q", None)]), "1x1")
    made = session.as_recorded("fifo", overhead_s=(60, 60))
    records = made.prepared.trace.records
    assert [job.recorded_start_ms for job in records] == [60_000, 3_600_000 + 120_000]
    assert [job.run_ms for job in records] == [3_600_000] * 2
    assert [job.recorded_start_ms for job in session.prepared.trace.records] == [None, None]


def test_a_job_that_never_starts_has_no_recorded_start(trace):
    made = Session(trace([(0, 9, 1, "q", None), (0, 9, 5, "q", None)]), "1x1").as_recorded("fifo", overhead_s=(1, 1))
    assert [job.recorded_start_ms for job in made.prepared.trace.records] == [1000, None]


def test_a_replay_beside_its_record(trace):
    # 40 jobs of a minute, one a minute, on one device: none waits, and the record has each start five seconds late
    rows = [(60 * number, 60, 1, "q" if number % 2 else "r", 60 * number + 5) for number in range(40)]
    rows.append((0, 60, 1, "q", None))  # never ran: not compared
    session = Session(trace(rows), "2x1")
    run, found = session.validate("fifo")
    assert found.compared == 40
    frame = agreement_frame({"fifo": found, "again": found})
    assert frame.index.tolist() == ["fifo", "again"]
    assert frame.loc["fifo", ["Wasserstein", "KS", "near"]].tolist() == pytest.approx([5 / 60, 1.0, 1.0])
    assert frame["rank"].isna().all()  # all waits are alike
    errors = errors_frame(found)
    assert errors.index.tolist() == ["all"]  # each queue has fewer than thirty
    assert errors.loc["all", ["mean recorded", "mean predicted", "mean error"]].tolist() == [5000, 0, -1]
    waits = waits_frame(run, session.prepared.trace.records)
    assert len(waits) == 40
    assert set(waits["recorded"]) == {5.0}
    assert set(waits["predicted"]) == {0.0}


def test_a_record_of_nothing_cannot_be_validated(trace, four):
    with pytest.raises(SessionError, match="records no starts"):
        Session(four, "1x2").validate("fifo")
    with pytest.raises(SessionError, match="1 jobs have a recorded start"):
        Session(trace([(0, 9, 1, "q", 3), (0, 9, 1, "q", None)]), "1x2").validate("fifo")


def test_devices_held_by_the_hour(trace):
    # predicted: 2 devices for 1.5 h from 0 on; recorded half an hour later; a last job tells when the table ends
    session = Session(trace([(0, 5400, 2, "q", 1800), (2 * HOUR_S, 60, 1, "q", None)]), "1x2")
    frame = held_frame(session.run("fifo"), session.prepared.trace.records)
    assert frame["predicted"].tolist() == pytest.approx([2, 1, 1 / 60])
    assert frame["recorded"].tolist() == pytest.approx([1, 2, 0])


def test_without_a_record_nothing_was_held_by_it(four):
    session = Session(four, "1x4")
    assert held_frame(session.run("fifo"), session.prepared.trace.records)["recorded"].tolist() == [0]


def test_sentences_are_broken_between_words():
    said = wrapped("    " + "word " * 40, "next")
    assert all(len(line) <= 110 for line in said.splitlines())
    assert all(line.startswith("    word") for line in said.splitlines()[:-1])
    assert said.splitlines()[-1] == "next"
