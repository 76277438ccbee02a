"""Empirical-Bayes moderation of many small-sample variances.

Source: Smyth, "Linear models and empirical Bayes methods for assessing differential expression in microarray
experiments" (2004), section 6.2, as implemented in limma's fitFDist. Model: s_i^2 ~ s0^2 F(df_i, d0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from edgeaudit.attacks.evidence import FloatArray, IntArray
from edgeaudit.errors import AttackError

__all__ = [
    "VariancePrior",
    "fit_prior",
    "fixed_prior",
    "moderate",
    "pooled_variance",
    "trigamma_inverse",
    "variance_floor",
]

# limma raises zero variances to this share of the median before taking logarithms.
_OFFSET = 1e-5


@dataclass(frozen=True)
class VariancePrior:
    """d0: prior degrees of freedom, 0 to inf. scale: the prior variance, > 0, in squared units of the signal."""

    d0: float
    scale: float


def trigamma_inverse(value: float) -> float:
    """Return the y > 0 with trigamma(y) = value. Raises `ValueError` unless value > 0.

    Newton's method on 1/trigamma, which is convex, nearly linear and above y - 1/2, decreases monotonically to the root
    from y = 1/2 + 1/value (Smyth 2004, appendix). The limits have closed forms: 1/sqrt(value) for large values, 1/value
    for small ones.
    """
    if not value > 0:
        raise ValueError(f"trigamma is positive, so its value must be above 0: {value}")
    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    y = 0.5 + 1 / value
    for _ in range(50):
        tri = float(special.polygamma(1, y))
        step = tri * (1 - tri / value) / float(special.polygamma(2, y))
        y += step
        if abs(step) < 1e-12 * y:
            break
    return y


def pooled_variance(variance: FloatArray, df: IntArray) -> float:
    """Return the mean of the variances weighted by degrees of freedom; 1 where no record varies at all.

    1 (squared nat) is our choice for signals that are constant over the OUT shadows of every record, as with saturated
    integer outputs: there is no scale to estimate, scores then rank by the plain difference, and no record becomes
    significant only because its variance is 0.

    Raises:
        AttackError: no record has two OUT shadows.
    """
    known = df > 0
    if not known.any():
        raise AttackError("no record has two OUT shadows, so no variance can be estimated; add shadows")
    pooled = float(np.average(variance[known], weights=df[known]))
    return pooled if pooled > 0 else 1.0


def variance_floor(variance: FloatArray, df: IntArray) -> float:
    """Return the smallest divisor: 1e-5 of the median positive variance (limma's offset), or 1e-5 if all are 0."""
    positive = variance[(df > 0) & (variance > 0)]
    return _OFFSET * (float(np.median(positive)) if len(positive) else 1.0)


def fit_prior(variance: FloatArray, df: IntArray) -> VariancePrior:
    """Estimate d0 and s0^2 from the mean and variance of the log variances (Smyth 2004, equations for d0 and s0).

    Zero variances are raised to `variance_floor` for the fit only. limma takes the median over all variances and falls
    back to an absolute 1 where more than half are 0; here the median is over the positive ones, which makes the fit
    independent of units. Where the variances vary no more than sampling explains (or there is just one), d0 is infinite
    and s0^2 is the pooled variance, as in limma since 2017.

    Args:
        variance: float64 [n], ddof 1; entries with df = 0 are ignored.
        df: int [n], number of OUT shadows - 1.

    Raises:
        AttackError: no record has two OUT shadows.
    """
    pooled = pooled_variance(variance, df)
    known = df > 0
    if known.sum() < 2 or not (variance[known] > 0).any():
        return VariancePrior(math.inf, pooled)
    half = df[known] / 2
    log_variance = np.log(np.maximum(variance[known], variance_floor(variance, df)))
    e = log_variance - special.digamma(half) + np.log(half)
    excess = float(e.var(ddof=1) - special.polygamma(1, half).mean())
    if excess <= 0:
        return VariancePrior(math.inf, pooled)
    d0 = 2 * trigamma_inverse(excess)
    log_scale = float(e.mean()) + float(special.digamma(d0 / 2)) - math.log(d0 / 2)
    return VariancePrior(d0, math.exp(log_scale))


def fixed_prior(variance: FloatArray, df: IntArray, d0: float) -> VariancePrior:
    """Return the prior for a fixed d0, with the pooled variance as its scale. Raises `AttackError` unless d0 >= 0."""
    if not d0 >= 0:
        raise AttackError(f"attacks: 'cm-mia': d0 must be 0 or more: {d0}")
    return VariancePrior(d0, pooled_variance(variance, df))


def moderate(variance: FloatArray, df: IntArray, prior: VariancePrior) -> tuple[FloatArray, FloatArray]:
    """Return posterior variances and their degrees of freedom, both float64 [n].

    s^2 = (d0 s0^2 + df_i s_i^2) / (d0 + df_i), with d0 + df_i degrees of freedom. For d0 = inf, s^2 = s0^2 with the sum
    of df as its degrees of freedom, which are those of the pooled estimate (limma caps at the same number). A posterior
    variance below `variance_floor` (d0 near 0 and a constant record) is raised to it, so that no score is infinite.

    Raises:
        AttackError: d0 = 0 and a record has fewer than two OUT shadows.
    """
    if math.isinf(prior.d0):
        return np.full(len(df), prior.scale), np.full(len(df), float(df.sum()))
    total = prior.d0 + df
    if (total <= 0).any():
        raise AttackError("d0 = 0 needs two or more OUT shadows for every record")
    sample = np.where(df > 0, variance, 0.0)
    posterior = (prior.d0 * prior.scale + df * sample) / total
    return np.maximum(posterior, variance_floor(variance, df)), np.asarray(total, dtype=np.float64)
