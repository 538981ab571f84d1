"""Where the real files are: a folder beside the repository, which is no part of the product."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def needs(relative: str) -> Path:
    """The path of a real file, or a skip that says which file is absent."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs the real file {relative} in the folder of shared data beside the repository")
    return path
