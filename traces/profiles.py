"""The named workloads of `traces.synthetic`: published figures as small tables, each with its source.

Cumulative curves and gang mixes were read out of the figures of Hu et al. (SC 2021: Helios, Venus) and Hu et al.
(NSDI 2024: Seren, Kalos, with Philly and PAI beside them); outcomes are of the Acme summary table. What no
figure gives is marked "assumed".
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class RunTimes(Protocol):
    """A distribution of run times by its inverse: probability in [0, 1) to seconds."""

    def quantile(self, u: Floats) -> Floats:
        """Seconds that a share `u` of the jobs does not exceed."""
        ...


class Curve:
    """A published cumulative curve at 1, 2, 4, ... seconds, in percent; linear between points in log time."""

    def __init__(self, *percent: float, longest_s: float) -> None:
        points = [(2.0**power, share) for power, share in enumerate(percent)]
        points = [(0.5, 0.0), *((x, y) for x, y in points if x < longest_s and y < 100.0), (longest_s, 100.0)]
        rising = [points[0], *(b for a, b in itertools.pairwise(points) if b[1] > a[1])]
        self._log_s = np.log([x for x, _ in rising])
        self._share = np.array([y for _, y in rising]) / 100.0

    def quantile(self, u: Floats) -> Floats:
        """Seconds by the curve."""
        return np.exp(np.interp(u, self._share, self._log_s))


class Exponential:
    """Memoryless run times: the plain workload of queueing theory."""

    def __init__(self, mean_s: float) -> None:
        self._mean_s = mean_s

    def quantile(self, u: Floats) -> Floats:
        """Seconds by the inverse of 1 - exp(-t / mean)."""
        return -self._mean_s * np.log1p(-u)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Jobs of one kind: their share of all jobs, their gangs (milli-devices to weight) and their run times."""

    name: str
    share: float
    gangs: tuple[tuple[int, float], ...]
    run_s: RunTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One workload, by everything that `traces.synthetic.generate` draws from."""

    name: str
    description: str
    source: str
    families: tuple[Family, ...]
    size_tilt: float
    """How much more probable a long run is for each doubling of the gang, as a shift of the log odds."""
    outcomes: tuple[tuple[str, float], ...]
    by_hour: tuple[float, ...]
    by_weekday: tuple[float, ...]
    burst_shape: float | None
    """Shape of the gamma factor on each hour's rate: the smaller, the burstier; None is a plain rate."""
    batch_mean: float
    """Mean number of jobs that a user submits at once, some seconds apart."""
    users: int
    user_skew: float
    """Exponent of Zipf's law over users."""
    queues: int
    estimate_share: float
    """Share of jobs whose user gave a limit."""


_FLAT_DAY = (1.0,) * 24
_FLAT_WEEK = (1.0,) * 7
_WEEKENDS_OFF = (1.0, 1.05, 1.05, 1.0, 0.95, 0.6, 0.55)  # assumed

# jobs an hour by hour of the day, Venus: SC 2021, figure on daily patterns
_VENUS_DAY = (
    *(25.85, 18.97, 17.29, 11.08, 7.73, 5.93, 5.41, 6.46, 10.79, 22.95, 37.33, 42.50),
    *(33.57, 37.43, 44.94, 47.75, 49.99, 49.95, 36.96, 37.85, 38.76, 39.33, 33.13, 29.93),
)
# the same of Saturn, the largest cluster of Helios
_SATURN_DAY = (
    *(139.51, 142.90, 113.61, 104.65, 98.04, 90.82, 85.94, 85.11, 95.37, 138.28, 184.14, 198.57),
    *(173.80, 185.50, 206.50, 234.98, 241.71, 219.46, 180.34, 186.28, 203.53, 195.76, 175.42, 179.81),
)
# relative rate of an inference service of a working day, two humps with a lunch dip, moved to office hours
# source: cluster-trace-v2026-GenAI, computed; the shift is assumed
_OFFICE_DAY = (
    *(0.04, 0.04, 0.03, 0.03, 0.03, 0.03, 0.04, 0.10, 0.49, 0.84, 0.90, 0.73),
    *(0.30, 0.71, 0.82, 1.00, 0.82, 0.65, 0.30, 0.16, 0.12, 0.10, 0.08, 0.06),
)

