"""The keys of a scenario about evidence, as data that validates itself: replications, blocks, shaking, metrics, gates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from sim.experiment.asked import asked_for
from sim.experiment.blocks import WORDS, parse_blocks
from sim.gates.gate import parse_gate

DURATION: Final[dict[str, Any]] = {
    "anyOf": [{"const": 0}, {"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|min|s|m|h|d))+$|^0$"}]
}
"""A length of time, as JSON Schema says it."""

_PERCENT: Final = re.compile(r"(\d{1,2}(?:\.\d{1,3})?) ?%", re.ASCII)


def _percent(value: object) -> object:
    if isinstance(value, float):
        return value
    found = _PERCENT.fullmatch(str(value).strip())
    if found is None:
        raise ValueError(f"must be a percentage such as 3 %, got {value!r}")
    return float(found[1]) / 100


Percent = Annotated[
    float,
    BeforeValidator(_percent),
    Field(ge=0, le=0.5),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,2}(\.\d{1,3})? ?%$"}),
]


class ShakeKeys(BaseModel):
    """See `sim.experiment.shake.Shake`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    submit: Percent = 0.0
    run: Percent = 0.0


def _shake(value: object) -> object:
    """`3 %` is both."""
    return {"submit": value, "run": value} if isinstance(value, str | float) else value


ShakeRule = Annotated[
    ShakeKeys | None,
    BeforeValidator(_shake),
]


def _blocks(value: object) -> object:
    parse_blocks(value)
    return str(value)


Blocks = Annotated[
    str,
    BeforeValidator(_blocks),
    WithJsonSchema(
        {"anyOf": [{"enum": list(WORDS)}, {"type": "integer", "minimum": 2}, {"type": "string", "pattern": r"^\d"}]}
    ),
]


def _metric(value: object) -> object:
    asked_for(value)
    return value


MetricItem = Annotated[
    Any,
    BeforeValidator(_metric),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "examples": ["wait.p95", "wait.p95{queue=prod}: +5 % or +2 min"]},
                {
                    "type": "object",
                    "properties": {
                        "metric": {"type": "string"},
                        "where": {"type": "object", "additionalProperties": {"type": "string"}},
                        "margin": {"type": "string"},
                    },
                    "required": ["metric"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "minProperties": 1,
                    "maxProperties": 1,
                },
            ]
        }
    ),
]


def _gates(value: object) -> object:
    """The path of a file stands for the gates in it."""
    return [{"file": value}] if isinstance(value, str) else value


def _gate(value: object) -> object:
    if not (isinstance(value, dict) and list(value) == ["file"]):
        parse_gate(value)
    return value


GateItem = Annotated[
    Any,
    BeforeValidator(_gate),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "string",
                    "examples": ["wait.p95{queue=prod}: no more than +5 % or +2 min", "wait.p95 <= 30m"],
                },
                {
                    "type": "object",
                    "properties": {
                        "metric": {"type": "string"},
                        "where": {"type": "object", "additionalProperties": {"type": "string"}},
                        "allow": {"type": ["string", "array"], "items": {"type": "string"}},
                        "at_most": {"type": ["string", "number"]},
                        "at_least": {"type": ["string", "number"]},
                        "policies": {"type": ["string", "array"], "items": {"type": "string"}},
                        "because": {"type": "string"},
                    },
                    "required": ["metric"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "minProperties": 1,
                    "maxProperties": 1,
                },
            ]
        }
    ),
]
"""A gate, or `{file: gates.yaml}`."""

Gates = Annotated[list[GateItem], BeforeValidator(_gates)]


def gates_beside(value: object, folder: Path) -> object:
    """Paths of files of gates, relative to the folder of the scenario."""
    if isinstance(value, str):
        return str(folder / value)
    if isinstance(value, list):
        return [
            {"file": str(folder / each["file"])}
            if isinstance(each, dict) and isinstance(each.get("file"), str)
            else each
            for each in value
        ]
    return value
