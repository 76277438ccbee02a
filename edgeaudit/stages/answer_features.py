"""What a model's answers say of each record, as the classifier of `edgeaudit.leakage.taught` reads them.

What an attacker sees counts, also what no attack reads: how the second class lies to the first, small probabilities,
the level of logits, the sign of an error. Which class it is does not: classes may be more frequent among members than
among other records, which is no leak of the model.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.signals import target_losses, target_margins

__all__ = ["answer_features", "residual_features"]

FloatArray = npt.NDArray[np.float64]

_VALUES = 32
_RANKS = 16


def answer_features(evidence: Evidence) -> FloatArray:
    """Return float64 [records, d]: margin, loss, and with classes what the other answers say.

    Entropy, the 16 largest answers in order and three gaps, the label's rank, how far the second and third class are
    from the first (modulo the number of classes), mean and mean square of all answers, in which logits differ where
    their probabilities do not.
    """
    columns = [target_margins(evidence), target_losses(evidence)]
    if not evidence.task.has_classes:
        return np.stack(columns, axis=1)
    answers, labels = np.asarray(evidence.target, np.float64), evidence.labels
    classes = answers.shape[1]
    # Of equal answers the first class counts, as in deployment.
    order = np.argsort(-answers, axis=1, kind="stable")
    ranked = np.take_along_axis(answers, order[:, :_RANKS], axis=1)
    columns += [
        evidence.task.entropy(evidence.target, evidence.exposure),
        (order == labels[:, None]).argmax(axis=1).astype(np.float64),
        answers.mean(axis=1),
        (answers**2).mean(axis=1),
        *((order[:, 1:3] - order[:, :1]) % classes).T.astype(np.float64),
        *(-np.diff(ranked[:, :4], axis=1)).T,
        *ranked.T,
    ]
    return np.stack(columns, axis=1)


def residual_features(outputs: FloatArray, truth: FloatArray) -> FloatArray:
    """Return float64 [records, d] for a task without classes: errors with their signs.

    outputs, truth: float64 [records, values]. The errors of the first 32 values, their mean and their largest size;
    where their numbers differ, these of the outputs themselves.
    """
    error = outputs - truth if outputs.shape == truth.shape else outputs
    parts = (error[:, :_VALUES], error.mean(axis=1, keepdims=True), np.abs(error).max(axis=1, keepdims=True))
    return np.concatenate(parts, axis=1)
