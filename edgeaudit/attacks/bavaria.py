"""BaVarIA: LiRA with variances that borrow from all other records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy
from scipy import special

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import Evidence, FloatArray, ShadowAnswers
from edgeaudit.attacks.null_tests import ModeratedNull, log_t_sf
from edgeaudit.attacks.signals import shadow_margins, target_margins

__all__ = ["Bavaria"]

_OFFLINE = Needs(shadows=2, out=1, variance=True)
_ONLINE = Needs(shadows=4, out=1, inside=1, variance=True)


class Bavaria(Attack):
    """Predictive laws of a record's margin with variances that are moderated towards those of all records.

    Variants: `*-n`, a normal law with the moderated variance; `*-t`, Student's t with d0 + K_i - 1 degrees of freedom.
    Both have the variance s~^2 (1 + 1 / K_i) about the mean of the record's K_i OUT or IN margins, where s~^2 is
    `moderate`d with d0 and s0^2 of that side. Online: score log p_in(phi) - log p_out(phi). Offline: the signed log
    tail at phi, 0 at the mean of the OUT shadows; `offline-t` is the score of `cm-mia` `t`.

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
        inside = ModeratedNull.fit(margins, ~shadows.out) if variant.startswith("online") else None
        return _Laws(inside, ModeratedNull.fit(margins, shadows.out), student=student)


@dataclass(frozen=True)
class _Laws:
    """Of the margins of models that trained on each record (online variants), and of those that did not."""

    inside: ModeratedNull | None
    outside: ModeratedNull
    student: bool

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        phi = target_margins(evidence)
        if self.inside is not None:
            return Scores(self._log_density(phi, self.inside) - self._log_density(phi, self.outside))
        z = (phi - self.outside.mean) / self.outside.deviation
        tail = log_t_sf(np.abs(z), self.outside.df) if self.student else special.log_ndtr(-np.abs(z))
        return Scores(np.asarray(np.sign(z) * (-np.log(2) - tail), dtype=np.float64))

    def _log_density(self, phi: FloatArray, side: ModeratedNull) -> FloatArray:
        z = (phi - side.mean) / side.deviation
        density = scipy.stats.t.logpdf(z, side.df) if self.student else scipy.stats.norm.logpdf(z)
        return np.asarray(density - np.log(side.deviation), dtype=np.float64)
