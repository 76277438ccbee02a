"""CM-MIA's calibrated test: learners fitted to shadows that play the target, p-values from known nonmembers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from edgeaudit.attacks.base import Scores
from edgeaudit.attacks.calibrated_features import (
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
from edgeaudit.attacks.hierarchical import RecordModel
from edgeaudit.attacks.output_match import UNCHANGED, OutputMatch
from edgeaudit.attacks.play_learners import Learner, Rows, Trees, smooth_learners
from edgeaudit.attacks.plays import Side, canonical, evenly, most_opposite, most_records, rounded, subsets
from edgeaudit.attacks.shadow_distribution import ShadowDistribution
from edgeaudit.errors import AttackError

__all__ = ["Calibrated", "set_aside"]

_LEAST_OUT = 2
_LEAST_PLAYED = 10
_PARTS = 3
_ALIKE = 2.0
"""A target whose members were drawn from another and larger pool than its shadows' varies more between classes."""


def set_aside(out: BoolArray) -> int:
    """Return the number of nonmembers behind the p-values of `Calibrated`: a third of those with two OUT shadows.

    out: bool [K, reference].
    """
    return int((out.sum(axis=0) >= _LEAST_OUT).sum()) // _PARTS


@dataclass(frozen=True)
class Calibrated:
    """Score: log odds of membership, H + (N + Q) / 2, by learners of plays. p: split-conformal.

    The reference records, which the target did not train on and some shadows did, are split at random into three parts:

    - Two parts train the learners. Every shadow plays the target against the others, as in `Evidence.play`. A row is a
      (shadow, record) pair, and its label is whether the shadow trained on the record. H, histogram gradient boosting,
      reads `calibrated_features`; N, a small network, and Q, a quadratic logistic regression, read `hierarchical`
      columns and the mean entropy of the OUT answers, with the IN answers of the asked record withheld, as no shadow
      trained on an audited record. Without torch there is no N, and Q has its weight. For an IN record one OUT shadow
      is omitted (see `_plays`). The alignment of a play is fitted to the other part's records that the shadow did not
      train on, so that it has seen neither the members nor the nonmembers of the play; the target's alignment is fitted
      to both parts. A score of 0 or more means member.
    - Where records differ in the number of shadows that trained on them, as with 4 shadows on a third of the records
      each, that number and the label are related; rows are thinned until they are not (`evenly`). Settings of H and Q
      are chosen by what they say of the part that they did not learn from, where rows are few. Both together, with 4
      shadows: AUC on Adult .579 (.575 without; RMIA .575), of the 70% pruned int8 file .542 (.536; .537).
    - A play has the OUT shadows that a reference record has, half of those of an audited record or fewer, and columns
      mean something else with other numbers: a rank, a distance to the largest, a mean of one. So a record is asked
      against as many OUT shadows as plays have, and its log odds are the mean over eight such subsets of its shadows
      (`subsets`). With 4 shadows this is worth .005 to .009 of AUC and .003 to .012 of TPR at 1% FPR.
    - The target may be surer of everything than its shadows, or less sure, or surer of a class. Learners of plays would
      then read nonmembers as members, or members beyond what they know of members as nonmembers. A temperature of its
      answers and constants that were added to its outputs are undone (`OutputMatch`), and its margins, log
      probabilities and entropies are given the distributions that those of OUT shadows have on the reference records
      (`ShadowDistribution`); both are fitted to both parts, and change nothing of a target that is like its shadows.
      docs/attacks/cm-mia.md has what this is worth.
    - The third part calibrates: p = (1 + #{z: s(z) >= s(x)}) / (m + 1) over its m records z. Nothing is fitted to them,
      and the same function scores audited records and z's. p does not depend on K; its minimum is 1/(m + 1).

    p is valid, P(p <= a) <= a, for nonmembers from the same population as the z's. In the adversary threat model an
    audited record has K OUT shadows and a z has fewer, which alone makes their scores differ (6 shadows, each trained
    on half: 5.9% at nominal 5%), since a mean over subsets of more shadows has less variance. So p compares scores
    without the shadows that trained on some z, see `_with_lent_masks`. The score itself uses all K: it ranks audited
    records among each other, and more shadows rank better. Hence p and score may order records differently.

    Everything but the target's alignment depends on shadows and reference records only, and is fitted once by `fit`.

    Attributes:
        audited, lent: the shadows on the records to score, with their own and with lent out masks.
        known: signals of the shadows on the reference records in `served`.
        served: bool [reference], records with two OUT shadows.
        fitting, held: positions in `known` of the first two parts, and of the third.
        about, spread: context and spread model of the first two parts.
        model: the hierarchical model of the first two parts.
        trees, smooth: the learners, H and then N and Q.
        outputs: the OUT shadows' answers on the first two parts, as a target's are matched with them.
        distributions: of the OUT shadows' margins, log probabilities and entropies on the first two parts.
        size: number of OUT shadows that plays have.

    Source: our own design; related to Shokri et al. (S&P 2017), Carlini et al. (S&P 2022) and Zarifzadeh, Liu & Shokri
    (ICML 2024). Conformal p-values: Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World" (2005), section
    2.2.
    """

    audited: ShadowSignals
    lent: ShadowSignals
    known: ShadowSignals
    served: BoolArray
    fitting: IntArray
    held: IntArray
    about: Context
    spread: SpreadModel
    model: RecordModel
    trees: Learner
    smooth: tuple[Learner, ...]
    outputs: OutputMatch | None
    distributions: tuple[ShadowDistribution, ...]
    classes: int
    size: int

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
        parts, held = _parts(known)
        fitting, classes = np.concatenate(parts), shadows.shadows.shape[2]
        fitted = known.take(fitting)
        about = context(fitted)
        spread, model = SpreadModel.fit(about), RecordModel.fit(fitted.sides())
        rows = _rows(known, parts, spread, model, classes)
        audited = ShadowSignals.of_shadows(shadows)
        return cls(
            audited,
            _with_lent_masks(audited, known),
            known,
            served,
            fitting,
            held,
            about,
            spread,
            model,
            Trees.fit(rows.by_features, rows.trained, rows.half),
            tuple(kind.fit(rows.by_model, rows.trained, rows.half) for kind in smooth_learners()),
            OutputMatch.of(reference.take(np.flatnonzero(served)[fitting]), fitted.out),
            fitted.distributions(fitted.out, _ALIKE),
            classes,
            # A play omits one OUT shadow, or is one itself.
            max(1, int(np.median(about.count)) - 1),
        )

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        """Score one target on the records passed to `fit`."""
        n, fitting = len(evidence.labels), np.flatnonzero(self.served)[self.fitting]
        change = UNCHANGED if self.outputs is None else self.outputs.of_target(reference.target[fitting])
        answers = [change.undone(part.target, part.exposure) for part in (evidence, reference)]
        known = self.known.with_target(reference, self.served, answers[1])
        matches = known.take(self.fitting).matches(self.distributions)
        known = known.matched(matches)
        fitted = known.take(self.fitting)
        alignment = Alignment.fit(fitted, self.about, self.spread.sd(self.about), self.classes)
        asked = [part.with_target(evidence, answers=answers[0]).matched(matches) for part in (self.audited, self.lent)]
        scores = np.concatenate([self._score(part, alignment) for part in (*asked, known.take(self.held))])
        p_value = conformal_p(scores[n : 2 * n], scores[2 * n :])
        return Scores(scores[:n], p_value, known=set_aside(reference.out))

    def _score(self, signals: Signals, alignment: Alignment) -> FloatArray:
        """Return the mean log odds over subsets of the OUT shadows, float64 [n]."""
        odds = []
        for mask in subsets(signals.shadow_phi, signals.out, self.size):
            asked = replace(signals, out=mask)
            about = context(asked)
            rows = _by_model(asked, about, self.model)
            trees = self.trees.log_odds(features(asked, about, self.spread.sd(about), alignment))
            odds.append(trees + np.mean([learner.log_odds(rows) for learner in self.smooth], axis=0))
        return np.asarray(np.mean(odds, axis=0), dtype=np.float64)