_PHILLY_RUN = Curve(
    *(0.03, 0.08, 0.17, 0.82, 3.62, 8.42, 18.88, 26.99, 31.50, 36.28, 54.91, 67.47, 79.28, 84.60, 90.29),
    *(92.71, 94.86, 96.95, 98.39, 99.32, 99.80, 99.95),
    longest_s=4_240_676,
)
_HELIOS_RUN = Curve(
    *(4.00, 4.94, 6.35, 7.70, 10.72, 16.15, 24.88, 37.81, 56.57, 67.58, 75.25, 84.10, 87.53, 90.75, 94.36),
    *(96.26, 97.77, 98.90, 99.55, 99.86, 99.96),
    longest_s=4_320_009,
)
_VENUS_RUN = Curve(
    *(1.89, 2.77, 4.05, 6.37, 9.63, 14.76, 23.22, 37.64, 55.05, 65.14, 72.86, 78.53, 83.67, 86.89, 89.64),
    *(92.33, 95.41, 97.46, 98.90, 99.64, 99.94),
    longest_s=2_097_152,
)
_SEREN_RUN = Curve(
    *(2.18, 2.79, 5.62, 11.76, 23.38, 31.72, 37.12, 48.91, 65.63, 79.21, 88.03, 92.94, 95.99, 97.53, 98.44),
    *(99.19, 99.64, 99.83, 99.93, 99.98),
    longest_s=1_209_604,
)
_PAI_RUN = Curve(
    *(0.08, 0.08, 0.12, 0.43, 2.99, 11.87, 21.06, 28.95, 39.62, 50.90, 60.79, 69.84, 78.51, 87.12, 93.19),
    *(97.05, 99.03, 99.69, 99.95),
    longest_s=626_371,
)
_KALOS_EVALUATION_RUN = Curve(
    *(0.0, 0.0, 0.0, 0.01, 1.53, 19.51, 39.92, 52.67, 71.82, 81.16, 87.03, 93.80, 98.06, 99.60, 99.84, 99.98),
    longest_s=131_072,
)
_KALOS_PRETRAIN_RUN = Curve(
    *(0.0, 0.0, 0.0, 0.0, 0.0, 4.21, 9.83, 14.35, 25.74, 43.84, 57.10, 65.37, 71.92, 76.91, 82.37, 87.83),
    *(93.29, 96.72, 98.91, 99.84),
    longest_s=625_740,
)
_KALOS_DEBUG_RUN = Curve(
    *(0.0, 0.0, 0.0, 0.0, 1.30, 8.38, 17.32, 25.89, 38.73, 70.76, 88.83, 97.21, 99.07, 99.63, 99.81),
    longest_s=32_768,
)

# model families of Gavel's measured throughputs (OSDI 2020); their equal shares are assumed
_MODELS = ("ResNet-18", "ResNet-50", "Transformer", "LM", "Recommendation", "CycleGAN", "A3C")


def _models(gangs: tuple[tuple[int, float], ...], run_s: RunTimes) -> tuple[Family, ...]:
    return tuple(Family(name=name, share=1 / len(_MODELS), gangs=gangs, run_s=run_s) for name in _MODELS)


def _gangs(**weights: float) -> tuple[tuple[int, float], ...]:
    """Whole gangs: `g8=6.87` is 8 devices with weight 6.87."""
    return tuple((int(name.removeprefix("g")) * 1000, weight) for name, weight in weights.items())


_PHILLY = Profile(
    name="philly",
    description="Microsoft 2017: mostly one device, run times over six decades, 15 virtual clusters, bursts",
    source="Acme NSDI 2024, figures on job times and GPU numbers, and its summary table",
    families=_models(_gangs(g1=82.42, g2=2.06, g4=7.57, g8=6.87, g16=0.88, g32=0.15, g64=0.02), _PHILLY_RUN),
    size_tilt=0.5,
    outcomes=(("completed", 0.604), ("cancelled", 0.09), ("failed", 0.305)),
    by_hour=_SATURN_DAY,  # assumed: no figure of Philly's day
    by_weekday=_WEEKENDS_OFF,
    burst_shape=0.3,  # towards the variance of 72 means an hour, of Gavel's Philly subset
    batch_mean=3.0,
    users=300,  # assumed
    user_skew=1.1,  # assumed
    queues=15,
    estimate_share=0.0,
)

