"""CM-MIA, "Membership inference attacks against compression models" (Jin, Lou, Gao, Computing 105, 2023).

The paper's text is not public beyond its abstract; the test follows its ancestor (Long et al., EuroS&P 2020), and
every further choice is told where it is made. Shadows compressed like the target are the caller's part, abnormal
samples are in `selection`, the figures of verdicts in `edgeaudit.leakage.verdicts`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, BoolArray, Evidence, FloatArray, Needs, Scores
from edgeaudit.attacks.calibrated import calibrated
from edgeaudit.attacks.censored import censored_test, shadow_cells, target_cells
from edgeaudit.attacks.null_tests import ecdf, moderated_t, pchip
from edgeaudit.attacks.signals import shadow_losses, shadow_margins, target_losses, target_margins
from edgeaudit.errors import AttackError

__all__ = ["RANK_TESTS", "CmMia", "check_cutoff", "decide", "smallest_cutoff_shadows"]

RANK_TESTS = frozenset({"ecdf", "pchip"})


class CmMia(Attack):
    """One-sided test of each record against its OUT shadows.

    Variants: `t` (ranking), `ecdf` (default for verdicts; valid p), `pchip` (as in Long et al.), `discrete` (ranking
    of integer outputs, whose answers are intervals), `calibrated` (ours: ranking and valid p, learned from shadows on
    the reference records). Scores: `t` gives the signed log tail (see `moderated_t`), `discrete` that of the mid-p
    (see `censored_test`), the rank tests give -p, so equal p-values stay ties, `calibrated` log odds.

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
        calibrated_p=("ecdf", "calibrated"),
        variant_thresholds={"calibrated": 0.0},
        defaults={"d0": None},
        headline=("calibrated", "t", "ecdf"),
        reads_margins=("t", "ecdf", "pchip"),
    )

    def __init__(self, d0: float | None = None) -> None:
        self.d0 = d0

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:
        if variant == "calibrated":
            return calibrated(evidence, reference)
        if variant == "discrete":
            tested = censored_test(target_cells(evidence), shadow_cells(evidence), evidence.out)
            return Scores(tested.score, tested.p_value)
        if variant == "t":
            result = moderated_t(target_margins(evidence), shadow_margins(evidence), evidence.out, self.d0)
            return Scores(result.score, result.p_value)
        test = ecdf if variant == "ecdf" else pchip
        p_value = test(target_losses(evidence), shadow_losses(evidence), evidence.out)
        return Scores(-p_value, p_value)


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


def check_cutoff(cutoff: float, k: int, variant: str, known: int = 0) -> None:
    """Raise `AttackError` where `variant` cannot resolve `cutoff`; `t` and `discrete` always can.

    Args:
        cutoff: see `smallest_cutoff_shadows`.
        k: OUT shadows, which bound the rank tests.
        variant: one of `CmMia`'s.
        known: nonmembers that are set aside, which bound `calibrated` as shadows bound a rank test.
    """
    needed = smallest_cutoff_shadows(cutoff)
    if variant in RANK_TESTS and k < needed:
        raise AttackError(
            f"cutoff {cutoff:g} needs at least {needed} shadows for the rank test '{variant}' "
            f"(the smallest p-value is 1/(K+1)); this audit has {k}"
        )
    if variant == "calibrated" and known < needed:
        raise AttackError(
            f"cutoff {cutoff:g} needs at least {needed} known nonmembers set aside for 'calibrated' (the smallest "
            f"p-value is 1/(m+1)); this audit has {known}, a third of its reference records"
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