@dataclass(frozen=True)
class _Rows:
    """Rows of all plays. by_features, by_model: float32 [rows, d], for trees and for smooth learners.

    trained: bool [rows], whether the shadow trained on the record. half: bool [rows], the part that the record is in.
    """

    by_features: Rows
    by_model: Rows
    trained: BoolArray
    half: BoolArray

    def take(self, rows: IntArray) -> _Rows:
        return _Rows(self.by_features[rows], self.by_model[rows], self.trained[rows], self.half[rows])


def _rows(known: ShadowSignals, parts: list[IntArray], spread: SpreadModel, model: RecordModel, classes: int) -> _Rows:
    """Let every shadow play the target on the records of each part, aligned by those of the other part."""
    most = most_records(len(known.out)) // len(parts)
    found: list[tuple[Rows, Rows, BoolArray, BoolArray]] = []
    about_rows: list[tuple[IntArray, FloatArray, FloatArray]] = []
    for second, (training, other) in enumerate((parts, parts[::-1])):
        drawn = training[np.linspace(0, len(training) - 1, min(len(training), most)).astype(np.int64)]
        for played, trained, aligning in _plays(known.take(drawn), known.take(other)):
            about, there = context(played), context(aligning)
            alignment = Alignment.fit(aligning, there, spread.sd(there), classes)
            by_features = rounded(features(played, about, spread.sd(about), alignment))
            half = np.full(len(trained), bool(second))
            found.append((by_features, rounded(_by_model(played, about, model)), trained, half))
            about_rows.append((about.count, played.phi, about.mean_phi))
    if not found:
        raise AttackError(
            "'calibrated' has no shadow that can play the target: each trained on too many reference records. Add "
            "reference records, or make shadows train on fewer"
        )
    rows = _Rows(*(np.concatenate(part) for part in zip(*found, strict=True)))
    left, phi, mean_phi = (np.concatenate(part) for part in zip(*about_rows, strict=True))
    return rows.take(evenly(left, rows.trained, (phi, mean_phi)))


