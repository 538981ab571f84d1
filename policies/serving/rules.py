"""Which pods a policy must leave alone, because they ask for what it does not keep: better pending than in the wrong place."""

from __future__ import annotations

from collections.abc import Callable

from policies.api import Policy
from policies.kube.pods import Pod

CLAIMS = "resourceClaims"


def keeps_pod_rules(policy: Policy) -> bool:
    """Whether a policy says that it keeps rules that depend on other pods: affinity between pods, hard spreading, host ports."""
    return getattr(policy, "keeps_pod_rules", False) is True


def held_back_by(policy: Policy) -> Callable[[Pod], str]:
    """Says of a pod why this policy must not place it, or nothing."""
    keeps = keeps_pod_rules(policy)

    def held_back(pod: Pod) -> str:
        if any(note.startswith(CLAIMS) for note in pod.notes):
            return "it has resourceClaims, which only kube-scheduler can allocate"
        if keeps or not pod.terms.depends_on_pods:
            return ""
        return f"it uses {', '.join(_rules(pod))}, which {policy.name} does not keep"

    return held_back


def _rules(pod: Pod) -> list[str]:
    terms = pod.terms
    said = {
        "required affinity to other pods": terms.near,
        "required anti-affinity to other pods": terms.away,
        "a hard topologySpreadConstraint": any(each.hard for each in terms.spread),
        "host ports": terms.host_ports,
    }
    return [name for name, used in said.items() if used]
