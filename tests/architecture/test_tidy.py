"""Style that matters, each rule with what to do instead."""

from __future__ import annotations

import ast
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 500
FUNCTION_LINES_MAX = 60
PRODUCT = ("policies", "traces", "sim")
PYTHON = ("policies", "traces", "sim", "tests", "benchmarks")

LONG_FUNCTIONS: dict[str, int] = {}
"""Functions over the limit -> their lines. The list may only shrink."""

UNEXPLAINED: dict[str, int] = {}
"""File -> exemptions without a because. The list may only shrink."""

DOCUMENTED_ELSEWHERE = ("visit_",)


def tracked() -> list[Path]:
    """The files of the repository; without git, everything that is not made by a tool."""
    try:
        listed = subprocess.run(
            [
                "git",
                "ls-files",
                "--cached",
                "--others",
                "--exclude-standard",
            ],  # because: git is on the path or is not there
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        made = {".venv", ".git", "build", "demo-out", "__pycache__"}
        listed = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if not made & set(path.parts)]
    return [path for name in listed if (path := ROOT / name).is_file() and not path.is_symlink()]


FILES = tracked()
SOURCES = [path for path in FILES if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PYTHON]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str | None:
    """The text of a file, or None of a binary one."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_there_is_something_to_look_at():
    assert {"sim/engine.py", "policies/api.py", "tests/architecture/test_tidy.py"} <= set(map(name_of, SOURCES))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_file_is_longer_than_a_reader_can_hold(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LINES_MAX, f"{lines} lines: split it by what its parts are about"


def test_no_function_is_longer_than_a_screen():
    found = {}
    for path in SOURCES:
        if name_of(path).startswith(PRODUCT):
            for function in functions(ast.parse(path.read_text(encoding="utf-8"))):
                lines = (function.end_lineno or function.lineno) - function.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    found[f"{name_of(path)}:{function.name}"] = lines
    worse = {name: lines for name, lines in found.items() if lines > LONG_FUNCTIONS.get(name, 0)}
    assert not worse, f"{worse}: keep the branching here and move the work into functions with names"


EXEMPTION = re.compile(
    r"#\s*(noqa|type:\s*ignore|pragma:|fmt:\s*(?:off|skip)|nosec)|\.mark\.(skip|xfail)|pytest\.skip\(\)"
)
SELF_EVIDENT = re.compile(r"fmt:\s*skip")
"""Keeps a table in columns: the table is the because."""


def unexplained(source: str) -> list[int]:
    """Lines with an exemption that gives no because, or reason, on it, or beside it on the lines before and after."""
    lines = source.splitlines()
    found = []
    for number, line in enumerate(lines):
        if not EXEMPTION.search(line) or SELF_EVIDENT.search(line):
            continue
        near = "\n".join(lines[max(number - 2, 0) : number + 4])
        if "because" not in near and "reason=" not in near and "needs" not in near:
            found.append(number + 1)
    return found


def test_every_exemption_says_because():
    found = {name_of(path): lines for path in SOURCES if (lines := unexplained(path.read_text(encoding="utf-8")))}
    found.pop("tests/architecture/test_tidy.py", None)  # speaks about them
    worse = {name: lines for name, lines in found.items() if len(lines) > UNEXPLAINED.get(name, 0)}
    assert not worse, f"{worse}: add `# because: ...` to the line, or do without the exemption"


def test_the_rules_of_the_linter_say_because():
    """Each ignore of the configuration too."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    ignores = text.partition("\nignore = [")[2].partition("]")[0].strip().splitlines()
    assert len(ignores) > 3
    bare = [line.strip() for line in ignores if "because" not in line]
    assert len(bare) <= 1, f"{bare}: say why"


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith(PRODUCT)], ids=name_of)
def test_everything_public_makes_a_promise(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = [] if ast.get_docstring(tree) else ["the module"]
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef | ast.Module) or getattr(node, "name", "").startswith("_"):
            continue
        for child in node.body:
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                overloads = [d for d in child.decorator_list if isinstance(d, ast.Name) and d.id == "overload"]
                if (
                    not child.name.startswith(("_", *DOCUMENTED_ELSEWHERE))
                    and not overloads
                    and not ast.get_docstring(child)
                ):
                    bare.append(f"{child.name}, line {child.lineno}")
    assert not bare, f"{bare}: one line that says what it promises"


