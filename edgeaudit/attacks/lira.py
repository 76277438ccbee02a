"""LiRA: the target's margin against Gaussians of the record's OUT margins and, online, of its IN margins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, ShadowAnswers
from edgeaudit.attacks.out_statistics import out_statistics
from edgeaudit.attacks.signals import shadow_margins, target_margins
from edgeaudit.attacks.variance_prior import pooled_variance, variance_floor

__all__ = ["Lira", "default_variant"]

_OFFLINE = Needs(shadows=2, out=1, variance=True)
_ONLINE = Needs(shadows=4, out=1, inside=1, variance=True)


def default_variant(shadows: int) -> str:
    """Return the global variance below 64 shadows, where per-record variances are too noisy; per-record from 64 on."""
    return "offline-global" if shadows < 64 else "offline-per-record"


class Lira(Attack):
    """Gaussian likelihoods of the margin phi.

    Offline: score z = (phi - mu_out) / s_out, p = P[Z >= z]: one-sided, so a margin below the OUT mean never scores
    high. The paper's score Pr[Z <= phi] = 1 - p is a strictly increasing function of z; z is returned because the
    former rounds to 1 at z = 8.3 and would tie the records with the highest scores.
    Online: score log N(phi; mu_in, s_in^2) - log N(phi; mu_out, s_out^2), no p-value.

    Variants: `*-global` (default below 64 shadows): s^2 of the OUT or IN margins is pooled over all records.
    `*-per-record` (default from 64 on): s^2 is the record's own, ddof 1, and at least `variance_floor`; for a record
    with a single OUT or IN shadow it is the pooled one. The same function computes OUT and IN variances, each from its
    own shadows.

    Source: Carlini et al., "Membership Inference Attacks From First Principles" (S&P 2022), algorithm 1 and equation
    4. Deviation from the authors' code, whose fixed variance is that of all margins of all records: this one is pooled
    within records, so it does not include differences in difficulty. Offline that is a common factor, which does not
    change the ranking and makes z a number of standard deviations. The p-values assume a known Gaussian and are not
    valid tests.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="lira",
        variants=("offline-global", "offline-per-record", "online-global", "online-per-record"),
        summary="Gaussian likelihood of the margin under the record's OUT (and, online, IN) shadows",
        paper="Carlini et al., S&P 2022",
        needs=_OFFLINE,
        variant_needs={"online-global": _ONLINE, "online-per-record": _ONLINE},
        reads_margins=("offline-global", "offline-per-record", "online-global", "online-per-record"),
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Gaussians:  # noqa: ARG002
        margins, per_record = shadow_margins(shadows), variant.endswith("per-record")
        outside = _side(margins, shadows.out, per_record=per_record)
        if variant.startswith("offline"):
            return _Gaussians(outside, None)
        return _Gaussians(outside, _side(margins, ~shadows.out, per_record=per_record))


@dataclass(frozen=True)
class _Gaussians:
    """Distributions of the margin of models that did not and, for online variants, that did train on each record."""

    outside: _Side
    inside: _Side | None

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        phi = target_margins(evidence)
        if self.inside is not None:
            return Scores(self.inside.log_density(phi) - self.outside.log_density(phi))
        z = (phi - self.outside.mean) / np.sqrt(self.outside.variance)
        return Scores(z, nominal=np.asarray(scipy.stats.norm.sf(z), dtype=np.float64))


@dataclass(frozen=True)
class _Side:
    """Gaussians of the records' OUT or IN margins. mean, variance: float64 [n], variance > 0."""

    mean: FloatArray
    variance: FloatArray

    def log_density(self, phi: FloatArray) -> FloatArray:
        """Return log N(phi; mean, variance) + log(2 pi) / 2, float64 [n]."""
        return np.asarray(-((phi - self.mean) ** 2 / self.variance + np.log(self.variance)) / 2, dtype=np.float64)


def _side(margins: FloatArray, kept: BoolArray, *, per_record: bool) -> _Side:
    """Fit Gaussians to the margins [K, n] of the shadows in `kept` [K, n]: the OUT shadows, or the IN shadows.

    per_record: use each record's own variance instead of the pooled one.
    """
    moments = out_statistics(margins, kept)
    df = moments.count - 1
    pooled = np.full(len(df), pooled_variance(moments.variance, df))
    if not per_record:
        return _Side(moments.mean, pooled)
    floored = np.maximum(moments.variance, variance_floor(moments.variance, df))
    return _Side(moments.mean, np.where(df > 0, floored, pooled))
