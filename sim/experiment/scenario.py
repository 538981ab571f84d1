"""A scenario: what to replay, on what, under which policies and rules. Flags and YAML files have the same fields.

`docs/reference/scenario.md` lists the keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from sim.experiment.durations import parse_duration
from sim.experiment.policy_spec import beside, spec_of
from sim.experiment.scenario_keys import DURATION, Blocks, Gates, MetricItem, ShakeKeys, ShakeRule, gates_beside
from sim.experiment.scenario_problems import problem_of
from sim.fleet.problems import FleetError, Problem
from sim.fleet.yaml_text import read_mapping
from sim.rules import Decide, Overrun, Progress, Rules, Split, Thinking, Ties
from sim.run import InputError
from sim.services.keys import ServiceKeys, known_keys, services_beside, unique_names
from sim.statistics.draws import RESAMPLES
from sim.world.choice import Slow, World
from sim.world.speed import PPM

VERSION: Final = 1
MAX_BYTES: Final = 1 << 20

Switch = Literal["auto", "on", "off"]


def _duration(value: object) -> object:
    return parse_duration(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else value


def _switch(value: object) -> object:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _thinking(value: object) -> object:
    """`free` and `measured` as they are, else a length of time in milliseconds."""
    if value in ("free", "measured"):
        return value
    try:
        return parse_duration(str(value))
    except ValueError as error:
        raise ValueError(f"must be free, measured or {str(error).removeprefix('must be ')}") from None


Duration = Annotated[int, BeforeValidator(_duration), Field(ge=0), WithJsonSchema(DURATION)]
Toggle = Annotated[Switch, BeforeValidator(_switch), WithJsonSchema({"enum": ["auto", "on", "off", True, False]})]
PolicySpec = Annotated[str, BeforeValidator(spec_of), WithJsonSchema({"type": ["string", "object"]})]


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class RuleKeys(_Keys):
    """The rules of a run; defaults are those of `sim.rules.Rules`."""

    split: Split = "whole"
    ties: Ties = "job_id"
    fill: bool = False
    progress: Progress = "keep"
    checkpoint: Duration | None = None
    restart: Duration = 0
    overrun: Overrun = "extend"
    decide: Decide = "instant"
    cycle: Duration | None = None
    impossible: Literal["reject", "refuse"] = "reject"
    thinking: Annotated[
        Literal["free", "measured"] | int,
        BeforeValidator(_thinking),
        WithJsonSchema({"anyOf": [{"enum": ["free", "measured"]}, DURATION]}),
    ] = "free"
    """What a pass costs in simulated time; a number is milliseconds."""

    def thinks(self) -> tuple[Thinking, int]:
        """How passes are charged, and the cost of each where that is fixed."""
        if isinstance(self.thinking, int):
            return ("fixed", self.thinking) if self.thinking else ("free", 0)
        return self.thinking, 0


class SlowKeys(_Keys):
    """Servers that are slow for a while; see `sim.world.choice.Slow`."""

    at: Duration
    until: Duration | None = None
    factor: Annotated[float, Field(gt=0, le=1000)]
    servers: list[str] = Field(default_factory=list)
    pool: str | None = None
    domain: str | None = None


class Scenario(_Keys):
    """One experiment."""

    rehearse_scenario: Literal[1] = 1
    trace: str
    traces: list[str] = Field(default_factory=list)
    """Of `compare`, instead of `trace`: each is replayed under each policy. `trace` then is the first."""
    format: str | None = None
    cluster: str
    policy: PolicySpec | None = None
    policies: list[PolicySpec] = Field(default_factory=list)
    baseline: PolicySpec | None = None
    rules: RuleKeys = Field(default_factory=RuleKeys)
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    oracle: bool = False
    speed: Toggle = "auto"
    locality: Toggle = "auto"
    speed_table: str | None = None
    locality_table: str | None = None
    slow: list[SlowKeys] = Field(default_factory=list)
    services: Annotated[list[ServiceKeys], AfterValidator(unique_names)] = Field(default_factory=list)
    """Inference services, which run beside the jobs of the trace; see `sim.services`."""
    typical_pods: str | None = None
    scheduler_config: str | None = None
    """A KubeSchedulerConfiguration for `kube-default`, with the extenders that it names."""
    tie_orders: Annotated[int, Field(ge=0, le=100)] | None = None
    """How many other orders of ties `compare` tries; None is two where the trace has ties and is not too long."""
    causes: bool = False
    """The run directories also say why each job waited."""
    replications: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Replays of each policy on each trace, each with its own seed; see `sim.experiment.plan`."""
    shake: ShakeRule = None
    blocks: Blocks = "auto"
    warm_up: Duration = 0
    """Jobs submitted in this time from the first submission on are replayed and not counted."""
    drain: Duration = 0
    """The same for this time before the last submission."""
    resamples: Annotated[int, Field(ge=200, le=100_000)] = RESAMPLES
    metrics: list[MetricItem] = Field(default_factory=list)
    """The family that is judged, each perhaps with its margin; empty is every metric with the margin of its unit."""
    gates: Gates = Field(default_factory=list)

    def to_world(self) -> World:
        """The models of the world that are on."""
        switch = {"auto": None, "on": True, "off": False}
        return World(
            speed=switch[self.speed],
            locality=switch[self.locality],
            speed_table=self.speed_table,
            locality_table=self.locality_table,
            slow=tuple(
                Slow(
                    at_ms=each.at,
                    until_ms=each.until,
                    factor_ppm=max(round(each.factor * PPM), 1),
                    servers=tuple(each.servers),
                    pool=each.pool,
                    domain=each.domain,
                )
                for each in self.slow
            ),
        )

    def to_rules(self) -> Rules:
        """The rules as the engine wants them. Raises `InputError`."""
        keys = self.rules
        thinking, thinking_ms = keys.thinks()
        try:
            return Rules(
                split=keys.split,
                ties=keys.ties,
                oracle=self.oracle,
                fill=keys.fill,
                progress=keys.progress,
                checkpoint_ms=keys.checkpoint,
                restart_ms=keys.restart,
                overrun=keys.overrun,
                decide=keys.decide,
                cycle_ms=keys.cycle,
                impossible=keys.impossible,
                thinking=thinking,
                thinking_ms=thinking_ms,
                seed=self.seed,
            )
        except ValueError as error:
            raise InputError(f"rules: {error}") from error


