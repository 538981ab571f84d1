"""A replay that is validated at every instant and audited from its timeline."""

from __future__ import annotations

from collections.abc import Sequence

from builders import replay

from policies.api import Policy
from policies.topology import Topology
from sim.audit import audit
from sim.engine import Engine, Outcome, PolicyError
from sim.rules import Rules
from traces.job import JobRecord


def audited(jobs: Sequence[JobRecord], topology: Topology, what: str | Policy, **more) -> Outcome:
    """As `builders.replay`, and the auditor agrees."""
    outcome = replay(jobs, topology, what, **more)
    rules = {name: value for name, value in more.items() if name not in ("queues", "speed", "validate")}
    audit(outcome, topology, Rules(**rules), more.get("queues"))
    return outcome


def refused(jobs: Sequence[JobRecord], topology: Topology, policy: Policy, *, speed=None, **rules) -> PolicyError:
    """The error of a policy that breaks its contract; state, timeline and sums are checked after it."""
    engine = Engine(jobs, topology, policy, rules=Rules(**rules), speed=speed)
    try:
        engine.run()
    except PolicyError as error:
        engine.state.validate()
        audit(error.outcome, topology, Rules(**rules), complete=False)
        return error
    raise AssertionError("the engine let everything pass")
