"""Baselines that are not replayed here: a run directory, and a policy as git has it at another version."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from paired_days import HOUR, days
from runs import trace_of

from sim.experiment.at_ref import baseline_at_ref, source_of, worktree
from sim.experiment.compare import compare
from sim.experiment.comparison_file import read_comparison
from sim.experiment.elsewhere import baseline_of_run
from sim.experiment.prepare import prepare
from sim.experiment.replays import Task, Work, do
from sim.experiment.scenario import make_scenario
from sim.run import InputError

JOBS = list(days(9))


def prepared(records=JOBS, policies=("fifo",), **keys):
    scenario = make_scenario({"trace": "memory", "cluster": "1x8", "blocks": "6d", **keys}, source="test")
    return prepare(scenario, policies, trace=trace_of(records))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    place = tmp_path_factory.mktemp("stored") / "last-week"
    one = prepared()
    do(Work([one], [np.ones(len(JOBS), dtype=bool)]), Task("fifo", place))
    return place


def test_a_stored_run_as_the_baseline(stored, tmp_path):
    one = prepared()
    given = baseline_of_run([one], stored)
    found = compare(one, ["fifo", "best-effort-fifo"], "fifo", tmp_path, given=given).comparison
    assert found.names == ["fifo (last-week)", "fifo", "best-effort-fifo"]
    effects = {name: each.metrics[0] for name, each in found.paired.policies.items()}
    assert effects["fifo"].why == "every job has the same value under both"
    assert effects["best-effort-fifo"].difference.value == -2 * HOUR
    assert read_comparison(tmp_path).baseline == "fifo (last-week)"
    manifest = json.loads((tmp_path / "fifo_last-week" / "manifest.json").read_text())
    assert manifest["baseline"] == {"run": str(stored)}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"records": JOBS[:-1]}, "has other jobs of the same file"),
        ({"cluster": "2x8"}, "is of another fleet: 1x8"),
        ({"rules": {"restart": "5m"}}, "was replayed otherwise: rule restart_ms was 0 and is 300000"),
        ({"replications": 2}, "is one replay of one trace"),
    ],
)
def test_a_stored_run_of_something_else_is_refused(stored, keys, said):
    with pytest.raises(InputError) as caught:
        baseline_of_run([prepared(**keys)], stored)
    assert said in str(caught.value)


def test_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match=r"--baseline-run .*there is no such directory"):
        baseline_of_run([prepared()], tmp_path / "no")


POLICY = """from policies.catalogue import Parts, make_policy
from mine.name import NAME


def policy():
    return make_policy(NAME, Parts(generator=None))
"""


def git(folder, *arguments):
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A policy in two versions, in a folder below the top, and a third that is not committed."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    root = tmp_path / "repo"
    package = root / "src" / "mine"
    package.mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch", "main")
    (package / "__init__.py").write_text("")
    (package / "rule.py").write_text(POLICY)
    (package / "name.py").write_text('NAME = "fifo"\n')
    git(root, "add", "."), git(root, "commit", "--quiet", "-m", "one"), git(root, "tag", "v1")
    (package / "name.py").write_text('NAME = "best-effort-fifo"\n')
    git(root, "commit", "--quiet", "-am", "two")
    (package / "name.py").write_text('NAME = "sjf"  # being written\n')
    hook = root / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    monkeypatch.chdir(root / "src")
    monkeypatch.syspath_prepend(str(root / "src"))
    yield root
    for name in [name for name in sys.modules if name.partition(".")[0] == "mine"]:
        del sys.modules[name]


def untouched(root):
    """The state of a repository as far as its owner can see it."""
    return (
        git(root, "status", "--porcelain"),
        git(root, "worktree", "list"),
        git(root, "stash", "list"),
        git(root, "reflog"),
    )


def test_the_policy_of_another_version(repository, tmp_path):
    before = untouched(repository)
    one = prepared(policies=("mine.rule:policy",), replications=2, shake="1 %")
    given = baseline_at_ref([one], "mine.rule:policy", "v1")
    found = compare(one, ["best-effort-fifo"], "x", tmp_path / "out", given=given).comparison
    assert found.baseline == "mine.rule:policy (v1)"
    same = compare(one, ["fifo", "best-effort-fifo"], "fifo", tmp_path / "same").comparison
    assert found.paired.policies["best-effort-fifo"].metrics == same.paired.policies["best-effort-fifo"].metrics
    head = baseline_at_ref([one], "mine.rule:policy", "HEAD")
    assert head.observed[0][1].fingerprint == found.paired.evidence.replays[1]["fingerprints"]["best-effort-fifo"]
    assert untouched(repository) == before
    assert not (tmp_path / "hooked").exists(), "hooks are for people"
    assert "best-effort" in git(repository, "show", "HEAD:src/mine/name.py")
    assert given.run.manifest["baseline"]["commit"] == git(repository, "rev-parse", "v1").strip()


def test_a_version_that_cannot_run_is_told_and_leaves_nothing(repository):
    before = untouched(repository)
    (repository / "src" / "mine" / "name.py").write_text("import nothing_such\nNAME = 'fifo'\n")
    git(repository, "commit", "--quiet", "-am", "broken")
    git(repository, "reset", "--quiet", "--soft", "HEAD~1")
    broken = git(repository, "rev-parse", "HEAD@{1}").strip()
    git(repository, "restore", "--staged", ".")
    (repository / "src" / "mine" / "name.py").write_text('NAME = "sjf"  # being written\n')
    with pytest.raises(InputError) as caught:
        baseline_at_ref([prepared(policies=())], "mine.rule:policy", broken)
    assert f"--baseline-ref {broken}: --policy mine.rule:policy: cannot import 'mine.rule'" in str(caught.value)
    assert untouched(repository)[:3] == before[:3]


@pytest.mark.parametrize(
    ("spec", "ref", "said"),
    [
        ("mine.rule:policy", "v9", "--baseline-ref v9: the repository "),
        ("mine.rule:policy", "--help", "has no such tag, branch or commit"),
        ("nothing_such.rule:policy", "v1", "cannot import 'nothing_such.rule'"),
        ("process:./mine", "v1", "is a program of its own"),
    ],
)
def test_what_git_cannot_give(repository, spec, ref, said):
    with pytest.raises(InputError) as caught:
        baseline_at_ref([prepared()], spec, ref)
    assert said in str(caught.value)


def test_a_worktree_is_gone_however_its_block_ends(repository, tmp_path):
    def fails():
        with worktree(repository, "v1", tmp_path / "tree") as tree:
            assert (tree / "src" / "mine" / "name.py").read_text() == 'NAME = "fifo"\n'
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert not (tmp_path / "tree").exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_where_a_policy_stands(repository):
    assert source_of("mine.rule:policy") == (repository.resolve(), source_of("mine.rule:policy").root)
    assert source_of("mine.rule:policy").root.as_posix() == "src"
