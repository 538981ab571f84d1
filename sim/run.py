"""One replay from inputs to results: builds the fleet, the policy, the speeds and the engine; names what it did."""

from __future__ import annotations

import importlib
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import click

from policies import catalogue
from policies.api import ExternalPolicyError, Policy, Semantics
from policies.catalogue import Parts
from policies.deployability import deployability
from policies.placement.fragmentation import TypicalPod
from policies.topology import Topology
from sim.engine import Engine, Outcome, PolicyError
from sim.experiment.policy_spec import EXTENDER, PROCESS, parse_process
from sim.fleet.load import LoadedFleet
from sim.fleet.problems import did_you_mean
from sim.fleet.table import queues_of, topology_of
from sim.jobs_table import STATES, JobsTable, jobs_table
from sim.metrics.fragmentation import FillCurve, FragmentationOverTime, fill_curve, fragmentation_over_time
from sim.results import REJECTIONS_LISTED, SCHEMA, Run, check_sums, fingerprint, rejection_data
from sim.rules import Rules
from sim.semantics import as_data, run_semantics
from sim.servers_table import servers_table
from sim.streams import Streams
from sim.world.choice import World
from traces.trace import Trace

Progress = Callable[[int], None]
"""Told now and then how many jobs have ended."""

VERSIONED: Final = ("rehearse", "numpy", "pyarrow", "simpy")


class SchedulerConfig(Protocol):
    """A KubeSchedulerConfiguration; see `sim.kube_configuration`."""

    def into(self, parts: Parts) -> Parts:
        """The parts with the configuration, and with its extenders. Raises `InputError`."""
        ...


class InputError(ValueError):
    """The input or the command line is wrong. The message lists every problem with its place."""


class ChosenPolicy(NamedTuple):
    """A policy and where it came from."""

    policy: Policy
    origin: str
    """`catalogue`, `module`, `process` or `extender`."""
    parameters: dict[str, str]
    semantics: Semantics


def replay(
    trace: Trace,
    loaded: LoadedFleet,
    policy: str,
    rules: Rules | None = None,
    *,
    policy_seed: int | None = None,
    world: World | None = None,
    typical_pods: Sequence[TypicalPod] = (),
    scheduler_config: SchedulerConfig | None = None,
    fragmentation: bool = True,
    progress: Progress | None = None,
    more: dict[str, Any] | None = None,
) -> Run:
    """Replay a trace on a fleet under a policy.

    `policy` is as `choose_policy` reads it, and draws its random numbers from `policy_seed`, else from the seed of the
    rules. `more` is merged into the manifest. A policy that breaks its contract gives a run that is not complete and
    says why. Raises `InputError`.
    """
    topology = topology_of(loaded.fleet)
    rules = rules or Rules()
    streams = Streams(rules.seed if policy_seed is None else policy_seed)
    parts = Parts(generator=streams.generator, typical_pods=tuple(typical_pods))
    if scheduler_config is not None:
        parts = scheduler_config.into(parts)
    decided = (world or World()).decided(loaded.fleet)
    chosen = choose_policy(policy, parts, oracle=rules.oracle)
    if chosen.semantics.peeks:
        rules = replace(rules, oracle=True)
    try:
        engine = Engine(
            trace.records,
            topology,
            chosen.policy,
            rules=rules,
            queues=queues_of(loaded.fleet),
            speed=decided.speed_model(topology),
        )
        outcome, message = _run_to_its_end(engine, progress)
    finally:
        close_policy(chosen.policy)
    jobs = jobs_table(outcome, topology, fill=rules.fill)
    if not rules.fill:
        check_sums(jobs, outcome.held_milli_ms)
    course, fill = _fragmentation(outcome, topology, typical_pods, rules, wanted=fragmentation)
    return Run(
        manifest={
            **_said(trace, loaded, policy, chosen, rules=rules, world=decided),
            **_happened(trace, outcome, jobs, message),
            **(more or {}),
        },
        jobs=jobs,
        timeline=outcome.timeline,
        fragmentation=course,
        fill=fill,
        rejections=trace.rejections,
        records=trace.records,
        servers=servers_table(topology),
    )


