"""The score of each candidate: every plugin 0..100, normalised over the candidates where it is so, times its weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np

from policies.kube.configuration import Profile
from policies.kube.facts import FactFinder
from policies.kube.ledger import Counts, Ledger
from policies.kube.pod_affinity import affinity_scores
from policies.kube.pods import Pod
from policies.kube.resource_scores import SCORE_MAX, balanced_scores, fit_scores
from policies.kube.spreading import spread_scores

MIB: Final = 1 << 20
IMAGE_LEAST: Final = 23 * MIB
IMAGE_MOST: Final = 1000 * MIB
"""Bounds of the size of an image that counts; the upper one is for each container."""


class Part(NamedTuple):
    """What one plugin, or extender, gave to each candidate."""

    name: str
    weight: int
    scores: Counts


class Scores(NamedTuple):
    """The scores of the candidates."""

    total: Counts
    parts: tuple[Part, ...]
    """Plugins that had nothing to say of this pod are left out: they give every node the same."""

    def best(self) -> Counts:
        """The places of the largest totals."""
        return np.flatnonzero(self.total == self.total.max())


class Scorer:
    """Scores the nodes of a ledger under a profile. `images` gives, for each node, the bytes of the images that it has."""

    def __init__(
        self,
        ledger: Ledger,
        profile: Profile,
        facts: FactFinder,
        images: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self._ledger = ledger
        self._profile = profile
        self._facts = facts
        self._images = images or {}
        self._rules: dict[str, Callable[[Pod, Counts, bool], Counts | None]] = {
            "TaintToleration": self._taints,
            "NodeAffinity": self._node_affinity,
            "NodeResourcesFit": self._fit,
            "PodTopologySpread": self._spread,
            "InterPodAffinity": self._pod_affinity,
            "NodeResourcesBalancedAllocation": self._balanced,
            "ImageLocality": self._image_locality,
        }

    def scores(self, pod: Pod, candidates: Counts, *, as_if_empty: bool = False) -> Scores:
        """The in-tree scores of the candidates (numbers of nodes). `as_if_empty` forgets the pods that are there."""
        total = np.zeros(len(candidates), dtype=np.int64)
        parts = []
        for name, weight in self._profile.scores:
            rule = self._rules.get(name)
            found = rule(pod, candidates, as_if_empty) if rule is not None else None
            if found is not None:
                parts.append(Part(name, weight, found))
                total += weight * found
        return Scores(total, tuple(parts))

    def _taints(self, pod: Pod, candidates: Counts, _: bool) -> Counts:
        return normalised(self._facts.of(pod.terms).repelled[candidates], reverse=True)

    def _node_affinity(self, pod: Pod, candidates: Counts, _: bool) -> Counts | None:
        if not pod.terms.preferred and not self._profile.added_preferred:
            return None
        return normalised(self._facts.of(pod.terms).attracted[candidates])

    def _fit(self, pod: Pod, candidates: Counts, as_if_empty: bool) -> Counts:
        return fit_scores(pod.terms, self._profile.fit, self._ledger, candidates, as_if_empty=as_if_empty)

    def _balanced(self, pod: Pod, candidates: Counts, as_if_empty: bool) -> Counts | None:
        resources = self._profile.balanced
        return balanced_scores(pod.terms, resources, self._ledger, candidates, as_if_empty=as_if_empty)

    def _spread(self, pod: Pod, candidates: Counts, _: bool) -> Counts | None:
        return spread_scores(pod, self._ledger, self._facts, candidates)

    def _pod_affinity(self, pod: Pod, candidates: Counts, _: bool) -> Counts | None:
        return affinity_scores(pod, self._ledger, self._profile, candidates)

    def _image_locality(self, pod: Pod, candidates: Counts, as_if_empty: bool) -> Counts | None:
        if not self._images or as_if_empty or not pod.terms.images:
            return None
        names = [_tagged(image) for image in pod.terms.images]
        spread = {name: sum(name in held for held in self._images.values()) for name in set(names)}
        found = []
        for number in candidates.tolist():
            held = self._images.get(self._ledger.nodes[number].name, {})
            size = sum(int(held[name] * (spread[name] / len(self._ledger))) for name in names if name in held)
            most = IMAGE_MOST * len(names)
            found.append(SCORE_MAX * (min(max(size, IMAGE_LEAST), most) - IMAGE_LEAST) // (most - IMAGE_LEAST))
        return np.array(found, dtype=np.int64)


def normalised(raw: Counts, *, reverse: bool = False) -> Counts:
    """0..100, the largest being 100; reversed, the largest is 0."""
    most = int(raw.max()) if len(raw) else 0
    if most == 0:
        return np.full(len(raw), SCORE_MAX if reverse else 0, dtype=np.int64)
    scaled = SCORE_MAX * raw // most
    return SCORE_MAX - scaled if reverse else scaled


def _tagged(image: str) -> str:
    """The image's name with its tag."""
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"
