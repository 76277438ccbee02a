"""What attacks learn from: answers of shadows on reference records, where membership is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgeaudit.attacks.base import BoolArray, Evidence, FloatArray, IntArray
from edgeaudit.attacks.kept_models import kept
from edgeaudit.attacks.signals import probabilities
from edgeaudit.errors import AttackError

__all__ = ["Examples", "membership_log_odds", "shadow_examples"]

_MOST_CATEGORIES = 255


@dataclass(frozen=True)
class Examples:
    """One row a (shadow, record) pair. answers: float64 [rows, classes], probabilities. members: whether trained on."""

    answers: FloatArray
    labels: IntArray
    members: BoolArray


def shadow_examples(reference: Evidence, most_rows: int) -> Examples:
    """Every shadow's answers on the reference records; on evenly spaced ones where that is more than `most_rows`."""
    k, n = reference.out.shape
    rows = np.linspace(0, n - 1, min(n, max(1, most_rows // k))).astype(np.int64)
    answers = np.concatenate([probabilities(shadow[rows], reference.exposure) for shadow in reference.shadows])
    return Examples(answers, np.tile(reference.labels[rows], k), ~reference.out[:, rows].ravel())


def membership_log_odds(
    features: FloatArray, members: BoolArray, asked: FloatArray, category: int | None = None
) -> FloatArray:
    """Learn membership and give the log odds of `asked`, float64 [n]; 0 is even odds, both kinds weighing the same.

    scikit-learn's histogram gradient boosting: 100 rounds, rate .1, 15 leaves of 40 or more rows, L2 1. Nothing in it
    is random: no early stopping, no subsampling. Features are rounded to float32 first, so that a softmax that
    differs in the last bit of a double gives the same trees.

    Args:
        features: [rows, d].
        members: bool [rows].
        asked: [n, d].
        category: column that holds a class number; it is split by sets of classes where there are at most 255.

    Raises:
        AttackError: rows of one kind are missing.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if members.all() or not members.any():
        raise AttackError("a membership classifier needs answers of shadows that did and did not train on a record")
    few = category is not None and max(features[:, category].max(), asked[:, category].max()) < _MOST_CATEGORIES
    rounded = features.astype(np.float32)
    untrained = HistGradientBoostingClassifier(
        learning_rate=0.1,
        max_iter=100,
        max_leaf_nodes=15,
        min_samples_leaf=40,
        l2_regularization=1.0,
        early_stopping=False,
        categorical_features=[category] if few else None,
        random_state=0,
    )
    model = kept(f"shadow examples {untrained!r}", (rounded, members), lambda: untrained.fit(rounded, members))
    # The rows' own odds come off, so that both kinds weigh the same. Weights would do so, too, but with them
    # scikit-learn 1.9 places bins by weighted percentiles, one sort for each of 255 ends: four fifths of the time.
    own = math.log(members.sum() / (~members).sum())
    return np.asarray(model.decision_function(asked.astype(np.float32)) - own, dtype=np.float64)
