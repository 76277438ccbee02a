from __future__ import annotations

import numpy as np

from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.gap import Gap
from edgeaudit.leakage.roc import auc


def test_scores_are_correctness_and_the_first_of_equal_classes_counts() -> None:
    target = np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0], [1.0, 1.0]])
    evidence = Evidence(target, np.empty((0, 4, 2)), np.empty((0, 4), dtype=np.bool_), np.array([0, 0, 0, 1]), "logits")
    np.testing.assert_array_equal(Gap().score(evidence, "label").score, [1.0, 0.0, 1.0, 0.0])


def test_auc_is_half_the_accuracy_gap() -> None:
    # 88% right on members, 62.6% on nonmembers: AUC = 1/2 + (.88 - .626) / 2 = .627.
    right = np.repeat([True, False, True, False], [880, 120, 626, 374])
    target = np.where(right[:, None], [[1.0, 0.0]], [[0.0, 1.0]])
    n = len(right)
    evidence = Evidence(
        target, np.empty((0, n, 2)), np.empty((0, n), dtype=np.bool_), np.zeros(n, dtype=np.int64), "probabilities"
    )
    assert abs(auc(Gap().score(evidence, "label").score, np.arange(n) < 1000) - 0.627) < 1e-12
