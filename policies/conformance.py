"""What every policy must keep, as a kit for its author: `check_policy(make)` gives the broken promises, best none.

It lets the policy decide on many small random clusters (`policies.conformance_cluster`) and needs neither the simulator nor a
test framework. Each check has a name and a promise in `CHECKS`. What it cannot see: a policy that is legal but bad.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NamedTuple

import numpy as np

from policies.api import Action, Policy, Preempt, Reject, Resize, Semantics, Start, WakeAt
from policies.conformance_cluster import Case, Cluster, random_case

CHECKS: Final = {
    "name": "it has a name that is not empty",
    "semantics": "semantics() gives a complete Semantics, the same each time",
    "fails": "it decides on every view without an error",
    "values": "it yields the actions of policies.api, made of text, integers and tuples of Share",
    "legal": "it asks only for what can be applied now",
    "gang": "it starts a gang whole",
    "quota": "no queue or cohort holds more than it is entitled to, if its semantics say that quotas are kept",
    "view": "it changes nothing that it reads",
    "endless": "a pass comes to an end, and so does a run",
    "stalls": "where nothing runs and a job waits that fits, it starts one, rejects it or asks to be woken",
    "deterministic": "two new instances decide the same on the same view",
    "memory": "an instance that was used before decides as a new one on a new cluster",
    "clock": "it reads no clock and no random numbers but those that it was handed",
    "peeks": "it reads true run times only if its semantics say so",
    "estimates": "estimates change its decisions only if its semantics say that it needs them",
}
"""Name of a check -> what it asks for."""

ACTIONS_MAX: Final = 200
"""Actions of one pass, and passes of one case, beyond which there is no end in sight: some ten times what any needs."""

NO_QUOTA: Final = Semantics(order="", blocking="", placement="").quota
"""What the semantics say of a policy that keeps no entitlements."""

CLOCKS: Final = frozenset(
    getattr(time, name)
    for name in (
        "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
        "process_time_ns", "thread_time", "localtime", "gmtime", "ctime", "strftime",
    )
)  # fmt: skip
DATES: Final = frozenset(("datetime.now", "datetime.utcnow", "datetime.today", "date.today"))


class Finding(NamedTuple):
    """A broken promise."""

    check: str
    case: str
    """Where it was seen; `random_case` of `policies.conformance_cluster` builds it again."""
    what: str

    def __str__(self) -> str:
        return f"{self.check}: {CHECKS[self.check]}; {self.case}: {self.what}"


class BrokenError(Exception):
    """Ends a case at the first broken promise."""

    def __init__(self, check: str, what: str) -> None:
        super().__init__(what)
        self.check = check


class Played(NamedTuple):
    """What a policy did in one case."""

    actions: tuple[tuple[int, Action], ...]
    broken: BrokenError | None


def check_policy(
    make: Callable[[], Policy], *, draws: bool = False, cases: int = 25, first_seed: int = 0
) -> list[Finding]:
    """The broken promises of a policy, the first of each kind. Each call of `make` gives a new instance.

    `draws` says that it draws random numbers by design, so that a used instance differs from a new one; `make` must then hand
    in a generator at its beginning. Raises what `make` raises.
    """
    found: dict[str, Finding] = {}
    semantics = _semantics(make, found)
    for seed in range(first_seed, first_seed + cases):
        case = random_case(seed)
        for check, what in _check_case(make, case, semantics, draws=draws):
            found.setdefault(check, Finding(check, case.name, what))
    return [found[check] for check in CHECKS if check in found]


def _semantics(make: Callable[[], Policy], found: dict[str, Finding]) -> Semantics:
    policy, other = make(), make()
    try:
        return _said(policy, other, found)
    finally:
        _close(policy)
        _close(other)


def _said(policy: Policy, other: Policy, found: dict[str, Finding]) -> Semantics:
    if not isinstance(getattr(policy, "name", None), str) or not policy.name:
        found["name"] = Finding("name", "new instance", f"name is {getattr(policy, 'name', None)!r}")
    fallback = Semantics(order="?", blocking="?", placement="?", needs_estimates=True, peeks=True)
    try:
        semantics: Any = policy.semantics()
        again = other.semantics()
    except Exception as error:  # because: a policy may raise anything, and that is the finding
        found["semantics"] = Finding("semantics", "new instance", _told(error))
        return fallback
    if type(semantics) is not Semantics:
        found["semantics"] = Finding("semantics", "new instance", f"it gives {semantics!r}")
        return fallback
    texts = ("order", "blocking", "placement", "scope", "reservation", "preemption", "quota")
    empty = [name for name in texts if not getattr(semantics, name) or not isinstance(getattr(semantics, name), str)]
    if empty:
        found["semantics"] = Finding("semantics", "new instance", f"no text for {', '.join(empty)}")
    elif again != semantics:
        found["semantics"] = Finding("semantics", "new instance", f"{semantics} and then {again}")
    said: Semantics = semantics
    return said


def _check_case(
    make: Callable[[], Policy], case: Case, semantics: Semantics, *, draws: bool
) -> Iterator[tuple[str, str]]:
    """Every check of one case, as (check, what is wrong)."""
    oracle = semantics.peeks
    policy = make()
    first = play(policy, Cluster(case, oracle=oracle), quota=semantics.quota != NO_QUOTA)
    if first.broken is not None:
        yield first.broken.check, str(first.broken)
        return
    seen: set[str] = set()
    with watch_clocks(seen):
        again = play(make(), Cluster(case, oracle=oracle))
    for name in sorted(seen):
        yield "clock", f"it uses {name}"
    if differ := _first_difference(first, again):
        yield "deterministic", differ
        return  # because: what follows compares, and would only repeat it
    if not draws and (differ := _first_difference(first, play(policy, Cluster(case, oracle=oracle)))):
        yield "memory", differ
    if not oracle and (differ := _first_difference(first, play(make(), Cluster(case, oracle=True)))):
        yield "peeks", f"with true run times in view, {differ}"
    if not oracle and not semantics.needs_estimates:
        blind = play(make(), Cluster(case, estimates=False))
        if differ := _first_difference(first, blind):
            yield "estimates", f"without estimates, {differ}"


def play(policy: Policy, cluster: Cluster, *, quota: bool = False) -> Played:
    """Let the policy decide until nothing happens any more, or until it breaks a promise; `quota`: entitlements are one."""
    done: list[tuple[int, Action]] = []
    passes = 0
    try:
        _pass(policy, cluster, done, quota=quota)  # because: a view without any job is a view too
        while cluster.advance():
            if len(cluster.pending) or getattr(policy, "runs_on_empty_queue", False):
                _pass(policy, cluster, done, quota=quota)
                passes += 1
                if passes > ACTIONS_MAX:
                    raise BrokenError("endless", f"{passes} passes, and {len(cluster.pending)} jobs still wait")  # noqa: TRY301  # because: one way out
    except BrokenError as broken:
        return Played(tuple(done), broken)
    finally:
        _close(policy)
    return Played(tuple(done), None)


def _close(policy: Policy) -> None:
    """The run is over: see `policies.api.Policy.close`."""
    if (close := getattr(policy, "close", None)) is not None:
        close()


def _pass(policy: Policy, cluster: Cluster, done: list[tuple[int, Action]], *, quota: bool) -> None:
    before = cluster.digest()
    moved = False
    for count, action in enumerate(_decisions(policy, cluster), start=1):
        _same_view(before, cluster)
        _check_values(action)
        _check_legal(action, cluster)
        cluster.apply(action)
        if quota and (over := cluster.over_quota()):
            raise BrokenError("quota", f"at {cluster.now_ms} ms after {action}: {over}")
        done.append((cluster.now_ms, action))
        before = cluster.digest()
        moved = moved or isinstance(action, Start | Reject | WakeAt)
        if count > ACTIONS_MAX:
            raise BrokenError("endless", f"at {cluster.now_ms} ms a pass yields more than {ACTIONS_MAX} actions")
    _same_view(before, cluster)
    if len(cluster.pending) and not len(cluster.running) and not moved:
        job = next(iter(cluster.pending))
        raise BrokenError("stalls", f"at {cluster.now_ms} ms nothing runs, and {job.job_id} is not started")


def _decisions(policy: Policy, cluster: Cluster) -> Iterator[Action]:
    """The actions of a pass; what the policy raises becomes a finding."""
    try:
        decisions = iter(policy.decide(cluster))
    except Exception as error:
        raise BrokenError("fails", f"at {cluster.now_ms} ms: {_told(error)}") from error
    while True:
        try:
            action = next(decisions)
        except StopIteration:
            return
        except Exception as error:
            raise BrokenError("fails", f"at {cluster.now_ms} ms: {_told(error)}") from error
        yield action


def _same_view(before: object, cluster: Cluster) -> None:
    if cluster.digest() != before:
        raise BrokenError("view", f"at {cluster.now_ms} ms the view is not what it was before the policy read it")


def _check_values(action: Action) -> None:
    if type(action) not in (Start, Preempt, Reject, WakeAt, Resize):
        raise BrokenError("values", f"{action!r} is no action of policies.api")
    if isinstance(action, WakeAt):
        if type(action.at_ms) is not int:
            raise BrokenError("values", f"{action!r} has a time that is no integer")
        return
    if not isinstance(action.job_id, str):
        raise BrokenError("values", f"{action!r} has a job_id that is no text")
    if isinstance(action, Start):
        if not isinstance(action.placement, tuple):
            raise BrokenError("values", f"{action!r} has a placement that is no tuple")
        for share in action.placement:
            if not isinstance(share, tuple) or len(share) != 4 or any(type(part) is not int for part in share):
                raise BrokenError("values", f"{share!r} in the placement of {action.job_id} is no Share of integers")


def _check_legal(action: Action, cluster: Cluster) -> None:
    if isinstance(action, Start) and action.job_id in cluster.pending:
        gang = cluster.pending.jobs[action.job_id].request.gang
        pods = [sum(share.pods for share in action.placement if share.group == group) for group in range(len(gang))]
        wanted = [group.pods for group in gang]
        if pods != wanted:
            raise BrokenError("gang", f"at {cluster.now_ms} ms {action.job_id} gets {pods} pods of {wanted}")
    fault = cluster.fault(action)
    if fault is not None:
        raise BrokenError("legal", f"at {cluster.now_ms} ms {action}: {fault}")


def _first_difference(one: Played, other: Played) -> str | None:
    if other.broken is not None:
        return f"{other.broken.check}: {other.broken}"
    for (at_ms, action), (other_ms, other_action) in zip(one.actions, other.actions, strict=False):
        if (at_ms, action) != (other_ms, other_action):
            return f"first {action} at {at_ms} ms, then {other_action} at {other_ms} ms"
    if len(one.actions) != len(other.actions):
        return f"first {len(one.actions)} actions, then {len(other.actions)}"
    return None


@contextmanager
def watch_clocks(seen: set[str]) -> Iterator[None]:
    """Notes each call of a clock or of a random generator that is shared by the whole process, however it was imported."""

    def look(frame: FrameType, event: str, called: Any) -> None:
        clock = event == "c_call" and (called in CLOCKS or getattr(called, "__qualname__", "") in DATES)
        if clock and not _waits(frame):
            seen.add(called.__qualname__)

    before, profile, collecting = _shared_random(), sys.getprofile(), gc.isenabled()
    gc.disable()  # because: whoever listens to the collector may read a clock, and it is not the policy
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(profile)
        if collecting:
            gc.enable()
    seen.update(name for name, state in _shared_random().items() if state != before[name])


def _waits(frame: FrameType | None) -> bool:
    """True for what an adapter does that waits for another process: it limits the time, and decides nothing by it."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "policies.serving.process_link":
            return True
        frame = frame.f_back
    return False


def _shared_random() -> dict[str, object]:
    """The states of the generators that the whole process shares."""
    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002  # because: to catch its use
    state = (legacy["state"]["key"].tobytes(), legacy["state"]["pos"], legacy["has_gauss"])
    return {"the global generator of random": random.getstate(), "the global generator of numpy": state}


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
