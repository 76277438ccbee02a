"""CM-MIA, "Membership inference attacks against compression models" (Jin, Lou, Gao, Computing 105, 2023).

The paper's text is not public beyond its abstract; the test follows its ancestor (Long et al., EuroS&P 2020), and
every further choice is told where it is made. Shadows compressed like the target are the caller's part, abnormal
samples are in `selection`, the figures of verdicts in `edgeaudit.leakage.verdicts`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, BoolArray, Evidence, FloatArray, Needs, Scores
from edgeaudit.attacks.calibrated import calibrated, set_aside
from edgeaudit.attacks.censored import Cells, censored_test, shadow_cells, target_cells
from edgeaudit.attacks.conformal import comparable_masks, conformal_p
from edgeaudit.attacks.null_tests import ecdf, moderated_t, pchip
from edgeaudit.attacks.signals import shadow_losses, shadow_margins, target_losses, target_margins
from edgeaudit.errors import AttackError

__all__ = ["RANK_TESTS", "CmMia", "check_cutoff", "check_known", "decide", "smallest_cutoff_shadows"]

RANK_TESTS = frozenset({"ecdf", "pchip"})


class CmMia(Attack):
    """One-sided test of each record against its OUT shadows.

    Variants: `t`, `ecdf` (rank), `pchip` (as in Long et al.), `discrete` (integer outputs, whose answers are
    intervals), `calibrated` (ours, learned from shadows on the reference records). Scores: `t` gives the signed log
    tail (see `moderated_t`), `discrete` that of the mid-p (see `censored_test`), the rank tests give -p, so equal
    p-values stay ties, `calibrated` log odds.

    p-values are conformal: the rank of the record's score among those of the reference records with enough OUT
    shadows, which the target did not train on, see `comparable_masks`. What the test itself calls a p-value is
    `nominal`. It is what the paper decides by (`decide` with `ecdf` or `pchip`), and a ranking: shadows from one small
    pool overlap and resemble each other more than a target from disjoint records does, so even the exact rank test
    accuses too many nonmembers of real targets. `calibrated` has no nominal one.

    Args:
        d0: prior degrees of freedom of `t`; None for empirical Bayes.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="cm-mia",
        variants=("t", "ecdf", "pchip", "discrete", "calibrated"),
        summary="per-record test of the target's loss against shadows compressed the same way",
        paper="Jin, Lou, Gao, Computing 105, 2023; Long et al., EuroS&P 2020",
        needs=Needs(shadows=2, out=1),
        variant_needs={
            "t": Needs(shadows=2, out=1, variance=True),
            "discrete": Needs(shadows=2, out=1, variance=True, grid=True),
            "calibrated": Needs(shadows=4, out=2, reference=60, examples=200),
        },
        calibrated_p=("t", "ecdf", "pchip", "discrete", "calibrated"),
        variant_thresholds={"calibrated": 0.0},
        defaults={"d0": None},
        headline=("calibrated", "t", "ecdf"),
        reads_margins=("t", "ecdf", "pchip"),
    )

    def __init__(self, d0: float | None = None) -> None:
        self.d0 = d0

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:
        if variant == "calibrated":
            return replace(calibrated(evidence, reference), known=set_aside(reference))
        asked = _Answers.of(evidence, variant)
        score, nominal = self._tested(asked, variant)
        # A variance of two needs as many OUT shadows of the records that p-values rest on.
        served = reference.out.sum(axis=0) >= (2 if self.spec.needs_of(variant).variance else 1)
        known = _Answers.of(reference.take(served), variant)
        m = known.out.shape[1]
        if not m:
            return Scores(score, None, nominal)
        ranked, _ = self._tested(asked.with_known(known), variant)
        return Scores(score, conformal_p(ranked[:-m], ranked[-m:]), nominal, m)

    def _tested(self, answers: _Answers, variant: str) -> tuple[FloatArray, FloatArray]:
        """Score and the test's own p-value."""
        target, shadows, out = answers.target, answers.shadows, answers.out
        if isinstance(target, Cells) and isinstance(shadows, Cells):
            tested = censored_test(target, shadows, out)
            return tested.score, tested.p_value
        target, shadows = np.asarray(target), np.asarray(shadows)
        if variant == "t":
            result = moderated_t(target, shadows, out, self.d0)
            return result.score, result.p_value
        p_value = (ecdf if variant == "ecdf" else pchip)(target, shadows, out)
        return -p_value, p_value