_HELIOS = Profile(
    name="helios",
    description="SenseTime 2020, four clusters: short jobs, gangs of 8, queue per team",
    source="Acme NSDI 2024 (Helios beside it) and Helios SC 2021",
    families=_models(
        _gangs(g1=72.19, g2=2.56, g4=5.63, g8=14.01, g16=3.02, g32=1.27, g64=0.27, g128=0.10), _HELIOS_RUN
    ),
    size_tilt=0.30,
    outcomes=(("completed", 0.624), ("cancelled", 0.221), ("failed", 0.155)),
    by_hour=_SATURN_DAY,
    by_weekday=_WEEKENDS_OFF,
    burst_shape=1.0,  # assumed
    batch_mean=3.0,  # assumed
    users=300,  # assumed
    user_skew=1.1,  # assumed
    queues=25,
    estimate_share=0.0,
)

_VENUS = Profile(
    name="venus",
    description="Helios Venus, 133 servers of 8: half of the jobs on one device, a quarter on 8",
    source="Helios SC 2021, figures on job times, GPU numbers and daily patterns; outcomes of Venus",
    families=_models(
        _gangs(g1=51.84, g2=5.54, g4=7.42, g8=25.18, g16=4.16, g32=3.62, g64=0.95, g128=1.29), _VENUS_RUN
    ),
    size_tilt=0.15,
    outcomes=(("completed", 0.526), ("cancelled", 0.272), ("failed", 0.202)),
    by_hour=_VENUS_DAY,
    by_weekday=_WEEKENDS_OFF,
    burst_shape=1.0,  # assumed
    batch_mean=3.0,  # assumed
    users=100,  # assumed
    user_skew=1.1,  # assumed
    queues=25,
    estimate_share=0.0,
)

_SEREN = Profile(
    name="seren",
    description="Acme Seren 2023: language models, short jobs on 1, 2 or 8 devices, few of hundreds",
    source="Acme NSDI 2024, figures on job times and GPU numbers, and its summary table",
    families=(
        Family(
            name="pretrain",
            share=0.009,
            gangs=_gangs(g64=20, g128=20, g256=25, g512=20, g1024=15),
            run_s=_KALOS_PRETRAIN_RUN,  # assumed alike
        ),
        Family(
            name="other",
            share=0.991,
            gangs=_gangs(g1=54.5, g2=11.5, g4=2.4, g8=29.0, g16=1.1, g32=1.0, g64=0.4),
            run_s=_SEREN_RUN,
        ),
    ),
    size_tilt=0.1,
    outcomes=(("completed", 0.497), ("cancelled", 0.075), ("failed", 0.429)),
    by_hour=_SATURN_DAY,  # assumed
    by_weekday=_WEEKENDS_OFF,
    burst_shape=0.5,  # assumed: evaluations come in bursts
    batch_mean=8.0,  # assumed
    users=150,  # assumed
    user_skew=1.2,  # assumed
    queues=6,  # assumed
    estimate_share=0.0,
)

_KALOS = Profile(
    name="kalos",
    description="Acme Kalos 2023: many short evaluations, and pretraining that takes nearly all of the time",
    source="Acme NSDI 2024, figures by type of job; shares of jobs from its text (evaluation and rest assumed)",
    families=(
        Family(
            name="pretrain",
            share=0.032,
            gangs=_gangs(g128=5, g256=30, g512=42, g1024=23),
            run_s=_KALOS_PRETRAIN_RUN,
        ),
        Family(name="evaluation", share=0.9, gangs=_gangs(g1=93.5, g2=2.1, g8=4.4), run_s=_KALOS_EVALUATION_RUN),
        Family(
            name="debug",
            share=0.048,
            gangs=_gangs(g1=40, g8=35, g16=6, g32=7, g64=8, g128=4),
            run_s=_KALOS_DEBUG_RUN,
        ),
        Family(name="other", share=0.02, gangs=_gangs(g1=60, g8=30, g32=10), run_s=_SEREN_RUN),
    ),
    size_tilt=0.0,
    outcomes=(("completed", 0.541), ("cancelled", 0.062), ("failed", 0.397)),
    by_hour=_SATURN_DAY,  # assumed
    by_weekday=_WEEKENDS_OFF,
    burst_shape=0.5,  # assumed
    batch_mean=10.0,  # assumed: one checkpoint is evaluated on many data sets at once
    users=60,  # assumed
    user_skew=1.2,  # assumed
    queues=4,  # assumed
    estimate_share=0.0,
)

