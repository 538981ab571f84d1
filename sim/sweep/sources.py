"""The files that hold the code of a module: its own, and those of what it imports from the same place."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

OURS: Final = frozenset({"policies", "traces", "sim"})
"""Packages of this program: its version stands for them."""

INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


def module_sources(name: str) -> list[Path]:
    """The files, sorted; nothing if there is no such module, or it is no file.

    What is imported is followed by its `import` statements: inside the folder from which `name` is found, or, for an
    installed one, inside its package. Looking for a module of a package imports the package.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # because: a package that cannot be imported is told by the cell that uses it
        return []
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return []
    origin = Path(spec.origin)
    package = origin.name == "__init__.py"
    root = origin.parents[name.count(".") + package]
    only = name.partition(".")[0] if INSTALLED & set(root.parts) else None
    found: dict[Path, None] = {}
    waiting = [*_files(root, name)]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = None
        for imported in _imports(path, root):
            top = imported.partition(".")[0]
            if top not in OURS and only in {None, top}:
                waiting += _files(root, imported)
    return sorted(found)


def _files(root: Path, name: str) -> Iterator[Path]:
    """The file of a module and those of the packages around it, as far as they are there."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        base = root.joinpath(*parts[:end])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                yield path


def _imports(path: Path, root: Path) -> Iterator[str]:
    """The names of all modules that a file may import, wherever in it."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    package = path.relative_to(root).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            outer = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*outer, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}" if base else alias.name