def make_scenario(data: Mapping[str, Any], *, source: str, problems: Sequence[Problem] = ()) -> Scenario:
    """The scenario of plain data. Raises `InputError` with every problem at its path, and with those found before."""
    found = list(problems)
    given = dict(data)
    several = given.get("traces")
    if isinstance(several, list) and several and given.setdefault("trace", several[0]) != several[0]:
        found.append(Problem("traces", "give trace or traces, not both"))
    try:
        scenario = Scenario.model_validate(given)
    except ValidationError as error:
        found += [_problem(each) for each in error.errors()]
    if found:
        raise InputError(str(FleetError(found, source=source)))
    return scenario


def read_scenario(path: Path) -> Scenario:
    """The scenario of a YAML file; paths in it are relative to it. Raises `InputError`."""
    problems: list[Problem] = []
    data = read_yaml(path, problems)
    if data.get("rehearse_scenario") != VERSION:
        raise InputError(f"{path}: must begin with `rehearse_scenario: {VERSION}`")
    return make_scenario(relative_to(data, path.parent), source=str(path), problems=problems)


def relative_to(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The data of a scenario with its paths made relative to a folder."""
    data = dict(given)
    for key in ("trace", "typical_pods", "scheduler_config", "speed_table", "locality_table"):
        if isinstance(data.get(key), str):
            data[key] = str(folder / data[key])
    if isinstance(data.get("cluster"), str) and (folder / data["cluster"]).is_file():
        data["cluster"] = str(folder / data["cluster"])
    for key in {"policy", "baseline"} & data.keys():
        data[key] = beside(data[key], folder)
    if isinstance(data.get("policies"), list):
        data["policies"] = [beside(each, folder) for each in data["policies"]]
    if isinstance(data.get("traces"), list):
        data["traces"] = [str(folder / each) if isinstance(each, str) else each for each in data["traces"]]
    if "services" in data:
        data["services"] = services_beside(data["services"], folder)
    if "gates" in data:
        data["gates"] = gates_beside(data["gates"], folder)
    return data


def read_yaml(path: Path, problems: list[Problem] | None = None) -> dict[str, Any]:
    """The plain data of a YAML file of ours. Raises `InputError`; keys that appear twice go to `problems`, if it is given."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise InputError(f"{path}: has {len(raw)} bytes; a scenario has at most {MAX_BYTES}")
        return read_mapping(
            raw.decode("utf-8-sig"), source=str(path), begins="rehearse_scenario: 1", problems=problems
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text") from error
    except FleetError as error:
        raise InputError(str(error)) from error


def _problem(error: Any) -> Problem:
    return problem_of(error, _keys_at(error["loc"][:-1]))


def _keys_at(place: Sequence[str | int]) -> list[str]:
    """The keys that there are at a place of a scenario."""
    if not place:
        return list(Scenario.model_fields)
    if place[0] == "services":
        return known_keys(place[1:])
    models: dict[str | int, type[BaseModel]] = {"rules": RuleKeys, "slow": SlowKeys, "shake": ShakeKeys}
    return list(models[place[0]].model_fields) if place[0] in models else []
