"""What attacks learn from: answers of shadows on reference records, where membership is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray, ShadowAnswers
from edgeaudit.errors import AttackError

__all__ = ["MOST_CATEGORIES", "Examples", "MembershipClassifier", "shadow_examples"]

MOST_CATEGORIES = 255
"""Numbers of classes above this are split as numbers, not as sets."""


@dataclass(frozen=True)
class Examples:
    """One row a (shadow, record) pair. answers: float64 [rows, classes], probabilities. members: whether trained on."""

    answers: FloatArray
    labels: IntArray
    members: BoolArray


def shadow_examples(reference: ShadowAnswers, most_rows: int) -> Examples:
    """Every shadow's answers on the reference records; on evenly spaced ones where that is more than `most_rows`."""
    k, n = reference.out.shape
    rows = np.linspace(0, n - 1, min(n, max(1, most_rows // k))).astype(np.int64)
    answers = np.concatenate(
        [reference.task.probabilities(shadow[rows], reference.exposure) for shadow in reference.shadows]
    )
    return Examples(answers, np.tile(reference.labels[rows], k), ~reference.out[:, rows].ravel())


@dataclass(frozen=True)
class MembershipClassifier:
    """Gradient boosting that tells rows of members from others. own: log odds of the rows that it learned from."""

    model: Any
    own: float

    @classmethod
    def fit(cls, features: FloatArray, members: BoolArray, category: int | None = None) -> MembershipClassifier:
        """Learn membership.

        scikit-learn's histogram gradient boosting: 100 rounds, rate .1, 15 leaves of 40 or more rows, L2 1. Nothing in
        it is random: no early stopping, no subsampling. Features are rounded to float32 first, so that a softmax that
        differs in the last bit of a double gives the same trees.

        Args:
            features: [rows, d].
            members: bool [rows].
            category: column that holds a class number below `MOST_CATEGORIES`, to be split by sets of classes.

        Raises:
            AttackError: rows of one kind are missing.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        if members.all() or not members.any():
            raise AttackError("a membership classifier needs answers of shadows that did and did not train on a record")
        untrained = HistGradientBoostingClassifier(
            learning_rate=0.1,
            max_iter=100,
            max_leaf_nodes=15,
            min_samples_leaf=40,
            l2_regularization=1.0,
            early_stopping=False,
            categorical_features=None if category is None else [category],
            random_state=0,
        )
        # The rows' own odds come off, so that both kinds weigh the same. Weights would do so, too, but with them
        # scikit-learn 1.9 places bins by weighted percentiles, one sort for each of 255 ends: four fifths of the time.
        own = math.log(members.sum() / (~members).sum())
        return cls(untrained.fit(features.astype(np.float32), members), own)

    def log_odds(self, features: FloatArray) -> FloatArray:
        """Log odds of membership of rows [n, d], float64 [n]; 0 is even odds, both kinds weighing the same."""
        return np.asarray(self.model.decision_function(features.astype(np.float32)) - self.own, dtype=np.float64)
