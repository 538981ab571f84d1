"""The notebooks run from the first cell to the last, say what they show, and are stored without what they print."""

from __future__ import annotations

import ast
import csv
import json
import re
import sys
import types
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbclient
import nbformat
import pytest
from shared import needs

from sim.session import SessionError

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = ("capacity_planning", "fidelity", "policy_regression", "write_a_policy")

FIGURES = {"capacity_planning": 3, "fidelity": 4, "policy_regression": 4, "write_a_policy": 1}

PARAMETERS = "parameters"
"""The tag of the one cell that a reader edits; papermill knows it by this name."""

FIGURES_OF_SPEECH = {"0", "1", "5", "10", "20", "95", "99"}
"""Numbers that may stand in the text: levels, margins, ends of scales. A result is computed, and printed by a cell."""

FOUND = {
    "capacity_planning": """
assert needs["servers"].tolist()[1] < needs["servers"].tolist()[0], "the other policy saves servers"
assert (needs["low"] <= needs["servers"]).all() and (needs["servers"] <= needs["high"]).all()
assert (servers.iloc[1:] >= servers.iloc[0]).all(axis=None), "whatever is asked for more costs more"
assert moved.max() > (needs["high"] - needs["low"]).max(), "and not by luck alone"
assert set(saved.index) == {"a100", "ascend", "t4"}
assert "backlog" not in plan_text(found)
""",
    "fidelity": """
assert best == "best-effort-fifo:per=queue", "the policy that made the record is found"
assert 30 <= delays.median() <= 180, "so is what it made each start cost"
assert 30_000 <= fitted.overhead_ms <= 180_000
assert fitted.wasserstein_with_overhead_ms < fitted.wasserstein_ms
assert over == 0
assert abs(errors.loc["all", "mean error"]) < 0.1
""",
    "policy_regression": """
assert set(judged["outcome"]) >= {"pass", "fail"}, "somebody is worse off, and not everybody"
assert most["change"] > 0 > effects["change"].iloc[0], "though the mean is better"
waited = [each[policy]["wait"].mean() for each in (jobs, paying) for policy in jobs]
assert ((means.sum(axis="columns") - waited).abs() < 1e-9).all(), "the causes add up"
assert (losers["longer"] > 0).all() and len(losers) == 5
""",
    "write_a_policy": """
assert broken == []
assert effects.loc[("size", "9-63"), "verdict"] == "better", "the largest wait less, as they were meant to"
assert "worse" in set(effects["verdict"]), "and somebody pays"
""",
}
"""What the sample is there to show. The text asks these questions; if the answers change, the text must be read again."""


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def of_name(name: str) -> Path:
    return ROOT / "notebooks" / f"{name}.ipynb"


