"""The calibrated test: membership learned from shadows that play the target, p-values from known nonmembers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from edgeaudit.attacks.base import BoolArray, Evidence, FloatArray, IntArray, Scores
from edgeaudit.attacks.calibrated_features import (
    COLUMNS,
    RISING,
    Alignment,
    Signals,
    SpreadModel,
    context,
    features,
)
from edgeaudit.attacks.conformal import conformal_p, lent_masks
from edgeaudit.attacks.kept_models import kept
from edgeaudit.errors import AttackError

__all__ = ["calibrated", "set_aside"]

_MOST_ROWS = 400_000
_LEAST_PLAYED = 10
_PARTS = 3
_TAIL = 0.5


def set_aside(reference: Evidence) -> int:
    """How many known nonmembers give the p-values of `calibrated`: a third of the records with two OUT shadows."""
    return int((reference.out.sum(axis=0) >= 2).sum()) // _PARTS


def calibrated(evidence: Evidence, reference: Evidence) -> Scores:
    """Score: mean log odds of membership by two classifiers, plus half of t; 0 is even odds. p: split-conformal.

    The reference records, which the target did not train on and some shadows did, are drawn into three parts:

    - Two parts train one classifier each. Every shadow plays the target against the others, as in `Evidence.play`;
      a row is a (shadow, record) pair, its label whether the shadow trained on the record, its columns are
      `calibrated_features`. A play of an IN record does without one OUT shadow (see `_spared`). A play's alignment is
      fitted to the other part's records that the shadow did not train on, so members and nonmembers are equally new
      to it; the target's own to both parts.
    - The third calibrates: p = (1 + #{z: s(z) >= s(x)}) / (m + 1) over its m records z. Nothing was fitted to them,
      and audited records and z's go through the same function. With two parts only, a z would have the log odds of
      the one classifier that did not train on it, and an audited record the mean of two, which scatters less: the two
      would not be exchangeable. p does not depend on K, and is 1/(m + 1) at best.

    For nonmembers that are drawn as z's are, p is valid: P(p <= a) <= a. In the adversary's model an audited record
    has K OUT shadows and a z fewer, which alone makes their scores differ (6 shadows, each trained on half: 5.9% at
    nominal 5%). So a record that no shadow trained on is scored without the shadows that trained on some z, see
    `_with_lent_masks`. The ranking uses the same scores: the classifiers learned from as few.

    The classifiers depend on shadows and reference records alone, and so are the same for every target that is
    judged by the same ones: they are kept (see `_models`).

    Trees are constant beyond their last split, and a TPR at a low FPR is decided beyond it: 0.5 t, t the moderated
    statistic among the features, keeps the order there. The weight was chosen on Letter (compressed, 16 targets: TPR at
    1% FPR .037 to .071 on pruned INT8 files) and left alone on other data.

    Args:
        evidence: on the records to score; two or more OUT shadows each.
        reference: the target's and shadows' answers on reference records. Records with fewer than two OUT shadows
            are left out.

    Raises:
        AttackError: members or nonmembers among the rows of a part are missing, or a part is empty.

    Source: ours; in the line of Shokri et al. (S&P 2017) and Carlini et al. (S&P 2022). Conformal p-values: Vovk,
    Gammerman, Shafer, "Algorithmic Learning in a Random World" (2005), section 2.2.
    """
    known = Signals.of(reference.take(reference.out.sum(axis=0) >= 2))
    *parts, rest = _parts(known)
    classes = reference.target.shape[1]
    fitted = known.take(np.concatenate(parts))
    about = context(fitted)
    spread = SpreadModel.fit(about)
    alignment = Alignment.fit(fitted, about, spread.sd(about), classes)
    signals = _with_lent_masks(Signals.of(evidence), known), known.take(rest)
    asked = np.concatenate([_features(part, spread, alignment) for part in signals]).astype(np.float32)
    # Trees end where their last split is: beyond it, where a low false positive rate is decided, t still tells apart.
    scores = _TAIL * asked[:, COLUMNS.index("t")].astype(np.float64)
    for model in _models(known, parts, spread, classes):
        scores += model.decision_function(asked) / len(parts)
    n = len(evidence.labels)
    return Scores(scores[:n], conformal_p(scores[:n], scores[n:]))


def _models(known: Signals, parts: list[IntArray], spread: SpreadModel, classes: int) -> tuple[Any, ...]:
    """The classifier of each part, trained unless it was for another target with the same shadows and records.

    All that training reads is shadows' signals, their memberships and the labels: parts and spread follow from these,
    and the target's own answers are not read.
    """

    def train() -> tuple[Any, ...]:
        most = max(1, _MOST_ROWS // (len(parts) * len(known.out)))
        models = []
        for learned, other in (parts, parts[::-1]):
            rows = learned[np.linspace(0, len(learned) - 1, min(len(learned), most)).astype(np.int64)]
            models.append(_train(*_rows(known.take(rows), known.take(other), spread, classes)))
        return tuple(models)

    read = (known.shadow_phi, known.shadow_log_p, known.shadow_entropy, known.out, known.labels)
    models: tuple[Any, ...] = kept(f"calibrated, {classes} classes", read, train)
    return models


def _parts(known: Signals) -> list[IntArray]:
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


def _with_lent_masks(asked: Signals, known: Signals) -> Signals:
    """The signals with `lent_masks`."""
    return replace(asked, out=lent_masks(asked.shadow_phi, asked.out, known.shadow_phi, known.out))


def _features(signals: Signals, spread: SpreadModel, alignment: Alignment) -> FloatArray:
    about = context(signals)
    return features(signals, about, spread.sd(about), alignment)


def _rows(learned: Signals, other: Signals, spread: SpreadModel, classes: int) -> tuple[FloatArray, BoolArray]:
    """Features float32 [rows, d] of the records `learned`, and membership, of all plays."""
    plays = list(_plays(learned, other, spread, classes))
    if not plays:
        raise AttackError("'calibrated' has no shadow that left enough reference records out to play the target")
    return np.concatenate([rows for rows, _ in plays]), np.concatenate([trained for _, trained in plays])


def _plays(
    learned: Signals, other: Signals, spread: SpreadModel, classes: int
) -> Iterator[tuple[FloatArray, BoolArray]]:
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


def _spared(learned: Signals) -> IntArray:
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


def _train(rows: FloatArray, members: BoolArray) -> Any:
    """scikit-learn's histogram gradient boosting: 250 rounds, rate .06, 12 leaves, L2 5, monotone in `RISING`.

    Leaves hold 80 or more rows; a fortieth of the rows, but 10 or more, where there are fewer than 3,200. Both kinds
    weigh the same. Nothing in it is random but the choice of 200,000 rows that place the bins where there are more.
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
        class_weight="balanced",
        random_state=0,
    )
    return model.fit(rows, members)