@dataclass(frozen=True)
class _Answers:
    """What a test reads: the target's signal [n], the shadows' [K, n], of `discrete` as cells; the out mask [K, n]."""

    target: FloatArray | Cells
    shadows: FloatArray | Cells
    out: BoolArray

    @classmethod
    def of(cls, evidence: Evidence, variant: str) -> _Answers:
        if variant == "discrete":
            return cls(target_cells(evidence), shadow_cells(evidence), evidence.out)
        if variant == "t":
            return cls(target_margins(evidence), shadow_margins(evidence), evidence.out)
        return cls(target_losses(evidence), shadow_losses(evidence), evidence.out)

    def with_known(self, known: _Answers) -> _Answers:
        """These records and then known nonmembers, with masks under which the two are exchangeable.

        They are tested as one set, since what a test estimates from all records (the prior of variances) would
        otherwise differ between the two.
        """
        masks = comparable_masks(_points(self.shadows), self.out, _points(known.shadows), known.out)
        return _Answers(
            _joined(self.target, known.target), _joined(self.shadows, known.shadows), np.concatenate(masks, axis=1)
        )


def _points(signal: FloatArray | Cells) -> FloatArray:
    return signal.point() if isinstance(signal, Cells) else signal


def _joined(one: FloatArray | Cells, two: FloatArray | Cells) -> FloatArray | Cells:
    if isinstance(one, Cells) and isinstance(two, Cells):
        return Cells(np.concatenate((one.low, two.low), axis=-1), np.concatenate((one.high, two.high), axis=-1))
    return np.concatenate((np.asarray(one), np.asarray(two)), axis=-1)


def smallest_cutoff_shadows(cutoff: float) -> int:
    """The smallest K whose smallest rank p-value 1/(K+1) is at or below `cutoff`: .05 -> 19, .01 -> 99.

    Compared as `decide` compares, in floats, so a K that this names does fire. Raises `AttackError` unless
    1e-12 <= cutoff < 1.
    """
    if not 1e-12 <= cutoff < 1:
        raise AttackError(f"a cutoff is a p-value, at least 1e-12 and below 1: {cutoff}")
    # 1/cutoff may round to either side of the integer it should be, so the search starts below it.
    k = max(1, int(1 / cutoff) - 2)
    while 1 / (k + 1) > cutoff:
        k += 1
    return k


def check_cutoff(cutoff: float, k: int, variant: str) -> None:
    """Raise `AttackError` where the nominal p-values of `variant` cannot resolve `cutoff`; only ranks are bounded.

    Args:
        cutoff: see `smallest_cutoff_shadows`.
        k: OUT shadows.
        variant: one of `CmMia`'s.
    """
    needed = smallest_cutoff_shadows(cutoff)
    if variant in RANK_TESTS and k < needed:
        raise AttackError(
            f"cutoff {cutoff:g} needs at least {needed} shadows for the rank test '{variant}' "
            f"(the smallest p-value is 1/(K+1)); this audit has {k}"
        )


def check_known(cutoff: float, known: int) -> None:
    """Raise `AttackError` where conformal p-values among `known` nonmembers cannot resolve `cutoff`."""
    needed = smallest_cutoff_shadows(cutoff)
    if known < needed:
        raise AttackError(
            f"cutoff {cutoff:g} needs at least {needed} known nonmembers for a conformal p-value (the smallest is "
            f"1/(m+1)); this audit has {known}. Add reference records ('calibrated' sets a third of them aside)"
        )


def decide(p_value: FloatArray, abnormal: BoolArray, cutoff: float) -> BoolArray:
    """Records called members: p <= cutoff and in the abnormal set. The rest is an abstention, not "nonmember".

    Args:
        p_value: float64 [n].
        abnormal: bool [n], from `selection`.
        cutoff: inclusive, compared in floats.
    """
    if p_value.shape != abnormal.shape or abnormal.dtype != np.bool_:
        raise AttackError(
            f"p-values {p_value.shape} and the abnormal mask {abnormal.shape} ({abnormal.dtype}) do not fit"
        )
    return np.asarray(abnormal & (p_value <= cutoff), dtype=np.bool_)
