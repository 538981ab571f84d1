"""A KubeSchedulerConfiguration from its YAML file, for `kube-default`: its values, and the extenders that it names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies.catalogue import Parts
from policies.kube.configuration import Configuration, ConfigurationError
from policies.kube.configuration_reader import KIND, read_configuration
from sim.fleet.problems import FleetError
from sim.fleet.yaml_text import read_mapping
from sim.run import InputError

if TYPE_CHECKING:
    from policies.kube.extender import Extender


@dataclass(frozen=True, slots=True)
class KubeConfiguration:
    """A configuration and where it came from. A `sim.run.SchedulerConfig`."""

    path: str
    sha256: str
    configuration: Configuration

    def into(self, parts: Parts) -> Parts:
        """The parts with the configuration and with new clients of its extenders. Raises `InputError`."""
        return replace(parts, kube_configuration=self.configuration, extenders=self._extenders())

    def _extenders(self) -> tuple[Extender, ...]:
        if not self.configuration.extenders:
            return ()
        try:
            from policies.serving.extender_client import HttpExtender
        except ModuleNotFoundError as error:
            raise InputError(
                f"{self.path}: extenders: {error.name} is not installed; `pip install rehearse[serve]` brings it"
            ) from None
        folder = Path(self.path).parent
        try:
            return tuple(HttpExtender(each, folder=folder) for each in self.configuration.extenders)
        except ValueError as error:
            raise InputError(f"{self.path}: extenders: {error}") from None

    def as_data(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "path": self.path,
            "sha256": self.sha256,
            "notes": [str(note) for note in self.configuration.notes],
        }


def load_kube_configuration(path: Path) -> Configuration:
    """The configuration of a file. Raises `InputError` with everything that is wrong, each with its path."""
    return read_kube_configuration(path).configuration


def read_kube_configuration(path: Path) -> KubeConfiguration:
    """The same, with where it came from."""
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text in UTF-8") from None
    try:
        found = read_configuration(read_mapping(text, source=str(path), begins=f"kind: {KIND}"))
    except FleetError as error:
        raise InputError(str(error)) from None
    except ConfigurationError as error:
        if len(error.faults) == 1:
            raise InputError(f"{path}: {error.faults[0]}") from None
        lines = "".join(f"\n  {fault}" for fault in error.faults)
        raise InputError(f"{path}: {len(error.faults)} problems:{lines}") from None
    return KubeConfiguration(str(path), hashlib.sha256(raw).hexdigest(), found)