def test_they_are_all_there():
    assert tuple(path.stem for path in NOTEBOOKS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_and_shows_what_it_is_there_to_show(name, monkeypatch, tmp_path):
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    book = nbformat.read(of_name(name), as_version=4)
    book.cells.append(nbformat.v4.new_code_cell(FOUND[name]))
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == FIGURES[name]
    streams = [output for output in outputs if output.output_type == "stream"]
    assert not [output.text for output in streams if output.name == "stderr"]
    for text in (output.text for output in streams):
        assert "warning" not in text.casefold()
        assert len(text.splitlines()) <= 16, "a wall of text"
        assert all(len(line) <= 110 for line in text.splitlines())
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


class Replaced:
    """A notebook that runs here, in one namespace, with other parameters. Warnings are errors as in every test."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch, **parameters: object) -> None:
        module = types.ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", module)
        self.found = vars(module)
        with mpl.rc_context({"backend": "agg", "figure.max_open_warning": 0}):
            try:
                self._run(name, parameters)
                self.drawn = [plt.figure(number) for number in plt.get_fignums()]
                for figure in self.drawn:
                    figure.canvas.draw()
            finally:
                plt.close("all")

    def _run(self, name: str, parameters: dict[str, object]) -> None:
        for cell in cells(of_name(name), "code"):
            exec(compile(source(cell), name, "exec"), self.found)
            if PARAMETERS in cell["metadata"].get("tags", []):
                assert parameters.keys() <= self.found.keys(), "there is no such parameter"
                self.found.update(parameters)


@pytest.fixture(params=["busy", "idle"])
def own(request, tmp_path):
    """A trace and a fleet that have nothing in common with the sample: other queues and pools, or nobody who waits."""
    path = tmp_path / "jobs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["job_id", "submit_ms", "run_ms", "gpus", "queue", "recorded_start_ms"])
        for number in range(120):
            submit = 7_000_000_000 + number * 900_000
            gpus = (1, 2, 1, 4, 1, 8)[number % 6]
            out.writerow([number, submit, 5_400_000 - 40_000 * (number % 11), gpus, "ab"[number % 2], submit + 7000])
    return {"trace": str(path), "cluster": "2x8" if request.param == "busy" else "40x8", "days": None}


POLICIES = {"baseline": "fifo", "candidate": "best-effort-fifo"}
ANY = {"pools": None, "prices": {"*": 1}, "replications": 2}
EVIDENCE = {"replications": 8, "shake": "3 %", "blocks": "replication"}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("capacity_planning", {**ANY, "queues": None, "pool": "default", "most": 5}),
        ("capacity_planning", {**ANY, "queues": ["a"], "pool": None, "most": 2}),
        ("fidelity", {"policies": ["fifo", "best-effort-fifo"]}),
        ("policy_regression", {**POLICIES, "evidence": EVIDENCE}),
        ("policy_regression", {**POLICIES, "evidence": {"blocks": "day"}, "gates": []}),
        ("write_a_policy", {"evidence": EVIDENCE}),
    ],
    ids=["a pool", "the fleet", "fidelity", "copies", "days", "policy"],
)  # fmt: skip
def test_another_trace_and_fleet_in_one_cell(name, more, own, monkeypatch):
    found = Replaced(name, monkeypatch, **own, **more)
    assert len(found.drawn) == FIGURES[name]
    for figure in found.drawn:
        assert any(axes.get_title(loc="left") for axes in figure.axes)
        assert all(axes.get_xlabel() for axes in figure.axes)


def test_fidelity_of_a_real_log(monkeypatch):
    log = needs("traces/swf/KTH-SP2.swf.gz")
    parameters = {"days": (0, 40), "rules": {"split": "free"}, "policies": ["easy", "fifo"]}
    found = Replaced("fidelity", monkeypatch, trace=str(log), cluster="100x1", **parameters).found
    assert found["best"] == "easy"
    assert found["errors"].loc["all", "jobs"] == found["session"].jobs > 1000


def test_fidelity_of_a_log_without_starts_is_refused_in_one_sentence(monkeypatch):
    log = needs("traces/helios_venus/helios_venus_2vc_sept.csv.gz")
    with pytest.raises(SessionError, match="records no starts"):
        Replaced("fidelity", monkeypatch, trace=str(log), cluster="22x8", days=None)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_stored_without_output_and_short_enough_to_read(name):
    code = cells(of_name(name), "code")
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert sum(len(cell["source"]) for cell in code) < 130
    policy = [cell for cell in code if "class LargestThatFits" in source(cell)]
    assert all(len(cell["source"]) <= 16 for cell in code if cell not in policy)
    assert all(len(cell["source"]) <= 40 for cell in policy)
    for cell in cells(of_name(name), "markdown"):
        assert len(source(cell).split()) <= 120, "a wall of text"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_reader_edits_is_one_cell_of_plain_values_at_the_top(name):
    code = cells(of_name(name), "code")
    assert [number for number, cell in enumerate(code) if PARAMETERS in cell["metadata"].get("tags", [])] == [0]
    for statement in ast.parse(source(code[0])).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_text_states_no_result_and_names_what_is_there(name):
    text = "\n".join(map(source, cells(of_name(name), "markdown")))
    assert set(re.findall(r"(?<!\w)\d+(?:\.\d+)?", text)) <= FIGURES_OF_SPEECH
    assert "## What would change my mind" in text
    linked = set(re.findall(r"`(\w+)`", text))
    assert linked & {*NAMES} <= {*NAMES} - {name}
