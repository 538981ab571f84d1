"""The baseline policy as git has it at another version, in the simulator of this version.

The repository that holds the policy is checked out into a temporary worktree, which the working tree does not notice, and the
policy is replayed in a process that finds it, and everything beside it, there. The simulator and the readers of traces
are those of this process: what differs is the policy.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import policies
import sim
from policies import catalogue
from sim.experiment.compare import Given
from sim.experiment.elsewhere import relabelled
from sim.experiment.plan import Plan, plan_of, replicated, subjects_of
from sim.experiment.policy_spec import PROCESS
from sim.experiment.prepare import Prepared, replay_prepared
from sim.experiment.sampler import Observed, observe
from sim.metrics.registry import summary
from sim.results import read_run, write_run
from sim.run import InputError

OURS: Final = ("sim", "traces")
"""Packages that are always those of this process."""

TASK, OBSERVED, RUN = "task.pickle", "observed.pickle", "run"


class Source(NamedTuple):
    """Where a policy's code stands."""

    repository: Path
    root: Path
    """The folder, relative to the repository, from which its module is imported."""


def baseline_at_ref(prepared: Sequence[Prepared], spec: str, ref: str) -> Given:
    """The policy `spec` as it was at `ref`, replayed on every trace and replication. Raises `InputError`."""
    try:
        source = source_of(spec)
        commit = commit_of(source.repository, ref)
        with tempfile.TemporaryDirectory(prefix="rehearse-ref-") as folder:
            place = Path(folder)
            with worktree(source.repository, commit, place / "tree") as tree:
                roots = _roots(tree / source.root, place / "roots")
                _replay(prepared, spec, place, roots)
            observed: list[list[Observed]] = _unpickled(place / OBSERVED)
            run = read_run(place / RUN)
    except InputError as error:
        raise InputError(f"--baseline-ref {ref}: {error}") from error
    if not run.complete:
        raise InputError(f"--baseline-ref {ref}: {run.manifest['message']}")
    return Given(*relabelled(run, prepared[0], f"{spec} ({ref})", {"ref": ref, "commit": commit}), observed)


def source_of(spec: str) -> Source:
    """The repository that holds a policy. Raises `InputError` where there is none."""
    name, _, rest = spec.partition(":")
    if name == PROCESS:
        raise InputError(f"{spec} is a program of its own, not Python code that git could give at another version")
    if rest and "=" not in rest and name not in catalogue.POLICIES:
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)
        try:
            found = importlib.util.find_spec(name)
        except ImportError as error:
            raise InputError(f"cannot import {name!r}: {error}") from error
        if found is None or found.origin is None:
            raise InputError(f"cannot find the file of the module {name!r}")
        file, depth = Path(found.origin).resolve(), name.count(".") + (Path(found.origin).name == "__init__.py")
    else:
        file, depth = Path(policies.__file__).resolve(), 1
    top = Path(_git(file.parent, "rev-parse", "--show-toplevel").strip()).resolve()
    return Source(top, file.parents[depth].relative_to(top))


def commit_of(repository: Path, ref: str) -> str:
    """The commit that a tag, a branch or the like names. Raises `InputError` where the repository has none."""
    asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    found = _git(repository, *asked, check=False).strip()
    if not found:
        raise InputError(f"the repository {repository} has no such tag, branch or commit")
    return found


@contextmanager
def worktree(repository: Path, commit: str, place: Path) -> Iterator[Path]:
    """A checkout of a commit beside the working tree, gone when the block ends, however it ends."""
    # because: a hook of the repository is made for people who check out, not for a copy of a moment
    quiet = ("-c", f"core.hooksPath={os.devnull}", "worktree")
    try:
        _git(repository, *quiet, "add", "--quiet", "--detach", str(place), commit)
        yield place
    finally:
        _git(repository, *quiet, "remove", "--force", "--force", str(place), check=False)
        _git(repository, "worktree", "prune", check=False)


def _git(folder: Path, *arguments: str, check: bool = True) -> str:
    """Standard output of git. Raises `InputError` with what git says."""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    try:
        done = subprocess.run(  # noqa: S603  # because: git with our own arguments; the version is checked before by git itself
            ["git", "-C", str(folder), *arguments],  # noqa: S607  # because: git is where the path of this machine has it
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
    except OSError as error:
        raise InputError(f"git cannot be run: {error.strerror or error}") from error
    if check and done.returncode:
        raise InputError(" ".join(done.stderr.split()) or f"git {arguments[0]} failed")
    return done.stdout


def _roots(root: Path, place: Path) -> Path:
    """A folder from which everything of `root` is imported but what is always ours."""
    if not root.is_dir():
        raise InputError(f"that version has no folder {root.name!r}, in which the policy's module stands today")
    place.mkdir()
    for entry in root.iterdir():
        if not entry.name.startswith(".") and entry.name not in OURS:
            (place / entry.name).symlink_to(entry)
    return place


def _replay(prepared: Sequence[Prepared], spec: str, place: Path, roots: Path) -> None:
    """In a process of its own. Raises `InputError` with what it says."""
    with (place / TASK).open("wb") as file:
        pickle.dump((list(prepared), spec, plan_of(prepared[0].scenario)), file)
    ours = str(Path(sim.__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(roots), ours))}
    done = subprocess.run(  # noqa: S603  # because: this very interpreter on this very module
        [sys.executable, "-P", "-m", "sim.experiment.at_ref", str(place)],
        cwd=roots,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["the process ended without a word"]
        raise InputError(said[-1].removeprefix("error: "))


def _unpickled(path: Path) -> list[list[Observed]]:
    with path.open("rb") as file:
        found: list[list[Observed]] = pickle.load(file)  # noqa: S301  # because: written a moment ago by our own process
    return found


def work(place: Path) -> None:
    """What the process does: every replay of the plan, the first into a run directory."""
    with (place / TASK).open("rb") as file:
        task: tuple[list[Prepared], str, Plan] = pickle.load(file)  # noqa: S301  # because: written by the process that waits for this one
    prepared, spec, plan = task
    observed: list[list[Observed]] = []
    for number, each in enumerate(prepared):
        observed.append([])
        counted = subjects_of([each], plan).counted[0]
        for replication in range(plan.replications):
            run = replay_prepared(replicated(each, plan.shake, replication), spec)
            if (number, replication) == (0, 0):
                write_run(run, place / RUN, summary(run))
            if not run.complete:
                raise InputError(str(run.manifest["message"]))
            observed[-1].append(observe(run, counted))
    with (place / OBSERVED).open("wb") as file:
        pickle.dump(observed, file)


if __name__ == "__main__":
    try:
        work(Path(sys.argv[1]))
    except Exception as failure:
        message = str(failure) if isinstance(failure, InputError) else f"{type(failure).__name__}: {failure}"
        sys.stderr.write(f"error: {' '.join(message.split())}\n")
        sys.exit(2)
