"""The pytest plugin: a policy's own repository gates itself in its own tests.

    def test_the_policy_makes_nobody_wait_longer(rehearse):
        rehearse.compare("scenario.yaml", policies=["fifo", "mine.policy:Mine"]).assert_gates("gates.yaml")

Every pytest run in an environment with Rehearse imports this module, so it imports nothing of Rehearse before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from sim.experiment.compare import Compared
    from sim.experiment.comparison import Comparison
    from sim.experiment.scenario import Scenario
    from sim.gates.gate import Gate
    from sim.gates.judge import GateResult

Undecided = Literal["fail", "skip", "pass"]


class Comparing:
    """What a test did compare."""

    def __init__(self, compared: Compared, folder: Path) -> None:
        self._compared = compared
        self._folder = folder

    @property
    def comparison(self) -> Comparison:
        """All figures; see `sim.experiment.comparison.Comparison`."""
        return self._compared.comparison

    def gates(self, gates: str | Path | Sequence[object]) -> list[GateResult]:
        """Judge gates: of a file beside the test, or given one by one as in such a file. Raises `InputError`."""
        from sim.experiment.compare import judged
        from sim.experiment.measurable import measurable
        from sim.gates.judge import expanded

        asked = self._compared.asked
        given, subjects = _gates_of(gates, self._folder), asked.subjects
        checked = expanded(
            given,
            subjects.names(),
            asked.others,
            "gates",
            having=subjects.names_having(),
            measurable=partial(measurable, subjects=subjects),
        )
        return judged(asked, self._compared.sampler, checked)

    def assert_gates(self, gates: str | Path | Sequence[object], *, undecided: Undecided = "fail") -> None:
        """Fail unless every gate passes. What is undecided is no pass: it fails too, unless the test says otherwise."""
        __tracebackhide__ = True
        from sim.report.paired_text import gate_lines

        broken = [run.manifest["message"] for run in self.comparison.runs.values() if not run.complete]
        if broken:
            pytest.fail("\n".join(broken), pytrace=False)
        results = self.gates(gates)
        failed = [each for each in results if each.outcome == "fail"]
        open_ = [each for each in results if each.outcome == "undecided"]
        if failed or (open_ and undecided == "fail"):
            pytest.fail("\n".join(gate_lines([*failed, *open_])), pytrace=False)
        if open_ and undecided == "skip":
            pytest.skip("\n".join(gate_lines(open_)))


class Rehearse:
    """The fixture: compares policies, with paths beside the test."""

    def __init__(self, folder: Path, out: Path) -> None:
        self._folder = folder
        self._out = out
        self._count = 0

    def compare(
        self,
        scenario: str | Path | Mapping[str, Any],
        *,
        policies: Sequence[str] | None = None,
        baseline: str | None = None,
        workers: int = 1,
        **keys: Any,
    ) -> Comparing:
        """Replay and compare. `scenario` is a file, or its keys; `keys` override those. Raises `InputError`."""
        from sim.experiment.compare import compare, policies_and_baseline
        from sim.experiment.prepare import prepare_all
        from sim.gates.gate_file import gates_of_items
        from sim.report.files import write_reports

        given = {"policies": None if policies is None else list(policies), "baseline": baseline, **keys}
        found = _scenario_of(scenario, given, self._folder)
        specs, base = policies_and_baseline(found.policies, found.baseline)
        prepared = prepare_all(found, specs)
        self._count += 1
        out = self._out / f"comparison-{self._count}"
        out.mkdir(parents=True)
        compared = compare(
            prepared[0], specs, base, out, workers=workers, more=prepared[1:], gates=gates_of_items(found.gates)
        )
        write_reports(compared.comparison, out)
        return Comparing(compared, self._folder)


@pytest.fixture
def rehearse(request: pytest.FixtureRequest, tmp_path: Path) -> Rehearse:
    """Compare scheduling policies, and assert gates on what comes out."""
    return Rehearse(request.path.parent, tmp_path / "rehearse")


def _scenario_of(scenario: str | Path | Mapping[str, Any], keys: Mapping[str, Any], folder: Path) -> Scenario:
    from sim.experiment.scenario import make_scenario, relative_to
    from sim.scenario_options import scenario_of

    given = relative_to({key: value for key, value in keys.items() if value is not None}, folder)
    if isinstance(scenario, Mapping):
        return make_scenario({**relative_to(scenario, folder), **given}, source="rehearse.compare")
    return scenario_of(folder / scenario, given)


def _gates_of(gates: str | Path | Sequence[object], folder: Path) -> list[Gate]:
    from sim.fleet.problems import FleetError, Problem
    from sim.gates.gate_file import gates_of, read_gates
    from sim.run import InputError

    if isinstance(gates, str | Path):
        return read_gates(folder / gates)
    problems: list[Problem] = []
    found = gates_of(list(gates), problems)
    if problems:
        raise InputError(str(FleetError(problems, source="gates")))
    return found
