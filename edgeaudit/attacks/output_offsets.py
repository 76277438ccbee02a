"""Remove what a target adds to the same output on every record, where its shadows add nothing like it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, Evidence, Exposure, FloatArray, ShadowAnswers
from edgeaudit.tasks.classification import probabilities

__all__ = ["OutputOffsets", "answers_without"]

_LEAST_RECORDS = 10
_LEAST_SLOPE = 0.05
_ALIKE = 2.0
"""Up to this multiple of the shadows' variance a target is like its shadows: of few outputs chance alone exceeds 1."""


@dataclass(frozen=True)
class OutputOffsets:
    """Mean log probabilities of shadows on n records, to find offsets of a target's outputs by.

    A bias that was moved, or a loss weighted by class, adds a constant to an output. It moves the margins of the
    output's own class, and those of other classes where it is the runner-up, so that no change of margins by class
    undoes it (`ShadowDistribution`); a change of the answers does.

    Log probabilities are centred over the outputs of a record. With t those of a target and m the shadows' mean, t is
    regressed on m with a slope for all outputs and an offset b_j for each. The slope is left to `ShadowDistribution`.
    Shadows have offsets among each other, too, with variance v once they are divided by their slopes; the target's are
    multiplied by 1 - 2 v / mean((b_j / slope)^2), or 0, so that a target that is like its shadows is left as it is.
    Answers at the floor of probabilities do not count; an output with fewer than ten others has no offset.

    Attributes:
        typical: float64 [n, outputs], m.
        known: bool [n, outputs], where some shadow is above the floor.
        variance: v.
        exposure, floor: as in `Evidence`.

    Source: our own design; the factor as in James & Stein, "Estimation with quadratic loss" (1961).
    """

    typical: FloatArray
    known: BoolArray
    variance: float
    exposure: Exposure
    floor: float

    @classmethod
    def of(cls, answers: ShadowAnswers, counted: BoolArray | None = None) -> OutputOffsets | None:
        """Fit to shadows' answers, of which counted ones, bool [K, n], matter; None for a task without classes."""
        if not answers.task.has_classes:
            return None
        counted = np.ones(answers.out.shape, dtype=np.bool_) if counted is None else counted
        total = np.zeros(answers.shadows.shape[1:])
        for shadow, some in zip(answers.shadows, counted, strict=True):
            total[some] += _centred(shadow[some], answers.exposure, answers.floor)[0]
        count = counted.sum(axis=0)[:, None]
        typical = total / count
        spread, known = [], np.zeros(typical.shape, dtype=np.bool_)
        for shadow, some in zip(answers.shadows, counted, strict=True):
            if not some.any():
                continue
            own, above = _centred(shadow[some], answers.exposure, answers.floor)
            others = (total[some] - own) / (count[some] - 1)
            offsets, slope = _regressed(own, others, above)
            spread.append((offsets / slope) ** 2)
            known[some] |= above
        return cls(typical, known, float(np.mean(spread)), answers.exposure, answers.floor)

    def of_target(self, answers: FloatArray) -> FloatArray:
        """Return the target's offsets, float64 [outputs], from its answers on these records, [n, outputs]."""
        own, above = _centred(answers, self.exposure, self.floor)
        found, slope = _regressed(own, self.typical, above & self.known)
        size = float((found**2).mean()) / slope**2
        expected = _ALIKE * self.variance
        return found * (1 - expected / size) if size > expected else np.zeros_like(found)


def answers_without(evidence: Evidence, offsets: FloatArray | None) -> FloatArray:
    """Return the target's answers, [n, outputs], without these offsets of their log probabilities, [outputs]."""
    if offsets is None or not offsets.any():
        return evidence.target
    if evidence.exposure == "logits":
        return evidence.target - offsets
    moved = evidence.target * np.exp(-offsets)
    total = moved.sum(axis=1, keepdims=True)
    kept = evidence.target.astype(np.float64)
    return np.asarray(np.divide(moved, total, out=kept, where=total > 0), dtype=np.float64)


def _centred(answers: FloatArray, exposure: Exposure, floor: float) -> tuple[FloatArray, BoolArray]:
    """Return log probabilities minus their mean over outputs, [n, outputs], and where they are above the floor."""
    p = probabilities(answers, exposure)
    least = max(floor, float(np.finfo(np.float64).tiny)) if exposure == "probabilities" else np.finfo(np.float64).tiny
    logs = np.log(np.maximum(p, least))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True), dtype=np.float64), p > least


def _regressed(own: FloatArray, others: FloatArray, counted: BoolArray) -> tuple[FloatArray, float]:
    """Regress own on others, [n, outputs], over the counted ones.

    Returns:
        An intercept for each output, float64 [outputs], with mean 0, and the slope of all; .05 or more.
    """
    count = counted.sum(axis=0)
    enough = count >= _LEAST_RECORDS
    if not enough.any():
        return np.zeros(len(count)), 1.0
    means = [np.where(counted, one, 0.0).sum(axis=0) / np.maximum(count, 1) for one in (own, others)]
    y, x = (np.where(counted & enough, one - mean, 0.0) for one, mean in zip((own, others), means, strict=True))
    squares = float((x**2).sum())
    slope = max(float((x * y).sum()) / squares, _LEAST_SLOPE) if squares > 0 else 1.0
    found = means[0] - slope * means[1]
    return np.where(enough, found - found[enough].mean(), 0.0), slope
