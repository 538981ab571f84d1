"""JSON Schemas of the files that people write, made from what reads them. `docs/reference` holds a copy of each."""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from sim.experiment.scenario import Scenario
from sim.experiment.scenario_keys import GateItem

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def scenario_schema() -> dict[str, Any]:
    """Of a scenario file."""
    found = Scenario.model_json_schema()
    found["required"] = ["rehearse_scenario", "cluster"]
    found["anyOf"] = [{"required": ["trace"]}, {"required": ["traces"]}]
    found["properties"]["gates"]["type"] = ["array", "string"]
    found["properties"]["shake"] = {
        "anyOf": [{"$ref": "#/$defs/ShakeKeys"}, {"type": "string", "pattern": "^.* ?%$"}]
    }
    return {"$schema": DIALECT, **found, "title": "A scenario of Rehearse"}


def gates_schema() -> dict[str, Any]:
    """Of a file of gates."""
    item = TypeAdapter[Any](GateItem).json_schema()
    return {
        "$schema": DIALECT,
        "title": "Gates of Rehearse",
        "type": "object",
        "properties": {
            "rehearse_gates": {"const": 1},
            "gates": {
                "anyOf": [
                    {"type": "array", "items": item, "minItems": 1},
                    {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1},
                ]
            },
        },
        "required": ["rehearse_gates", "gates"],
        "additionalProperties": False,
    }
