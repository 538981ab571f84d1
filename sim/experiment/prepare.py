"""From a scenario to all that a replay needs: files read, fleet built, policies known to exist, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from policies.catalogue import Parts
from policies.placement.fragmentation import TypicalPod
from sim.causes.of_run import with_causes
from sim.check import Finding, check
from sim.experiment.scenario import Scenario
from sim.fleet.load import LoadedFleet, load_fleet
from sim.fleet.problems import FleetError
from sim.fleet.table import queues_of, topology_of
from sim.kube_configuration import KubeConfiguration, read_kube_configuration
from sim.metrics.fragmentation import own_mix
from sim.metrics.registry import summary
from sim.results import Run, refuse_unless_free, write_run
from sim.rules import Rules
from sim.run import ChosenPolicy, InputError, Progress, choose_policy, close_policy, replay, trace_data
from sim.scheduling import scheduling_problems
from sim.services.expansion import services_of, until_last, with_replicas
from sim.services.service import Service
from sim.streams import Streams
from sim.world.choice import World
from traces.job import JobRecord
from traces.registry import read_trace
from traces.trace import Trace, TraceError

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A scenario with its inputs in memory."""

    scenario: Scenario
    trace: Trace
    """With the replicas of the services behind its own jobs."""
    loaded: LoadedFleet
    rules: Rules
    world: World
    typical_pods: tuple[TypicalPod, ...]
    findings: tuple[Finding, ...]
    typical_pods_data: dict[str, Any] | None = None
    scheduler_config: KubeConfiguration | None = None
    services: tuple[Service, ...] = ()

    def of_jobs(self, records: list[JobRecord], services: Sequence[Service] | None = None) -> Prepared:
        """The same with other jobs, and with replicas of these services, else of its own.

        Without services they are ended with the last submission. Raises `InputError` where nothing is left of one.
        """
        kept = until_last(self.services, records) if services is None else tuple(services)
        return replace(self, trace=with_replicas(self.trace.with_own(records), kept), services=kept)

    def services_data(self) -> list[dict[str, Any]]:
        """What the manifest says of the services."""
        return [each.as_data() for each in self.services]

    @property
    def warnings(self) -> list[str]:
        """What must not be overlooked, in words."""
        found = []
        if self.trace.rejections:
            found.append(
                f"{self.trace.path}: {len(self.trace.rejections)} of {self.trace.rows} rows are no jobs and are not "
                f"replayed: `rehearse trace check` lists them"
            )
        return found + [str(each) for each in self.findings if each.severity != "info"]


def prepare(
    scenario: Scenario, specs: Sequence[str], *, strict: bool = False, trace: Trace | None = None
) -> Prepared:
    """Read and check everything before anything is replayed.

    `specs` are the policies. Raises `InputError` with all that is wrong; with `strict` also for a finding of that severity.
    """
    rules = scenario.to_rules()
    if scenario.causes and rules.fill:
        raise InputError("--causes: a static fill has no clock, so nothing waits in it")
    if scenario.services and rules.fill:
        raise InputError("services: a static fill has no clock, so no requests come in it")
    loaded, trace, pods, services = _inputs(scenario, specs, rules, trace)
    unread = scheduling_problems(trace.records)
    if unread:
        raise InputError("\n".join(f"{trace.path}: {each}" for each in unread))
    topology = topology_of(loaded.fleet)
    world = scenario.to_world()
    try:
        world.decided(loaded.fleet).speed_model(topology)
    except FleetError as error:
        raise InputError(str(error)) from error
    mix = own_mix(pods.records, topology) if pods is not None else ()
    configuration = _configuration(scenario, specs)
    semantics = {spec: chosen.semantics for spec, chosen in policies_of(specs, rules, mix, configuration).items()}
    found = check(trace.records, topology, queues_of(loaded.fleet), rules, semantics)
    refused = [each for each in found if each.severity == "error" and (strict or _refused(each, rules))]
    if refused:
        raise InputError("\n".join(str(each).removeprefix("error: ") for each in refused))
    return Prepared(
        scenario=scenario,
        trace=trace,
        loaded=loaded,
        rules=rules,
        world=world,
        typical_pods=mix,
        findings=tuple(found),
        typical_pods_data=None if pods is None else {**trace_data(pods), "kinds": len(mix)},
        scheduler_config=configuration,
        services=services,
    )


def prepare_all(scenario: Scenario, specs: Sequence[str], *, strict: bool = False) -> list[Prepared]:
    """One for each trace of the scenario. Raises `InputError` with all that is wrong with any of them."""
    problems: list[str] = []
    found: list[Prepared | None] = []
    for path in scenario.traces or [scenario.trace]:
        own = scenario.model_copy(update={"trace": path})
        found.append(_or_note(problems, partial(prepare, own, specs, strict=strict)))
    ready = [each for each in found if each is not None]
    problems += _repeated(ready)
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))
    return ready


def _repeated(prepared: Sequence[Prepared]) -> Iterator[str]:
    """Traces that are there twice, under whatever name."""
    seen: dict[str, str] = {}
    for each in prepared:
        path, sha256 = each.trace.path, each.trace.sha256
        if sha256 in seen:
            yield f"traces: {path} has the same content as {seen[sha256]}: no new evidence"
        seen.setdefault(sha256, path)


