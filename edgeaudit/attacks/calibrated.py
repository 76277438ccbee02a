"""The calibrated test: membership learned from shadows that play the target, p-values from known nonmembers."""

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
"""Features [rows, d] of one shadow's play, and which records it trained on."""


def set_aside(out: BoolArray) -> int:
    """How many known nonmembers give the p-values of `Calibrated`: a third of the records with two OUT shadows.

    out: bool [K, reference].
    """
    return int((out.sum(axis=0) >= _LEAST_OUT).sum()) // _PARTS


@dataclass(frozen=True)
class Calibrated:
    """Score: mean log odds of membership by two classifiers, plus a tail, less a threshold. p: split-conformal.

    The reference records, which the target did not train on and some shadows did, are drawn into three parts:

    - Two parts train one classifier each. Every shadow plays the target against the others, as in `Evidence.play`;
      a row is a (shadow, record) pair, its label whether the shadow trained on the record, its columns are
      `calibrated_features`. A play of an IN record does without one OUT shadow (see `_spared`). A play's alignment is
      fitted to the other part's records that the shadow did not train on, so members and nonmembers are equally new
      to it; the target's own to both parts. Each classifier is then tried on the other part's plays, which choose the
      threshold: where TPR - FPR is largest (Youden 1950). A score of 0 or more says member. The tail orders records
      that hardly any nonmember resembles, see `_tail`.
    - The third calibrates: p = (1 + #{z: s(z) >= s(x)}) / (m + 1) over its m records z. Nothing was fitted to them,
      and audited records and z's go through the same function. With two parts only, a z would have the log odds of
      the one classifier that did not train on it, and an audited record the mean of two, which scatters less: the two
      would not be exchangeable. p does not depend on K, and is 1/(m + 1) at best.

    For nonmembers that are drawn as z's are, p is valid: P(p <= a) <= a. In the adversary's model an audited record
    has K OUT shadows and a z fewer, which alone makes their scores differ (6 shadows, each trained on half: 5.9% at
    nominal 5%). So p compares scores without the shadows that trained on some z, see `_with_lent_masks`. The score
    itself uses all K: it ranks audited records among each other, and more shadows rank better (Letter, 70% pruned
    INT8, 32 shadows: TPR at 1% FPR .072 with all, .062 with as many as a z has). So the order of p is not quite that of
    scores.

    All but the target's alignment depends on shadows and reference records alone and is learned by `fit`.

    Attributes:
        audited, lent: signals of the shadows on the records to score, with their own and with lent out masks.
        known: those on the reference records that are `served`, bool [reference]. fitting, rest: places in `known` of
            the first two parts and of the third.
        about, spread: of the first two parts.
        classifiers: the two, and their threshold.

    Source: ours; in the line of Shokri et al. (S&P 2017) and Carlini et al. (S&P 2022). Conformal p-values: Vovk,
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
        """Learn from plays on the reference records.

        Args:
            shadows: on the records to score; two or more OUT shadows each.
            reference: on reference records. Records with fewer than two OUT shadows are left out.

        Raises:
            AttackError: members or nonmembers among the rows of a part are missing, or a part is empty.
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
        """Score one target; on the records that were fitted."""
        known, n = self.known.with_target(reference, self.served), len(evidence.labels)
        alignment = Alignment.fit(known.take(self.fitting), self.about, self.spread.sd(self.about), self.classes)
        signals = self.audited.with_target(evidence), self.lent.with_target(evidence), known.take(self.rest)
        scores = self.classifiers.score(np.concatenate([_features(part, self.spread, alignment) for part in signals]))
        p_value = conformal_p(scores[n : 2 * n], scores[2 * n :])
        return Scores(scores[:n], p_value, known=set_aside(reference.out))


@dataclass(frozen=True)
class _Classifiers:
    """Two classifiers, the pooled sd of OUT margins, and the score that tells plays of members from others best."""

    models: tuple[Any, ...]
    sd: float
    threshold: float

    def score(self, rows: FloatArray) -> FloatArray:
        """Float64 [n] of rows of `features`, which are rounded to float32 as the classifiers' own were."""
        rounded = rows.astype(np.float32)
        odds = sum(model.decision_function(rounded) for model in self.models) / len(self.models)
        return np.asarray(odds + _tail(rounded, self.sd) - self.threshold, dtype=np.float64)


def _tail(rows: _Rows, sd: float) -> FloatArray:
    """max(t - 2, 0) + max(g - 2, 0) of rows of `features`, float64 [n], with g = (phi - mean phi) / sd.

    t: moderated, each record by its own spread; g: by one for all. Trees are constant beyond their last split, and a
    TPR at a low FPR is decided there, where t and g still tell apart. Which of the two does so better differs from one
    format to the next, and plays cannot say: shadows resemble each other more than a target resembles them. So both
    are added, and only where a nonmember seldom is, which leaves the order of all other records to the trees.
    Settled on Letter (docs/attacks/cm-mia.md).
    """
    t = rows[:, _T].astype(np.float64)
    g = (rows[:, _PHI].astype(np.float64) - rows[:, _MEAN_PHI]) / sd
    return np.asarray(np.maximum(t - _TAIL, 0) + np.maximum(g - _TAIL, 0), dtype=np.float64)


