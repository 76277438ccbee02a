from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeaudit.attacks.neighbours import features, nearest_distances
from edgeaudit.errors import AttackError

from .conftest import MakeEvidence


def test_features_are_probabilities_shadow_after_shadow(evidence_of: MakeEvidence) -> None:
    soft, _ = evidence_of(0, n=5, k=3, exposure="probabilities")
    joined = features(soft.shadow_answers)
    assert joined.dtype == np.float32
    expected = np.concatenate(list(soft.shadows), axis=1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(joined, expected, atol=1e-6)
    raw, _ = evidence_of(0, n=5, k=3)
    np.testing.assert_allclose(features(replace(raw, shadows=raw.shadows + 50).shadow_answers), joined, atol=1e-6)


def test_rows_of_zeros_are_far_from_everything(evidence_of: MakeEvidence) -> None:
    soft, _ = evidence_of(0, n=5, k=3, exposure="probabilities")
    soft.shadows[:, 2] = 0
    joined = features(soft.shadow_answers)
    np.testing.assert_array_equal(joined[2], 0)
    np.testing.assert_array_equal(nearest_distances(joined[2:3], joined[[0, 1, 3, 4]], 2), 1.0)


def test_no_shadow_no_features(evidence_of: MakeEvidence) -> None:
    evidence, _ = evidence_of(0, n=5, k=1)
    with pytest.raises(AttackError, match="no shadow"):
        features(evidence.keep(np.empty(0, dtype=np.int64)).shadow_answers)


def test_distances_by_hand() -> None:
    # Cosines of (1, 0) to the pool: 1, 0, .6, -1: distances 0, .4, 1, 2.
    pool = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]], dtype=np.float32)
    audited = pool[:1]
    np.testing.assert_allclose(nearest_distances(audited, pool, 4), [[0.0, 0.4, 1.0, 2.0]], atol=1e-6)
    # Row 0 of the pool is the record itself.
    np.testing.assert_allclose(nearest_distances(audited, pool, 3, np.array([0])), [[0.4, 1.0, 2.0]], atol=1e-6)
    # -1: the pool does not hold it.
    np.testing.assert_allclose(nearest_distances(audited, pool, 2, np.array([-1])), [[0.0, 0.4]], atol=1e-6)


@pytest.mark.parametrize("block_bytes", [1, 4 * 70 * 7, 1 << 26])
def test_blockwise_distances_equal_those_of_the_full_matrix(block_bytes: int) -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(120, 12)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    audited, pool = points[:50], points[50:]
    own = np.where(np.arange(50) % 3 == 0, np.arange(50), -1)
    full = 1 - audited.astype(np.float64) @ pool.astype(np.float64).T
    full[own >= 0, own[own >= 0]] = np.inf
    expected = np.sort(full, axis=1)[:, :5]
    np.testing.assert_allclose(nearest_distances(audited, pool, 5, own, block_bytes), expected, atol=1e-6)


def test_unsuitable_pools_are_rejected() -> None:
    points = np.eye(3, dtype=np.float32)
    with pytest.raises(AttackError, match="4 neighbours cannot be found among 3"):
        nearest_distances(points, points, 4)
    with pytest.raises(AttackError, match="3 neighbours cannot be found among 2"):
        nearest_distances(points, points, 3, np.arange(3))
    with pytest.raises(AttackError, match="different shadows"):
        nearest_distances(points, points[:, :2], 1)
