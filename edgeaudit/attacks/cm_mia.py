"""CM-MIA, "Membership inference attacks against compression models" (Jin, Lou, Gao, Computing 105, 2023).

The paper's text is not public beyond its abstract; the test follows its ancestor (Long et al., EuroS&P 2020), and
every further choice is explained where it is made. Shadows compressed like the target are the caller's part, abnormal
samples are in `selection`, the figures of verdicts in `edgeaudit.leakage.verdicts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeAlias

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Learned, Needs, Scores
from edgeaudit.attacks.calibrated import Calibrated
from edgeaudit.attacks.censored import Cells, CensoredNull, shadow_cells, target_cells
from edgeaudit.attacks.conformal import comparable_masks, conformal_p
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, ShadowAnswers
from edgeaudit.attacks.null_tests import ModeratedNull, ecdf, pchip
from edgeaudit.attacks.signals import shadow_losses, shadow_margins, target_losses, target_margins
from edgeaudit.errors import AttackError

__all__ = ["RANK_TESTS", "CmMia", "check_cutoff", "check_known", "decide", "smallest_cutoff_shadows"]

RANK_TESTS = frozenset({"ecdf", "pchip"})


class CmMia(Attack):
    """One-sided test of each record against its OUT shadows.

    Variants: `t`, `ecdf` (rank), `pchip` (as in Long et al.), `discrete` (integer outputs, whose answers are
    intervals), `calibrated` (ours, learned from shadows on the reference records). Scores: `t` gives the signed log
    tail (see `ModeratedNull`), `discrete` that of the mid-p (see `CensoredNull`), the rank tests give -p, so equal
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

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> Learned:
        if variant == "calibrated":
            return Calibrated.fit(shadows, reference)
        # A variance of two needs as many OUT shadows of the records that p-values rest on.
        served = reference.out.sum(axis=0) >= (2 if self.spec.needs_of(variant).variance else 1)
        fit, shadows_of, target_of = self._test(variant)
        own = _Shadows(shadows_of(shadows), shadows.out)
        alone = fit(own.signal, own.out)
        if not served.any():
            return _Tested(target_of, alone, None, served)
        known = reference.take(served)
        joined = own.with_known(_Shadows(shadows_of(known), known.out))
        return _Tested(target_of, alone, fit(joined.signal, joined.out), served)

    def _test(self, variant: str) -> tuple[_Fit, Callable[[ShadowAnswers], _Signal], Callable[[Evidence], _Signal]]:
        """How the null is fitted, and what of shadows and target it reads."""
        if variant == "discrete":
            return _discrete, shadow_cells, target_cells
        if variant == "t":
            return partial(_moderated, d0=self.d0), shadow_margins, target_margins
        return partial(_ranked, test=ecdf if variant == "ecdf" else pchip), shadow_losses, target_losses


_Signal: TypeAlias = "FloatArray | Cells"
"""Of the target [n] or of shadows [K, n]; of `discrete` cells."""
_Null = Callable[[_Signal], tuple[FloatArray, FloatArray]]
"""The target's signal -> score and the test's own p-value."""
_Fit = Callable[[_Signal, BoolArray], _Null]


def _discrete(shadows: _Signal, out: BoolArray) -> _Null:
    null = CensoredNull.fit(_cells(shadows), out)

    def test(target: _Signal) -> tuple[FloatArray, FloatArray]:
        tested = null.test(_cells(target))
        return tested.score, tested.p_value

    return test


def _moderated(shadows: _Signal, out: BoolArray, d0: float | None) -> _Null:
    null = ModeratedNull.fit(np.asarray(shadows), out, d0)

    def test(target: _Signal) -> tuple[FloatArray, FloatArray]:
        tested = null.test(np.asarray(target))
        return tested.score, tested.p_value

    return test


def _ranked(shadows: _Signal, out: BoolArray, test: Callable[[FloatArray, FloatArray, BoolArray], FloatArray]) -> _Null:
    losses = np.asarray(shadows)

    def ranked(target: _Signal) -> tuple[FloatArray, FloatArray]:
        p_value = test(np.asarray(target), losses, out)
        return -p_value, p_value

    return ranked


@dataclass(frozen=True)
class _Tested:
    """A test of each record by itself, and one beside known nonmembers, which gives p-values.

    target_of: the signal that is tested. alone: on the audited records. joined: on these and then the reference records
    that are `served`, bool [reference]; None where there are none.
    """

    target_of: Callable[[Evidence], _Signal]
    alone: _Null
    joined: _Null | None
    served: BoolArray

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        target = self.target_of(evidence)
        score, nominal = self.alone(target)
        if self.joined is None:
            return Scores(score, None, nominal)
        m = int(self.served.sum())
        ranked, _ = self.joined(_concatenated(target, _take(self.target_of(reference), self.served)))
        return Scores(score, conformal_p(ranked[:-m], ranked[-m:]), nominal, m)


@dataclass(frozen=True)
class _Shadows:
    """What a test reads of shadows: their signal [K, n], of `discrete` as cells, and the out mask [K, n]."""

    signal: _Signal
    out: BoolArray

    def with_known(self, known: _Shadows) -> _Shadows:
        """These records and then known nonmembers, with masks under which the two are exchangeable.

        They are tested as one set, since what a test estimates from all records (the prior of variances) would
        otherwise differ between the two.
        """
        masks = comparable_masks(_points(self.signal), self.out, _points(known.signal), known.out)
        return _Shadows(_concatenated(self.signal, known.signal), np.concatenate(masks, axis=1))


def _cells(signal: _Signal) -> Cells:
    if not isinstance(signal, Cells):
        raise AttackError("the test of integer outputs reads intervals")
    return signal


def _points(signal: _Signal) -> FloatArray:
    return signal.point() if isinstance(signal, Cells) else signal


def _take(signal: _Signal, records: BoolArray) -> _Signal:
    if isinstance(signal, Cells):
        return Cells(signal.low[records], signal.high[records])
    return np.asarray(signal[records], dtype=np.float64)


def _concatenated(one: _Signal, two: _Signal) -> _Signal:
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
