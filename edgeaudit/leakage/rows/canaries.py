"""Canaries of one deployment."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CanaryResult"]


@dataclass(frozen=True)
class CanaryResult:
    """The canaries of one format, and how its target answers them. Their figures are rows with the subset `canaries`.

    kind: mislabelled, duplicated or out-of-distribution. repeats: number of times that a planted one was trained on.
    planted, held_out: number of canaries that the target did and did not train on. planted_learned, held_out_learned:
    the share of each that the target predicts with the canary's label.
    """

    format: str
    device: str
    kind: str
    repeats: int
    planted: int
    held_out: int
    planted_learned: float
    held_out_learned: float
