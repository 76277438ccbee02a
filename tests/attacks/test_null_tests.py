from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from scipy.interpolate import PchipInterpolator

from edgeaudit.attacks.evidence import BoolArray, FloatArray
from edgeaudit.attacks.null_tests import ModeratedNull, ModeratedT, ecdf, log_t_sf, pchip
from edgeaudit.errors import AttackError

# One record's losses: four OUT shadows and, in the last row, one that trained on it.
LOSSES = np.array([0.4, 0.1, 0.9, 0.4, 0.05])
OUT = np.array([True, True, True, True, False])


def spread(losses: FloatArray, out: BoolArray, targets: list[float]) -> tuple[FloatArray, FloatArray, BoolArray]:
    """The same shadows for several records with different targets."""
    n = len(targets)
    return np.array(targets), np.repeat(losses[:, None], n, axis=1), np.repeat(out[:, None], n, axis=1)


def test_ecdf_by_hand() -> None:
    # K_i = 4. At .05: none of the four is <= .05 (the IN shadow does not count), p = 1/5. At .1: 2/5. At .4 the tie
    # counts against the attacker: 4/5. At 2: 5/5.
    p = ecdf(*spread(LOSSES, OUT, [0.05, 0.1, 0.4, 2.0]))
    np.testing.assert_allclose(p, [0.2, 0.4, 0.8, 1.0])


def test_pchip_by_hand() -> None:
    # Knots .1, .4, .9 at heights .5/4, (1 + 1)/4, 3.5/4 = .125, .5, .875.
    # Below and at the first knot .125 is lifted to 1/(K+1) = .2; beyond the last knot: .875.
    # At .25: widths .3, .5, slopes 1.25, .75; derivative at .4 is (1.3 + 1.1) / (1.3/1.25 + 1.1/.75) = .957447, at
    # the end ((2*.3 + .5) 1.25 - .3*.75) / .8 = 1.4375; mid-interval: (.125 + .5)/2 + .3 (1.4375 - .957447)/8.
    p = pchip(*spread(LOSSES, OUT, [0.01, 0.1, 0.25, 0.4, 0.9, 7.0]))
    np.testing.assert_allclose(p, [0.2, 0.2, 0.330502, 0.5, 0.875, 0.875], atol=1e-6)


def test_pchip_all_tied_is_the_mid_p() -> None:
    # #{<} / 4 + #{=} / 8: 0 below (lifted to 1/5), 1/2 at the tie, 1 above.
    p = pchip(*spread(np.array([0.3, 0.3, 0.3, 0.3, 0.0]), OUT, [0.1, 0.3, 0.5]))
    np.testing.assert_allclose(p, [0.2, 0.5, 1.0])


@settings(derandomize=True, deadline=None, max_examples=80)
@given(hnp.arrays(np.int64, (7, 3), elements=st.integers(0, 6)), hnp.arrays(np.int64, 3, elements=st.integers(-1, 7)))
def test_pchip_against_a_literal_reading(shadows: np.ndarray, targets: np.ndarray) -> None:
    losses, target = shadows / 4, targets / 4
    p = pchip(target, losses, np.ones((7, 3), dtype=np.bool_))
    assert ((p >= 1 / 8) & (p <= 1)).all()
    for i in range(3):
        knots = np.unique(losses[:, i])
        if len(knots) == 1:
            continue
        heights = [((losses[:, i] < u).sum() + (losses[:, i] <= u).sum()) / 14 for u in knots]
        clamped = np.clip(target[i], knots[0], knots[-1])
        assert p[i] == pytest.approx(max(1 / 8, float(PchipInterpolator(knots, heights)(clamped))))


def test_pchip_survives_losses_closer_than_floats_can_slope() -> None:
    losses = np.array([[0.0], [1e-323], [2e-323]])
    p = pchip(np.array([1e-323]), losses, np.ones((3, 1), dtype=np.bool_))
    assert p[0] == pytest.approx(0.5)


@pytest.mark.parametrize("test", [ecdf, pchip])
def test_rank_tests_fall_with_the_loss(test: object) -> None:
    rng = np.random.default_rng(3)
    shadows, out = rng.gamma(1.0, size=(15, 1)).repeat(200, axis=1), np.ones((15, 200), dtype=np.bool_)
    p = test(np.linspace(0, 5, 200), shadows, out)  # type: ignore[operator]
    assert (np.diff(p) >= 0).all()
    assert p[0] == 1 / 16
    assert p[-1] > 0.9


def t4_sf(z: float) -> float:
    """P[T > z] with 4 degrees of freedom in closed form."""
    u = z / math.sqrt(1 + z * z / 4)
    return 0.5 - 0.375 * u * (1 - u * u / 12)


def moderated_t(target: FloatArray, shadows: FloatArray, out: BoolArray, d0: float | None = None) -> ModeratedT:
    return ModeratedNull.fit(shadows, out, d0).test(target)


