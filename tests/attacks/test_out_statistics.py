from __future__ import annotations

import numpy as np

from edgeaudit.attacks.out_statistics import out_statistics


def test_by_hand_with_a_mask() -> None:
    values = np.array([[1.0, 5.0, 7.0], [3.0, 9.0, 8.0], [100.0, 100.0, 9.0]])
    out = np.array([[True, False, False], [True, True, False], [False, False, False]])
    moments = out_statistics(values, out)
    np.testing.assert_array_equal(moments.count, [2, 1, 0])
    # Record 0: OUT values 1 and 3, mean 2, variance ((-1)^2 + 1^2) / (2 - 1) = 2.
    np.testing.assert_array_equal(moments.mean, [2.0, 9.0, np.nan])
    np.testing.assert_array_equal(moments.variance, [2.0, np.nan, np.nan])


def test_against_numpy_record_by_record() -> None:
    rng = np.random.default_rng(0)
    values, out = rng.normal(5, 3, size=(9, 40)), rng.random((9, 40)) < 0.7
    moments = out_statistics(values, out)
    for i in range(40):
        kept = values[out[:, i], i]
        assert moments.count[i] == len(kept) >= 2
        np.testing.assert_allclose([moments.mean[i], moments.variance[i]], [kept.mean(), kept.var(ddof=1)], rtol=1e-12)


def test_equal_values_have_variance_exactly_zero() -> None:
    # (0.1 + 0.1 + 0.1) / 3 is not 0.1 in floats; the shift by the first value makes the variance an exact 0.
    assert np.full(3, 0.1).var() > 0
    assert out_statistics(np.full((3, 1), 0.1), np.ones((3, 1), dtype=np.bool_)).variance[0] == 0


def test_large_offsets_lose_no_digits() -> None:
    # Values 1e8 + {0, 1, 2}: variance 1; the sum-of-squares formula would have an error of about 1.
    values = 1e8 + np.array([[0.0], [1.0], [2.0]])
    assert out_statistics(values, np.ones((3, 1), dtype=np.bool_)).variance[0] == 1.0


def test_no_shadows_give_no_moments() -> None:
    moments = out_statistics(np.empty((0, 2)), np.empty((0, 2), dtype=np.bool_))
    np.testing.assert_array_equal(moments.count, [0, 0])
    assert np.isnan(moments.mean).all()
    assert np.isnan(moments.variance).all()
