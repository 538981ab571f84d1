"""`rehearse compare`: replays the same trace under each policy, and under other orders of ties, then compares.

The directory holds one run directory for each policy, `comparison.json` and `report.html`. Worker processes change
nothing but the time: every replay depends on its inputs only, and results are put together in the order of the policies.
"""

from __future__ import annotations

import json
import multiprocessing
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

from sim.experiment.comparison import VERSION, Comparison, TieSpread, Values, compare_runs, no_ties, tie_spread
from sim.experiment.prepare import Prepared, replay_prepared
from sim.metrics.registry import groups, measure, summary
from sim.results import Run, RunDirectoryError, has_key, is_run, read_run, write_run
from sim.run import InputError, Progress

COMPARISON: Final = "comparison.json"
REPORT: Final = "report.html"

TIE_ORDERS: Final = 2
"""Other orders of ties that are tried by default."""

TIE_JOBS_MAX: Final = 200_000
"""Above this many jobs ties are tried only on demand."""


class Task(NamedTuple):
    """One replay: into a directory, or under another order of ties for its metrics alone."""

    spec: str
    out: Path | None
    other_ties: int | None = None


def is_comparison(path: Path) -> bool:
    """True if `path` holds a comparison."""
    return has_key(path / COMPARISON, "rehearse_comparison")


def policies_and_baseline(specs: Sequence[str], baseline: str | None) -> tuple[list[str], str]:
    """The policies, each once, and the baseline, which is among them. Raises `InputError`."""
    listed = list(specs)
    if baseline is not None and baseline not in listed:
        listed.insert(0, baseline)
    repeated = [spec for spec, count in Counter(listed).items() if count > 1]
    if repeated:
        raise InputError(f"--policies: {', '.join(repeated)} given twice")
    if len(listed) < 2:
        raise InputError("--policies: a comparison needs at least two, such as --policies fifo,easy")
    return listed, baseline or listed[0]


def split_policies(text: str) -> list[str]:
    """`fifo,easy:place=spread,per=queue,sjf`: a part with `=` but without `:` belongs to the policy before it."""
    listed: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, _ = part.partition("=")
        if equals and ":" not in name and listed:
            listed[-1] += f",{part}"
        else:
            listed.append(part)
    return listed


def folder_names(specs: Sequence[str]) -> dict[str, str]:
    """A policy's folder: its name with what a file system may not like replaced, unique."""
    taken: dict[str, str] = {}
    for spec in specs:
        plain = re.sub(r"[^A-Za-z0-9._=-]+", "_", spec).strip("._") or "policy"
        name, number = plain, 2
        while name.casefold() in map(str.casefold, taken.values()):
            name, number = f"{plain}-{number}", number + 1
        taken[spec] = name
    return taken


def tie_orders(prepared: Prepared) -> tuple[int, str | None]:
    """How many other orders of ties to try, and why none."""
    asked = prepared.scenario.tie_orders
    records = prepared.trace.records
    tied = sum(count for count in Counter(record.submit_ms for record in records).values() if count > 1)
    if prepared.rules.fill:
        return 0, "a static fill takes the pods in the order of the file"
    if not tied:
        return 0, "no two jobs are submitted in the same millisecond"
    if asked == 0:
        return 0, "not asked for"
    if asked is None and len(records) > TIE_JOBS_MAX:
        return 0, f"more than {TIE_JOBS_MAX:,} jobs: ask for it with --ties 2"
    return TIE_ORDERS if asked is None else asked, None


def compare(
    prepared: Prepared,
    specs: Sequence[str],
    baseline: str,
    out: Path,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Comparison:
    """Replay everything into `out`, a new directory, and compare."""
    folders = folder_names(specs)
    orders, reason = tie_orders(prepared)
    tasks = [Task(spec, out / folders[spec]) for spec in specs]
    tasks += [Task(spec, None, number) for number in range(1, orders + 1) for spec in specs]
    results = list(_results(prepared, tasks, workers, progress))
    runs = [read_run(out / folders[spec]) for spec in specs]
    whole = {run.name: measure(run, next(groups(run.jobs))) for run in runs}
    if reason is not None:
        ties = no_ties(reason)
    else:
        others: dict[str, list[Values]] = {spec: [] for spec in specs}
        for task, values in zip(tasks, results, strict=True):
            if task.other_ties is not None:
                others[task.spec].append(values)
        ties = tie_spread(whole, others)
    found = compare_runs(runs, baseline, ties)
    (out / COMPARISON).write_text(json.dumps(as_data(found, folders), indent=1, ensure_ascii=False) + "\n", "utf-8")
    return found


def _results(prepared: Prepared, tasks: Sequence[Task], workers: int, progress: Progress | None) -> Iterator[Values]:
    """The results of the tasks, in their order."""
    jobs = len(prepared.trace.records)
    if workers <= 1:
        for number, task in enumerate(tasks):
            yield _do(prepared, task, _from(progress, number * jobs))
        return
    # because: a spawned process is the same on every system, and a fork of a process with threads may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), context, _begin, (prepared,)) as pool:
        for number, values in enumerate(pool.map(_do_in_worker, tasks), start=1):
            if progress is not None:
                progress(number * jobs)
            yield values


def _from(progress: Progress | None, done: int) -> Progress | None:
    if progress is None:
        return None
    return lambda ended: progress(done + ended)


_PREPARED: list[Prepared] = []
"""What a worker process replays; filled once when it begins."""


def _begin(prepared: Prepared) -> None:
    _PREPARED.append(prepared)


def _do_in_worker(task: Task) -> Values:
    return _do(_PREPARED[0], task, None)


def _do(prepared: Prepared, task: Task, progress: Progress | None) -> Values:
    run = replay_prepared(prepared, task.spec, progress=progress, other_ties=task.other_ties)
    if task.out is not None:
        write_run(run, task.out, summary(run))
        return {}
    return measure(run, next(groups(run.jobs))) if run.complete else {}


def as_data(comparison: Comparison, folders: dict[str, str]) -> dict[str, Any]:
    """What `comparison.json` holds."""
    return {
        "rehearse_comparison": VERSION,
        "baseline": comparison.baseline,
        "policies": [
            {
                "policy": name,
                "folder": folders[name],
                "complete": run.complete,
                "message": run.manifest["message"],
                "fingerprint": run.manifest["fingerprint"],
            }
            for name, run in comparison.runs.items()
        ],
        "groups": [asdict(group) for group in comparison.groups],
        "shifts": {name: asdict(found) for name, found in comparison.shifts.items()},
        "ties": asdict(comparison.ties),
    }


def read_comparison(path: Path) -> Comparison:
    """The comparison of a directory, or a single run as a comparison with itself. Raises `RunDirectoryError`."""
    if is_run(path):
        run: Run = read_run(path)
        return compare_runs([run], run.name, no_ties("a single run"))
    if not is_comparison(path):
        raise RunDirectoryError(f"{path}: is neither a comparison nor a run directory")
    data = json.loads((path / COMPARISON).read_text(encoding="utf-8"))
    if data["rehearse_comparison"] != VERSION:
        raise RunDirectoryError(
            f"{path}: is of version {data['rehearse_comparison']!r}; this program reads {VERSION}"
        )
    runs = [read_run(path / each["folder"]) for each in data["policies"]]
    return compare_runs(runs, data["baseline"], TieSpread(**data["ties"]))
