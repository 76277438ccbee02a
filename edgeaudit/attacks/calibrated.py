"""CM-MIA's calibrated test: classifiers fitted to shadows that play the target, p-values from known nonmembers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.base import Scores
from edgeaudit.attacks.calibrated_features import (
    COLUMNS,
    RISING,
    Alignment,
    Context,
    ShadowSignals,
    Signals,
    SpreadModel,
    context,
    features,
)
from edgeaudit.attacks.conformal import conformal_p, lent_masks
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, IntArray, ShadowAnswers
from edgeaudit.attacks.out_statistics import out_statistics
from edgeaudit.attacks.threshold import youden_threshold
from edgeaudit.attacks.variance_prior import pooled_variance
from edgeaudit.errors import AttackError

__all__ = ["Calibrated", "set_aside"]

_MOST_ROWS = 400_000
_LEAST_OUT = 2
_LEAST_PLAYED = 10
_PARTS = 3
_PHI, _MEAN_PHI, _T = (COLUMNS.index(name) for name in ("phi", "mean phi", "t"))
_TAIL = 2.0

_Rows = npt.NDArray[np.float32]
_Play = tuple[_Rows, BoolArray]
"""Features [rows, d] of one shadow that plays the target, and bool [rows], whether it trained on each record."""


def set_aside(out: BoolArray) -> int:
    """Return the number of nonmembers behind the p-values of `Calibrated`: a third of those with two OUT shadows.

    out: bool [K, reference].
    """
    return int((out.sum(axis=0) >= _LEAST_OUT).sum()) // _PARTS


@dataclass(frozen=True)
class Calibrated:
    """Score: mean log odds of membership by two classifiers, plus a tail term, minus a threshold. p: split-conformal.

    The reference records, which the target did not train on and some shadows did, are split at random into three parts:

    - Two parts train one classifier each. Every shadow plays the target against the others, as in `Evidence.play`. A
      row is a (shadow, record) pair, its label is whether the shadow trained on the record, and its columns are
      `calibrated_features`. For an IN record one OUT shadow is omitted (see `_omitted`). The alignment of a play is
      fitted to the other part's records that the shadow did not train on, so that it has seen neither the members nor
      the nonmembers of the play; the target's alignment is fitted to both parts. Each classifier then scores the other
      part's plays, and the threshold maximises TPR - FPR over them (Youden 1950). A score of 0 or more means member.
      The tail term ranks records far above almost all nonmembers, see `_tail`.
    - The third part calibrates: p = (1 + #{z: s(z) >= s(x)}) / (m + 1) over its m records z. Nothing is fitted to them,
      and the same function scores audited records and z's. With two parts only, a z would have the log odds of the one
      classifier that was not trained on it, and an audited record the mean of two, which has less variance: they would
      not be exchangeable. p does not depend on K; its minimum is 1/(m + 1).

    p is valid, P(p <= a) <= a, for nonmembers from the same population as the z's. In the adversary threat model an
    audited record has K OUT shadows and a z has fewer, which alone makes their scores differ (6 shadows, each trained
    on half: 5.9% at nominal 5%). So p compares scores without the shadows that trained on some z, see
    `_with_lent_masks`. The score itself uses all K: it ranks audited records among each other, and more shadows rank
    better (Letter, 70% pruned INT8, 32 shadows: TPR at 1% FPR .072 with all, .062 with as many as a z has). Hence p
    and score may order records differently.

    Everything but the target's alignment depends on shadows and reference records only, and is fitted once by `fit`.

    Attributes:
        audited, lent: signals of the shadows on the records to score, with their own and with lent out masks.
        known: signals of the shadows on the reference records in `served`.
        served: bool [reference], records with two OUT shadows.
        fitting, rest: positions in `known` of the first two parts, and of the third.
        about, spread: context and spread model of the first two parts.
        classifiers: the two classifiers and their threshold.

    Source: our own design; related to Shokri et al. (S&P 2017) and Carlini et al. (S&P 2022). Conformal p-values: Vovk,
    Gammerman, Shafer, "Algorithmic Learning in a Random World" (2005), section 2.2.
    """

    audited: ShadowSignals
    lent: ShadowSignals
    known: ShadowSignals
    served: BoolArray
    fitting: IntArray
    rest: IntArray
    about: Context
    spread: SpreadModel
    classifiers: _Classifiers
    classes: int

    @classmethod
    def fit(cls, shadows: ShadowAnswers, reference: ShadowAnswers) -> Calibrated:
        """Fit to plays on the reference records.

        Args:
            shadows: answers on the records to score, each with two or more OUT shadows.
            reference: answers on reference records; those with fewer than two OUT shadows are left out.

        Raises:
            AttackError: a part is empty, or has no rows of members or none of nonmembers.
        """
        served = np.asarray(reference.out.sum(axis=0) >= _LEAST_OUT, dtype=np.bool_)
        known = ShadowSignals.of_shadows(reference.take(served))
        *parts, rest = _parts(known)
        fitting, classes = np.concatenate(parts), shadows.shadows.shape[2]
        about = context(known.take(fitting))
        spread = SpreadModel.fit(about)
        classifiers = _learn(known, parts, spread, classes)
        audited = ShadowSignals.of_shadows(shadows)
        lent = _with_lent_masks(audited, known)
        return cls(audited, lent, known, served, fitting, rest, about, spread, classifiers, classes)

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        """Score one target on the records passed to `fit`."""
        known, n = self.known.with_target(reference, self.served), len(evidence.labels)
        alignment = Alignment.fit(known.take(self.fitting), self.about, self.spread.sd(self.about), self.classes)
        signals = self.audited.with_target(evidence), self.lent.with_target(evidence), known.take(self.rest)
        scores = self.classifiers.score(np.concatenate([_features(part, self.spread, alignment) for part in signals]))
        p_value = conformal_p(scores[n : 2 * n], scores[2 * n :])
        return Scores(scores[:n], p_value, known=set_aside(reference.out))


@dataclass(frozen=True)
class _Classifiers:
    """Two classifiers, the pooled sd of OUT margins, and the threshold that maximises TPR - FPR over the plays."""

    models: tuple[Any, ...]
    sd: float
    threshold: float

    def score(self, rows: FloatArray) -> FloatArray:
        """Score rows of `features`, float64 [n]; the rows are rounded to float32 as in training."""
        rounded = rows.astype(np.float32)
        odds = sum(model.decision_function(rounded) for model in self.models) / len(self.models)
        return np.asarray(odds + _tail(rounded, self.sd) - self.threshold, dtype=np.float64)


def _tail(rows: _Rows, sd: float) -> FloatArray:
    """Return max(t - 2, 0) + max(g - 2, 0) for rows of `features`, float64 [n], with g = (phi - mean phi) / sd.

    t is moderated by each record's own spread; g uses one spread for all records. Trees are constant beyond their last
    split, which is where the TPR at a low FPR is decided, and t and g still rank records there. Which of the two ranks
    better differs between formats, and the plays cannot show it, because shadows are closer to each other than to the
    target. So both are added, but only where nonmembers are rare: the trees keep the order of all other records. Chosen
    on Letter (docs/attacks/cm-mia.md).
    """
    t = rows[:, _T].astype(np.float64)
    g = (rows[:, _PHI].astype(np.float64) - rows[:, _MEAN_PHI]) / sd
    return np.asarray(np.maximum(t - _TAIL, 0) + np.maximum(g - _TAIL, 0), dtype=np.float64)


def _learn(known: ShadowSignals, parts: list[IntArray], spread: SpreadModel, classes: int) -> _Classifiers:
    """Train one classifier on the plays of each part, and choose the threshold on the plays of the other part."""
    most = max(1, _MOST_ROWS // (len(parts) * len(known.out)))
    plays: list[list[_Play]] = []
    for training, other in (parts, parts[::-1]):
        rows = training[np.linspace(0, len(training) - 1, min(len(training), most)).astype(np.int64)]
        plays.append(list(_plays(known.take(rows), known.take(other), spread, classes)))
    models = tuple(_train(*_joined(part)) for part in plays)
    sd = _pooled_sd(known.take(np.concatenate(parts)))
    scores, trained = zip(*_held_out_scores(models, plays[::-1], sd), strict=True)
    return _Classifiers(models, sd, youden_threshold(np.concatenate(scores), np.concatenate(trained)))


def _pooled_sd(signals: ShadowSignals) -> float:
    moments = out_statistics(signals.shadow_phi, signals.out)
    return math.sqrt(pooled_variance(moments.variance, moments.count - 1))


def _held_out_scores(
    models: Sequence[Any], unseen: Sequence[Sequence[_Play]], sd: float
) -> Iterator[tuple[FloatArray, BoolArray]]:
    """Yield scores, before the threshold, and memberships of the plays on records that a model was not trained on."""
    for model, plays in zip(models, unseen, strict=True):
        for rows, trained in plays:
            yield model.decision_function(rows) + _tail(rows, sd), trained


def _parts(known: ShadowSignals) -> list[IntArray]:
    """Split the records into three random parts. Raises `AttackError` where one would be empty.

    Records are identified by the rank of their mean margin over all shadows, not by position, so the split does not
    depend on the order of records; nor on that of shadows, since the margins are summed in ascending order. The target
    is not used.
    """
    n = len(known.labels)
    if n < _PARTS:
        raise AttackError(f"'calibrated' needs reference records with two OUT shadows each; there are {n}")
    order = np.argsort(np.sort(known.shadow_phi, axis=0).mean(axis=0), kind="stable")
    drawn = order[np.random.default_rng(0).permutation(n)]
    # The last part is the smallest, as in `set_aside`.
    return np.array_split(drawn, _PARTS)


def _with_lent_masks(audited: ShadowSignals, known: ShadowSignals) -> ShadowSignals:
    """Return the signals with out masks from `lent_masks`."""
    masks = lent_masks(audited.shadow_phi, audited.out, known.shadow_phi, known.out, numbered=True)
    return replace(audited, out=masks)


def _features(signals: Signals, spread: SpreadModel, alignment: Alignment) -> FloatArray:
    about = context(signals)
    return features(signals, about, spread.sd(about), alignment)


def _plays(training: ShadowSignals, other: ShadowSignals, spread: SpreadModel, classes: int) -> Iterator[_Play]:
    """Yield the play of every shadow on the records of `training`, with alignments fitted to those of `other`."""
    omitted = _omitted(training)
    for shadow in range(len(training.out)):
        aligning, _ = _playable(other.take(other.out[shadow]).play(shadow))
        if len(aligning.labels) < _LEAST_PLAYED:
            continue
        about = context(aligning)
        alignment = Alignment.fit(aligning, about, spread.sd(about), classes)
        inside = np.flatnonzero(~training.out[shadow])
        out = training.out.copy()
        out[omitted[shadow, inside], inside] = False
        played, kept = _playable(replace(training, out=out).play(shadow))
        if len(played.labels):
            yield _features(played, spread, alignment).astype(np.float32), ~training.out[shadow, kept]


def _omitted(training: ShadowSignals) -> IntArray:
    """Return, for each shadow that trained on a record, an OUT shadow of that record to omit from its play: int [K, n].

    An OUT shadow that plays the target is not part of the OUT statistics that it is compared with; an IN shadow never
    is. Uncorrected, all IN plays of a record would share one mean, from which trees would learn membership. So an IN
    play omits one OUT shadow, too. It is drawn by rank of phi, so that the draw does not depend on the shadows' order.
    """
    k, n = training.out.shape
    by_phi = np.argsort(np.where(training.out, training.shadow_phi, np.inf), axis=0, kind="stable")
    inside = np.where(training.out, np.inf, training.shadow_phi)
    rank = np.argsort(np.argsort(inside, axis=0, kind="stable"), axis=0, kind="stable")
    drawn = np.random.default_rng(1).random((k, n))[rank, np.arange(n)]
    position = np.minimum((drawn * training.out.sum(axis=0)).astype(np.int64), k - 1)
    return np.asarray(np.take_along_axis(by_phi, position, axis=0), dtype=np.int64)


def _playable(signals: Signals) -> tuple[Signals, BoolArray]:
    """Return the records that still have an OUT shadow, and the bool mask that selects them."""
    kept = np.asarray(signals.out.any(axis=0), dtype=np.bool_)
    return signals.take(kept), kept


def _joined(plays: Sequence[_Play]) -> _Play:
    if not plays:
        raise AttackError(
            "'calibrated' has no shadow that can play the target: each trained on too many reference records. Add "
            "reference records, or make shadows train on fewer"
        )
    return np.concatenate([rows for rows, _ in plays]), np.concatenate([trained for _, trained in plays])


def _train(rows: _Rows, members: BoolArray) -> Any:
    """Train scikit-learn's histogram gradient boosting: 250 rounds, rate .06, 12 leaves, L2 5, monotone in `RISING`.

    Leaves hold 80 or more rows; below 3,200 rows a fortieth of the rows, but at least 10. The log odds include the
    rows' share of members; the threshold subtracts it. Sample weights would correct it, too, but with them
    scikit-learn 1.9 computes bin edges by weighted percentiles, one sort for each of 255 edges, which took 80% of the
    time. Nothing is random except the choice of 200,000 rows for the bin edges where there are more.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if members.all() or not members.any():
        raise AttackError("a membership classifier needs answers of shadows on members and on nonmembers")
    model = HistGradientBoostingClassifier(
        learning_rate=0.06,
        max_iter=250,
        max_leaf_nodes=12,
        min_samples_leaf=min(80, max(10, len(rows) // 40)),
        l2_regularization=5.0,
        monotonic_cst=[int(column in RISING) for column in COLUMNS],
        early_stopping=False,
        random_state=0,
    )
    return model.fit(rows, members)
