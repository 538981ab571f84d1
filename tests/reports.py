"""Comparisons for tests of the page: small, with everything that a page can show."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from builders import job
from paired_days import days
from runs import GOLDEN, run_of, trace_of

from sim.experiment.compare import compare
from sim.experiment.comparison import Comparison, compare_runs, no_ties
from sim.experiment.prepare import prepare
from sim.experiment.scenario import make_scenario
from sim.gates.gate import parse_gate
from sim.report.files import write_reports
from sim.results import Run
from traces.job import FieldProblem, JobRecord
from traces.trace import Rejection


def side_by_side(
    jobs: Sequence[JobRecord] = GOLDEN, specs: Sequence[str] = ("fifo", "best-effort-fifo"), **rules: object
) -> Comparison:
    """Runs without statistics."""
    return compare_runs([run_of(jobs, "1x8", spec, **rules) for spec in specs], specs[0], no_ties("a test"))


GATES = ("wait.mean: no worse than +1 %", "wait.p95{user=bob}: +2 h", "preemptions: +0")


def full(
    out: Path, records: Sequence[JobRecord] | None = None, gates: Sequence[str] = GATES, **keys: object
) -> Comparison:
    """Ten days under three policies, one of them an oracle, with gates, causes and statistics; written to `out`."""
    policies = ("fifo", "best-effort-fifo", "best-effort-sjf-oracle")
    scenario = make_scenario(
        {"trace": "memory", "cluster": "1x8", "blocks": "6d", "causes": True, **keys}, source="test"
    )
    jobs = [*days(), job("too-large", 10**9, 1000, 9)] if records is None else records
    trace = trace_of(jobs, [Rejection(3, "x", (FieldProblem("gpus", "must be >= 0, got -1"),))])
    out.mkdir(exist_ok=True)
    found = compare(
        prepare(scenario, policies, trace=trace),
        policies,
        policies[0],
        out,
        gates=[parse_gate(each) for each in gates],
    ).comparison
    write_reports(found, out)
    return found


def renamed(comparison: Comparison, name: str) -> Comparison:
    """The comparison with `name` wherever somebody else chooses a name: jobs, users, queues, policies, files, servers, ..."""
    policies = {policy: f"{name}{number}" for number, policy in enumerate(comparison.names)}
    runs = {policies[policy]: _run(run, policies[policy], name) for policy, run in comparison.runs.items()}
    paired = comparison.paired
    if paired is not None:
        evidence = replace(paired.evidence, traces=[name], warnings=[f"warning {name}"])
        effects = {
            policies[policy]: replace(
                found,
                groups=[replace(each, name=f"{name}{i}") for i, each in enumerate(found.groups)],
                worst_off={kind: replace(each, name=name) for kind, each in found.worst_off.items()},
            )
            for policy, found in paired.policies.items()
        }
        paired = replace(paired, evidence=evidence, policies=effects)
    bounds = copy.deepcopy(comparison.bounds)
    if bounds is not None:
        bounds["best_oracle"] = name if bounds["best_oracle"] else None
        bounds["mean_completion_because"] = name
        for each in bounds["policies"]:
            each["policy"] = policies[each["policy"]]
    return replace(
        comparison,
        baseline=policies[comparison.baseline],
        runs=runs,
        groups=[
            replace(
                group,
                name=group.name if group.kind in ("all", "size") else f"{name}{number}",
                values={policies[policy]: found for policy, found in group.values.items()},
            )
            for number, group in enumerate(comparison.groups)
        ],
        shifts={
            policies[policy]: replace(
                found,
                worst_jobs=[{**each, "job_id": name, "user": name} for each in found.worst_jobs],
                worst_users=[{**each, "user": name} for each in found.worst_users],
                groups=[{**each, "name": f"{name}{i}"} for i, each in enumerate(found.groups)],
            )
            for policy, found in comparison.shifts.items()
        },
        ties=no_ties(name),
        paired=paired,
        gates=tuple(
            replace(each, gate=name, policy=policies[each.policy], why=name, because=name)
            for each in comparison.gates
        ),
        bounds=bounds,
    )


def _run(run: Run, policy: str, name: str) -> Run:
    manifest = copy.deepcopy(run.manifest)
    manifest["policy"]["spec"] = policy
    manifest["semantics"] = {**dict.fromkeys(manifest["semantics"], name), f"option {name}": name}
    manifest["message"] = name
    manifest["complete"] = policy.endswith(("0", "1"))
    manifest["warnings"] = [name]
    manifest["findings"] = [{"severity": "info", "place": name, "what": name, "consequence": name}]
    manifest["jobs"]["not_run"] = {name: 1}
    manifest["versions"] = {name: name}
    cluster, trace = manifest["inputs"]["cluster"], manifest["inputs"]["trace"]
    cluster.update(name=name, source=name, sha256=name, devices_by_accelerator={name: 8}, levels=[])
    trace.update(path=name, format=name, notes=[name], unknown_columns=[name])
    trace["rejections"] = [{"line": 3, "job_id": name, "problems": [{"field": name, "reason": name}]}]
    manifest["world"].update(speed_table={"path": name, "sha256": name})

    @functools.cache
    def text(column: str) -> object:
        import pyarrow as pa

        values = run.jobs.text(column).to_pylist()
        return pa.array([None if value is None else f"{name}{value}" for value in values], type=pa.string())

    servers = None if run.servers is None else run.servers._replace(name=[name], accelerator=[name])
    return replace(run, manifest=manifest, jobs=replace(run.jobs, text=text), servers=servers)
