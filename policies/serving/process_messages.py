"""The messages between a driver and a policy in another process: one JSON object a line, in UTF-8, both ways.

`docs/reference/process-policy.md` tells how they follow each other. This module is their schema: the driver writes every key that
is listed, and reads no other. Run as a program it writes the JSON Schema to standard output.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import models_json_schema

PROTOCOL: Final = 1
"""The version of the messages. It changes when an old policy could misread a new driver, or the other way round."""

PROBLEMS_MAX: Final = 5
"""Problems of one message that an error lists."""

Count = Annotated[int, Field(ge=0, lt=1 << 53)]
"""A number that every language reads exactly."""

Text = Annotated[str, Field(min_length=1, max_length=1000)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Told(BaseModel):
    """Of the driver: it may have further keys in a later release of the same version, which a policy ignores."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


# -- from the driver ---------------------------------------------------------------------------------------------------


class DriverHello(_Told):
    """First of all. The policy answers with its own hello."""

    type: Literal["hello"]
    protocol: Literal[1]
    rehearse: str
    """Version of the program that drives."""
    oracle: bool
    """True if the policy may see true run times."""


class TaintMessage(_Told):
    """A taint of a server."""

    key: str
    value: str
    effect: str


class NodeMessage(_Told):
    """A server as it never changes. Null means "not modelled": then nothing is checked."""

    name: str
    pool: str
    accelerator: str | None
    devices: Count
    device_memory_mib: Count | None
    islands: list[list[Count]]
    """Device numbers of each group with fast links; empty is one group of all."""
    cpu_milli: Count | None
    memory_mib: Count | None
    max_pods: Count | None
    domains: list[str]
    """The name of its domain at each level, narrow to wide."""
    resource: str
    labels: dict[str, str]
    taints: list[TaintMessage]
    unschedulable: bool


class QueueMessage(_Told):
    """A queue and what it is entitled to."""

    name: str
    nominal_milli: dict[str, Count]
    """Per accelerator, in milli-devices; key `*` is any accelerator together; empty is no limit."""
    borrowing_limit_milli: dict[str, Count] | None
    """How far above nominal it may go inside its cohort; null is without limit."""
    cohort: str | None
    weight: Count
    pools: list[str] | None


class ClusterMessage(_Told):
    """Once before the first pass. Should it come again, the servers changed: forget everything, the next pass tells it anew."""

    type: Literal["cluster"]
    levels: list[str]
    """Kinds of domains above the server, narrow to wide."""
    nodes: list[NodeMessage]
    """Servers are numbered by their place in this list, from 0."""
    queues: list[QueueMessage]


class GroupMessage(_Told):
    """Equal pods of one gang. The amounts are of each pod."""

    pods: Count
    devices: Count
    cpu_milli: Count
    memory_mib: Count


class RequestMessage(_Told):
    """What a job asks for. Jobs with the same request are interchangeable for placement."""

    request: Count
    """Its number, by which jobs name it."""
    gang: list[GroupMessage]
    devices: Count
    """Devices of the whole gang."""
    device_milli: Count
    """The share taken of each device, 1..1000."""
    device_memory_mib: Count | None
    accelerators: list[str]
    pools: list[str] | None
    eligible: list[tuple[Count, Count]] | None
    """The servers whose kind it allows, as ranges from first to last, both included; null is every server."""
    plain: bool
    """True if whole devices are all that can stand in its way."""


class JobMessage(_Told):
    """What a scheduler may know of a job."""

    job_id: str
    arrival: Count
    """Rank in the order of arrival: unique."""
    submit_ms: int
    request: Count
    queue: str
    user: str | None
    priority: int
    estimate_ms: int | None
    family: str | None
    attained_ms: int
    """Work done and kept when it was last preempted."""
    preemptions: Count
    oracle_run_ms: int | None
    """The true run time, only where the driver grants the oracle."""


class HeldMessage(_Told):
    """What pods of one group of a gang hold of one server."""

    node: Count
    devices: list[Count]
    pods: Count
    group: Count


