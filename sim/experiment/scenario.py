"""A scenario: what to replay, on what, under which policies and rules. Flags and YAML files have the same fields.

`docs/reference/scenario.md` lists the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sim.experiment.durations import parse_duration
from sim.fleet.problems import FleetError, Problem, did_you_mean
from sim.fleet.yaml_text import read_mapping
from sim.rules import Decide, Overrun, Progress, Rules, Split, Ties
from sim.run import InputError
from sim.world.choice import Slow, World
from sim.world.speed import PPM

VERSION: Final = 1
MAX_BYTES: Final = 1 << 20

Switch = Literal["auto", "on", "off"]


def _duration(value: object) -> object:
    return parse_duration(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else value


def _switch(value: object) -> object:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


Duration = Annotated[int, BeforeValidator(_duration), Field(ge=0)]
Toggle = Annotated[Switch, BeforeValidator(_switch)]


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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
    format: str | None = None
    cluster: str
    policy: str | None = None
    policies: list[str] = Field(default_factory=list)
    baseline: str | None = None
    rules: RuleKeys = Field(default_factory=RuleKeys)
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    oracle: bool = False
    speed: Toggle = "auto"
    locality: Toggle = "auto"
    speed_table: str | None = None
    locality_table: str | None = None
    slow: list[SlowKeys] = Field(default_factory=list)
    typical_pods: str | None = None
    tie_orders: Annotated[int, Field(ge=0, le=100)] | None = None
    """How many other orders of ties `compare` tries; None is two where the trace has ties and is not too long."""

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
                seed=self.seed,
            )
        except ValueError as error:
            raise InputError(f"rules: {error}") from error


def make_scenario(data: Mapping[str, Any], *, source: str) -> Scenario:
    """The scenario of plain data. Raises `InputError` with every problem at its path."""
    try:
        return Scenario.model_validate(dict(data))
    except ValidationError as error:
        problems = [_problem(each) for each in error.errors()]
        raise InputError(str(FleetError(problems, source=source))) from None


def read_scenario(path: Path) -> Scenario:
    """The scenario of a YAML file; paths in it are relative to it. Raises `InputError`."""
    data = read_yaml(path)
    if data.get("rehearse_scenario") != VERSION:
        raise InputError(f"{path}: must begin with `rehearse_scenario: {VERSION}`")
    for key in ("trace", "typical_pods", "speed_table", "locality_table"):
        if isinstance(data.get(key), str):
            data[key] = str(path.parent / data[key])
    if isinstance(data.get("cluster"), str) and (path.parent / data["cluster"]).is_file():
        data["cluster"] = str(path.parent / data["cluster"])
    return make_scenario(data, source=str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The plain data of a YAML file of ours. Raises `InputError`."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise InputError(f"{path}: has {len(raw)} bytes; a scenario has at most {MAX_BYTES}")
        return read_mapping(raw.decode("utf-8-sig"), source=str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text") from error
    except FleetError as error:
        raise InputError(str(error).replace("rehearse_fleet", "rehearse_scenario")) from error


def _problem(error: Any) -> Problem:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    if error["type"] == "extra_forbidden":
        inner = {"rules": list(RuleKeys.model_fields), "slow": list(SlowKeys.model_fields)}
        known = inner.get(str(error["loc"][0]), []) if len(error["loc"]) > 1 else list(Scenario.model_fields)
        return Problem(place, f"unknown key{did_you_mean(str(error['loc'][-1]), known)}")
    if error["type"] == "missing":
        return Problem(place, "is required")
    if error["type"] == "literal_error":
        expected = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        hint = did_you_mean(str(error["input"]), expected.split(", "))
        return Problem(place, f"must be one of {expected}, got {error['input']!r}{hint}")
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    told = "" if "got" in message else f", got {error['input']!r}"
    return Problem(place, f"{message if message.startswith('must') else f'must be {message}'}{told}")
