"""The key `services` of a scenario, as data that validates itself, and the services that it stands for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator

from sim.experiment.durations import parse_duration, parse_microseconds
from sim.services.rates import RATE_MAX, RateFile, between, constant, daily
from sim.services.service import Replicas, Service, Steps
from traces.formats.canonical import devices
from traces.job import AMOUNT_MAX, COUNT_MAX, DEVICE_MILLI, TIME_MS_MAX, InvalidJobError, JobRecord
from traces.values import BadValueError

DAY_HOURS: Final = 24
REPLICAS_MAX: Final = 100_000
SERVICE_US_MAX: Final = 86_400_000_000
"""A day: what takes longer is a job."""

_NAME: Final = re.compile(r"\w[\w.-]{0,62}")
_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d{1,3})?) ?%", re.ASCII)


def _length(parse: Callable[[str], int], unit: str, pattern: str) -> list[Any]:
    """Annotations of a length of time. It is written with its unit, so that it can be read again."""

    def read(value: object) -> object:
        return parse(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else value

    schema = {"anyOf": [{"const": 0}, {"type": "string", "pattern": pattern}]}
    return [BeforeValidator(read), PlainSerializer(lambda found: f"{found}{unit}"), WithJsonSchema(schema)]


_ms = _length(parse_duration, "ms", r"^(\d+(\.\d+)?(ms|min|s|m|h|d))+$|^0$")
_us = _length(parse_microseconds, "us", r"^(\d+(\.\d+)?(us|ms|min|s|m|h|d))+$")

Milliseconds = Annotated[int, *_ms, Field(ge=0, le=TIME_MS_MAX)]
Objective = Annotated[int, *_ms, Field(ge=1, le=TIME_MS_MAX)]
Microseconds = Annotated[int, *_us, Field(ge=1, le=SERVICE_US_MAX)]


def _share(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = _SHARE.fullmatch(str(value).strip())
    if found is None:
        raise ValueError(f"must be a part of 1, or a percentage such as 70 %, got {value!r}")
    return float(found[1]) / 100


_SHARE_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string", "pattern": r"^\d{1,3}(\.\d{1,3})? ?%$"},
        {"type": "number", "minimum": 0, "maximum": 1},
    ]
}
Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1), WithJsonSchema(_SHARE_SCHEMA)]


def _name(value: object) -> object:
    if isinstance(value, str) and _NAME.fullmatch(value) is None:
        raise ValueError(f"must be letters, digits, '.', '_' and '-', at most 63, got {value!r}")
    return value


def _rate(value: object) -> object:
    """A number is the same all the time."""
    return {"peak": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


def _replicas(value: object) -> object:
    """A number is always as many."""
    return {"least": value, "most": value} if isinstance(value, int) and not isinstance(value, bool) else value


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class RateKeys(_Keys):
    """Requests a second: at the peak, with the share of it in each hour of the day; or as a file says."""

    peak: Annotated[float, Field(ge=0, le=RATE_MAX)] | None = None
    hours: list[Share] | None = None
    """24 parts of the peak; left out, it is always the peak."""
    first_hour: Annotated[int, Field(ge=0, lt=DAY_HOURS)] = 0
    """The hour of the day in which the trace begins: `hours[first_hour]` begins with its first submission."""
    file: str | None = None
    """CSV with `at_ms,requests_per_s`, in milliseconds since the epoch of the trace."""

    @model_validator(mode="after")
    def _one_way(self) -> RateKeys:
        if (self.peak is None) == (self.file is None):
            raise ValueError("must be a number, {peak: ..., hours: [...]} or {file: ...}")
        if self.file is not None and {"hours", "first_hour"} & self.model_fields_set:
            raise ValueError("hours and first_hour go with peak: a file says when")
        if self.hours is not None and len(self.hours) != DAY_HOURS:
            raise ValueError(f"hours: must be {DAY_HOURS} shares of the peak, got {len(self.hours)}")
        if self.hours is None and "first_hour" in self.model_fields_set:
            raise ValueError("first_hour: goes with hours")
        return self


class ReplicaKeys(_Keys):
    """See `sim.services.service.Replicas`."""

    least: Annotated[int, Field(ge=0, le=REPLICAS_MAX)]
    most: Annotated[int, Field(ge=1, le=REPLICAS_MAX)]
    target: Annotated[Share, Field(gt=0)] = Replicas(least=1, most=1).target
    headroom: Annotated[int, Field(ge=0, le=REPLICAS_MAX)] = 0

    @model_validator(mode="after")
    def _in_order(self) -> ReplicaKeys:
        if self.least > self.most:
            raise ValueError(f"least must be at most most, got {self.least} and {self.most}")
        return self


class ServiceKeys(_Keys):
    """One service. What its replicas take of the fleet is written as for a job of a canonical trace."""

    name: Annotated[str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": r"^[\w.-]+$"})]
    rate: Annotated[
        RateKeys,
        BeforeValidator(_rate),
        WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, RateKeys.model_json_schema()]}),
    ]
    service_time: Microseconds
    """Mean time of a request in its slot at full speed."""
    slots: Annotated[int, Field(ge=1, le=REPLICAS_MAX)] = 1
    """Requests that a replica answers at the same time."""
    replicas: Annotated[
        ReplicaKeys,
        BeforeValidator(_replicas),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, ReplicaKeys.model_json_schema()]}),
    ]
    start_up: Milliseconds = 0
    """From the start of a replica until it answers."""
    objective: Objective | None = None
    """A request that takes longer is late."""
    gpus: Annotated[float, Field(ge=0, le=COUNT_MAX)] = 1
    gpu_milli: Annotated[int, Field(ge=1, le=DEVICE_MILLI)] | None = None
    pods: Annotated[int, Field(ge=1, le=COUNT_MAX)] | None = None
    gpu_memory_mib: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] | None = None
    cpu_milli: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] = 0
    memory_mib: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] = 0
    accelerators: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    family: str | None = None
    user: str | None = None
    queue: str | None = None
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)] = 0

    @model_validator(mode="after")
    def _is_a_job(self) -> ServiceKeys:
        try:
            count, milli = self.devices()
        except BadValueError as error:
            raise ValueError(f"gpus: {error}") from error
        try:
            JobRecord(job_id=self.name, submit_ms=0, run_ms=0, gpu_count=count, gpu_milli=milli, pods=self.pods)
        except InvalidJobError as error:
            raise ValueError("; ".join(f"{each.field}: {each.reason}" for each in error.problems)) from error
        return self

    def devices(self) -> tuple[int, int]:
        """Devices and milli-devices of each, of one replica. Raises `BadValueError`."""
        return devices(repr(self.gpus), self.gpu_milli)

    def to_service(self, begin_ms: int, end_ms: int, file: RateFile | None = None) -> Service:
        """The service over this time; `file` holds its rates, where a file has them. Raises `ValueError`."""
        gpu_count, gpu_milli = self.devices()
        return Service(
            name=self.name,
            rate=self._steps(begin_ms, end_ms, file),
            rate_file=None if file is None else file.path,
            rate_sha256=None if file is None else file.sha256,
            end_ms=end_ms,
            service_us=self.service_time,
            slots=self.slots,
            replicas=Replicas(**self.replicas.model_dump()),
            start_up_ms=self.start_up,
            objective_ms=self.objective,
            gpu_count=gpu_count,
            gpu_milli=gpu_milli,
            pods=self.pods,
            gpu_memory_mib=self.gpu_memory_mib,
            cpu_milli=self.cpu_milli,
            memory_mib=self.memory_mib,
            accelerators=tuple(self.accelerators),
            family=self.family,
            user=self.user,
            queue=self.queue,
            priority=self.priority,
        )

    def _steps(self, begin_ms: int, end_ms: int, file: RateFile | None) -> Steps:
        if file is not None:
            return between(file.steps, begin_ms, end_ms)
        assert self.rate.peak is not None, "a rate that no file gives has a peak"
        if self.rate.hours is None:
            return constant(begin_ms, self.rate.peak)
        return daily(begin_ms, end_ms, self.rate.peak, self.rate.hours, self.rate.first_hour)


def known_keys(place: Sequence[object]) -> list[str]:
    """The keys that may stand at a place inside `services`, such as `(0, "rate")`."""
    models: dict[object, type[BaseModel]] = {"rate": RateKeys, "replicas": ReplicaKeys}
    model = models.get(place[1], ServiceKeys) if len(place) > 1 else ServiceKeys
    return list(model.model_fields)


def unique_names(keys: list[ServiceKeys]) -> list[ServiceKeys]:
    """The services, if each has its own name. Raises `ValueError`."""
    names = [each.name for each in keys]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"each needs a name of its own, got {', '.join(twice)} more than once")
    return keys


def services_beside(value: object, folder: Path) -> object:
    """Files of rates, relative to the folder of the scenario."""
    if not isinstance(value, list):
        return value
    return [_beside(each, folder) if isinstance(each, Mapping) else each for each in value]


def rate_beside(rate: object, folder: Path) -> object:
    """A rate with its file, if it has one, relative to the folder."""
    if isinstance(rate, Mapping) and isinstance(rate.get("file"), str):
        return {**rate, "file": str(folder / rate["file"])}
    return rate


def _beside(given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {**given, "rate": rate_beside(given["rate"], folder)} if "rate" in given else dict(given)