def test_moderated_t_by_hand() -> None:
    # Record 0: OUT 0, 2, 4 (mean 2, s^2 4); record 1: OUT 1, 2, 3 (mean 2, s^2 1). d0 = 2, pooled 2.5.
    # s~^2 = 3.25 and 1.75; z = 4 / sqrt(3.25 * 4/3) and -1 / sqrt(1.75 * 4/3); df = 2 + 3 - 1 = 4.
    shadows = np.array([[0.0, 1.0], [2.0, 2.0], [4.0, 3.0], [50.0, 60.0]])
    out = np.array([[True, True], [True, True], [True, True], [False, False]])
    result = moderated_t(np.array([6.0, 1.0]), shadows, out, d0=2.0)
    expected = [4 / math.sqrt(3.25 * 4 / 3), -1 / math.sqrt(1.75 * 4 / 3)]
    np.testing.assert_allclose(result.z, expected)
    np.testing.assert_array_equal(result.df, 4.0)
    np.testing.assert_allclose(result.p_value, [t4_sf(z) for z in expected])
    # Score: sign(z) (-log(2 P[T >= |z|])).
    np.testing.assert_allclose(result.score, [-math.log(2 * t4_sf(expected[0])), math.log(2 * t4_sf(-expected[1]))])


@pytest.mark.parametrize("d0", [None, 16.0])
def test_moderated_t_against_a_loop(d0: float | None) -> None:
    rng = np.random.default_rng(4)
    scale = np.sqrt(5 / rng.chisquare(5, size=60))
    target, shadows = scale * rng.normal(size=60), scale * rng.normal(size=(11, 60))
    out = rng.random((11, 60)) < 0.8
    result = moderated_t(target, shadows, out, d0)
    kept = [shadows[out[:, i], i] for i in range(60)]
    pooled = sum(((x - x.mean()) ** 2).sum() for x in kept) / sum(len(x) - 1 for x in kept)
    prior, s0 = (result.prior.d0, result.prior.scale) if d0 is None else (d0, pooled)
    for i, x in enumerate(kept):
        k = len(x)
        s2 = (prior * s0 + (k - 1) * x.var(ddof=1)) / (prior + k - 1)
        z = (target[i] - x.mean()) / math.sqrt(s2 * (1 + 1 / k))
        assert result.z[i] == pytest.approx(z)
        assert result.p_value[i] == pytest.approx(stats.t(prior + k - 1).sf(z))


def test_t_score_orders_as_p_and_does_not_saturate() -> None:
    # p is 0 to every digit beyond z = 39 (df large) and 1 below -9; the scores still differ.
    shadows = np.random.default_rng(5).normal(size=(60, 400))
    target = np.linspace(-300, 300, 400)
    result = moderated_t(target, shadows, np.ones((60, 400), dtype=np.bool_), d0=math.inf)
    assert (result.p_value == 0).sum() > 50
    order = np.argsort(result.z)
    assert (np.diff(result.score[order]) > 0).all()
    assert np.isfinite(result.score).all()


@pytest.mark.parametrize("df", [3.0, 30.0, 1e6, math.inf])
def test_log_t_sf_is_smooth_where_scipy_underflows(df: float) -> None:
    z = np.geomspace(0.1, 1e6, 4000)
    log_sf = log_t_sf(z, np.full(4000, df))
    assert np.isfinite(log_sf).all()
    assert (np.diff(log_sf) < 0).all()
    if math.isinf(df):
        np.testing.assert_allclose(log_sf, stats.norm.logsf(z), rtol=1e-6)


def test_log_t_sf_on_both_sides_of_the_switch() -> None:
    # t(2): P[T > z] = (1 - z / sqrt(2 + z^2)) / 2, about 1 / (2 z^2) far out: log = -log 2 - 2 log z.
    z = np.array([1e100, 1e140, 1e145, 1e150])
    np.testing.assert_allclose(log_t_sf(z, np.full(4, 2.0)), -math.log(2) - 2 * np.log(z), rtol=1e-12)


def test_constant_shadows_give_finite_ranks() -> None:
    # No OUT variance anywhere: unit variance by our convention, z = difference / sqrt(1 + 1/4), nothing is certain.
    shadows, out = np.ones((4, 3)), np.ones((4, 3), dtype=np.bool_)
    result = moderated_t(np.array([0.0, 1.0, 2.0]), shadows, out)
    np.testing.assert_allclose(result.z, np.array([-1.0, 0.0, 1.0]) / math.sqrt(1.25))


@pytest.mark.parametrize("test", [ecdf, pchip, moderated_t])
def test_a_record_without_out_shadow_is_rejected(test: object) -> None:
    out = np.array([[True, False], [True, False]])
    with pytest.raises(AttackError, match="1 of 2 records"):
        test(np.zeros(2), np.ones((2, 2)), out)  # type: ignore[operator]