def _learn(known: ShadowSignals, parts: list[IntArray], spread: SpreadModel, classes: int) -> _Classifiers:
    """What the plays teach."""
    most = max(1, _MOST_ROWS // (len(parts) * len(known.out)))
    plays: list[list[_Play]] = []
    for learned, other in (parts, parts[::-1]):
        rows = learned[np.linspace(0, len(learned) - 1, min(len(learned), most)).astype(np.int64)]
        plays.append(list(_plays(known.take(rows), known.take(other), spread, classes)))
    models = tuple(_train(*_joined(part)) for part in plays)
    sd = _pooled_sd(known.take(np.concatenate(parts)))
    scores, trained = zip(*_tried(models, plays[::-1], sd), strict=True)
    return _Classifiers(models, sd, youden_threshold(np.concatenate(scores), np.concatenate(trained)))


def _pooled_sd(signals: ShadowSignals) -> float:
    moments = out_statistics(signals.shadow_phi, signals.out)
    return math.sqrt(pooled_variance(moments.variance, moments.count - 1))


def _tried(
    models: Sequence[Any], unseen: Sequence[Sequence[_Play]], sd: float
) -> Iterator[tuple[FloatArray, BoolArray]]:
    """Scores, threshold aside, and memberships of plays whose records a model has not seen."""
    for model, plays in zip(models, unseen, strict=True):
        for rows, trained in plays:
            yield model.decision_function(rows) + _tail(rows, sd), trained


def _parts(known: ShadowSignals) -> list[IntArray]:
    """Three random parts of the records. Raises `AttackError` where one is empty.

    A record is known by its rank in the mean of all shadows' margins, not by its place, so the order of records does
    not matter; nor does that of shadows, since the margins are summed from the smallest up. The target has no part
    in it.
    """
    n = len(known.labels)
    if n < _PARTS:
        raise AttackError(f"'calibrated' needs reference records with two OUT shadows each; there are {n}")
    order = np.argsort(np.sort(known.shadow_phi, axis=0).mean(axis=0), kind="stable")
    drawn = order[np.random.default_rng(0).permutation(n)]
    # The last is the smallest, as `set_aside` counts.
    return np.array_split(drawn, _PARTS)


def _with_lent_masks(audited: ShadowSignals, known: ShadowSignals) -> ShadowSignals:
    """The signals with `lent_masks`."""
    masks = lent_masks(audited.shadow_phi, audited.out, known.shadow_phi, known.out, numbered=True)
    return replace(audited, out=masks)


def _features(signals: Signals, spread: SpreadModel, alignment: Alignment) -> FloatArray:
    about = context(signals)
    return features(signals, about, spread.sd(about), alignment)


def _plays(learned: ShadowSignals, other: ShadowSignals, spread: SpreadModel, classes: int) -> Iterator[_Play]:
    spared = _spared(learned)
    for shadow in range(len(learned.out)):
        aligning, _ = _playable(other.take(other.out[shadow]).play(shadow))
        if len(aligning.labels) < _LEAST_PLAYED:
            continue
        about = context(aligning)
        alignment = Alignment.fit(aligning, about, spread.sd(about), classes)
        inside = np.flatnonzero(~learned.out[shadow])
        out = learned.out.copy()
        out[spared[shadow, inside], inside] = False
        played, kept = _playable(replace(learned, out=out).play(shadow))
        if len(played.labels):
            yield _features(played, spread, alignment).astype(np.float32), ~learned.out[shadow, kept]


def _spared(learned: ShadowSignals) -> IntArray:
    """For each shadow that trained on a record, an OUT shadow of that record which sits out its play: int [K, n].

    A shadow that did not train on the record is missing from the OUT statistics that it is compared with, and one that
    did is not. Left so, all IN plays of a record would share one mean, and trees would read membership off it; so an
    IN play does without one OUT shadow, too. Which one is drawn by ranks of phi, for shadows have no order.
    """
    k, n = learned.out.shape
    by_phi = np.argsort(np.where(learned.out, learned.shadow_phi, np.inf), axis=0, kind="stable")
    inside = np.where(learned.out, np.inf, learned.shadow_phi)
    rank = np.argsort(np.argsort(inside, axis=0, kind="stable"), axis=0, kind="stable")
    drawn = np.random.default_rng(1).random((k, n))[rank, np.arange(n)]
    place = np.minimum((drawn * learned.out.sum(axis=0)).astype(np.int64), k - 1)
    return np.asarray(np.take_along_axis(by_phi, place, axis=0), dtype=np.int64)


def _playable(signals: Signals) -> tuple[Signals, BoolArray]:
    """The records that still have an OUT shadow, and which they are."""
    kept = np.asarray(signals.out.any(axis=0), dtype=np.bool_)
    return signals.take(kept), kept


def _joined(plays: Sequence[_Play]) -> _Play:
    if not plays:
        raise AttackError("'calibrated' has no shadow that left enough reference records out to play the target")
    return np.concatenate([rows for rows, _ in plays]), np.concatenate([trained for _, trained in plays])


def _train(rows: _Rows, members: BoolArray) -> Any:
    """scikit-learn's histogram gradient boosting: 250 rounds, rate .06, 12 leaves, L2 5, monotone in `RISING`.

    Leaves hold 80 or more rows; a fortieth of the rows, but 10 or more, where there are fewer than 3,200. Its log odds
    are those of the rows' own shares of members, which the threshold takes off: with weights scikit-learn 1.9 places
    bins by weighted percentiles, one sort for each of 255 ends, and that was 80% of the time. Nothing in it is random
    but the choice of 200,000 rows that place the bins where there are more.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if members.all() or not members.any():
        raise AttackError("a membership classifier needs answers of shadows that did and did not train on a record")
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