def _run_to_its_end(engine: Engine, progress: Progress | None) -> tuple[Outcome, str | None]:
    """What the engine gave, and the message of a policy that broke its contract."""
    try:
        return engine.run(progress), None
    except PolicyError as error:
        return error.outcome, str(error)


def _fragmentation(
    outcome: Outcome, topology: Topology, typical_pods: Sequence[TypicalPod], rules: Rules, *, wanted: bool
) -> tuple[FragmentationOverTime | None, FillCurve | None]:
    """The course of fragmentation, or the curve of a static fill; without devices there is neither."""
    if not outcome.records or not topology.device_count:
        return None, None
    measure = (outcome.records, outcome.timeline, topology, tuple(typical_pods) or None)
    if rules.fill:
        return None, fill_curve(*measure)
    return fragmentation_over_time(*measure) if wanted else None, None


def choose_policy(spec: str, parts: Parts, *, oracle: bool = False) -> ChosenPolicy:
    """The policy that `spec` describes; `close_policy` it after its run.

    `spec` is a catalogue name with parameters, `package.module:Object`, `process:` and the words of a command, or `extender:`
    and a KubeSchedulerConfiguration. Raises `InputError` if it is unknown, or peeks without the oracle.
    """
    name, _, rest = spec.partition(":")
    if name == PROCESS:
        policy, parameters = _process(spec, oracle=oracle)
        origin = "process"
    elif name == EXTENDER:
        from sim.extended_policy import extended_policy

        policy, parameters = extended_policy(spec, parts)
        origin = "extender"
    elif rest and "=" not in rest and name not in catalogue.POLICIES:
        policy, origin, parameters = _imported(spec), "module", dict[str, str]()
    else:
        try:
            policy, origin = catalogue.make_policy(spec, parts), "catalogue"
            parameters = catalogue.parse(spec)[1]
        except ValueError as error:  # unknown, or parts that do not go together
            raise InputError(str(error)) from error
    try:
        semantics = _semantics(spec, policy, may_peek=oracle or origin == "catalogue")
    except InputError:
        close_policy(policy)
        raise
    return ChosenPolicy(policy, origin, parameters, semantics)


def close_policy(policy: Policy) -> None:
    """Tell a policy that its run is over, if it wants to know. Raises `InputError` if that fails."""
    close = getattr(policy, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception as error:
        name = getattr(policy, "name", "") or type(policy).__name__
        raise InputError(f"--policy {name}: its close() failed: {type(error).__name__}: {error}") from error


def _semantics(spec: str, policy: Policy, *, may_peek: bool) -> Semantics:
    try:
        semantics = policy.semantics()
    except Exception as error:
        raise InputError(f"--policy {spec}: its semantics() failed: {type(error).__name__}: {error}") from error
    if not isinstance(semantics, Semantics):
        raise InputError(f"--policy {spec}: semantics() must give a policies.api.Semantics, got {semantics!r}")
    if semantics.peeks and not may_peek:
        raise InputError(
            f"--policy {spec}: it reads true run times, which no scheduler has; --oracle grants them, and the"
            " report says so"
        )
    return semantics


def _process(spec: str, *, oracle: bool) -> tuple[Policy, dict[str, str]]:
    """A policy in another process, which has shaken hands."""
    from policies.serving.process import ProcessPolicy

    try:
        asked = parse_process(spec)
        policy = ProcessPolicy(
            asked.command, name=asked.name or spec, timeout_ms=asked.timeout_ms, cwd=asked.cwd, oracle=oracle
        )
    except (ValueError, ExternalPolicyError) as error:
        raise InputError(f"--policy {spec}: {error}") from error
    return policy, {"command": shlex.join(asked.command), "timeout": f"{asked.timeout_ms}ms"}


def _imported(spec: str) -> Policy:
    """`package.module:Object`: a policy, or a class or a function without arguments that gives one."""
    module_name, _, name = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"--policy {spec}: cannot import {module_name!r}: {type(error).__name__}: {error}"
            f"{did_you_mean(module_name, catalogue.POLICIES)}"
        ) from error
    try:
        found: Any = getattr(module, name)
    except AttributeError:
        hint = did_you_mean(name, vars(module))
        raise InputError(f"--policy {spec}: {module_name} has no {name!r}{hint}") from None
    # because: what is called here would read the command line of this run as its own, and come back to this place
    if isinstance(found, click.Command) or getattr(found, "__module__", None) == "sim.cli":
        raise InputError(f"--policy {spec}: is not a policy: it is a command")
    if isinstance(found, type) or not hasattr(found, "decide"):
        try:
            found = found()
        except (Exception, SystemExit) as error:  # because: a program's main() ends with the latter
            raise InputError(f"--policy {spec}: {name}() failed: {type(error).__name__}: {error}") from error
    missing = [part for part in ("decide", "semantics") if not callable(getattr(found, part, None))]
    if missing:
        raise InputError(f"--policy {spec}: is not a policy: it has no {' and no '.join(missing)}")
    policy: Policy = found
    return policy


