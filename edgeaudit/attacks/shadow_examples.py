"""Training data of attacks: answers of shadows on reference records, with known membership."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray, ShadowAnswers
from edgeaudit.errors import AttackError

__all__ = ["MOST_CATEGORIES", "Examples", "MembershipClassifier", "shadow_examples"]

MOST_CATEGORIES = 255
"""Largest number of classes for which trees split the class as a category; above it they split it as a number."""


@dataclass(frozen=True)
class Examples:
    """One row for each (shadow, record) pair.

    answers: float64 [rows, classes], probabilities. labels: int64 [rows]. members: bool [rows], whether the shadow
    trained on the record.
    """

    answers: FloatArray
    labels: IntArray
    members: BoolArray


def shadow_examples(reference: ShadowAnswers, most_rows: int) -> Examples:
    """Return every shadow's answers on the reference records, or on evenly spaced ones to stay within `most_rows`."""
    k, n = reference.out.shape
    rows = np.linspace(0, n - 1, min(n, max(1, most_rows // k))).astype(np.int64)
    answers = np.concatenate(
        [reference.task.probabilities(shadow[rows], reference.exposure) for shadow in reference.shadows]
    )
    return Examples(answers, np.tile(reference.labels[rows], k), ~reference.out[:, rows].ravel())


@dataclass(frozen=True)
class MembershipClassifier:
    """A gradient-boosted membership classifier. prior: log odds of membership among its training rows."""

    model: Any
    prior: float

    @classmethod
    def fit(cls, features: FloatArray, members: BoolArray, category: int | None = None) -> MembershipClassifier:
        """Train the classifier.

        scikit-learn's histogram gradient boosting: 100 rounds, rate .1, 15 leaves of 40 or more rows, L2 1. It is
        deterministic: no early stopping, no subsampling. Features are rounded to float32 first, so that a softmax that
        differs in the last bit of a double gives the same trees.

        Args:
            features: float64 [rows, d].
            members: bool [rows].
            category: column with a class index below `MOST_CATEGORIES`, to be split by sets of classes.

        Raises:
            AttackError: there are no rows of members, or none of nonmembers.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        if members.all() or not members.any():
            raise AttackError("a membership classifier needs answers of shadows on members and on nonmembers")
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
        # Subtracting the prior log odds gives members and nonmembers equal weight. Sample weights would, too, but with
        # them scikit-learn 1.9 computes bin edges by weighted percentiles, one sort for each of 255 edges: four fifths
        # of the time.
        prior = math.log(members.sum() / (~members).sum())
        return cls(untrained.fit(features.astype(np.float32), members), prior)

    def log_odds(self, features: FloatArray) -> FloatArray:
        """Return the log odds of membership of rows [n, d], float64 [n]; 0 means even odds, with balanced classes."""
        return np.asarray(self.model.decision_function(features.astype(np.float32)) - self.prior, dtype=np.float64)
