"""`rehearse replay JOURNAL`: reads, replays, shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from policies.api import Policy
from sim.console import note, say
from sim.fleet.kinds import device_kinds
from sim.replay.journal_differences import Compared
from sim.replay.journal_reading import Journal, open_journal
from sim.replay.journal_replay import replay_journal
from sim.replay.journal_report import PROBLEMS_MAX, About, markdown, text_lines
from sim.run import InputError, choose_policy, close_policy


class Wanted(NamedTuple):
    """What the command line asks for."""

    path: Path
    policy: str | None
    """None is the policy that the journal names."""
    first: int
    form: str
    """`text`, `json` or `markdown`."""
    typical_pods: str | None = None
    seed: int = 0


def replay_and_show(wanted: Wanted) -> bool:
    """Whether anything differs. Raises `InputError`."""
    journal = open_journal(wanted.path)
    recorded = ", ".join(dict.fromkeys(str(each.header["policy"]) for each in journal.processes))
    spec = wanted.policy or recorded
    if wanted.policy is None and ("," in recorded.partition(":")[0] or recorded.startswith("process:")):
        raise InputError(f"--policy is needed: the journal names {recorded}")
    found = _replay(journal, spec, wanted)
    about = About(wanted.path.name, recorded, spec)
    if wanted.form == "json":
        say(
            json.dumps(
                {"journal": str(wanted.path), "recorded": recorded, "policy": spec, **found.as_data()}, indent=1
            )
        )
    elif wanted.form == "markdown":
        say(markdown(about, found, wanted.first).rstrip())
    else:
        for line in text_lines(about, found, wanted.first):
            say(line)
    for problem in found.problems[:PROBLEMS_MAX]:
        note(problem)
    if len(found.problems) > PROBLEMS_MAX:
        note(f"... and {len(found.problems) - PROBLEMS_MAX} more")
    return found.differ > 0


def _replay(journal: Journal, spec: str, wanted: Wanted) -> Compared:
    from sim.serve_commands import parts_of

    made: list[Policy] = []

    def make() -> Policy:
        made.append(choose_policy(spec, parts_of(wanted.typical_pods, wanted.seed)).policy)
        return made[-1]

    try:
        return replay_journal(journal, make, device_kinds(), examples_max=max(wanted.first, 1))
    finally:
        for policy in made:
            close_policy(policy)
