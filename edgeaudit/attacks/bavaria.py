"""BaVarIA: LiRA with variances that borrow from all other records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy
from scipy import special

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, ShadowAnswers
from edgeaudit.attacks.null_tests import log_t_sf
from edgeaudit.attacks.out_statistics import out_statistics
from edgeaudit.attacks.signals import shadow_margins, target_margins
from edgeaudit.attacks.variance_prior import fit_prior, moderate

__all__ = ["Bavaria"]

_OFFLINE = Needs(shadows=2, out=1, variance=True)
_ONLINE = Needs(shadows=4, out=1, inside=1, variance=True)


class Bavaria(Attack):
    """Predictive laws of a record's margin with variances that are moderated towards those of all records.

    Variants: `*-n`, a normal law with the moderated variance; `*-t`, Student's t with d0 + K_i - 1 degrees of freedom.
    Both have the variance s~^2 (1 + 1 / K_i) about the mean of the record's K_i OUT or IN margins, where s~^2 is
    `moderate`d with d0 and s0^2 of that side. Online: score log p_in(phi) - log p_out(phi). Offline: the signed log
    tail at phi, from OUT shadows; `offline-t` ranks as `cm-mia` `t` does.

    Source: Brännvall, "Exponential-Family Membership Inference: From LiRA and RMIA to BaVarIA" (arXiv 2603.11799,
    2026), whose prior is normal-inverse-gamma. Deviation: the prior of the variance is estimated from the records by
    Smyth's method (2004), and that of the mean is flat.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="bavaria",
        variants=("offline-t", "offline-n", "online-t", "online-n"),
        summary="LiRA with moderated variances, normal or Student's t",
        paper="Brännvall, arXiv 2603.11799, 2026",
        needs=_OFFLINE,
        variant_needs={"online-t": _ONLINE, "online-n": _ONLINE},
        reads_margins=("offline-t", "offline-n", "online-t", "online-n"),
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Laws:  # noqa: ARG002
        margins, student = shadow_margins(shadows), variant.endswith("-t")
        inside = _predictive(margins, ~shadows.out) if variant.startswith("online") else None
        return _Laws(inside, _predictive(margins, shadows.out), student=student)


@dataclass(frozen=True)
class _Laws:
    """Of the margins of models that trained on each record (online variants), and of those that did not."""

    inside: _Predictive | None
    outside: _Predictive
    student: bool

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        phi = target_margins(evidence)
        if self.inside is None:
            return Scores(self.outside.surprise(phi, student=self.student))
        inside, outside = (side.log_density(phi, student=self.student) for side in (self.inside, self.outside))
        return Scores(inside - outside)


@dataclass(frozen=True)
class _Predictive:
    """mean, sd, freedom: float64 [n], of each record's next margin on one side."""

    mean: FloatArray
    sd: FloatArray
    freedom: FloatArray

    def log_density(self, phi: FloatArray, *, student: bool) -> FloatArray:
        """Return the log density at phi, float64 [n]."""
        z = (phi - self.mean) / self.sd
        density = scipy.stats.t.logpdf(z, self.freedom) if student else scipy.stats.norm.logpdf(z)
        return np.asarray(density - np.log(self.sd), dtype=np.float64)

    def surprise(self, phi: FloatArray, *, student: bool) -> FloatArray:
        """Return minus the log of the upper tail at phi, or the log of the lower tail where that is smaller, [n]."""
        z = (phi - self.mean) / self.sd
        tail = log_t_sf(np.abs(z), self.freedom) if student else special.log_ndtr(-np.abs(z))
        return np.asarray(np.where(z >= 0, -tail, tail), dtype=np.float64)


def _predictive(margins: FloatArray, kept: BoolArray) -> _Predictive:
    """Fit to the margins [K, n] of the shadows in `kept` [K, n]."""
    moments = out_statistics(margins, kept)
    df = moments.count - 1
    variance, freedom = moderate(moments.variance, df, fit_prior(moments.variance, df))
    return _Predictive(moments.mean, np.sqrt(variance * (1 + 1 / moments.count)), freedom)
