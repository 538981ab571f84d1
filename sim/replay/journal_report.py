"""The result of a replay as lines for a terminal, and as Markdown for a review."""

from __future__ import annotations

from typing import Final, NamedTuple

from sim.console import table
from sim.replay.journal_differences import KINDS, Compared, Difference

PROBLEMS_MAX: Final = 20
TENANTS_MAX: Final = 20


class About(NamedTuple):
    """What was replayed."""

    journal: str
    recorded: str
    """The policy that decided then."""
    policy: str
    """The one that was asked now."""


def text_lines(about: About, found: Compared, first: int) -> list[str]:
    """For a terminal."""
    same = f"{found.compared - found.differ} of {found.compared} decisions are the same"
    lines = [
        f"{about.journal} (recorded with {about.recorded}) and {about.policy}: {same}",
        f"  {_counts(found.questions)}; {found.events} events",
    ]
    lines += [f"  not compared: {count}: {reason}" for reason, count in found.not_compared.most_common()]
    lines += [f"  {note}" for note in found.notes]
    if found.by_kind:
        lines += ["", *table([["difference", "count", ""], *_kinds(found)], right=False)]
        lines += ["", *table([["tenant", "compared", "differences"], *_tenants(found)], right=False)]
        lines += [""] + [f"{_place(each)}: {_told(each)}" for each in _examples(found, first)]
        left = sum(found.by_kind.values()) - len(_examples(found, first))
        lines += [f"... and {left} more"] if left > 0 else []
    return lines


def markdown(about: About, found: Compared, first: int) -> str:
    """For a review."""
    differ = f"**{found.differ} of {found.compared} decisions differ**"
    counts = f"{_counts(found.questions)}; {found.events} events."
    left_out = (f" Not compared: {count} ({reason})." for reason, count in found.not_compared.most_common())
    lines = [
        f"# Replay of {_cell(about.journal)}",
        "",
        f"Recorded with `{about.recorded}`, asked again of `{about.policy}`: {differ}.",
        "",
        counts + "".join(left_out),
    ]
    lines += [f"\n{note}" for note in found.notes]
    if found.by_kind:
        lines += ["", *_rows(["difference", "count", "meaning"], _kinds(found))]
        lines += ["", *_rows(["tenant", "compared", "differences"], _tenants(found))]
        examples = [
            [_place(each), each.kind, each.tenant, each.subject, each.recorded, each.here]
            for each in _examples(found, first)
        ]
        lines += ["", *_rows(["place", "kind", "tenant", "of", "recorded", about.policy], examples)]
    if found.problems:
        lines += ["", "Lines that cannot be read:", ""] + [f"- {each}" for each in found.problems[:PROBLEMS_MAX]]
    return "\n".join(lines) + "\n"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no decisions"


def _kinds(found: Compared) -> list[list[str]]:
    return [[kind, str(found.by_kind[kind]), meaning] for kind, meaning in KINDS.items() if found.by_kind[kind]]


def _tenants(found: Compared) -> list[list[str]]:
    """Those with the most differences first."""
    ordered = sorted(found.by_tenant, key=lambda tenant: (-found.by_tenant[tenant].total(), tenant))
    rows = [
        [tenant, str(found.compared_by_tenant[tenant]), _counts(found.by_tenant[tenant])]
        for tenant in ordered[:TENANTS_MAX]
    ]
    left = len(ordered) - TENANTS_MAX
    return [*rows, [f"and {left} more", "", ""]] if left > 0 else rows


def _examples(found: Compared, first: int) -> list[Difference]:
    """Some of each kind in turn, then in the order of the journal."""
    by_kind: dict[str, list[Difference]] = {}
    for each in found.examples:
        by_kind.setdefault(each.kind, []).append(each)
    chosen: list[Difference] = []
    while len(chosen) < first and any(by_kind.values()):
        for waiting in by_kind.values():
            if waiting and len(chosen) < first:
                chosen.append(waiting.pop(0))
    return sorted(chosen, key=found.examples.index)


def _place(each: Difference) -> str:
    return f"{each.file}:{each.line}"


def _told(each: Difference) -> str:
    return f"{each.kind} of {each.subject} ({each.tenant}): recorded {each.recorded}; here {each.here}"


def _rows(head: list[str], rows: list[list[str]]) -> list[str]:
    listed = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(_cell, row))} |" for row in listed]


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")
