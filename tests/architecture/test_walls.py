"""Which room may know which: the imports of every file, read and not run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("policies", "traces", "sim")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
SIMPY = {"sim/engine.py", "sim/instant.py"}
PYTEST_PLUGIN = "sim/pytest_plugin.py"
"""Only pytest itself imports it, in the repository of whoever gates a policy of their own."""
STANDARD = frozenset(sys.stdlib_module_names) | {"__future__"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Each imported module with its line, inside functions and `TYPE_CHECKING` too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def forbidden(name: str, module: str) -> str | None:
    """Why the file `name` may not import `module`, or None."""
    top = module.partition(".")[0]
    room = name.partition("/")[0]
    if module.startswith("."):
        return "relative imports hide which room is meant: write it out"
    if (
        room == "policies"
        and not name.startswith("policies/serving/")
        and top not in STANDARD | {"numpy", "policies"}
    ):
        return "policies run in production: standard library and numpy only; what needs more goes to policies/serving"
    if room == "policies" and top in ("sim", "traces"):
        return "policies know neither the simulator nor the traces: put the need into the view"
    if room == "traces" and top in ("sim", "policies"):
        return "traces know neither the simulator nor the policies: give records, and let sim read them"
    if top == "simpy" and name not in SIMPY:
        return "only sim/engine.py and sim/instant.py know SimPy: add an event there"
    if top == "pytest" and name == PYTEST_PLUGIN:
        return None
    if room in ROOMS and top in ("tests", "benchmarks", "pytest", "hypothesis", "builders"):
        return "the product does not know its tests"
    return None


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_file_looks_through_a_wall(path):
    source = path.read_text(encoding="utf-8")
    wrong = [
        f"{relative(path)}:{line} imports {module}: {why}"
        for line, module in imports(source)
        if (why := forbidden(relative(path), module)) is not None
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("policies/x.py", "sim.state"),
        ("policies/x.py", "pandas"),
        ("policies/serving/x.py", "sim.state"),
        ("traces/x.py", "policies.api"),
        ("sim/state.py", "simpy"),
        ("sim/x.py", ".state"),
        ("sim/x.py", "pytest"),
    ],
)
def test_each_wall_stands(name, module):
    assert forbidden(name, module) is not None


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("policies/x.py", "numpy.typing"),
        ("policies/x.py", "policies.api"),
        ("policies/serving/x.py", "kubernetes"),
        ("sim/engine.py", "simpy"),
        ("sim/x.py", "traces.job"),
    ],
)
def test_each_door_is_open(name, module):
    assert forbidden(name, module) is None


def test_the_walls_look_at_all_files():
    assert {relative(path) for path in FILES} >= {"policies/api.py", "sim/engine.py", "traces/job.py", *SIMPY}
    assert list(imports("def f():\n    import simpy.core\n    from . import x")) == [(2, "simpy.core"), (3, ".")]
