"""The best servers for one pod, by rules that have scores, have none, or say one thing and do another."""

from __future__ import annotations

import numpy as np
import pytest
from builders import servers

from policies.api import PodGroup, Share
from policies.framework.ranking import RankingError, best_nodes
from policies.nodes import NodeLedger
from policies.placement.best_fit import BestFit

TOPOLOGY = servers(6)
ONE = TOPOLOGY.request((PodGroup(1, 1),))


def table(*taken: int) -> NodeLedger:
    """Each server with so many devices taken."""
    ledger = NodeLedger(TOPOLOGY)
    for number, count in enumerate(taken):
        if count:
            ledger.take(TOPOLOGY.request((PodGroup(1, count),)), (Share(number, (1 << count) - 1),))
    return ledger


class Highest:
    """Takes the server with the highest number; has no scores. Counts the tables that it was asked about."""

    name = "highest"

    def __init__(self):
        self.asked = []

    def place(self, request, nodes, within=None):
        self.asked.append(nodes)
        room = [n for n in range(len(nodes)) if within >> n & 1 and nodes.idle[n] >= request.devices]
        return (Share(room[-1], nodes.devices_for(room[-1], request, 1)),) if room else None


class TwoFaced(Highest):
    """Its scores say the opposite of what it does."""

    def scores(self, request, group, nodes):
        return -np.arange(len(nodes))


@pytest.mark.parametrize("rule", [Highest, TwoFaced])
def test_without_scores_to_trust_it_is_asked_again_and_again(rule):
    placer, now = rule(), table(0, 0, 0, 8, 0, 0)
    assert best_nodes(placer, ONE, now, 0b111111, 3) == [5, 4, 2]
    # only the first question is about what is; the others are what-ifs, so that a rule that remembers is not misled
    assert placer.asked[0] is now
    assert all(each is not now for each in placer.asked[1:])
    assert best_nodes(rule(), ONE, now, 0b001101, 10) == [2, 0]


def test_scores_give_the_same_in_one_look():
    now = table(3, 8, 3, 7, 0, 5)
    assert best_nodes(BestFit(), ONE, now, 0b111111, 10) == [3, 5, 0, 2, 4]
    assert best_nodes(BestFit(), ONE, now, 0b110101, 2) == [5, 0]
    assert best_nodes(BestFit(), ONE, now, 0b000010, 10) == best_nodes(BestFit(), ONE, now, 0, 10) == []


class Elsewhere(Highest):
    """Places where it may not."""

    def place(self, request, nodes, within=None):
        return (Share(5, 1),)


def test_a_server_that_was_not_given_is_refused():
    with pytest.raises(RankingError, match=r"highest placed one pod as .*node=5.*, which it was not given"):
        best_nodes(Elsewhere(), ONE, table(), 0b011111, 3)
