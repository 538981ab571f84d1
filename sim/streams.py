"""Named streams of random numbers: one for each purpose, so that a new consumer shifts no other."""

from __future__ import annotations

import zlib

import numpy as np


class Streams:
    """Generators that depend on the seed and the name of their purpose, and on nothing else."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def generator(self, purpose: str) -> np.random.Generator:
        """A new generator at the beginning of the stream of this purpose."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(zlib.crc32(purpose.encode()),))
        return np.random.Generator(np.random.PCG64(sequence))
