"""CM-MIA, "Membership inference attacks against compression models" (Jin, Lou, Gao, Computing 105, 2023).

Only the paper's abstract is public. The test follows its predecessor (Long et al., EuroS&P 2020), and every further
choice is explained where it is made. The caller compresses the shadows like the target; `selection` selects abnormal
samples, and `edgeaudit.leakage.verdicts` computes the figures of verdicts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeAlias

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Learned, Needs, Scores
from edgeaudit.attacks.calibrated import Calibrated
from edgeaudit.attacks.calibrated_online import CalibratedOnline
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
    intervals), and two of our own: `calibrated` (fitted to shadows on the reference records) and `calibrated-online`
    (to shadows on the audited records, in auditor mode). Scores: `t` gives the signed log tail (see `ModeratedNull`),
    `discrete` that of the mid-p (see `CensoredNull`), the rank tests give -p, so equal p-values remain tied, and our
    own give log odds.

    p-values are conformal: the rank of the record's score among those of the reference records with enough OUT
    shadows, which the target did not train on, see `comparable_masks`. The test's own p-value is `nominal`; the paper
    decides by it (`decide` with `ecdf` or `pchip`). It serves for ranking only: shadows from one small pool share
    records and are closer to each other than to a target trained on disjoint records, so even the exact rank test has
    too many false positives on real targets. `calibrated` has no nominal p-value, and `calibrated-online` none at all.

    Args:
        d0: prior degrees of freedom of `t`; None for empirical Bayes.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="cm-mia",
        variants=("t", "ecdf", "pchip", "discrete", "calibrated", "calibrated-online"),
        summary="per-record test of the target's loss against shadows compressed the same way",
        paper="Jin, Lou, Gao, Computing 105, 2023; Long et al., EuroS&P 2020",
        needs=Needs(shadows=2, out=1),
        variant_needs={
            "t": Needs(shadows=2, out=1, variance=True),
            "discrete": Needs(shadows=2, out=1, variance=True, classes=True, grid=True),
            "calibrated": Needs(shadows=4, out=2, reference=60, examples=400),
            "calibrated-online": Needs(shadows=4, out=1, inside=1, variance=True),
        },
        calibrated_p=("t", "ecdf", "pchip", "discrete", "calibrated"),
        variant_thresholds={"calibrated": 0.0, "calibrated-online": 0.0},
        defaults={"d0": None},
        headline=("calibrated", "calibrated-online", "t", "ecdf"),
        reads_margins=("t", "ecdf", "pchip"),
    )

    def __init__(self, d0: float | None = None) -> None:
        self.d0 = d0

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> Learned:
        if variant == "calibrated":
            return Calibrated.fit(shadows, reference)
        if variant == "calibrated-online":
            return CalibratedOnline.fit(shadows)
        # A variance needs two OUT shadows, also on the known nonmembers behind the p-values.
        served = reference.out.sum(axis=0) >= (2 if self.spec.needs_of(variant).variance else 1)
        fit, shadows_of, target_of = self._test(variant)
        audited = _Shadows(shadows_of(shadows), shadows.out)
        alone = fit(audited.signal, audited.out)
        if not served.any():
            return _Tested(target_of, alone, None, served)
        known = reference.take(served)
        joined = audited.with_known(_Shadows(shadows_of(known), known.out))
        return _Tested(target_of, alone, fit(joined.signal, joined.out), served)

    def _test(self, variant: str) -> tuple[_Fit, Callable[[ShadowAnswers], _Signal], Callable[[Evidence], _Signal]]:
        """Return the functions that fit the null distribution and that read the signal of shadows and of the target."""
        if variant == "discrete":
            return _discrete, shadow_cells, target_cells
        if variant == "t":
            return partial(_moderated, d0=self.d0), shadow_margins, target_margins
        return partial(_ranked, test=ecdf if variant == "ecdf" else pchip), shadow_losses, target_losses


_Signal: TypeAlias = "FloatArray | Cells"
"""The signal of the target, [n], or of shadows, [K, n]; cells for `discrete`."""
_Null = Callable[[_Signal], tuple[FloatArray, FloatArray]]
"""The target's signal -> score and nominal p-value."""
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
    """The test of the audited records, and the joint test with known nonmembers, which gives p-values.

    target_of: reads the tested signal. alone: the null of the audited records. joined: the null of the audited records
    followed by the reference records in `served`, bool [reference]; None where there are none.
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
    """Input of a test: the shadows' signal [K, n] (cells for `discrete`) and out mask [K, n]."""

    signal: _Signal
    out: BoolArray

    def with_known(self, known: _Shadows) -> _Shadows:
        """Append known nonmembers, with out masks under which both sets of records are exchangeable.

        Both are tested as one set, since estimates over all records (the prior of variances) would otherwise differ
        between the two.
        """
        masks = comparable_masks(_points(self.signal), self.out, _points(known.signal), known.out)
        return _Shadows(_concatenated(self.signal, known.signal), np.concatenate(masks, axis=1))


def _cells(signal: _Signal) -> Cells:
    if not isinstance(signal, Cells):
        raise AttackError("the test of integer outputs needs intervals")
    return signal


def _points(signal: _Signal) -> FloatArray:
    return signal.point() if isinstance(signal, Cells) else signal


def _take(signal: _Signal, records: BoolArray) -> _Signal:
    if isinstance(signal, Cells):
        return Cells(signal.low[records], signal.high[records])
    return np.asarray(signal[records], dtype=np.float64)


def _concatenated(first: _Signal, second: _Signal) -> _Signal:
    if isinstance(first, Cells) and isinstance(second, Cells):
        low = np.concatenate((first.low, second.low), axis=-1)
        return Cells(low, np.concatenate((first.high, second.high), axis=-1))
    return np.concatenate((np.asarray(first), np.asarray(second)), axis=-1)


def smallest_cutoff_shadows(cutoff: float) -> int:
    """Return the smallest K whose smallest rank p-value 1/(K+1) is at or below `cutoff`: .05 -> 19, .01 -> 99.

    The comparison is in floats, as in `decide`, so that a record can reach the cutoff with this K. Raises `AttackError`
    unless 1e-12 <= cutoff < 1.
    """
    if not 1e-12 <= cutoff < 1:
        raise AttackError(f"a cutoff is a p-value, at least 1e-12 and below 1: {cutoff}")
    # 1/cutoff may round to either side of the exact integer, so the search starts below it.
    k = max(1, int(1 / cutoff) - 2)
    while 1 / (k + 1) > cutoff:
        k += 1
    return k


def check_cutoff(cutoff: float, k: int, variant: str) -> None:
    """Raise `AttackError` where the nominal p-values of `variant` cannot resolve `cutoff`; only rank tests are limited.

    Args:
        cutoff: see `smallest_cutoff_shadows`.
        k: number of OUT shadows.
        variant: one of the variants of `CmMia`.
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
    """Return the records called members: p <= cutoff and in the abnormal set. Others are abstentions, not "nonmember".

    Args:
        p_value: float64 [n].
        abnormal: bool [n], from `selection`.
        cutoff: inclusive, compared in floats.
    """
    if p_value.shape != abnormal.shape or abnormal.dtype != np.bool_:
        raise AttackError(
            f"p-values {p_value.shape} and the abnormal mask {abnormal.shape} ({abnormal.dtype}) do not match; the "
            "mask must be bool and have the p-values' shape"
        )
    return np.asarray(abnormal & (p_value <= cutoff), dtype=np.bool_)
