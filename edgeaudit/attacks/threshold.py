"""Thresholds learned without the target's memberships, for balanced accuracy, advantage and PPV."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeaudit.attacks.base import Attack, Needs
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, IntArray, ShadowAnswers
from edgeaudit.leakage.roc import roc

__all__ = ["Threshold", "learn_threshold", "youden_threshold"]

# Minimum number of known members, and of nonmembers, to learn a threshold.
_LEAST = 10
_FALLBACK_QUANTILE = 0.95


@dataclass(frozen=True)
class Threshold:
    """Member where score >= value.

    value: None where no threshold could be learned. note: the reason why it is not learned from shadows; else None.
    """

    value: float | None
    note: str | None = None


def learn_threshold(
    attack: Attack,
    variant: str,
    reference: Evidence,
    max_plays: int = 8,
    max_records: int = 5000,
    seed: int = 0,
    played: ShadowAnswers | None = None,
) -> Threshold:
    """Learn a threshold from shadows that play the target; the target's memberships are not used.

    The first `max_plays` shadows each play the target on the reference records, against the other shadows. Their
    training sets are known, so the pooled scores give the threshold that maximises Youden's J (source: Youden, "Index
    for rating diagnostic tests", 1950). A play has one shadow fewer than the audit. A variant with a natural threshold
    (such as gap) keeps it.

    For an attack that needs reference answers, a play scores one half of the records; its reference is the other half
    without the records that the playing shadow trained on. Plays on `played` have the reference records as reference.

    Fallback where fewer than 10 members or nonmembers can be played (the shadows train on all of the pool or on none of
    it, or there are too few shadows): the 95% quantile of the target's scores on the reference records, which are known
    nonmembers; else no threshold. The note gives the reason.

    Args:
        attack: the attack that scores.
        variant: one of the attack's variants.
        reference: evidence on the reference pool, which the target did not train on; `out` says which shadow trained on
            which record. A play leaves out records with fewer OUT or IN shadows than the attack needs.
        max_plays: maximum number of shadows that play.
        max_records: maximum number of records, evenly spaced, to bound the time.
        seed: of the random halves.
        played: the shadows' answers on other records to play on, such as audited ones that an auditor's shadows trained
            on. The target trained on some of them, so its own answers there have no part in this.
    """
    natural = attack.spec.threshold_of(variant)
    if natural is not None:
        return Threshold(natural)
    reference = reference.take(_spaced(len(reference.labels), max_records))
    scored, serving = _halves(attack.spec.needs_of(variant), reference, np.random.default_rng(seed))
    plays = scored.shadow_answers, serving.shadow_answers
    if played is not None:
        plays = played.take(_spaced(len(played.labels), max_records)), reference.shadow_answers
    scores, members = _play_all(attack, variant, *plays, max_plays)
    if min(members.sum(), (~members).sum()) >= _LEAST:
        return Threshold(youden_threshold(scores, members))
    return _fallback(attack, variant, scored, serving)


def _spaced(n: int, most: int) -> IntArray:
    """Positions of `most` of n records, or of all, evenly spaced."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).astype(np.int64)


def _halves(needs: Needs, reference: Evidence, rng: np.random.Generator) -> tuple[Evidence, Evidence]:
    """Split into records to score and records to serve as reference; all are scored if no reference is needed."""
    n = len(reference.labels)
    order = rng.permutation(n)
    cut = n // 2 if needs.reference or needs.examples else n
    return reference.take(np.sort(order[:cut])), reference.take(np.sort(order[cut:]))


def _scorable(needs: Needs, out: BoolArray) -> BoolArray:
    """Return the records with the OUT and IN shadows that a score needs, bool [n]; out: bool [K, n]."""
    outside = out.sum(axis=0)
    return np.asarray((outside >= needs.out) & (len(out) - outside >= needs.inside), dtype=np.bool_)


def _play_all(
    attack: Attack, variant: str, scored: ShadowAnswers, serving: ShadowAnswers, max_plays: int
) -> tuple[FloatArray, BoolArray]:
    scores, members = [np.empty(0)], [np.empty(0, dtype=np.bool_)]
    needs = attack.spec.needs_of(variant)
    for shadow in range(min(max_plays, len(scored.shadows))):
        scorable = _scorable(needs, np.delete(scored.out, shadow, axis=0))
        if scorable.sum() < _LEAST:
            continue
        played, trained = scored.take(scorable).play(shadow)
        known, _ = serving.take(serving.out[shadow]).play(shadow)
        if attack.inapplicable(played, known, variant) is not None:
            continue
        scores.append(attack.score(played, variant, known).score)
        members.append(trained)
    return np.concatenate(scores), np.concatenate(members)


def _fallback(attack: Attack, variant: str, scored: Evidence, serving: Evidence) -> Threshold:
    scorable = scored.take(_scorable(attack.spec.needs_of(variant), scored.out))
    if len(scorable.labels) < _LEAST or attack.inapplicable(scorable, serving, variant) is not None:
        return Threshold(None, "no a-priori threshold: too few reference records to learn one from")
    scores = attack.score(scorable, variant, serving).score
    note = "threshold: 95% quantile of the target's scores on reference records, since no shadow could play the target"
    return Threshold(float(np.quantile(scores, _FALLBACK_QUANTILE, method="higher")), note)


def youden_threshold(scores: FloatArray, members: BoolArray) -> float:
    """Return the threshold (member where score >= threshold) that maximises TPR - FPR; the highest of several.

    It lies half-way between the last group of tied scores above it and the next group, because a target's scores may
    fall between those of the plays. Where no threshold is better than chance (J <= 0) it lies just above the largest
    score.

    Args:
        scores: float64 [n].
        members: bool [n].

    Raises:
        AttackError: there are no members or no nonmembers, or a score is NaN or infinite.
    """
    curve = roc(scores, members)
    # In integers (J times m n), so that equal J compare equal and argmax takes the highest threshold.
    best = int(np.argmax(curve.true_positives * curve.n_nonmembers - curve.false_positives * curve.n_members))
    if best == 0:
        return float(np.nextafter(curve.thresholds[1], np.inf))
    taken = float(curve.thresholds[best])
    if best + 1 == len(curve.thresholds):
        return taken
    below = float(curve.thresholds[best + 1])
    middle = below + (taken - below) / 2
    return middle if middle > below else taken
