"""Per-record signals of a model's answers: true-class probability, loss and margin.

Answers are [records, classes] (one model) or [K, records, classes]; signals are float64 [records] or [K, records].
Every signal of logits is unchanged when a constant is added to a record's logits.
"""

from __future__ import annotations

import numpy as np

from edgeaudit.attacks.base import BoolArray, Evidence, Exposure, FloatArray, IntArray

__all__ = [
    "mean_shadow_probability",
    "probabilities",
    "shadow_losses",
    "shadow_margins",
    "softmax",
    "target_losses",
    "target_margins",
    "target_probabilities",
    "true_class_loss",
    "true_class_margin",
    "true_class_probability",
]


def softmax(logits: FloatArray) -> FloatArray:
    """Softmax over the last axis, computed in float64 whatever the dtype of `logits`."""
    raw = np.asarray(logits, dtype=np.float64)
    shifted: FloatArray = raw - raw.max(axis=-1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return shifted


def probabilities(answers: FloatArray, exposure: Exposure) -> FloatArray:
    """Answers as probabilities, float64.

    Probabilities are passed on as they were answered: the softmax of an integer artifact sums to 1 only up to its
    output step, and renormalising it would invent values that the artifact never gave.
    """
    return softmax(answers) if exposure == "logits" else np.asarray(answers, dtype=np.float64)


def true_class_margin(answers: FloatArray, labels: IntArray, exposure: Exposure, floor: float) -> FloatArray:
    """Margin phi of one model, in nats: positive where the true class outweighs all others together.

    logits: phi = z_y - logsumexp over j != y of z_j; never clipped. probabilities: phi = log p - log(1 - p) with the
    answered p_y clipped to [floor, 1 - floor]; the other entries of the row are not used.

    Args:
        answers: [records, classes].
        labels: int [records].
        exposure: what `answers` are.
        floor: see `Evidence.floor`.

    Returns:
        float64 [records].

    Source: Carlini et al., "Membership Inference Attacks From First Principles" (S&P 2022), section IV.A and its
    appendix on the stable form.
    """
    rows = np.arange(len(labels))
    if exposure == "probabilities":
        p = np.clip(np.asarray(answers[rows, labels], dtype=np.float64), floor, 1 - floor)
        return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)
    others = np.array(answers, dtype=np.float64)
    true = others[rows, labels]
    others[rows, labels] = -np.inf
    top = others.max(axis=1)
    others -= top[:, None]
    return np.asarray(true - top - np.log(np.exp(others).sum(axis=1)), dtype=np.float64)


def true_class_loss(answers: FloatArray, labels: IntArray, exposure: Exposure, floor: float) -> FloatArray:
    """Cross-entropy -log p of one model, in nats (lower = more member-like); p clipped to [floor, 1 - floor].

    Shapes as in `true_class_margin`. From logits the loss is softplus(-phi), which equals -log of the softmax but
    keeps its digits where p rounds to 1; the clipping is the same, and floor = 0 turns it off.
    """
    if exposure == "probabilities":
        p = np.asarray(answers[np.arange(len(labels)), labels], dtype=np.float64)
        return np.asarray(-np.log(np.clip(p, floor, 1 - floor)), dtype=np.float64)
    loss = np.logaddexp(0.0, -true_class_margin(answers, labels, exposure, floor))
    highest = -np.log(floor) if floor > 0 else np.inf
    return np.asarray(np.clip(loss, -np.log1p(-floor), highest), dtype=np.float64)


def true_class_probability(answers: FloatArray, labels: IntArray, exposure: Exposure, floor: float) -> FloatArray:
    """p_y of one model clipped to [floor, 1 - floor]; shapes as in `true_class_margin`."""
    p = probabilities(answers, exposure)[np.arange(len(labels)), labels]
    return np.asarray(np.clip(p, floor, 1 - floor), dtype=np.float64)


def target_margins(evidence: Evidence) -> FloatArray:
    """Margins of the target, float64 [records]."""
    return true_class_margin(evidence.target, evidence.labels, evidence.exposure, evidence.floor)


def target_losses(evidence: Evidence) -> FloatArray:
    """Losses of the target, float64 [records]."""
    return true_class_loss(evidence.target, evidence.labels, evidence.exposure, evidence.floor)


def target_probabilities(evidence: Evidence) -> FloatArray:
    """Clipped p_y of the target, float64 [records]."""
    return true_class_probability(evidence.target, evidence.labels, evidence.exposure, evidence.floor)


def mean_shadow_probability(evidence: Evidence, kept: BoolArray) -> FloatArray:
    """Mean clipped p_y over the shadows in `kept` [K, records], float64 [records]; NaN where there is none.

    One model at a time: memory is a few [records].
    """
    total = np.zeros(len(evidence.labels))
    for answers, mask in zip(evidence.shadows, kept, strict=True):
        p = true_class_probability(answers, evidence.labels, evidence.exposure, evidence.floor)
        total += np.where(mask, p, 0.0)
    count = kept.sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0), dtype=np.float64)


def shadow_margins(evidence: Evidence) -> FloatArray:
    """Margins of the shadows, float64 [K, records]; one model at a time, so no second [K, records, classes] is made."""
    margins = np.empty(evidence.out.shape)
    for k, answers in enumerate(evidence.shadows):
        margins[k] = true_class_margin(answers, evidence.labels, evidence.exposure, evidence.floor)
    return margins


def shadow_losses(evidence: Evidence) -> FloatArray:
    """Losses of the shadows, float64 [K, records]; one model at a time."""
    losses = np.empty(evidence.out.shape)
    for k, answers in enumerate(evidence.shadows):
        losses[k] = true_class_loss(answers, evidence.labels, evidence.exposure, evidence.floor)
    return losses
