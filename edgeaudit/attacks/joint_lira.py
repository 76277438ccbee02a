"""Joint LiRA: a multi-version attack with Gaussians of as many dimensions as there are versions of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, FloatArray
from edgeaudit.attacks.versions import ShadowVersion, TargetVersion, require_one_model
from edgeaudit.errors import AttackError

__all__ = ["JointLira", "shrunk"]

# The smallest share of the identity in a correlation matrix: copies of one version would make it singular.
_LEAST_SHRINKAGE = 1e-4


@dataclass(frozen=True)
class JointLira:
    """The joint distribution of the margins of F versions, fitted to shadows.

    shift: float64 [F], the mean difference between margins of IN shadows and of OUT shadows.
    outside, inside: float64 [F, F], covariance of a record's margins over its OUT and over its IN shadows, pooled over
        records and shrunk (see `shrunk`).

    The versions take the part of the augmented queries in Carlini et al.'s attack. Augmentations are nearly independent
    given the record; formats of one model are nearly copies, so their covariance matters: a diagonal covariance would
    count two copies as two independent observations. The paper's offline score cannot use a covariance, because it does
    not know in which direction of R^F members lie. Shadows that trained on known records determine that direction. The
    score is the linear discriminant (phi - mu_out) . w, w = ((outside + inside) / 2)^-1 shift, divided by its OUT
    standard deviation. With one version it equals LiRA's `offline-global` and, online, `online-global`.

    Source: Carlini et al., "Membership Inference Attacks From First Principles" (S&P 2022), for the Gaussian of several
    queries. Fisher's discriminant (1936) and the shared direction are our additions.
    """

    shift: FloatArray
    outside: FloatArray
    inside: FloatArray

    @classmethod
    def fit(cls, shadows: Sequence[ShadowVersion]) -> JointLira:
        """Fit to the shadows' margins on the known records.

        Raises:
            AttackError: versions of different models, or no known record with two IN shadows, or none with two OUT
                shadows, or none with both kinds.
        """
        require_one_model(shadows)
        margins = np.stack([version.known_margins for version in shadows], axis=-1)
        out = shadows[0].known_out
        (mean_out, count_out), (mean_in, count_in) = _means(margins, out), _means(margins, ~out)
        both = (count_out > 0) & (count_in > 0)
        if not ((count_out > 1).any() and (count_in > 1).any() and both.any()):
            raise AttackError(
                "joint LiRA needs records that two shadows trained on and two did not, to estimate the covariance of "
                "versions. Add shadows"
            )
        weight = (count_in * count_out)[both] / (count_in + count_out)[both]
        shift = ((mean_in - mean_out)[both] * weight[:, None]).sum(axis=0) / weight.sum()
        return cls(shift, _covariance(margins, out, mean_out), _covariance(margins, ~out, mean_in))

    def offline(self, shadows: Sequence[ShadowVersion], target: Sequence[TargetVersion]) -> FloatArray:
        """Return the offline score of each audited record, float64 [n]; versions in the order of `fit`."""
        difference = _stacked(target) - self._mean(shadows, outside=True)
        if len(self.shift) == 1:
            # One version has one direction, and LiRA is one-sided whatever the sign of the shift.
            return np.asarray(difference[:, 0] / math.sqrt(self.outside[0, 0]), dtype=np.float64)
        weight = np.linalg.solve((self.outside + self.inside) / 2, self.shift)
        sd = math.sqrt(float(weight @ self.outside @ weight))
        # Without a shift there is no direction, and all scores are 0.
        return np.asarray(difference @ weight / (sd if sd > 0 else 1.0), dtype=np.float64)

    def online(self, shadows: Sequence[ShadowVersion], target: Sequence[TargetVersion]) -> FloatArray:
        """Return log N(phi; mu_in, inside) - log N(phi; mu_out, outside), float64 [n].

        Raises:
            AttackError: a record has no IN shadow or no OUT shadow.
        """
        phi = _stacked(target)
        sides = [(self._mean(shadows, outside=side), cov) for side, cov in ((False, self.inside), (True, self.outside))]
        inside, outside = (_log_density(phi - mean, cov) for mean, cov in sides)
        return inside - outside

    def _mean(self, shadows: Sequence[ShadowVersion], *, outside: bool) -> FloatArray:
        mask = shadows[0].out if outside else ~shadows[0].out
        if not mask.any(axis=0).all():
            kind = "OUT" if outside else "IN"
            raise AttackError(f"{int((~mask.any(axis=0)).sum())} records have no {kind} shadow")
        return _means(np.stack([version.margins for version in shadows], axis=-1), mask)[0]


def _stacked(target: Sequence[TargetVersion]) -> FloatArray:
    return np.stack([version.margins for version in target], axis=-1)


def _means(margins: FloatArray, mask: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean of `margins` [K, n, F] over the shadows in `mask` [K, n], NaN for none, and their number [n]."""
    count = mask.sum(axis=0).astype(np.float64)
    total = np.zeros(margins.shape[1:])
    for shadow, kept in zip(margins, mask, strict=True):
        total += np.where(kept[:, None], shadow, 0.0)
    where = np.broadcast_to(count[:, None] > 0, total.shape)
    return np.divide(total, count[:, None], out=np.full(total.shape, np.nan), where=where), count


