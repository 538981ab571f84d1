"""Each format: what its sample means, and which line of its broken sample is rejected for which field and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

import traces
from traces.job import JobRecord
from traces.registry import FORMATS, detect, read_trace

SAMPLES = Path(traces.__file__).parent / "samples"

GOOD = {
    "canonical.csv": "canonical",
    "helios.csv": "helios",
    "helios_slice.csv": "helios-slice",
    "k8s_events.jsonl": "k8s-pods",
    "k8s_pods.json": "k8s-pods",
    "openb.csv": "openb",
    "openb_untimed.csv": "openb",
    "philly_joined.csv": "philly-joined",
    "philly_log.json": "philly-log",
    "philly_pollux.csv": "philly-pollux",
    "rfold.csv": "rfold",
    "simple_seconds.csv": "simple-seconds",
    "slurm_sacct.txt": "slurm-sacct",
    "slurm_sacct_parsable.txt": "slurm-sacct",
    "swf.swf": "swf",
}

FEW = "must have {} fields"
TWICE = "must be unique, but line"

# file -> (line, field, what the reason begins with); line 2 and, of files with comments, the first data line is good
BROKEN = {
    "canonical_broken.csv": [
        (3, "job_id", "must not be empty"),
        (4, "submit_ms", "must not be negative, got '-1'"),
        (5, "submit_ms", "must be an integer, got '0.5'"),
        (6, "run_ms", "must be a number, got 'nan'"),
        (7, "run_ms", "must be a number, got 'inf'"),
        (8, "run_ms", "must be at most 100000000000000, got '1e400'"),
        (9, "run_ms", "must be a number, got '0x10'"),
        (10, "run_ms", "must be a number, got '1_000'"),
        (11, "run_ms", "must be a number, got '١٢'"),  # because: digits of another script are the case
        (12, "gpus", "must not be empty"),
        (13, "gpus", "must not be negative, got '-1'"),
        (14, "gpus", "above 1 must be an integer unless gpu_milli is given"),
        (15, "gpus", "must be exact in thousandths of a device"),
        (16, "gpus", "must be a multiple of gpu_milli 300"),
        (17, "pods", "8 devices cannot be cut into 3 equal pods"),
        (18, "gpu_milli", "must be at most 1000"),
        (19, "priority", "must be a number, got 'high'"),
        (20, "accelerators", "names no model between two |"),
        (21, "outcome", "must be one of completed, failed"),
        (22, "row", FEW.format(9)),
        (23, "row", FEW.format(9)),
        (24, "row", "its quotes do not match"),
        (25, "job_id", f"{TWICE} 2"),
        (26, "submit_ms", "must not be negative"),
        (26, "run_ms", "must not be negative"),
    ],
    "helios_broken.csv": [
        (3, "job_id", "must not be empty"),
        (4, "gpu_num", "must be a number, got 'eight'"),
        (5, "submit_time", "must be a stamp of the calendar"),
        (6, "duration", "must not be negative"),
        (7, "node_num", "must be at least 1"),
        (8, "cpu_num", "must not be negative"),
        (9, "start_time", "must be a stamp like"),
        (10, "submit_time", "must not be empty"),
        (11, "row", FEW.format(12)),
        (12, "job_id", f"{TWICE} 2"),
    ],
    "helios_slice_broken.csv": [
        (4, "job_id", "must not be empty"),
        (5, "submit_time", "must not be negative"),
        (6, "num_chips", "must not be empty"),
        (7, "num_nodes", "must be a number"),
        (8, "duration_s", "must be a number"),
        (9, "row", FEW.format(11)),
        (10, "job_id", f"{TWICE} 3"),
    ],
    "k8s_pods_broken.json": [
        (3, "metadata.name", "must not be empty"),
        (4, "spec.containers[0].resources.limits.nvidia.com/gpu", "must be a quantity such as"),
        (5, "spec.containers[0].resources.limits.nvidia.com/gpu", "must be a whole number, got '0.5'"),
        (6, "spec.containers", "must be a list"),
        (7, "status", "PENDING: the pod never started"),
        (8, "status.phase", "RUNNING: the pod had not ended"),
        (9, "status.containerStatuses", "say no time at which the pod ended"),
        (10, "metadata.creationTimestamp", "must be a time like"),
        (11, "status", "must not have ended before it was bound"),
        (12, "spec.containers", "nvidia.com/mig-1g.10gb is not modelled"),
        (13, "spec.containers", "asks for several kinds of devices: nvidia.com/gpu, amd.com/gpu"),
        (14, "spec.priority", "must be an integer"),
        (15, "spec.resourceClaims", "is not modelled"),
        (16, "row", "must be a JSON object"),
        (17, "metadata", "must be a JSON object"),
        (17, "metadata.name", "must not be empty"),
        (17, "metadata.creationTimestamp", "must not be empty"),
        (18, "metadata.name", f"{TWICE} 2"),
    ],
    "openb_broken.csv": [
        (3, "name", "must not be empty"),
        (4, "cpu_milli", "must not be negative"),
        (5, "memory_mib", "must be a number"),
        (6, "gpu_milli", "must be 1000 for a pod with 2 devices"),
        (7, "gpu_milli", "must be at least 1 for a pod with a device"),
        (8, "gpu_milli", "must be 0 for a pod without a device"),
        (9, "gpu_milli", "must be at most 1000"),
        (10, "scheduled_time", "must not be before creation_time"),
        (11, "deletion_time", "must not be before"),
        (12, "deletion_time", "must not be empty"),
        (13, "creation_time", "must be an integer"),
        (14, "row", FEW.format(11)),
        (15, "name", f"{TWICE} 2"),
    ],
    "philly_joined_broken.csv": [
        (3, "job", "must not be empty"),
        (4, "arr", "must not be negative"),
        (5, "size", "must be a number"),
        (6, "dur", "must not be negative, got '-0.5'"),
        (7, "dur", "must be a number, got 'NaN'"),
        (8, "size", "must be an integer"),
        (9, "row", FEW.format(7)),
        (10, "job", f"{TWICE} 2"),
    ],
    "philly_log_broken.json": [
        (3, "attempts", "is empty: the job never started"),
        (4, "attempts[0].end_time", "is null: the attempt had not ended"),
        (5, "attempts[0].start_time", "is null: the attempt never started"),
        (6, "attempts[0].end_time", "must not be before start_time"),
        (7, "attempts", "no attempt names a device"),
        (8, "attempts[0].detail", "must be a list of servers"),
        (9, "attempts[0].detail[0].gpus", "must be a list of names"),
        (10, "submitted_time", "must be a stamp like"),
        (11, "jobid", "must not be empty"),
        (12, "attempts", "must be a list"),
        (13, "attempts[0]", "must be a JSON object"),
        (14, "row", "must be a JSON object"),
        (15, "jobid", f"{TWICE} 2"),
    ],
    "philly_pollux_broken.csv": [
        (3, "timestamp", "must be a stamp of the calendar"),
        (4, "timestamp", "must be a stamp like"),
        (5, "timestamp", "must be a stamp of the calendar"),
        (6, "timestamp", "must not be before 1970"),
        (7, "duration", "must not be negative"),
        (8, "num_gpus", "must be at most 10000000"),
        (9, "timestamp", "must not be empty"),
        (10, "row", FEW.format(5)),
    ],
    "rfold_broken.csv": [
        (3, "job id", "must not be empty"),
        (4, "arrival time (sec)", "must be a number"),
        (5, "size", "must not be negative"),
        (6, "duration (sec)", "must not be empty"),
        (7, "duration (sec)", "must be a number, got 'Infinity'"),
        (8, "row", FEW.format(6)),
        (9, "job id", f"{TWICE} 2"),
    ],
    "simple_seconds_broken.csv": [
        (3, "job_id", "must not be empty"),
        (4, "submit_s", "must not be negative"),
        (5, "gpus", "above 1 must be an integer"),
        (6, "duration", "must be at most 100000000000, got '1e400'"),
        (7, "duration", "must not be empty"),
        (8, "row", FEW.format(4)),
        (9, "job_id", f"{TWICE} 2"),
    ],
    "slurm_sacct_broken.txt": [
        (3, "JobID", "must not be empty"),
        (4, "State", "PENDING: the job had not ended"),
        (4, "Start", "the job never started"),
        (5, "State", "RUNNING: the job had not ended"),
        (6, "Start", "the job never started"),
        (7, "Submit", "must be a stamp of the calendar"),
        (8, "Elapsed", "must be a time like"),
        (9, "State", "must not be empty"),
        (10, "NNodes", "must not be negative"),
        (11, "ReqMem", "must be like 2800Mc"),
        (12, "ReqGRES", "must be like gpu:2"),
        (13, "ReqGRES", "asks for several models at once"),
        (14, "Timelimit", "must be a time like"),
        (15, "row", FEW.format(13)),
        (16, "JobID", f"{TWICE} 2"),
    ],
    "swf_broken.swf": [
        (3, "run_time", "the run time is unknown (-1)"),
        (4, "requested_processors", "is -1 and allocated is -1: the size is unknown"),
        (5, "submit_time", "must not be negative"),
        (6, "run_time", "must be a number, got 'nan'"),
        (7, "row", FEW.format(18)),
        (8, "row", FEW.format(18)),
        (9, "status", "3 is a part of a checkpointed job"),
        (10, "status", "must be -1 or 0 to 5"),
        (11, "requested_processors", "must be an integer"),
        (12, "requested_time", "must be at most"),
        (13, "wait_time", "must not be negative"),
        (14, "job_number", f"{TWICE} 2"),
    ],
}


def records(name: str) -> list[JobRecord]:
    return read_trace(SAMPLES / name).records


def test_every_format_has_a_good_and_a_broken_sample():
    named = {f.name for f in (detect(SAMPLES / name) for name in BROKEN)}
    assert set(GOOD.values()) == named == set(FORMATS)
    on_disk = {path.name for path in SAMPLES.iterdir() if path.is_file() and path.suffix != ".py"}
    assert on_disk == {*GOOD, *BROKEN}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_sample_is_recognised_and_accepted_whole(name):
    trace = read_trace(SAMPLES / name)
    assert (trace.format, trace.rejections) == (GOOD[name], [])
    assert len(trace.records) == trace.rows > 0
    assert trace.notes or trace.format == "canonical"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_sample_is_rejected_line_by_line(name):
    trace = read_trace(SAMPLES / name)
    found = [(r.line, p.field, p.reason) for r in trace.rejections for p in r.problems]
    assert [(line, field) for line, field, _ in found] == [(line, field) for line, field, _ in BROKEN[name]]
    for (line, _, reason), (_, _, begins) in zip(found, BROKEN[name], strict=True):
        assert reason.startswith(begins), f"line {line}: {reason}"
    assert len(trace.records) == 1, "the one good line of each broken sample"
    assert len(trace.records) + len(trace.rejections) == trace.rows


def test_canonical():
    train, share, two_shares, etl = records("canonical.csv")
    assert train == JobRecord(
        job_id="train-a",
        submit_ms=0,
        run_ms=3_600_000,
        gpu_count=16,
        pods=2,
        gpu_memory_mib=65_536,
        cpu_milli=128_000,
        memory_mib=1_048_576,
        accelerators=("A100", "H100"),
        user="ana",
        queue="research",
        priority=10,
        estimate_ms=7_200_000,
        outcome="completed",
        recorded_start_ms=1500,
        family="LM",
        extra={"ticket": "T-1"},
    )
    assert (share.gpu_count, share.gpu_milli, share.outcome) == (1, 470, "failed")
    assert (two_shares.gpu_count, two_shares.gpu_milli, two_shares.outcome) == (2, 250, "cancelled")  # 0.5 = 2 x 0.25
    assert (two_shares.priority, two_shares.extra) == (-5, None)
    assert (etl.run_ms, etl.gpu_count, etl.user, etl.extra) == (0, 0, None, {"ticket": "T-2, late"})
    assert read_trace(SAMPLES / "canonical.csv").unknown_columns == ("ticket",)


def test_swf():
    first, unknown, cancelled = records("swf.swf")
    assert first == JobRecord(
        job_id="1",
        submit_ms=0,
        run_ms=600_000,
        gpu_count=8,
        user="3",
        queue="2",
        estimate_ms=900_000,
        outcome="completed",
        recorded_start_ms=10_000,
    )
    assert (unknown.gpu_count, unknown.estimate_ms, unknown.recorded_start_ms, unknown.queue) == (4, None, None, None)
    assert (cancelled.run_ms, cancelled.outcome, cancelled.memory_mib) == (
        0,
        "cancelled",
        2,
    )  # 2048 KiB


def test_philly_joined():
    first, second, zero = records("philly_joined.csv")
    assert first == JobRecord(job_id="0", submit_ms=0, run_ms=3_600_000, gpu_count=1)
    assert (second.queue, second.run_ms) == ("abc123", 7_201_000)  # 7200.9999999999995 s, half to even
    assert zero.run_ms == 0
    assert (
        "1 times in seconds were rounded to the millisecond, half to even"
        in read_trace(SAMPLES / "philly_joined.csv").notes
    )


def test_philly_log_sums_the_attempts_and_leaves_the_gaps_out():
    retried, uneven = records("philly_log.json")
    assert retried == JobRecord(
        job_id="application_1",
        submit_ms=10_000,  # the other job is ten seconds earlier
        run_ms=(10 + 30) * 60_000,  # not the 89 minutes from the first start to the last end
        gpu_count=4,
        pods=2,
        user="u1",
        queue="abc123",
        outcome="completed",
        recorded_start_ms=60_000,
    )
    assert (uneven.gpu_count, uneven.pods, uneven.outcome) == (3, None, "cancelled")  # 1 + 2 devices: no equal pods


def test_philly_log_keeps_and_reports_unknown_keys(tmp_path):
    path = tmp_path / "log.json"
    path.write_text((SAMPLES / "philly_log.json").read_text().replace('"user": "u2"', '"user": null, "zone": "z1"'))
    trace = read_trace(path)
    assert (trace.unknown_columns, trace.records[1].extra, trace.records[1].user) == (("zone",), {"zone": "z1"}, None)


def test_philly_pollux_numbers_the_rows_and_keeps_equal_ones():
    trace = read_trace(SAMPLES / "philly_pollux.csv")
    assert [(job.job_id, job.submit_ms) for job in trace.records] == [("1", 30_000), ("2", 0), ("3", 30_000)]
    assert "1 rows repeat an earlier row exactly and are kept, as there are no ids" in trace.notes
    assert trace.notes[0].startswith("time 0 is 2017-10-02 07:59:30")


def test_rfold():
    assert [(job.submit_ms, job.run_ms, job.gpu_count) for job in records("rfold.csv")] == [
        (0, 720_000, 48),
        (60_000, 0, 8),
        (60_000, 1_800_500, 1),
    ]


def test_helios():
    whole, two_servers, on_cpus, uneven = records("helios.csv")
    assert whole == JobRecord(
        job_id="101",
        submit_ms=300_000,
        run_ms=3_600_000,
        gpu_count=8,
        pods=1,
        cpu_milli=48_000,
        user="uA",
        queue="vcX",
        outcome="completed",
        recorded_start_ms=305_000,
    )
    assert (two_servers.submit_ms, two_servers.pods, two_servers.outcome) == (0, 2, "cancelled")
    assert (on_cpus.gpu_count, on_cpus.cpu_milli, on_cpus.outcome) == (0, 4000, "failed")
    assert (uneven.pods, uneven.outcome, uneven.recorded_start_ms) == (None, "unknown", None)
    notes = read_trace(SAMPLES / "helios.csv").notes
    assert "1 recorded starts before the submission are left out" in notes
    assert "1 rows whose state 'SUSPENDED' has no counterpart are `unknown`" in notes


def test_helios_slice_takes_no_oracle_for_an_estimate():
    first, typed, uneven = records("helios_slice.csv")
    assert first == JobRecord(
        job_id="7001",
        submit_ms=5_835_000,
        run_ms=24_000,
        gpu_count=128,
        pods=16,
        user="uA",
        queue="vcX",
        outcome="cancelled",
    )
    assert (typed.accelerators, typed.submit_ms, typed.estimate_ms) == (("V100",), 5_842_000, None)  # .5 ms: to even
    assert (uneven.pods, uneven.outcome) == (None, "node_fail")


def test_openb():
    first, shared, pending, large = records("openb.csv")
    assert first == JobRecord(
        job_id="pod-0",
        submit_ms=0,
        run_ms=995_000,
        gpu_count=1,
        pods=1,
        cpu_milli=12_000,
        memory_mib=16_384,
        recorded_start_ms=5000,
        extra={"qos": "LS", "pod_phase": "Running"},
    )
    assert (shared.gpu_milli, shared.accelerators, shared.run_ms) == (460, ("V100M16", "V100M32"), 0)
    assert (pending.gpu_count, pending.gpu_milli, pending.run_ms, pending.recorded_start_ms) == (
        0,
        1000,
        380_000,
        None,
    )
    assert (large.demand_milli, large.outcome) == (8000, "unknown")  # pod_phase is a snapshot


def test_openb_without_times():
    assert [(job.job_id, job.submit_ms, job.run_ms, job.gpu_milli) for job in records("openb_untimed.csv")] == [
        ("pod-0", 0, 0, 1000),
        ("pod-1", 0, 0, 460),
        ("pod-2", 0, 0, 1000),
    ]


def test_simple_seconds():
    assert [(job.submit_ms, job.run_ms, job.demand_milli) for job in records("simple_seconds.csv")] == [
        (0, 60_000, 1000),
        (250, 0, 16_000),
        (10_000, 1000, 500),  # 1.0005 s, half to even
    ]


def test_slurm_sacct():
    gang, on_cpus, cancelled = records("slurm_sacct.txt")
    assert gang == JobRecord(
        job_id="11",
        submit_ms=10_000,
        run_ms=3_600_000,
        gpu_count=8,  # 4 on each of 2 nodes
        pods=2,
        cpu_milli=32_000,
        memory_mib=2 * 64 * 1024,
        accelerators=("a100",),
        user="ana",
        queue="gpu",
        estimate_ms=7_200_000,
        outcome="completed",
        recorded_start_ms=20_000,
    )
    assert (on_cpus.gpu_count, on_cpus.memory_mib, on_cpus.estimate_ms) == (0, 12 * 2800, 25 * 3_600_000)
    assert (on_cpus.run_ms, on_cpus.outcome) == (25 * 3_600_000 + 1000, "timeout")
    assert (cancelled.gpu_count, cancelled.memory_mib, cancelled.estimate_ms) == (1, 4096, None)
    assert "1 job steps are part of their jobs, and no rows" in read_trace(SAMPLES / "slurm_sacct.txt").notes


def test_slurm_sacct_parsable_and_tres():
    gang, array = records("slurm_sacct_parsable.txt")
    assert (gang.gpu_count, gang.pods, gang.accelerators, gang.memory_mib) == (8, 2, ("h100",), 2)
    assert (array.job_id, array.run_ms, array.estimate_ms, array.outcome) == ("22_3", 600_500, 600_000, "failed")