PLACES = re.compile(r"(?<![\w.])/(?:home|work|root|Users|mnt|opt|srv)/\w|[A-Z]:\\\\?Users")
ADDRESSES = re.compile(r"pypi\.org|files\.pythonhosted|index-url|trusted-host")


def test_no_file_knows_a_machine():
    hosts = {socket.gethostname(), socket.getfqdn()} - {"localhost", ""}
    names = re.compile("|".join(rf"\b{re.escape(host)}\b" for host in hosts if len(host) > 5) or r"(?!)")
    found = []
    for path in FILES:
        text = text_of(path)
        if text is None or path == Path(__file__).resolve():
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            for pattern in (PLACES, ADDRESSES, names):
                found += [f"{name_of(path)}:{number}: {match[0]}" for match in pattern.finditer(line)]
    assert not found, f"{found}: a path relative to the repository, a name and a version"


UNITLESS = frozenset(
    (
        "duration", "runtime", "run_time", "walltime", "wall_time", "timeout", "delay", "elapsed", "submit_time",
        "start_time", "end_time", "wait_time", "age", "mem", "memory", "cpu", "ram", "gpu_memory", "bandwidth", "speed",
    )
)  # fmt: skip


def quantities(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Names of parameters and attributes that are annotated as a bare number."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            name, annotation = node.arg, node.annotation
        elif isinstance(node, ast.AnnAssign):
            target = node.target
            name = (
                target.id
                if isinstance(target, ast.Name)
                else target.attr
                if isinstance(target, ast.Attribute)
                else ""
            )
            annotation = node.annotation
        else:
            continue
        if ast.unparse(annotation) in ("int", "float", "int | None", "float | None"):
            yield node.lineno, name


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith(PRODUCT)], ids=name_of)
def test_a_quantity_has_its_unit_in_its_name(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = [f"{name}, line {line}" for line, name in quantities(tree) if name in UNITLESS]
    assert not bare, f"{bare}: end the name in _ms, _mib, _milli, _ppm, ..."


def test_times_are_integers():
    found = []
    for path in (path for path in SOURCES if name_of(path).startswith(PRODUCT)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
                name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
                if name.endswith(("_ms", "_milli", "_mib", "_ppm")) and ast.unparse(node.annotation) == "float":
                    found.append(f"{name_of(path)}:{node.lineno} {name}")
    statistics = ("/metrics/", "/experiment/", "/report/", "/fidelity/", "/statistics/", "traces/describe.py")
    statistics += ("/services/arrivals.py", "/services/latency.py")
    allowed = [place for place in found if any(part in place for part in statistics)]
    assert sorted(set(found) - set(allowed)) == [], "floats split one instant in two: integers, except in statistics"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("x = 1  # noqa: E501", [1]),
        ("x = 1  # noqa: E501  # because: the table", []),
        ("# because: the table\nx = 1  # noqa: E501", []),
        ("@pytest.mark.skip\ndef test(): ...", [1]),
        ("@pytest.mark.skip(reason='no card')\ndef test(): ...", []),
        ("x: int = f()  # type: ignore[x]", [1]),
        ("x = 1", []),
    ],
)
def test_the_search_for_exemptions_finds_them(source, lines):
    assert unexplained(source) == lines


def test_the_search_for_quantities_finds_them():
    tree = ast.parse(
        "def f(timeout: int, delay_ms: int): ...\nclass A:\n    memory: float | None = None\n    memory_mib: int"
    )
    assert sorted(name for _, name in quantities(tree) if name in UNITLESS) == ["memory", "timeout"]


def test_the_search_for_machines_finds_them():
    assert PLACES.search("x = '/" + "home/ada/x'")
    assert not PLACES.search("docs/home/x")
    assert ADDRESSES.search("--index" + "-url x")
