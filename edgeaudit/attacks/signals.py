"""Signals of each record, as the task defines them: probability of the true label, loss, margin.

A signal is float64 [records] for the target and [K, records] for shadows. Shadows are read one model at a time, so that
no second array [K, records, outputs] is allocated.
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
    """Return the target's margins, float64 [records]."""
    return evidence.task.margin(evidence.target, evidence.labels, evidence.exposure, evidence.floor)


def target_losses(evidence: Evidence) -> FloatArray:
    """Return the target's losses, float64 [records]."""
    return evidence.task.loss(evidence.target, evidence.labels, evidence.exposure, evidence.floor)


def target_probabilities(evidence: Evidence) -> FloatArray:
    """Return the target's clipped p_y, float64 [records]."""
    return evidence.task.true_probability(evidence.target, evidence.labels, evidence.exposure, evidence.floor)


def mean_shadow_probability(answers: _Answers, kept: BoolArray) -> FloatArray:
    """Return the mean clipped p_y over the shadows in `kept` [K, records], float64 [records]; NaN where none is."""
    total = np.zeros(len(answers.labels))
    for shadow, mask in zip(answers.shadows, kept, strict=True):
        p = answers.task.true_probability(shadow, answers.labels, answers.exposure, answers.floor)
        total += np.where(mask, p, 0.0)
    count = kept.sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0), dtype=np.float64)


def shadow_margins(answers: _Answers) -> FloatArray:
    """Return the shadows' margins, float64 [K, records]."""
    return _of_each(answers, answers.task.margin)


def shadow_losses(answers: _Answers) -> FloatArray:
    """Return the shadows' losses, float64 [K, records]."""
    return _of_each(answers, answers.task.loss)


def _of_each(answers: _Answers, signal: _Signal) -> FloatArray:
    values = np.empty(answers.out.shape)
    for k, shadow in enumerate(answers.shadows):
        values[k] = signal(shadow, answers.labels, answers.exposure, answers.floor)
    return values
