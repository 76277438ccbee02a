"""A hierarchical model of what shadows answer on a record: shrunken means, spreads and log likelihood ratios.

Each record has a mean margin of models that trained on it (IN) and of models that did not (OUT). A few shadows measure
either mean badly. So the pair of means has a bivariate normal prior over all records, and what is read of a record is
its posterior: IN and OUT means inform each other, and a record without IN shadows has the IN mean that records with
such an OUT mean have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray
from edgeaudit.attacks.variance_prior import fit_prior, pooled_variance, variance_floor

__all__ = ["COLUMNS", "ModelSignals", "Moments", "RecordModel", "Sides"]

COLUMNS = (
    "phi", "l", "H", "llr", "llr t", "z in", "z out", "l - log mean p", "l - log p out", "mean in", "mean out",
)  # fmt: skip
"""Columns of `RecordModel.columns`; l = log p_y, H = entropy in nats. Standard deviations enter by z and the ratios
alone: by themselves they say how many shadows a record has, which differs between a play and an audit."""

_ROUNDS = 40
_LEAST_EIGENVALUE = 0.01
_TREND_CLIP = 3.0
_TREND_RIDGE = 1.0
_MOST_PRIOR_FREEDOM = 200.0
_FREEDOM = 8.0
_LEAST_P = 1 / 512
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Moments:
    """Moments of a signal over some models, of each record.

    count: int64 [n]. mean: float64 [n], 0 where count is 0. squares: float64 [n], sum of squared deviations from it.
    """

    count: IntArray
    mean: FloatArray
    squares: FloatArray

    @property
    def freedom(self) -> IntArray:
        """Degrees of freedom of `squares`, int64 [n]."""
        return np.maximum(self.count - 1, 0)

    @property
    def variance(self) -> FloatArray:
        """Variance with ddof 1, float64 [n]; NaN where count is below 2."""
        empty = np.full(len(self.count), np.nan)
        return np.asarray(np.divide(self.squares, self.count - 1, out=empty, where=self.count > 1), dtype=np.float64)


@dataclass(frozen=True)
class Totals:
    """Sums from which `Moments` follow, and from which single models can be taken away.

    shift: float64 [n], near the values, so that little precision is lost. count, total, squares: [n], of value - shift.
    """

    shift: FloatArray
    count: IntArray
    total: FloatArray
    squares: FloatArray

    @classmethod
    def of(cls, values: FloatArray, kept: BoolArray) -> Totals:
        """Sum the values [K, n] of the models in `kept`, bool [K, n]."""
        shift = values[0].astype(np.float64) if len(values) else np.zeros(values.shape[1])
        count, total, squares = np.zeros(len(shift), np.int64), np.zeros(len(shift)), np.zeros(len(shift))
        for row, mask in zip(values, kept, strict=True):
            deviation = np.where(mask, row - shift, 0.0)
            count += mask
            total += deviation
            squares += deviation**2
        return cls(shift, count, total, squares)

    def without(self, values: FloatArray, away: BoolArray) -> Totals:
        """Take one model away from the records in `away`, bool [n]; values: float64 [n], what it answered."""
        deviation = np.where(away, values - self.shift, 0.0)
        return Totals(self.shift, self.count - away, self.total - deviation, self.squares - deviation**2)

    def take(self, records: IntArray | BoolArray) -> Totals:
        """Return the sums of these records only."""
        return Totals(self.shift[records], self.count[records], self.total[records], self.squares[records])

    def moments(self) -> Moments:
        """Return the moments. Squares that are nothing but rounding errors are 0, as equal answers must have."""
        least = np.maximum(self.count, 1)
        squares = self.squares - self.total**2 / least
        squares = np.where(squares > _ROUNDING * self.squares, squares, 0.0)
        mean = np.where(self.count > 0, self.shift + self.total / least, 0.0)
        return Moments(self.count, mean, squares)


@dataclass(frozen=True)
class Sides:
    """Sums over the models that trained on each record, and over those that did not: of the margin, and of p_y."""

    inside: Totals
    outside: Totals
    p_inside: Totals
    p_outside: Totals

    @classmethod
    def of(cls, phi: FloatArray, log_p: FloatArray, out: BoolArray) -> Sides:
        """phi, log_p: float64 [K, n]. out: bool [K, n]."""
        p = np.exp(log_p)
        return cls(Totals.of(phi, ~out), Totals.of(phi, out), Totals.of(p, ~out), Totals.of(p, out))

    @classmethod
    def of_outside(cls, phi: FloatArray, log_p: FloatArray, out: BoolArray) -> Sides:
        """Return the OUT sides alone; arguments as in `of`."""
        nothing = np.zeros(phi.shape[1])
        none = Totals(nothing, np.zeros(phi.shape[1], np.int64), nothing, nothing)
        return cls(none, Totals.of(phi, out), none, Totals.of(np.exp(log_p), out))

    def without(self, phi: FloatArray, log_p: FloatArray, inside: BoolArray, outside: BoolArray) -> Sides:
        """Take one model's answers away: from the IN side in `inside`, from the OUT side in `outside`, bool [n]."""
        p = np.exp(log_p)
        return Sides(
            self.inside.without(phi, inside),
            self.outside.without(phi, outside),
            self.p_inside.without(p, inside),
            self.p_outside.without(p, outside),
        )

    def take(self, records: IntArray | BoolArray) -> Sides:
        """Return the sums of these records only."""
        parts = (self.inside, self.outside, self.p_inside, self.p_outside)
        return Sides(*(part.take(records) for part in parts))