class ArrivedChange(_Told):
    """A job waits: a new one, or at the beginning one that was there before."""

    change: Literal["arrived"]
    job: JobMessage


class StartedChange(_Told):
    """A job runs."""

    change: Literal["started"]
    job_id: str
    placement: list[HeldMessage]
    start_ms: int
    expected_end_ms: int | None
    """By its estimate; null without one."""
    overhead_ms: int
    """Time from its start in which it does no work."""


class ResizedChange(StartedChange):
    """A running job has another placement."""

    change: Literal["resized"]  # type: ignore[assignment]  # because: the same keys under another word


class PreemptedChange(_Told):
    """A job that ran waits again; its view as it is now."""

    change: Literal["preempted"]
    job: JobMessage


class EndedChange(_Told):
    """A job is gone: finished, killed, rejected or withdrawn."""

    change: Literal["ended"]
    job_id: str


Change = Annotated[
    ArrivedChange | StartedChange | ResizedChange | PreemptedChange | EndedChange, Field(discriminator="change")
]


class ServerMessage(_Told):
    """What is left of a server."""

    node: Count
    left_milli: list[Count]
    """Of each of its devices, in milli-devices: 1000 is idle."""
    cpu_milli: int | None
    memory_mib: int | None
    pods: int | None


class PassMessage(_Told):
    """A scheduling pass, or what an answer with `more` led to. The policy answers with its actions."""

    type: Literal["pass"]
    seq: Count
    """Counts the passes; the answer repeats it."""
    now_ms: int
    requests: list[RequestMessage]
    """Those that a job below is the first to have."""
    changes: list[Change]
    """What happened since the last message, in an order in which it can be replayed."""
    servers: list[ServerMessage]
    """Those that changed since the last message, and in the first one all."""
    attained_ms: dict[str, int] | None
    """For every running job its work until now, if the policy wants it; else null."""


class ByeMessage(_Told):
    """The run is over. The policy ends, as it also does at the end of its input."""

    type: Literal["bye"]


# -- from the policy ---------------------------------------------------------------------------------------------------


class SemanticsMessage(_Message):
    """What the policy means, in the words that every run and report prints; see `policies.api.Semantics`."""

    order: Text
    blocking: Text
    placement: Text
    scope: Text = "fleet"
    reservation: Text = "none"
    preemption: Text = "never"
    quota: Text = "not kept"
    needs_estimates: bool = False
    peeks: bool = False
    """True if it reads the true run time: then the driver must grant the oracle."""
    options: dict[str, str] = Field(default_factory=dict)


class PolicyHello(_Message):
    """The answer to the driver's hello."""

    type: Literal["hello"]
    protocol: Literal[1]
    name: Text
    """The program and its version, for the manifest."""
    semantics: SemanticsMessage
    runs_on_empty_queue: bool = False
    """True if a pass is worth its cost while nothing waits."""
    wants: list[Literal["attained"]] = Field(default_factory=list)
    """`attained`: every pass says how much work each running job has done."""


class ShareMessage(_Message):
    """Pods of one group of a gang on one server."""

    node: Count
    devices: list[Annotated[int, Field(ge=0, lt=64)]] | None = None
    """Which of its devices; left out, the driver takes the closest that are idle, as the policies of the catalogue do."""
    pods: Count = 1
    group: Count = 0


class StartAction(_Message):
    """Start the whole gang of a waiting job."""

    action: Literal["start"]
    job_id: str
    placement: list[ShareMessage]


class ResizeAction(_Message):
    """Change the placement of a running elastic job."""

    action: Literal["resize"]
    job_id: str
    placement: list[ShareMessage]


class PreemptAction(_Message):
    """Take a running job off its devices and put it back among the waiting."""

    action: Literal["preempt"]
    job_id: str
    reason: str = ""


class RejectAction(_Message):
    """Turn a waiting job away for good."""

    action: Literal["reject"]
    job_id: str
    reason: Text


