"""LiRA on several versions of one model at once: Gaussians of as many dimensions as there are versions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeaudit.attacks.evidence import BoolArray, FloatArray
from edgeaudit.attacks.versions import ShadowVersion, TargetVersion, require_one_model
from edgeaudit.errors import AttackError

__all__ = ["JointLira", "shrunk"]

# The least share of the identity in a correlation matrix: copies of one version must not make it singular.
_LEAST_SHRINKAGE = 1e-4


@dataclass(frozen=True)
class JointLira:
    """What shadows teach about versions that an attacker holds together.

    shift: float64 [F], by how much margins of records that a model trained on are larger than those that others give.
    outside, inside: float64 [F, F], covariance of a record's margins over the shadows that did not, and that did train
    on it, pooled over records and shrunk (see `shrunk`).

    Versions are the queries of Carlini et al.'s attack with several augmentations. Those are nearly independent given
    the record; formats of one model are nearly copies, so that their covariance decides: two copies with a diagonal
    one would count as two witnesses. Offline the paper's score has no room for a covariance, since nothing says in
    which direction of R^F members lie. Shadows that trained on known records say it, and the score is the linear
    discriminant (phi - mu_out) . w, w = ((outside + inside) / 2)^-1 shift, over its OUT standard deviation. With one
    version it is LiRA's `offline-global` and, online, `online-global`.

    Source: Carlini et al., "Membership Inference Attacks From First Principles" (S&P 2022), for the
    Gaussian of several queries; Fisher's discriminant (1936) and the shared direction are ours.
    """

    shift: FloatArray
    outside: FloatArray
    inside: FloatArray

    @classmethod
    def fit(cls, shadows: Sequence[ShadowVersion]) -> JointLira:
        """From the shadows' margins on records whose membership is known for each of them.

        Raises:
            AttackError: versions of different models, or no two shadows that trained on a known record and two that
                did not.
        """
        require_one_model(shadows)
        margins = np.stack([one.known_margins for one in shadows], axis=-1)
        out = shadows[0].known_out
        (mean_out, count_out), (mean_in, count_in) = _means(margins, out), _means(margins, ~out)
        both = (count_out > 0) & (count_in > 0)
        if not ((count_out > 1).any() and (count_in > 1).any() and both.any()):
            raise AttackError(
                "joint LiRA needs records that two shadows trained on and two did not, to learn how versions vary "
                "together. Add shadows"
            )
        weight = (count_in * count_out)[both] / (count_in + count_out)[both]
        shift = ((mean_in - mean_out)[both] * weight[:, None]).sum(axis=0) / weight.sum()
        return cls(shift, _covariance(margins, out, mean_out), _covariance(margins, ~out, mean_in))

    def offline(self, shadows: Sequence[ShadowVersion], target: Sequence[TargetVersion]) -> FloatArray:
        """Score of each audited record, float64 [n]; `shadows` and `target` in the order that was fitted."""
        off = _stacked(target) - self._mean(shadows, outside=True)
        if len(self.shift) == 1:
            # One version has one direction, and LiRA is one-sided whatever the shadows show.
            return np.asarray(off[:, 0] / math.sqrt(self.outside[0, 0]), dtype=np.float64)
        weight = np.linalg.solve((self.outside + self.inside) / 2, self.shift)
        sd = math.sqrt(float(weight @ self.outside @ weight))
        # No shift at all: no direction, and every record is alike.
        return np.asarray(off @ weight / (sd if sd > 0 else 1.0), dtype=np.float64)

    def online(self, shadows: Sequence[ShadowVersion], target: Sequence[TargetVersion]) -> FloatArray:
        """Log N(phi; mu_in, inside) - log N(phi; mu_out, outside), float64 [n]. Every record needs IN and OUT shadows.

        Raises:
            AttackError: a record has none of one kind.
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
        return _means(np.stack([one.margins for one in shadows], axis=-1), mask)[0]


def _stacked(target: Sequence[TargetVersion]) -> FloatArray:
    return np.stack([one.margins for one in target], axis=-1)


def _means(margins: FloatArray, mask: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Mean over the shadows in `mask` [K, n] of `margins` [K, n, F], NaN where there is none; how many, float64 [n]."""
    count = mask.sum(axis=0).astype(np.float64)
    total = np.zeros(margins.shape[1:])
    for one, kept in zip(margins, mask, strict=True):
        total += np.where(kept[:, None], one, 0.0)
    where = np.broadcast_to(count[:, None] > 0, total.shape)
    return np.divide(total, count[:, None], out=np.full(total.shape, np.nan), where=where), count


def _covariance(margins: FloatArray, mask: BoolArray, mean: FloatArray) -> FloatArray:
    """Covariance within records, pooled over those with two or more shadows in `mask`, and shrunk; float64 [F, F]."""
    several = mask.sum(axis=0) > 1
    scatter = []
    for one, kept in zip(margins, mask & several, strict=True):
        residual = one[kept] - mean[kept]
        scatter.append(residual.T @ residual)
    freedom = int((mask.sum(axis=0)[several] - 1).sum())
    return shrunk(np.stack(scatter), freedom)


def shrunk(scatter: FloatArray, freedom: int) -> FloatArray:
    """A covariance whose correlations are pulled towards none, as far as shadows disagree about them.

    The optimal share of the identity by Ledoit & Wolf, with shadows in the place of rows: the residuals of one shadow
    on many records come from one training and are no independent draws. Variances stay as they are; each shadow's
    scale is taken out first, since what is at stake is the shape. At least 1e-4 of the identity.

    Args:
        scatter: float64 [K, F, F], each shadow's sum of outer products of residuals.
        freedom: degrees of freedom of all of them together.

    Source: Ledoit & Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (Journal of
    Multivariate Analysis 2004), section 3.3.
    """
    pooled = scatter.sum(axis=0) / freedom
    size = len(pooled)
    sd = np.sqrt(np.diag(pooled))
    # What never varies has no scale of its own; one nat keeps its score finite.
    sd = np.where(sd > 0, sd, 1.0)
    correlation = pooled / np.outer(sd, sd)
    np.fill_diagonal(correlation, 1.0)
    own = scatter / np.outer(sd, sd)
    trace = np.trace(own, axis1=1, axis2=2)
    own = own[trace > 0] * (size / trace[trace > 0])[:, None, None]
    share = 1.0
    apart = float(((correlation - np.eye(size)) ** 2).sum())
    if len(own) > 1 and apart > 0:
        error = float(((own - own.mean(axis=0)) ** 2).sum()) / (len(own) * (len(own) - 1))
        share = min(1.0, max(_LEAST_SHRINKAGE, error / apart))
    return np.asarray(((1 - share) * correlation + share * np.eye(size)) * np.outer(sd, sd), dtype=np.float64)


def _log_density(off: FloatArray, covariance: FloatArray) -> FloatArray:
    """Log density of `off` [n, F] less a constant, float64 [n]."""
    _, log_determinant = np.linalg.slogdet(covariance)
    distance = (off * np.linalg.solve(covariance, off.T).T).sum(axis=1)
    return np.asarray(-(distance + log_determinant) / 2, dtype=np.float64)