@dataclass(frozen=True)
class Posterior:
    """IN and OUT mean of each record: mean float64 [2, n], covariance float64 [2, 2, n]; IN first."""

    mean: FloatArray
    covariance: FloatArray


@dataclass(frozen=True)
class BivariatePrior:
    """Normal prior of (IN mean, OUT mean) of a record; IN first.

    mean: float64 [2]. covariance: float64 [2, 2]. noise: float64 [2], variance of one model's answer about the means.
    """

    mean: FloatArray
    covariance: FloatArray
    noise: FloatArray

    @classmethod
    def fit(cls, inside: Moments, outside: Moments) -> BivariatePrior:
        """Fit by EM to the records with models on both sides.

        Raises:
            AttackError: no record has two models on a side.
        """
        noise = np.array([_noise(inside, outside), _noise(outside, inside)])
        both = (inside.count > 0) & (outside.count > 0)
        observed = np.stack((inside.mean[both], outside.mean[both]))
        counts = np.stack((inside.count[both], outside.count[both]))
        mean, covariance = observed.mean(axis=1), np.atleast_2d(np.cov(observed, bias=True))
        covariance = covariance - np.diag(noise * (1 / counts).mean(axis=1))
        for _ in range(_ROUNDS):
            prior = cls(mean, _floored(covariance, noise), noise)
            known = prior.posterior(counts, observed)
            mean = known.mean.mean(axis=1)
            covariance = known.covariance.mean(axis=2) + np.cov(known.mean, bias=True)
        return cls(mean, _floored(covariance, noise), noise)

    def posterior(self, counts: IntArray, observed: FloatArray) -> Posterior:
        """Return the means given what `counts` models answered; where a count is 0, `observed` is not read.

        counts, observed: [2, n].
        """
        precision = counts / self.noise[:, None]
        inverse = np.linalg.inv(self.covariance)
        a, b, c = inverse[0, 0] + precision[0], inverse[0, 1], inverse[1, 1] + precision[1]
        determinant = a * c - b * b
        covariance = np.array([[c, np.full_like(a, -b)], [np.full_like(a, -b), a]]) / determinant
        weighted = precision * observed + (inverse @ self.mean)[:, None]
        return Posterior(np.einsum("ijn,jn->in", covariance, weighted), covariance)

    def of(self, inside: Moments, outside: Moments) -> Posterior:
        """Return the posterior given the answers of both sides."""
        return self.posterior(np.stack((inside.count, outside.count)), np.stack((inside.mean, outside.mean)))