def _by_model(signals: Signals, about: Context, model: RecordModel) -> FloatArray:
    """Return the columns of the smooth learners, float64 [n, 12]; IN answers of these records are withheld."""
    columns = model.columns(signals.tested, signals.outside_alone())
    return np.column_stack((columns, about.mean_entropy))


def _parts(known: ShadowSignals) -> tuple[list[IntArray], IntArray]:
    """Split the records into two random parts and a third one. Raises `AttackError` where one would be empty.

    Records are identified by `canonical`, not by position, so the split does not depend on the order of records; nor on
    that of shadows. The target is not used.
    """
    n = len(known.labels)
    if n < _PARTS:
        raise AttackError(f"'calibrated' needs reference records with two OUT shadows each; there are {n}")
    drawn = canonical(known.shadow_phi)[np.random.default_rng(0).permutation(n)]
    # The last part is the smallest, as in `set_aside`.
    *parts, held = np.array_split(drawn, _PARTS)
    return parts, held


def _with_lent_masks(audited: ShadowSignals, known: ShadowSignals) -> ShadowSignals:
    """Return the signals with out masks from `lent_masks`."""
    masks = lent_masks(audited.shadow_phi, audited.out, known.shadow_phi, known.out, numbered=True)
    return replace(audited, out=masks)


def _plays(training: ShadowSignals, other: ShadowSignals) -> Iterator[tuple[Signals, BoolArray, Signals]]:
    """Yield each shadow's play on `training`, whether it trained on the records, and its signals to align it by.

    An OUT shadow that plays the target is not part of the OUT statistics that it is compared with; an IN shadow never
    is. Uncorrected, all IN plays of a record would share one mean, from which trees would learn membership, and where
    each record has as many IN shadows as any other, the number of OUT shadows would tell all learners. So an IN play
    omits one OUT shadow, too: the complement of the one that plays, which is OUT there (`most_opposite`).
    """
    outside = Side.of(training.shadow_phi, training.out, seed=1)
    # In an order that does not depend on that of the shadows: batches of the network are drawn from the rows.
    order = canonical(training.shadow_phi.T)
    for number, shadow in enumerate(order):
        aligning, _ = _playable(other.take(other.out[shadow]).play(shadow))
        if len(aligning.labels) < _LEAST_PLAYED:
            continue
        inside = np.flatnonzero(~training.out[shadow])
        out = training.out.copy()
        opposite = most_opposite(training.out, shadow, order)
        out[np.where(out[opposite, inside], opposite, outside.at(number)[inside]), inside] = False
        played, kept = _playable(replace(training, out=out).play(shadow))
        if len(played.labels):
            yield played, ~training.out[shadow, kept], aligning


def _playable(signals: Signals) -> tuple[Signals, BoolArray]:
    """Return the records that still have an OUT shadow, and the bool mask that selects them."""
    kept = np.asarray(signals.out.any(axis=0), dtype=np.bool_)
    return signals.take(kept), kept