def _covariance(margins: FloatArray, mask: BoolArray, mean: FloatArray) -> FloatArray:
    """Return the shrunk within-record covariance [F, F], pooled over records with two or more shadows in `mask`."""
    several = mask.sum(axis=0) > 1
    scatter = []
    for shadow, kept in zip(margins, mask & several, strict=True):
        residual = shadow[kept] - mean[kept]
        scatter.append(residual.T @ residual)
    freedom = int((mask.sum(axis=0)[several] - 1).sum())
    return shrunk(np.stack(scatter), freedom)


def shrunk(scatter: FloatArray, freedom: int) -> FloatArray:
    """Return a covariance with correlations shrunk towards zero, the more so the more shadows differ in them.

    The share of the identity is optimal after Ledoit & Wolf, with shadows as the observations: the residuals of one
    shadow on many records come from one training run and are not independent. Variances are not shrunk. Each shadow's
    scale is removed first, since only correlations are shrunk. The share is at least 1e-4.

    Args:
        scatter: float64 [K, F, F], each shadow's sum of outer products of residuals.
        freedom: total degrees of freedom.

    Source: Ledoit & Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (Journal of
    Multivariate Analysis 2004), section 3.3.
    """
    pooled = scatter.sum(axis=0) / freedom
    size = len(pooled)
    sd = np.sqrt(np.diag(pooled))
    # A version that never varies has no scale; one nat keeps its score finite.
    sd = np.where(sd > 0, sd, 1.0)
    correlation = pooled / np.outer(sd, sd)
    np.fill_diagonal(correlation, 1.0)
    shapes = scatter / np.outer(sd, sd)
    trace = np.trace(shapes, axis1=1, axis2=2)
    shapes = shapes[trace > 0] * (size / trace[trace > 0])[:, None, None]
    share = 1.0
    distance = float(((correlation - np.eye(size)) ** 2).sum())
    if len(shapes) > 1 and distance > 0:
        error = float(((shapes - shapes.mean(axis=0)) ** 2).sum()) / (len(shapes) * (len(shapes) - 1))
        share = min(1.0, max(_LEAST_SHRINKAGE, error / distance))
    return np.asarray(((1 - share) * correlation + share * np.eye(size)) * np.outer(sd, sd), dtype=np.float64)


def _log_density(difference: FloatArray, covariance: FloatArray) -> FloatArray:
    """Return the log density of differences from the mean [n, F] up to a constant, float64 [n]."""
    _, log_determinant = np.linalg.slogdet(covariance)
    distance = (difference * np.linalg.solve(covariance, difference.T).T).sum(axis=1)
    return np.asarray(-(distance + log_determinant) / 2, dtype=np.float64)
