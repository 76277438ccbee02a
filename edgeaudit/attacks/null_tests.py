"""Tests of H0 "the target did not train on this record", based on the record's OUT shadows only.

All three take the target's signal [n], the shadows' signal [K, n] and the out mask [K, n]. They use K_i OUT shadows for
record i, are one-sided (small p = member), and return a result for every record. `ecdf` and `pchip` read losses (lower
= more member-like); `ModeratedNull` reads margins (higher = more member-like) and is fitted before it tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray
from edgeaudit.attacks.out_statistics import out_statistics
from edgeaudit.attacks.variance_prior import VariancePrior, fit_prior, fixed_prior, moderate
from edgeaudit.errors import AttackError

__all__ = ["ModeratedNull", "ModeratedT", "ecdf", "log_t_sf", "pchip"]

_BLOCK = 1 << 20


def _counts(out: BoolArray) -> FloatArray:
    """Return K_i as float64 [n]. Raises `AttackError` where one is 0."""
    count = out.sum(axis=0)
    if (count == 0).any():
        raise AttackError(f"{int((count == 0).sum())} of {len(count)} records have no OUT shadow; add shadows")
    return np.asarray(count, dtype=np.float64)


def ecdf(target: FloatArray, shadows: FloatArray, out: BoolArray) -> FloatArray:
    """Return the rank p-value p = (1 + #{OUT k: L_k <= L_target}) / (K_i + 1), float64 [n].

    Under H0 the target and the OUT shadows are exchangeable, so P(p <= a) <= a; ties count against the attacker. The
    smallest p is 1 / (K_i + 1).

    Source: Davison & Hinkley, "Bootstrap Methods and their Application" (1997), equation 4.11.
    """
    count = _counts(out)
    as_small = ((shadows <= target) & out).sum(axis=0)
    return np.asarray((1 + as_small) / (count + 1), dtype=np.float64)


def pchip(target: FloatArray, shadows: FloatArray, out: BoolArray) -> FloatArray:
    """Return the interpolated rank p-value, float64 [n]: a monotone cubic CDF of the OUT losses at the target's loss.

    Knots: the unique OUT losses u_j at mid plotting positions (#{L < u_j} + #{L = u_j} / 2) / K_i. The target's loss
    is clamped to [u_1, u_m] and p to [1 / (K_i + 1), 1]. With one unique loss there is no curve: p is the mid-p
    (#{L < L_target} + #{L = L_target} / 2) / K_i, clamped in the same way.

    Deviations from Long et al., "A Pragmatic Approach to Membership Inferences" (EuroS&P 2020), section 4.3 (shape-
    preserving interpolation of the empirical CDF): they extrapolate, which gives p < 0, and do not handle ties. Not
    exactly valid: for continuous losses P(p <= a) lies between a and about a + 1 / (K + 1); `ecdf` is exact.
    """
    count = _counts(out)
    p = np.empty(len(target))
    k = len(out)
    # Records in blocks, so that the knots of 100,000 records are never in memory at once.
    for start in range(0, len(target), max(1, _BLOCK // k)):
        block = slice(start, start + max(1, _BLOCK // k))
        p[block] = _interpolated_cdf(target[block], shadows[:, block].T, out[:, block].T)
    return np.asarray(np.clip(p, 1 / (count + 1), 1.0), dtype=np.float64)


def _interpolated_cdf(value: FloatArray, losses: FloatArray, out: BoolArray) -> FloatArray:
    """Evaluate the curve of each record's OUT losses [n, K] at its value [n]; float64 [n].

    scipy's PchipInterpolator builds one curve at a time, 1 ms a record. Here only the piece around the value is built,
    for all records at once. Source of the inner slopes: Fritsch & Butland, SIAM J. Sci. Stat. Comput. 5 (1984); of the
    end slopes: scipy's `pchip`, with which the tests compare.
    """
    knots, heights, last = _knots(losses, out)
    rows = np.arange(len(value))
    first_knot, last_knot = knots[:, 0], knots[rows, last]
    inside = (value > first_knot) & (value < last_knot)
    p = np.where(value <= first_knot, heights[:, 0], heights[rows, last])
    single = last == 0
    ties = (value[:, None] == losses) & out
    below = (value[:, None] > losses) & out
    mid = (below.sum(axis=1) + ties.sum(axis=1) / 2) / out.sum(axis=1)
    p[single] = mid[single]
    if inside.any():
        p[inside] = _hermite(value[inside], knots[inside], heights[inside], last[inside])
    return p


def _knots(losses: FloatArray, out: BoolArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return unique OUT losses [n, K], ascending from the left (then inf), their heights, and the last one's index."""
    rows = np.arange(len(losses))[:, None]
    ordered = np.sort(np.where(out, losses, np.inf), axis=1)
    fresh = np.ones(ordered.shape, dtype=np.bool_)
    fresh[:, 1:] = ordered[:, 1:] > ordered[:, :-1]
    fresh &= np.isfinite(ordered)
    column = np.cumsum(fresh, axis=1) - 1
    knots = np.full(ordered.shape, np.inf)
    knots[np.broadcast_to(rows, column.shape)[fresh], column[fresh]] = ordered[fresh]
    finite = np.isfinite(ordered)
    ties = np.zeros(ordered.shape)
    np.add.at(ties, (np.broadcast_to(rows, column.shape)[finite], column[finite]), 1.0)
    heights = (np.cumsum(ties, axis=1) - ties / 2) / out.sum(axis=1)[:, None]
    return knots, heights, fresh.sum(axis=1) - 1


def _hermite(value: FloatArray, knots: FloatArray, heights: FloatArray, last: IntArray) -> FloatArray:
    """Evaluate the monotone cubic between the two knots around each value, which lies strictly within its knots."""
    rows = np.arange(len(value))
    left = (knots <= value[:, None]).sum(axis=1) - 1
    x0, x1 = knots[rows, left], knots[rows, left + 1]
    y0, y1 = heights[rows, left], heights[rows, left + 1]
    width = x1 - x0
    share = (value - x0) / width
    d0, d1 = (_slope(knots, heights, last, knot) for knot in (left, left + 1))
    # Slopes times the width are finite where knots almost coincide; an overflowed slope is replaced by the chord.
    s0, s1 = (np.where(np.isfinite(d * width), d * width, y1 - y0) for d in (d0, d1))
    t, u = share, 1 - share
    return np.asarray(y0 * (1 + 2 * t) * u**2 + s0 * t * u**2 + y1 * t**2 * (3 - 2 * t) - s1 * t**2 * u)


def _slope(knots: FloatArray, heights: FloatArray, last: IntArray, knot: IntArray) -> FloatArray:
    """Return the curve's derivative at one knot of each record, given by its index, int64 [n]."""
    rows = np.arange(len(knot))

    def piece(i: IntArray) -> tuple[FloatArray, FloatArray]:
        low = np.clip(i, 0, last - 1)
        width = knots[rows, low + 1] - knots[rows, low]
        with np.errstate(over="ignore", divide="ignore"):
            return width, (heights[rows, low + 1] - heights[rows, low]) / width

    (h0, m0), (h1, m1) = piece(knot - 1), piece(knot)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        # Heights increase from knot to knot, so all chords have positive slopes, and the harmonic mean needs no sign
        # test.
        inner = 3 * (h0 + h1) / ((2 * h1 + h0) / m0 + (h1 + 2 * h0) / m1)
        first, final = knot == 0, knot == last
        (h2, m2), (h3, m3) = piece(knot + 1), piece(knot - 2)
        start = np.maximum(((2 * h1 + h2) * m1 - h1 * m2) / (h1 + h2), 0)
        end = np.maximum(((2 * h0 + h3) * m0 - h0 * m3) / (h0 + h3), 0)
        only = last == 1
        start, end = np.where(only, m1, start), np.where(only, m0, end)
    return np.asarray(np.where(first, start, np.where(final, end, inner)))


@dataclass(frozen=True)
class ModeratedT:
    """z, df, p_value, score: float64 [n]. score: strictly increasing in -p_value, finite. prior: the fitted prior."""

    z: FloatArray
    df: FloatArray
    p_value: FloatArray
    score: FloatArray
    prior: VariancePrior


@dataclass(frozen=True)
class ModeratedNull:
    """Null distribution of a record's margin, fitted to its OUT shadows, with moderated variances.

    mean, deviation: float64 [n], of a new margin. df: float64 [n], degrees of freedom of the deviation. prior: of the
    variances.
    """

    mean: FloatArray
    deviation: FloatArray
    df: FloatArray
    prior: VariancePrior

    @classmethod
    def fit(cls, shadows: FloatArray, out: BoolArray, d0: float | None = None) -> ModeratedNull:
        """Fit mean_i and sqrt(s_i~^2 (1 + 1/K_i)), with s_i~^2 = (d0 s0^2 + (K_i - 1) s_i^2) / (d0 + K_i - 1).

        The factor 1 + 1/K_i makes it the variance of a prediction: the target is a new draw, and the mean is estimated.

        Args:
            shadows: margins [K, n].
            out: bool [K, n].
            d0: prior degrees of freedom; None estimates them together with s0^2 by empirical Bayes (Smyth 2004). For a
                fixed d0, s0^2 is the pooled OUT variance. d0 = inf: see `variance_prior.moderate`.

        Raises:
            AttackError: a record has no OUT shadow, or no record has two.
        """
        count = _counts(out)
        moments = out_statistics(shadows, out)
        df = moments.count - 1
        prior = fit_prior(moments.variance, df) if d0 is None else fixed_prior(moments.variance, df, d0)
        variance, total = moderate(moments.variance, df, prior)
        return cls(moments.mean, np.sqrt(variance * (1 + 1 / count)), total, prior)

    def test(self, target: FloatArray) -> ModeratedT:
        """Test the target's margins [n]: z = (phi_target - mean_i) / deviation_i, p = P[T >= z], T ~ Student t.

        Score = sign(z) (-log(2 P[T >= |z|])), which is 0 at z = 0 and does not saturate where p rounds to 0 or 1.

        The p-value serves for ranking and is not calibrated: margins are only roughly Gaussian, and shadows from a
        small pool underestimate the null variance.
        """
        z = (target - self.mean) / self.deviation
        p_value = np.asarray(scipy.stats.t.sf(z, self.df), dtype=np.float64)
        score = np.sign(z) * (-np.log(2) - log_t_sf(np.abs(z), self.df))
        return ModeratedT(z, self.df, p_value, score, self.prior)


def log_t_sf(z: FloatArray, df: FloatArray) -> FloatArray:
    """Return log P[T >= z] for z >= 0, T ~ Student t(df), float64 [n]; finite where scipy's logsf underflows to -inf.

    Beyond the range of doubles: with w = pdf(z) (df + z^2) / (df z), integration by parts gives
    w = integral from z of pdf(t) (1 + 1/t^2) dt, hence sf = w / (1 + 1/z^2) up to a relative 2/z^4.
    """
    sf = np.asarray(scipy.stats.t.sf(z, df), dtype=np.float64)
    tail = sf < 1e-290
    log_sf = np.log(np.where(tail, 1.0, sf))
    if tail.any():
        far, nu = z[tail], df[tail]
        log_w = scipy.stats.t.logpdf(far, nu) + np.log(1 / far + far / nu)
        log_sf[tail] = log_w - np.log1p(far**-2.0)
    return log_sf