def _noise(side: Moments, other: Moments) -> float:
    """Pooled variance within records; the other side's where no record has two models on this one."""
    if not (side.count > 1).any():
        side = other
    return pooled_variance(side.variance, side.freedom)


def _floored(covariance: FloatArray, noise: FloatArray) -> FloatArray:
    """Raise eigenvalues to a hundredth of the largest: means that agree in every record still leave doubt.

    The largest counts as a thousandth of the noise or more, since constant answers have no covariance at all.
    """
    values, vectors = np.linalg.eigh(covariance)
    largest = max(float(values[-1]), 1e-3 * float(noise.mean()))
    return np.asarray(vectors * np.maximum(values, _LEAST_EIGENVALUE * largest) @ vectors.T, dtype=np.float64)


@dataclass(frozen=True)
class SpreadTrend:
    """Variance of one side's margins, as a trend over (IN mean, OUT mean) and with d0 degrees of freedom about it.

    The log variance is regressed on both means, their squares and product (standardised, clipped at 3), weighted by
    degrees of freedom; predictions stay within the range that was fitted. The trend is scaled such that the pooled
    variance about it is 1, and d0 is limma's, at most 200.
    """

    centre: FloatArray
    scale: FloatArray
    weights: FloatArray
    lowest: float
    highest: float
    factor: float
    prior_freedom: float

    @classmethod
    def fit(cls, side: Moments, means: FloatArray) -> SpreadTrend:
        """Fit to the records with two or more models on this side. means: float64 [2, n], posterior means."""
        varied = side.freedom > 0
        terms = _terms(means)
        x, freedom = terms[varied], side.freedom[varied].astype(np.float64)
        centre = np.average(x, axis=0, weights=freedom)
        scale = np.sqrt(np.average((x - centre) ** 2, axis=0, weights=freedom))
        scale = np.where(scale > 0, scale, 1.0)
        floor = variance_floor(side.variance, side.freedom)
        y = np.log(np.maximum(side.variance[varied], floor))
        design = np.column_stack((np.ones(len(x)), np.clip((x - centre) / scale, -_TREND_CLIP, _TREND_CLIP)))
        penalty = np.diag([0.0, *[_TREND_RIDGE] * terms.shape[1]])
        weights = np.asarray(
            np.linalg.solve(design.T * freedom @ design + penalty, design.T @ (freedom * y)), np.float64
        )
        fitted = design @ weights
        plain = cls(centre, scale, weights, float(fitted.min()), float(fitted.max()), 1.0, math.inf)
        relative = side.variance / plain.trend(means)
        pooled = pooled_variance(relative, side.freedom)
        d0 = min(fit_prior(relative / pooled, side.freedom).d0, _MOST_PRIOR_FREEDOM)
        return cls(centre, scale, weights, plain.lowest, plain.highest, pooled, d0)

    def trend(self, means: FloatArray) -> FloatArray:
        """Return the trend of the variance, float64 [n]."""
        x = np.clip((_terms(means) - self.centre) / self.scale, -_TREND_CLIP, _TREND_CLIP)
        log_variance = np.clip(self.weights[0] + x @ self.weights[1:], self.lowest, self.highest)
        return np.asarray(self.factor * np.exp(log_variance), dtype=np.float64)

    def moderated(self, side: Moments, means: FloatArray) -> FloatArray:
        """Return (d0 trend + squares) / (d0 + degrees of freedom), float64 [n]."""
        total = self.prior_freedom + side.freedom
        return np.asarray((self.prior_freedom * self.trend(means) + side.squares) / total, dtype=np.float64)


