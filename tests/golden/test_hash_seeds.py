"""Same inputs and seed: the same bytes, under any PYTHONHASHSEED, in a fresh process, and twice in this one."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from golden.print_timelines import SPECS, everything

SCRIPT = Path(__file__).with_name("print_timelines.py")


def printed(hash_seed: str) -> str:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def digest(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()


def test_identical_under_three_hash_seeds_and_in_this_process():
    here = everything()
    assert all(f"{spec}\n" in here for spec in SPECS)
    assert here.count(" preempt ") > 5, "the workload must preempt to show anything"
    assert {digest(printed(seed)) for seed in ("0", "1", "4242")} == {digest(here)}
    assert digest(everything()) == digest(here)
