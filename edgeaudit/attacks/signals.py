"""Per-record signals of the target and of shadows, as their task defines them: probability of the truth, loss, margin.

Signals are float64 [records] of the target and [K, records] of shadows, which are read one model at a time, so that no
second [K, records, outputs] is made.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, Evidence, Exposure, FloatArray, IntArray, ShadowAnswers

__all__ = [
    "mean_shadow_probability",
    "shadow_losses",
    "shadow_margins",
    "target_losses",
    "target_margins",
    "target_probabilities",
]

_Answers = ShadowAnswers | Evidence
_Signal = Callable[[FloatArray, IntArray, Exposure, float], FloatArray]


def target_margins(evidence: Evidence) -> FloatArray:
    """Margins of the target, float64 [records]."""
    return evidence.task.margin(evidence.target, evidence.labels, evidence.exposure, evidence.floor)


def target_losses(evidence: Evidence) -> FloatArray:
    """Losses of the target, float64 [records]."""
    return evidence.task.loss(evidence.target, evidence.labels, evidence.exposure, evidence.floor)


def target_probabilities(evidence: Evidence) -> FloatArray:
    """Clipped p_y of the target, float64 [records]."""
    return evidence.task.true_probability(evidence.target, evidence.labels, evidence.exposure, evidence.floor)


def mean_shadow_probability(answers: _Answers, kept: BoolArray) -> FloatArray:
    """Mean clipped p_y over the shadows in `kept` [K, records], float64 [records]; NaN where there is none."""
    total = np.zeros(len(answers.labels))
    for one, mask in zip(answers.shadows, kept, strict=True):
        p = answers.task.true_probability(one, answers.labels, answers.exposure, answers.floor)
        total += np.where(mask, p, 0.0)
    count = kept.sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0), dtype=np.float64)


def shadow_margins(answers: _Answers) -> FloatArray:
    """Margins of the shadows, float64 [K, records]."""
    return _of_each(answers, answers.task.margin)


def shadow_losses(answers: _Answers) -> FloatArray:
    """Losses of the shadows, float64 [K, records]."""
    return _of_each(answers, answers.task.loss)


def _of_each(answers: _Answers, signal: _Signal) -> FloatArray:
    values = np.empty(answers.out.shape)
    for k, one in enumerate(answers.shadows):
        values[k] = signal(one, answers.labels, answers.exposure, answers.floor)
    return values
