"""Services to replicas: the rate of requests, how many replicas it wants, and the jobs that these are."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from builders import job
from hypothesis import given
from hypothesis import strategies as st

from sim.experiment.durations import parse_duration, parse_microseconds
from sim.run import InputError
from sim.services.expansion import in_less_time, more_requests, until_last, with_replicas
from sim.services.rates import between, constant, daily, denser, read_rates
from sim.services.replicas import jobs_of, replicas_of, wanted
from sim.services.service import Replicas, Service, Steps, service_from
from traces.trace import Trace
from traces.transform import scale_load

HOUR = 3_600_000


def steps(*pairs):
    return Steps(
        np.array([at for at, _ in pairs], dtype=np.int64), np.array([value for _, value in pairs], dtype=np.float64)
    )


def pairs(found):
    return list(zip(found.at_ms.tolist(), found.value.tolist(), strict=True))


def service(rate=((0, 1.0),), end_ms=100, **more):
    """One that wants as many replicas as requests come in a second, unless told otherwise."""
    found = Service(
        name="chat",
        rate=steps(*rate),
        end_ms=end_ms,
        service_us=1_000_000,
        replicas=Replicas(least=0, most=100, target=1.0),
    )
    return replace(found, **more)


# -- lengths of time of single requests ------------------------------------------------------------------------------


def test_requests_may_take_less_than_a_millisecond():
    assert [parse_microseconds(text) for text in ("800ms", "7.4ms", "250us", "1s500us", "0")] == [
        *(800_000, 7_400, 250, 1_000_500, 0),
    ]
    for text, said in (("0.5us", "whole microseconds"), ("3", "such as 800ms, 7.4ms or 250us"), ("2 s", "such as")):
        with pytest.raises(ValueError, match=said):
            parse_microseconds(text)
    with pytest.raises(ValueError, match="such as 5m"):
        parse_duration("1000us")  # everything else is in whole milliseconds


# -- rates -----------------------------------------------------------------------------------------------------------


def test_the_hours_of_a_day_come_again_and_begin_where_the_trace_does():
    shares = [hour / 23 for hour in range(24)]
    found = daily(500, 500 + 30 * HOUR + 1, 46.0, shares, 20)
    assert pairs(found) == [(500 + n * HOUR, pytest.approx(2.0 * ((20 + n) % 24))) for n in range(31)]
    assert pairs(daily(0, 5 * HOUR, 8.0, [0.5] * 24, 0)) == [(0, 4.0)], "steps that change nothing are left out"
    with pytest.raises(ValueError, match="at most 1000000"):
        daily(0, 10**13, 1.0, shares, 0)


def test_a_request_in_thirty_years_is_none():
    assert pairs(constant(0, 1e-320)) == [(0, 0)]
    assert pairs(constant(0, 1e-9)) == [(0, 1e-9)]


def test_the_part_of_a_rate():
    rate = steps((10, 1), (20, 2), (30, 3))
    assert pairs(between(rate, 10, 30)) == [(10, 1), (20, 2)]
    assert pairs(between(rate, 25, 31)) == [(25, 2), (30, 3)]
    assert pairs(between(rate, 40, 50)) == [(40, 3)]
    with pytest.raises(ValueError, match="begins at 10 ms, but the trace at 9 ms"):
        between(rate, 9, 20)


@given(
    st.lists(st.integers(0, 10_000), min_size=2, max_size=30, unique=True).map(sorted),
    st.fractions(min_value=Fraction(1, 5), max_value=20),
)
def test_a_denser_rate_stays_in_step_with_jobs(times, factor):
    """Every step is where a job of its time goes; of steps that meet the last one counts."""
    moved = scale_load([job(f"j{at}", at, 1) for at in times], factor)
    last = {each.submit_ms: float(number) for number, each in enumerate(moved)}
    assert pairs(denser(steps(*((at, number) for number, at in enumerate(times))), factor)) == list(last.items())


GOOD = "at_ms,requests_per_s\n0,1.5\n\n1000, 2e1\n2000,0\n"


def test_a_file_of_rates(tmp_path):
    file = tmp_path / "rate.csv"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    found = read_rates(str(file))
    assert pairs(found.steps) == [(0, 1.5), (1000, 20.0), (2000, 0.0)]
    assert (found.path, len(found.sha256)) == (str(file), 64)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "requests_per_s,at_ms\n1,0\n-1,5\nnan,6\n2,5\n3\n1,7.5\nx,y\n1,3\n1e10,9\n",
            [
                "line 3 requests_per_s: must be from 0 to 1e+09, got '-1'",
                "line 4 requests_per_s: must be a number, got 'nan'",
                "line 5 at_ms: must be after that of the row before, 6, got 5",
                "line 6: has 1 cells, the header has 2",
                "line 7 at_ms: must be an integer, got '7.5'",
                "line 8 at_ms: must be a number, got 'y'",
                "line 8 requests_per_s: must be a number, got 'x'",
                "line 9 at_ms: must be after that of the row before, 6, got 3",
                "line 10 requests_per_s: must be from 0 to 1e+09, got '1e10'",
            ],
        ),
        ("at_ms,rate\n", ["line 1: must name at_ms and requests_per_s once each, got 'at_ms,rate'"]),
        ("at_ms,requests_per_s,at_s\n", ["line 1: unknown column 'at_s'; did you mean 'at_ms'?"]),
        ("at_ms,requests_per_s\n", ["has no rows"]),
        ("", ["line 1: must name at_ms and requests_per_s once each, got ''"]),
    ],
)
def test_every_bad_row_is_told_at_once(tmp_path, text, said):
    file = tmp_path / "rate.csv"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_rates(str(file))
    told = str(caught.value).splitlines()
    assert [line.strip().removeprefix(f"{file}: ") for line in (told[1:] if len(said) > 1 else told)] == said


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "b.csv").write_bytes(b"at_ms,requests_per_s\n\xff\n")
    (tmp_path / "c.csv").write_text("at_ms,requests_per_s\n" + "x,1\n" * 60)
    for name, said in (("a.csv", "cannot be read"), ("b.csv", "is not UTF-8"), ("c.csv", "and 10 more")):
        with pytest.raises(InputError, match=said):
            read_rates(str(tmp_path / name))


# -- replicas --------------------------------------------------------------------------------------------------------


def test_the_replicas_of_a_day_by_hand():
    """2 requests a second want 2 replicas, then 3, 1, 1 and 2 again: the second is two jobs, as it was away meanwhile."""
    found = replicas_of(service(((5, 2), (10, 3), (20, 1), (25, 0.5), (30, 2)), 50))
    assert [(each.job_id, each.submit_ms, each.lifetime_ms) for each in found] == [
        ("chat/1", 5, 45),
        ("chat/2", 5, 15),
        ("chat/2.2", 30, 20),
        ("chat/3", 10, 10),
    ]


def test_how_many_are_wanted():
    """40 requests a second of 800 ms keep 32 slots busy; at 70 % that is 45.7 of them: 5.7 replicas of 8."""
    rule = Replicas(least=1, most=12, target=0.7, headroom=1)
    busy = service(((0, 40.0), (10, 0.0), (20, 400.0)), service_us=800_000, slots=8, replicas=rule)
    assert pairs(wanted(busy)) == [(0, 7), (10, 1), (20, 12)]
    assert pairs(wanted(replace(busy, replicas=Replicas(least=6, most=6)))) == [(0, 6)]


def test_requests_that_keep_next_to_nothing_busy_want_a_replica():
    rule = Replicas(least=0, most=5)
    assert [rule.wanted(busy, 1) for busy in (0.0, 1e-12, 1e300)] == [0, 1, 5]
    assert replace(rule, target=1e-320).wanted(1.0, 1) == 5


def test_a_replica_takes_what_its_service_says():
    told = {
        "gpu_count": 4, "gpu_milli": 500, "pods": 2, "gpu_memory_mib": 8, "cpu_milli": 3, "memory_mib": 9,
        "accelerators": ("x", "y"), "family": "llm", "user": "u", "queue": "q", "priority": 7,
    }  # fmt: skip
    (found,) = replicas_of(service(end_ms=60, **told))
    assert {name: getattr(found, name) for name in told} == told
    assert (found.run_ms, found.lifetime_ms, found.service, found.outcome) == (60, 60, "chat", "completed")
    assert found.estimate_ms is found.deadline_ms is found.recorded_start_ms is None


@st.composite
def services(draw):
    times = sorted(draw(st.sets(st.integers(0, 60), min_size=1, max_size=12)))
    rates = draw(st.lists(st.floats(0, 12), min_size=len(times), max_size=len(times)))
    least = draw(st.integers(0, 3))
    rule = Replicas(
        least=least,
        most=draw(st.integers(max(least, 1), 9)),
        target=draw(st.floats(0.05, 1)),
        headroom=draw(st.integers(0, 2)),
    )
    end_ms = times[-1] + draw(st.integers(1, 20))
    return service(
        tuple(zip(times, rates, strict=True)),
        end_ms,
        replicas=rule,
        slots=draw(st.integers(1, 3)),
        service_us=draw(st.integers(1, 3_000_000)),
    )


@given(services())
def test_at_each_time_as_many_replicas_cover_it_as_are_wanted(made):
    found = replicas_of(made)
    assert len({each.job_id for each in found}) == len(found) == jobs_of(wanted(made))
    assert all(each.lifetime_ms == each.run_ms > 0 for each in found)
    for now in range(made.end_ms + 2):
        covering = sum(each.submit_ms <= now < each.submit_ms + each.lifetime_ms for each in found)
        steps_until = np.flatnonzero(made.rate.at_ms <= now)
        if now >= made.end_ms or not len(steps_until):
            assert covering == 0
            continue
        busy = made.rate.value[steps_until[-1]] * made.service_us / 1e6
        assert covering == made.replicas.wanted(busy, made.slots)
    for one in found:  # each interval is the longest: no other of the same replica begins where it ends
        number = one.job_id.partition(".")[0]
        ends = {each.submit_ms + each.lifetime_ms for each in found if each.job_id.partition(".")[0] == number}
        assert one.submit_ms not in ends


@given(services())
def test_a_service_comes_back_from_a_manifest(made):
    again = service_from(made.as_data())
    assert again.as_data() == made.as_data()
    assert replicas_of(again) == replicas_of(made)


# -- a trace with replicas -------------------------------------------------------------------------------------------


def trace_of(*records, rows=0):
    return Trace(path="t", format="f", sha256="", rows=rows or len(records), records=list(records), rejections=[])


def test_replicas_stand_behind_the_jobs_and_are_no_rows():
    own = trace_of(job("z", 0, 1), job("a", 100, 1))
    full = with_replicas(own, [service(((0, 2.0),))])
    assert [each.job_id for each in full.records] == ["z", "a", "chat/1", "chat/2"]
    assert (full.rows, full.accepted, full.made) == (2, 2, 2)
    assert full.own == own
    assert with_replicas(full, [service()]).accepted == 2, "replicas are made anew, not added to"
    assert with_replicas(full, []) == own
    with pytest.raises(AssertionError, match="2 accepted"):
        replace(full, rows=4)


def test_another_load():
    base = [service(((0, 2.0), (50, 4.0)), 100)]
    (more,) = more_requests(base, Fraction(3, 2))
    assert (pairs(more.rate), more.end_ms) == ([(0, 3.0), (50, 6.0)], 100)
    jobs = [job("a", 0, 1), job("b", 60, 1), job("c", 100, 1)]
    (dense,) = in_less_time(base, Fraction(2), scale_load(jobs, 2))
    assert (pairs(dense.rate), dense.end_ms) == ([(0, 2.0), (25, 4.0)], 50)
    (short,) = until_last(base, jobs[:2])
    assert (pairs(short.rate), short.end_ms) == ([(0, 2.0), (50, 4.0)], 60)
    (shorter,) = until_last(base, [job("a", 0, 1), job("b", 20, 1)])
    assert (pairs(shorter.rate), shorter.end_ms) == ([(0, 2.0)], 20)
    with pytest.raises(InputError, match="nothing is left of them"):
        until_last(base, jobs[:1])
    assert until_last([], jobs) == ()


def test_constant_rates_have_one_step():
    assert pairs(constant(7, 2.5)) == [(7, 2.5)]
