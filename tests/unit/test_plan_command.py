"""`rehearse plan`: what it prints, writes and refuses."""

import itertools
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import small_jobs

from sim.cli import _status

TRACE = "job_id,submit_ms,run_ms,gpus,queue\n"


@pytest.fixture
def files(tmp_path):
    rows = [
        f"{each.job_id},{each.submit_ms},{each.run_ms},{each.gpu_count},{each.queue}"
        for each in small_jobs(np.random.default_rng(4))
    ]
    (tmp_path / "t.csv").write_text(TRACE + "\n".join(rows) + "\n")
    return ["plan", "--trace", str(tmp_path / "t.csv"), "--cluster", "20x8"]


def test_the_command_prints_a_table_and_writes_all_that_was_tried(files, tmp_path, capsys):
    asked = [
        *files,
        "--policies",
        "fifo,easy",
        "--level",
        "wait.p95{queue=*} <= 2s",
        "--replications",
        "3",
        "--price",
        "*=1",
    ]
    out = tmp_path / "plan"
    assert _status([*asked, "--growth", "1", "--growth", "1.5", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.count("90th percentile (3 of 3, sorted)") == 2
    assert said.count("easy needs ") == 2
    data = json.loads((out / "plan.json").read_text())
    assert [each["growth"] for each in data["plans"]] == [1, 1.5]
    tried = pq.read_table(out / "tried.parquet").to_pandas()
    for each, answer in itertools.product(data["plans"], range(2)):
        answer = each["answers"][answer]
        rows = tried[(tried.growth == each["growth"]) & (tried.policy == answer["policy"])]
        for number, count in enumerate(answer["by_replication"]):
            mine = rows[rows.replication == number].set_index("servers")
            assert mine.enough[count]
            assert not mine.enough[count - 1]
            assert (
                mine.enough == (mine[["wait.p95{queue=a} <= 2s", "wait.p95{queue=b} <= 2s"]].max(axis=1) <= 2000)
            ).all()
    assert _status([*asked, "--out", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert _status([*asked, "--json", "--gang-within", "10s", "--marginal", "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    (planned,) = found["plans"]
    assert [each["policy"] for each in planned["answers"]] == ["fifo", "easy"]
    assert planned["answers"][0]["cost"] == planned["answers"][0]["devices"]
    assert planned["answers"][0]["fewer_devices_than_first"] == [0, 0, 0]
    assert found["largest_gang"]["fifo"]["devices"] > 0
    assert found["one_more"]["easy"][0]["pool"] == "default"


def test_the_command_finds_the_cheapest_mix(files, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(
        "rehearse_fleet: 1\nname: two\npools:\n"
        "  - {name: new, servers: 6, accelerator: nvidia-a100-sxm-80gb, devices: 8}\n"
        "  - {name: old, servers: 6, accelerator: nvidia-t4, devices: 4}\n"
    )
    asked = [
        *files[:4],
        str(tmp_path / "c.yaml"),
        "--speed",
        "off",
        "--policies",
        "fifo",
        "--level",
        "wait.p95 <= 5s",
    ]
    mix = ["--pool", "new:4..12", "--pool", "old:0..8", "--price", "nvidia-a100-sxm-80gb=3", "--price", "*=1"]
    assert _status([*asked, *mix, "--replications", "1", "--out", str(tmp_path / "plan")]) == 0
    said = capsys.readouterr().out
    assert "fifo: the cheapest is " in said
    assert "of new + " in said
    tried = pq.read_table(tmp_path / "plan" / "tried.parquet").to_pandas()
    best = json.loads((tmp_path / "plan" / "plan.json").read_text())["plans"][0]["answers"][0]["best"]
    assert tried[tried.enough].cost.min() == best["cost"]
    assert _status([*asked, *mix, "--replications", "1", "--budget", "40"]) == 3
    assert "this budget is enough" in capsys.readouterr().out


def test_a_plan_takes_replications_shaking_gates_and_baseline_from_the_scenario(files, tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(
        "rehearse_scenario: 1\ntrace: t.csv\ncluster: 20x8\npolicies: [fifo, easy]\nbaseline: easy\nreplications: 2\n"
        "shake: 1 %\nwarm_up: 1s\ngates: ['wait.p95 <= 2s', 'completion.mean: no worse than +5 %']\n"
    )
    assert _status(["plan", str(tmp_path / "s.yaml"), "--json"]) == 0
    (planned,) = json.loads(capsys.readouterr().out)["plans"]
    assert [each["policy"] for each in planned["answers"]] == ["easy", "fifo"]
    assert planned["levels"] == ["wait.p95 <= 2s"]
    assert planned["shake"] == {"submit": 0.01, "run": 0.01}
    assert (planned["replications"], planned["warm_up_ms"]) == (2, 1000)


def test_a_plan_without_an_answer_is_undecided(files, capsys):
    asked = ["--policies", "fifo", "--level", "wait.p95 <= 1ms", "--to", "2", "--replications", "1"]
    assert _status([*files, *asked]) == 3
    assert "even 2 are not enough: wait.p95 is" in capsys.readouterr().out


LEVEL = ["--level", "wait.p95 <= 1s"]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--policies", "fifo"], "at least one is needed"),
        (["--policies", "fifo", "--level", "wait.p95: no more than +5 %"], "must be a limit"),
        (["--policies", "fifo", "--level", "wat.p95 <= 1s"], "levels"),
        (["--policies", "fifo", *LEVEL, "--pool", "gpu"], "there is no pool 'gpu'"),
        (["--policies", "fifo", *LEVEL, "--spare", "rack"], "there is no level 'rack'"),
        (["--policies", "fifo", *LEVEL, "--to", "99"], "starts with 20 servers"),
        (["--policies", "fifo", *LEVEL, "--shake", "much"], "must be a percentage"),
        (["--policies", "fifo", *LEVEL, "--growth", "0"], "must be above 0"),
        (["--policies", "fifo", *LEVEL, "--growth", "1e-999999999"], "must be a factor such as 1.25"),
        (["--policies", "fifo", *LEVEL, "--price", "a100"], "accelerator=amount"),
        (["--policies", "fifo", *LEVEL, "--price", "a100=3"], "no server has 'a100'"),
        (["--policies", "fifo", *LEVEL, "--price", "*=-1"], "must be a number from 0 on"),
        (["--policies", "fifo", *LEVEL, "--budget", "9"], "budget: needs a price and a pool"),
        (["--policies", "fifo", *LEVEL, "--pool", "default:1..3", "--pool", "default"], "appears twice"),
        (
            ["--policies", "fifo", *LEVEL, "--pool", "default:1..3", "--pool", "b"],
            "each needs a range, such as b:4..20",
        ),
        (["--policies", "fifo", *LEVEL, "--pool", "default:3..1"], "there is no count from 3 to 1"),
        (["--policies", "fifo", *LEVEL, "--pool", "default:1..3", "--to", "3"], "without a range"),
        (["--policies", "fifo", *LEVEL, "--fill"], "a plan needs a clock"),
        (LEVEL, "--policies missing"),
    ],
)
def test_what_cannot_be_planned_is_refused(files, flags, why, capsys):
    assert _status([*files, *flags]) == 2
    assert why in capsys.readouterr().err
