"""`--cluster`: from the words of the command line to a fleet, by the form of what is given.

In this order: the name of a built-in fleet (`demo`), the shorthand (`312x8`), a file. A file may be
compressed with gzip; it is a node list when its first line is the header of one, and a fleet file in YAML
otherwise.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from sim.fleet.kubernetes import looks_like_nodes, read_kubernetes_nodes
from sim.fleet.model import Fleet, FleetError, Problem
from sim.fleet.node_lists import FORMATS, read_node_list, recognise
from sim.fleet.problems import did_you_mean, shown
from sim.fleet.shorthand import is_shorthand, parse_shorthand

BUILTIN: Final = ("demo",)
"""Names of the fleets that come with the product."""

MAX_BYTES: Final = 256 * 1024 * 1024
"""A longer file, or one that unpacks to more, is not a fleet: it is refused before it fills the memory."""

_GZIP_MAGIC: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedFleet:
    """A fleet and where it came from: `sha256` is that of the file as it is on disk, `None` without a file."""

    fleet: Fleet
    source: str
    sha256: str | None


def load_fleet(text_or_path: str) -> LoadedFleet:
    """The fleet that `text_or_path` means. Raises `FleetError` with every problem, never anything else."""
    given = text_or_path.strip()
    if given in BUILTIN:
        return LoadedFleet(fleet=builtin_fleet(given), source=given, sha256=None)
    if is_shorthand(given):
        return LoadedFleet(fleet=parse_shorthand(given), source=given, sha256=None)
    data = _bytes_of(text_or_path)
    path = Path(text_or_path)
    text = _text_of(data, source=text_or_path)
    return LoadedFleet(
        fleet=fleet_of_text(text, source=text_or_path, name=path.name),
        source=text_or_path,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def text_of_file(path: str) -> str:
    """The text of a file, compressed or not. Raises `FleetError` if there is none, or it is no text."""
    return _text_of(_bytes_of(path), source=path)


def fleet_of_text(text: str, *, source: str, name: str | None = None) -> Fleet:
    """The fleet of a file's text, a node list or a fleet file; `source` is what the errors call it."""
    form = recognise(text)
    if form is not None:
        return read_node_list(text, source=source, name=name, form=form)
    if looks_like_nodes(text):
        return read_kubernetes_nodes(text, source=source, name=name)
    # because: pydantic takes a tenth of a second to import, and the shorthand does not need it
    from sim.fleet.yaml_file import read_fleet_yaml

    try:
        return read_fleet_yaml(text, source=source, name=name)
    except FleetError as error:
        if "rehearse_fleet" in text:
            raise
        problems = [*error.problems, Problem("", f"a cluster is {_accepted()}")]
        raise FleetError(problems, source=source) from None


def builtin_fleet(name: str = "demo") -> Fleet:
    """A fleet that comes with the product. Raises `FleetError` for an unknown name."""
    if name not in BUILTIN:
        problem = Problem("", f"there is no built-in fleet {name!r}{did_you_mean(name, BUILTIN)}")
        raise FleetError([problem], source="fleet")
    from sim.fleet.yaml_file import read_fleet_yaml

    text = resources.files("sim.fleet.builtin").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return read_fleet_yaml(text, source=name)


def _accepted() -> str:
    lists = "; ".join(form.says for form in FORMATS)
    return (
        f"a built-in name ({', '.join(BUILTIN)}), a shorthand such as 312x8 or 64x8:ascend-910b3, a fleet file in "
        f"YAML that begins with `rehearse_fleet: 1`, or a node list ({lists}; `kubectl get nodes -o json`)"
    )


def _bytes_of(given: str) -> bytes:
    try:
        path = Path(given)
        if not path.exists():
            hint = did_you_mean(given, BUILTIN) or _near(path)
            reason = f"there is no such file{hint}; a cluster is {_accepted()}"
        elif not path.is_file():
            reason = "is not a file"
        elif path.stat().st_size > MAX_BYTES:
            reason = f"has {path.stat().st_size} bytes; a fleet has at most {MAX_BYTES}"
        else:
            return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {error}"
    raise FleetError([Problem("", reason)], source=given or "cluster")


def _near(path: Path) -> str:
    """A file beside the missing one with a name like it, as a question."""
    if not path.parent.is_dir():
        return f"; nor is there a folder {path.parent}"
    return did_you_mean(path.name, [other.name for other in path.parent.iterdir()])


def _text_of(data: bytes, *, source: str) -> str:
    if data.startswith(_GZIP_MAGIC):
        data = _unpacked(data, source=source)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = shown([f"0x{byte:02x}" for byte in data[error.start : error.end]])
        raise FleetError([Problem(f"line {line}", f"is not UTF-8 ({found})")], source=source) from None


def _unpacked(data: bytes, *, source: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            plain = packed.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        problem = Problem("", f"is a broken or truncated gzip file: {error}")
        raise FleetError([problem], source=source) from None
    if len(plain) > MAX_BYTES:
        reason = f"unpacks to more than {MAX_BYTES} bytes"
        raise FleetError([Problem("", reason)], source=source)
    return plain