class WakeAtAction(_Message):
    """Ask for a pass at a time later than now, even if nothing happens."""

    action: Literal["wake_at"]
    at_ms: Count


ActionMessage = Annotated[
    StartAction | ResizeAction | PreemptAction | RejectAction | WakeAtAction, Field(discriminator="action")
]


class ActionsMessage(_Message):
    """The answer to a pass: each action is checked and applied in turn, and the first that cannot be ends the run."""

    type: Literal["actions"]
    seq: Count
    """That of the pass which it answers."""
    actions: list[ActionMessage]
    more: bool = False
    """True: apply these, tell what came of it in another `pass` at the same time, and ask again."""


FROM_DRIVER: Final = (DriverHello, ClusterMessage, PassMessage, ByeMessage)
FROM_POLICY: Final = (PolicyHello, ActionsMessage)


_Read = TypeVar("_Read", bound=_Message)


class MessageError(ValueError):
    """A line that is not the message that it should be. The text lists what is wrong, with its place."""


def read_hello(line: bytes) -> PolicyHello:
    """The policy's hello. Raises `MessageError`; another version of the protocol is told apart from all else."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    protocol = found.get("protocol") if isinstance(found, dict) else PROTOCOL
    if protocol != PROTOCOL and found.get("type") == "hello" and protocol is not None:
        raise MessageError(f"it speaks version {protocol!r} of the protocol, this program speaks {PROTOCOL}")
    return _read(PolicyHello, line)


def read_actions(line: bytes) -> ActionsMessage:
    """The policy's answer to a pass. Raises `MessageError`."""
    return _read(ActionsMessage, line)


def encode(message: dict[str, Any]) -> bytes:
    """A message of the driver as its line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def schema() -> str:
    """The JSON Schema of all messages, as text."""
    kinds: Any = [(model, "validation") for model in (*FROM_DRIVER, *FROM_POLICY)]
    refs, found = models_json_schema(kinds, ref_template="#/$defs/{model}")

    def one_of(models: tuple[type[BaseModel], ...], title: str) -> dict[str, Any]:
        return {"title": title, "oneOf": [refs[model, "validation"] for model in models]}

    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Rehearse process policy, protocol {PROTOCOL}: one line",
        "anyOf": [{"$ref": "#/$defs/FromDriver"}, {"$ref": "#/$defs/FromPolicy"}],
        "$defs": {
            "FromDriver": one_of(FROM_DRIVER, "A line that the driver writes"),
            "FromPolicy": one_of(FROM_POLICY, "A line that the policy writes"),
            **found["$defs"],
        },
    }
    return json.dumps(document, indent=1) + "\n"


def _read(model: type[_Read], line: bytes) -> _Read:
    try:
        return model.model_validate_json(line)
    except ValidationError as error:
        problems = [_problem(each) for each in error.errors(include_url=False)]
    if len(problems) > PROBLEMS_MAX:
        problems[PROBLEMS_MAX:] = [f"and {len(problems) - PROBLEMS_MAX} more"]
    raise MessageError("; ".join(problems))


def _problem(error: Any) -> str:
    if error["type"] == "json_invalid":
        return f"it is not JSON: {error['ctx']['error']}"
    kinds = {"start", "resize", "preempt", "reject", "wake_at"}
    parts = [
        part for part in error["loc"] if part not in kinds
    ]  # because: the kind of an action is no key on the way
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    if error["type"] == "missing":
        what = "is required"
    elif error["type"] == "extra_forbidden":
        what = "unknown key"
    else:
        message = error["msg"]
        what = f"{message[:1].lower()}{message[1:]}, got {shorten(repr(error['input']))}"
    return f"{place or 'the message'}: {what}"


def shorten(text: str, limit: int = 120) -> str:
    """The beginning of a text that may be long."""
    return text if len(text) <= limit else f"{text[:limit]}..."


if __name__ == "__main__":
    sys.stdout.write(schema())
