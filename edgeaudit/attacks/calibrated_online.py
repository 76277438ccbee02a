"""The calibrated test for shadows that trained on audited records: learners fitted to plays on these very records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeaudit.attacks.base import Scores
from edgeaudit.attacks.calibrated_features import ShadowSignals
from edgeaudit.attacks.evidence import BoolArray, Evidence, IntArray, ShadowAnswers
from edgeaudit.attacks.hierarchical import ModelSignals, RecordModel, Sides
from edgeaudit.attacks.output_match import UNCHANGED, OutputMatch
from edgeaudit.attacks.play_learners import Learner, Rows, smooth_learners
from edgeaudit.attacks.plays import Side, canonical, evenly, most_opposite, most_records, rounded
from edgeaudit.attacks.shadow_distribution import ShadowDistribution
from edgeaudit.errors import AttackError

__all__ = ["CalibratedOnline"]

_PAIRS = 8


@dataclass(frozen=True)
class CalibratedOnline:
    """Score: mean log odds of membership by a network and a quadratic logistic regression of plays, (N + Q) / 2.

    Every shadow plays the target against the others on the audited records, as in `Evidence.play`. A row is a (shadow,
    record) pair, its label is whether the shadow trained on the record, and its columns are those of `hierarchical`.
    Only masks of shadows are read, so nothing is known of the target's memberships. A score of 0 or more means member.
    There are no p-values, since no audited record is known to be a nonmember. Without torch there is no N.

    In auditor mode each record has as many IN shadows as any other, so that the number that is left once a shadow plays
    the target tells whether it trained on the record. So a play also leaves out one shadow of the record's other side:
    the complement of the one that plays, see `most_opposite` (with another one left out, the AUC on Adult is .574 with
    4 shadows and .574 with 16, and .590 and .589 so; RMIA has .585 and .582). The target is asked against as many
    shadows: its log odds are the mean over eight pairs of an IN and an OUT shadow that are left out. With 4 shadows
    learners meet other numbers than they were taught on otherwise (Letter, AUC .621 with all of them, .626 so).

    The target may be surer of everything than its shadows, or less sure: trained longer, or by another loop; or surer
    of a class: with a loss weighted by class, or a bias that was moved. Ratios of IN and OUT would then call a member
    that is surer than its IN shadows a nonmember. A temperature of its answers and constants that were added to its
    outputs are undone (`OutputMatch`), and its margins, log probabilities and entropies over the audited records are
    given the distributions that those of the shadows have there, by class as far as classes differ more than those of
    shadows do (`ShadowDistribution`), as each shadow trained on as large a part of these records. That changes nothing
    of a target that is like its shadows. docs/attacks/cm-mia.md has what this is worth.

    Attributes:
        shadows: signals of the shadows on the records to score. model, sides: fitted to them.
        outputs: the shadows' answers, as a target's are matched with them.
        distributions: of the shadows' margins, log probabilities and entropies.
        learners: N and Q.

    Source: our own design; related to Shokri et al. (S&P 2017) and Carlini et al. (S&P 2022).
    """

    shadows: ShadowSignals
    model: RecordModel
    sides: Sides
    outputs: OutputMatch | None
    distributions: tuple[ShadowDistribution, ...]
    learners: tuple[Learner, ...]

    @classmethod
    def fit(cls, shadows: ShadowAnswers) -> CalibratedOnline:
        """Fit to plays on the records to score, each with IN and OUT shadows.

        Raises:
            AttackError: no record has two shadows on a side, see `RecordModel.fit`.
        """
        signals = ShadowSignals.of_shadows(shadows)
        sides = signals.sides()
        model = RecordModel.fit(sides)
        rows = _rows(signals, model)
        learners = tuple(kind.fit(*rows) for kind in smooth_learners())
        return cls(signals, model, sides, OutputMatch.of(shadows), signals.distributions(), learners)

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        """Score one target on the records passed to `fit`."""
        change = UNCHANGED if self.outputs is None else self.outputs.of_target(evidence.target)
        answers = change.undone(evidence.target, evidence.exposure)
        target = self.shadows.with_target(evidence, answers=answers)
        tested = target.matched(target.matches(self.distributions)).tested
        inside, outside = _by_side(self.shadows)
        odds = []
        for pair in range(_PAIRS):
            # All pairs of two IN and two OUT shadows are among the first four.
            spared = inside.at(pair), outside.at(pair + pair // np.maximum(inside.count, 1))
            others = _without(_without(self.sides, self.shadows, spared[0]), self.shadows, spared[1])
            rows = self.model.columns(tested, others)
            odds.append(np.mean([learner.log_odds(rows) for learner in self.learners], axis=0))
        return Scores(np.asarray(np.mean(odds, axis=0), dtype=np.float64))


def _by_side(signals: ShadowSignals) -> tuple[Side, Side]:
    """Return the IN and the OUT shadows of each record."""
    return Side.of(signals.shadow_phi, ~signals.out, seed=0), Side.of(signals.shadow_phi, signals.out, seed=1)


def _without(sides: Sides, signals: ShadowSignals, models: IntArray) -> Sides:
    """Take one shadow of each record away, int64 [n]."""
    at = models, np.arange(len(models))
    out = signals.out[at]
    return sides.without(signals.shadow_phi[at], signals.shadow_log_p[at], ~out, out)


def _rows(signals: ShadowSignals, model: RecordModel) -> tuple[Rows, BoolArray, BoolArray]:
    """Return the columns of all plays, float32 [rows, d], and the labels and the half of the record, bool [rows].

    In an order that does not depend on that of records or shadows: batches of the network are drawn from the rows.
    """
    k = len(signals.out)
    records = canonical(signals.shadow_phi)
    inside = (~signals.out[:, records]).sum(axis=0)
    records = records[(inside > 0) & (inside < k)]
    if not len(records):
        raise AttackError("'calibrated-online' needs records that some shadows trained on and others did not")
    # Evenly over the order, which is one of difficulty.
    spaced = np.linspace(0, len(records) - 1, min(len(records), most_records(k))).astype(np.int64)
    played = signals.take(records[spaced])
    sides, (in_models, out_models) = played.sides(), _by_side(played)
    rows, trained = [], []
    order = canonical(signals.shadow_phi.T)
    for number, shadow in enumerate(order):
        label, opposite = ~played.out[shadow], most_opposite(played.out, shadow, order)
        other_side = np.where(label, out_models.at(number), in_models.at(number))
        spared = np.where(played.out[opposite] == label, opposite, other_side)
        others = _without(_without(sides, played, np.full(len(label), shadow)), played, spared)
        tested = ModelSignals(played.shadow_phi[shadow], played.shadow_log_p[shadow], played.shadow_entropy[shadow])
        rows.append(rounded(model.columns(tested, others)))
        trained.append(label)
    # Every second record: the order is one of difficulty.
    half = np.tile(np.arange(len(spaced)) % 2 == 0, k)
    # Shadows that the user gave may have trained on one record more often than on another.
    phi, mean_phi = played.shadow_phi[order].ravel(), np.tile(played.shadow_phi.mean(axis=0), k)
    kept = evenly(np.tile(in_models.count, k), np.concatenate(trained), (phi, mean_phi))
    return np.concatenate(rows)[kept], np.concatenate(trained)[kept], half[kept]