def _inputs(
    scenario: Scenario, specs: Sequence[str], rules: Rules, trace: Trace | None
) -> tuple[LoadedFleet, Trace, Trace | None, tuple[Service, ...]]:
    """Fleet, trace with replicas, pod list and services.

    Raises `InputError` with what is wrong with any of them, and with the policies.
    """
    problems: list[str] = []
    loaded = _or_note(problems, lambda: load_fleet(scenario.cluster))
    if trace is None:
        trace = _or_note(problems, lambda: _read(scenario.trace, scenario.format))
    services: tuple[Service, ...] = ()
    if trace is not None:
        services = _or_note(problems, partial(services_of, scenario.services, trace)) or ()
        trace = with_replicas(trace, services)
    pods = None
    if scenario.typical_pods is not None:
        pods = _or_note(problems, lambda: _read(str(scenario.typical_pods), None))
    if loaded is None or trace is None or problems:
        if scenario.typical_pods is None:  # because: a policy may need the mix, which is not known yet
            _or_note(problems, lambda: policies_of(specs, rules))
        raise InputError("\n".join(problems))
    return loaded, trace, pods, services


def _configuration(scenario: Scenario, specs: Sequence[str]) -> KubeConfiguration | None:
    """The KubeSchedulerConfiguration of a scenario. Raises `InputError`."""
    if scenario.scheduler_config is None:
        return None
    if not any(spec.partition(":")[0] == "kube-default" for spec in specs):
        raise InputError("--scheduler-config goes with the policy kube-default, which is not among the policies")
    return read_kube_configuration(Path(scenario.scheduler_config))


def _or_note(problems: list[str], work: Callable[[], _Result]) -> _Result | None:
    """What `work` gives; None, and the reason among the problems, if the input is wrong."""
    try:
        return work()
    except (InputError, FleetError, TraceError) as error:
        problems.append(str(error))
        return None


def _read(path: str, format_name: str | None) -> Trace:
    trace = read_trace(Path(path), format_name)
    if not trace.rows:
        raise InputError(f"{path}: has no rows, and so no job to replay")
    if not trace.records:
        raise InputError(f"{path}: none of its {trace.rows} rows is a job: `rehearse trace check` says why")
    return trace


def policies_of(
    specs: Sequence[str],
    rules: Rules,
    mix: tuple[TypicalPod, ...] = (),
    configuration: KubeConfiguration | None = None,
) -> dict[str, ChosenPolicy]:
    """Each policy by its name, for what it says of itself: it is closed again. Raises `InputError` with all that are wrong."""
    parts = Parts(generator=Streams(rules.seed).generator, typical_pods=mix)
    if configuration is not None:
        parts = configuration.into(parts)
    chosen: dict[str, ChosenPolicy] = {}
    problems: list[str] = []
    for spec in specs:
        try:
            chosen[spec] = choose_policy(spec, parts, oracle=rules.oracle)
            close_policy(chosen[spec].policy)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return chosen


def replay_prepared(
    prepared: Prepared,
    spec: str,
    *,
    progress: Progress | None = None,
    other_ties: int | None = None,
    fragmentation: bool = True,
) -> Run:
    """One replay. With `other_ties`, under that random order of ties and nothing else changed, and without the course of
    fragmentation.
    """
    rules = prepared.rules
    if other_ties is not None:
        rules = replace(rules, ties="random", seed=rules.seed + other_ties)
    more: dict[str, Any] = {
        "warnings": prepared.warnings,
        "findings": [each.as_data() for each in prepared.findings],
    }
    run = replay(
        prepared.trace,
        prepared.loaded,
        spec,
        rules,
        policy_seed=prepared.rules.seed,
        world=prepared.world,
        typical_pods=prepared.typical_pods,
        scheduler_config=prepared.scheduler_config,
        fragmentation=fragmentation and other_ties is None,
        progress=progress,
        more=more,
    )
    if prepared.typical_pods_data is not None:
        run.manifest["inputs"]["typical_pods"] = prepared.typical_pods_data
    if prepared.scheduler_config is not None:
        run.manifest["inputs"]["scheduler_config"] = prepared.scheduler_config.as_data()
    if prepared.services:  # because: their latency is computed from it
        run.manifest["inputs"]["services"] = prepared.services_data()
    return run


def to_be_written(prepared: Prepared, run: Run) -> Run:
    """The run with what the scenario asks for in run directories alone."""
    return with_causes(run, prepared.loaded.fleet) if prepared.scenario.causes else run


def run_into(
    prepared: Prepared, spec: str, out: Path, progress: Progress | None = None
) -> tuple[Run, dict[str, Any]]:
    """Replay and write the run directory. Raises `RunDirectoryError` before the replay if it cannot stand there."""
    refuse_unless_free(out)
    run = to_be_written(prepared, replay_prepared(prepared, spec, progress=progress))
    found = summary(run)
    write_run(run, out, found)
    return run, found


def _refused(finding: Finding, rules: Rules) -> bool:
    return rules.impossible == "refuse" and finding.place == "jobs"