_PAI = Profile(
    name="pai",
    description="Alibaba PAI 2020: shares of a device, up to 8 devices",
    source="Acme NSDI 2024 (PAI beside it); the mix of shares from openb 2023",
    families=_models(
        (
            *((230, 4.3), (320, 10.1), (460, 4.0), (470, 23.2), (650, 7.8), (810, 33.3)),
            *_gangs(g1=14.4, g2=1.6, g4=0.5, g8=0.9),
        ),
        _PAI_RUN,
    ),
    size_tilt=0.1,
    outcomes=(("unknown", 1.0),),
    by_hour=_SATURN_DAY,  # assumed
    by_weekday=_WEEKENDS_OFF,
    burst_shape=1.0,  # assumed
    batch_mean=5.0,  # assumed
    users=500,  # assumed
    user_skew=1.2,  # assumed
    queues=10,  # assumed
    estimate_share=0.0,
)

_BANK = Profile(
    name="bank",
    description="a bank on Kubernetes: office hours, notebooks on shares of a device, tuning, risk batches, limits",
    source="assumed, from public cases of banks that pool accelerators (HAMi, openFuyao); no published trace",
    families=(
        Family(name="notebook", share=0.40, gangs=((250, 45), (500, 30), (1000, 25)), run_s=Exponential(2.5 * 3600)),
        Family(name="batch-inference", share=0.30, gangs=_gangs(g1=70, g2=20, g4=10), run_s=_PAI_RUN),
        Family(name="risk-model", share=0.12, gangs=_gangs(g1=50, g2=20, g4=20, g8=10), run_s=_VENUS_RUN),
        Family(name="fine-tuning", share=0.15, gangs=_gangs(g1=15, g2=15, g4=25, g8=35, g16=10), run_s=_VENUS_RUN),
        Family(
            name="pretraining", share=0.03, gangs=_gangs(g16=35, g32=35, g64=20, g128=10), run_s=_KALOS_PRETRAIN_RUN
        ),
    ),
    size_tilt=0.2,
    outcomes=(("completed", 0.66), ("cancelled", 0.16), ("failed", 0.18)),
    by_hour=_OFFICE_DAY,
    by_weekday=(1.0, 1.0, 1.0, 1.0, 0.95, 0.15, 0.1),
    burst_shape=1.0,
    batch_mean=2.0,
    users=120,
    user_skew=0.9,
    queues=6,
    estimate_share=0.7,
)

_UNIFORM_LOAD = Profile(
    name="uniform-load",
    description="for benchmarks: gangs 1 to 64 equally often, exponential run times of mean 1 h, steady arrivals",
    source="assumed: the plain case, without bursts, days or users that differ",
    families=(
        Family(
            name="plain",
            share=1.0,
            gangs=_gangs(g1=1, g2=1, g4=1, g8=1, g16=1, g32=1, g64=1),
            run_s=Exponential(3600),
        ),
    ),
    size_tilt=0.0,
    outcomes=(("completed", 1.0),),
    by_hour=_FLAT_DAY,
    by_weekday=_FLAT_WEEK,
    burst_shape=None,
    batch_mean=1.0,
    users=16,
    user_skew=0.0,
    queues=1,
    estimate_share=1.0,
)

PROFILES = MappingProxyType(
    {profile.name: profile for profile in (_PHILLY, _HELIOS, _VENUS, _SEREN, _KALOS, _PAI, _BANK, _UNIFORM_LOAD)}
)
"""Every named workload."""