def _terms(means: FloatArray) -> FloatArray:
    inside, outside = means
    return np.column_stack((inside, outside, inside**2, outside**2, inside * outside))


@dataclass(frozen=True)
class ModelSignals:
    """Margin phi, l = log p_y and entropy of the tested model on each record, float64 [n] each."""

    phi: FloatArray
    log_p: FloatArray
    entropy: FloatArray


@dataclass(frozen=True)
class RecordModel:
    """The priors and spreads of a set of shadows, fitted once and applied to any records and any tested model.

    Source: our own design. Its parts: empirical Bayes by EM (Dempster, Laird & Rubin, JRSS B 1977), moderated variances
    (Smyth, Statistical Applications in Genetics and Molecular Biology 2004), the ratios of LiRA (Carlini et al., S&P
    2022) and RMIA (Zarifzadeh, Liu & Shokri, ICML 2024).
    """

    margin: BivariatePrior
    probability: BivariatePrior
    inside: SpreadTrend
    outside: SpreadTrend

    @classmethod
    def fit(cls, sides: Sides) -> RecordModel:
        """Fit to records that some shadows trained on and some did not.

        Raises:
            AttackError: no record has two shadows on a side.
        """
        inside, outside = sides.inside.moments(), sides.outside.moments()
        margin = BivariatePrior.fit(inside, outside)
        probability = BivariatePrior.fit(sides.p_inside.moments(), sides.p_outside.moments())
        both = np.flatnonzero((inside.count > 0) & (outside.count > 0))
        means = margin.of(inside, outside).mean[:, both]
        spreads = [
            SpreadTrend.fit(_taken(side if (side.count[both] > 1).any() else other, both), means)
            for side, other in ((inside, outside), (outside, inside))
        ]
        return cls(margin, probability, *spreads)

    def columns(self, tested: ModelSignals, sides: Sides) -> FloatArray:
        """Return `COLUMNS` of each record, float64 [n, 11].

        tested: the answers of one model. sides: of the shadows, without that model.
        """
        inside, outside = sides.inside.moments(), sides.outside.moments()
        known = self.margin.of(inside, outside)
        p = self.probability.of(sides.p_inside.moments(), sides.p_outside.moments()).mean
        p_in, p_out = np.clip(p, _LEAST_P, 1.0)
        scaled, plain, heavy = [], [], []
        for place, (side, spread) in enumerate(((inside, self.inside), (outside, self.outside))):
            noise, doubt = self.margin.noise[place], known.covariance[place, place]
            variance = spread.moderated(side, known.mean) * (1 + doubt / noise)
            z = (tested.phi - known.mean[place]) / np.sqrt(variance)
            scaled.append(z)
            plain.append(_log_normal(tested.phi - known.mean[place], noise + doubt))
            heavy.append(_log_student(z) - 0.5 * np.log(variance))
        return np.column_stack(
            (
                tested.phi,
                tested.log_p,
                tested.entropy,
                plain[0] - plain[1],
                heavy[0] - heavy[1],
                *scaled,
                tested.log_p - np.log((p_in + p_out) / 2),
                tested.log_p - np.log(p_out),
                known.mean[0],
                known.mean[1],
            )
        )


def _taken(side: Moments, records: IntArray) -> Moments:
    return Moments(side.count[records], side.mean[records], side.squares[records])


def _log_normal(deviation: FloatArray, variance: FloatArray) -> FloatArray:
    """Log density up to a constant, float64 [n]."""
    return np.asarray(-(deviation**2 / variance + np.log(variance)) / 2, dtype=np.float64)


def _log_student(z: FloatArray) -> FloatArray:
    """Log density of Student's t with 8 degrees of freedom, up to a constant, float64 [n]."""
    return np.asarray(-(_FREEDOM + 1) / 2 * special.log1p(z**2 / _FREEDOM), dtype=np.float64)