def _said(
    trace: Trace, loaded: LoadedFleet, spec: str, chosen: ChosenPolicy, *, rules: Rules, world: World
) -> dict[str, Any]:
    """The part of the manifest that was known before the run."""
    said = chosen.semantics
    return {
        "rehearse_run": SCHEMA,
        "policy": {"spec": spec, "origin": chosen.origin, "parameters": chosen.parameters, **as_data(said)},
        "semantics": {
            **run_semantics(said, rules, world),
            "deployment": deployability(chosen.policy, said).text,
        },
        "rules": asdict(rules),
        "world": world.as_data(),
        "seed": rules.seed,
        "inputs": {"trace": trace_data(trace), "cluster": cluster_data(loaded)},
        "versions": versions(),
        "warnings": [],
        "findings": [],
    }


def _happened(trace: Trace, outcome: Outcome, jobs: JobsTable, message: str | None) -> dict[str, Any]:
    """The part of the manifest that the run gave."""
    return {
        "complete": message is None,
        "message": message,
        "jobs": {
            "records": len(jobs),
            "by_state": {name: int((jobs.state == code).sum()) for code, name in enumerate(STATES)},
            "not_run": _not_run(outcome),
            "without_estimate": sum(record.estimate_ms is None for record in trace.records),
        },
        "end_ms": outcome.end_ms,
        "passes": outcome.passes,
        "held_milli_ms": outcome.held_milli_ms,
        "fingerprint": fingerprint(jobs, outcome.timeline),
    }


def _not_run(outcome: Outcome) -> dict[str, int]:
    """Why jobs were turned away -> how many, the commonest first."""
    reasons = Counter(outcome.rejections.values())
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


def trace_data(trace: Trace) -> dict[str, Any]:
    """What the manifest says of the trace."""
    return {
        "path": trace.path,
        "format": trace.format,
        "sha256": trace.sha256,
        "rows": trace.rows,
        "accepted": trace.accepted,
        "rejected": len(trace.rejections),
        "rejections": [rejection_data(each) for each in trace.rejections[:REJECTIONS_LISTED]],
        "unknown_columns": list(trace.unknown_columns),
        "notes": list(trace.notes),
    }


def cluster_data(loaded: LoadedFleet) -> dict[str, Any]:
    """What the manifest says of the fleet."""
    fleet = loaded.fleet
    return {
        "source": loaded.source,
        "sha256": loaded.sha256,
        "name": fleet.name,
        "servers": len(fleet.servers),
        "devices": fleet.devices,
        "devices_by_accelerator": fleet.devices_by_accelerator,
        "levels": list(fleet.levels),
        "queues": [queue.name for queue in fleet.queues],
        "nominal_milli": {name: dict(queue.nominal_milli) for name, queue in queues_of(fleet).items()},
    }


def versions() -> dict[str, str]:
    """The programs that made the result."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found
