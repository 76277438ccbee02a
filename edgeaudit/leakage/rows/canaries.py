"""Canaries of one deployment."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CanaryResult", "CanaryTest"]


@dataclass(frozen=True)
class CanaryTest:
    """One attack's tests of "planted and held-out canaries score alike", one-sided.

    above_all: planted canaries that score above every held-out one. p_above_all: the chance of as many or more.
    p_order: of the Mann-Whitney test. adjusted_p: the smaller of the two after Holm over both tests of all attacks.
    """

    attack: str
    variant: str
    above_all: int
    p_above_all: float
    p_order: float
    adjusted_p: float


@dataclass(frozen=True)
class CanaryResult:
    """The canaries of one format, and how its target answers them. Their figures are rows with the subset `canaries`.

    kind: mislabelled, duplicated or out-of-distribution. repeats: number of times that a planted one was trained on.
    planted, held_out: number of canaries that the target did and did not train on. planted_learned, held_out_learned:
    the share of each that the target predicts with the canary's label. tests: one for each attack that ran.
    """

    format: str
    device: str
    kind: str
    repeats: int
    planted: int
    held_out: int
    planted_learned: float
    held_out_learned: float
    tests: tuple[CanaryTest, ...] = ()
