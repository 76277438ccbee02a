"""Song-Mittal, Shokri and ML-Leaks: what is learned from shadows' answers on reference records."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edgeaudit.attacks.base import Attack
from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.ml_leaks import MlLeaks
from edgeaudit.attacks.shadow_examples import MembershipClassifier, shadow_examples
from edgeaudit.attacks.shokri import Shokri
from edgeaudit.attacks.song_mittal import SongMittal, modified_entropy
from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import auc
from edgeaudit.tasks.classification import softmax

from .conftest import MakeWorld

CLASSIFIERS = [(Shokri(), "classifier"), (MlLeaks(), "top-3"), (SongMittal(), "per-class")]


def test_modified_entropy_by_hand() -> None:
    # (.7, .2, .1) labelled 0: -.3 log .7 - .2 log .8 - .1 log .9; labelled 2: -.9 log .1 - .7 log .3 - .2 log .8.
    answers = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    expected = [
        -0.3 * math.log(0.7) - 0.2 * math.log(0.8) - 0.1 * math.log(0.9),
        -0.9 * math.log(0.1) - 0.7 * math.log(0.3) - 0.2 * math.log(0.8),
        # Certain and right: 0 but for the floor f = .01: -f log(1 - f). Certain and wrong: (f - 1) log f - log f.
        -0.01 * math.log(0.99),
        -0.99 * math.log(0.01) - math.log(0.01),
    ]
    np.testing.assert_allclose(modified_entropy(answers, np.array([0, 2, 0, 0]), 0.01), expected)
    # A floor of 0 (logits) stays finite.
    assert np.isfinite(modified_entropy(answers, np.array([0, 2, 0, 0]), 0.0)).all()


def two_classes(seed: int, n: int, k: int = 6) -> tuple[Evidence, Evidence, np.ndarray]:
    """Class 0 is easy (margins about 3), class 1 hard (about -3); members 2 nats higher; audited and reference."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    base = np.where(labels == 0, 3.0, -3.0)

    def answers(trained: np.ndarray) -> np.ndarray:
        margin = base + rng.normal(size=trained.shape) * 0.5 + 2.0 * trained
        signed = np.where(labels == 0, margin, -margin)
        return softmax(np.stack((signed, np.zeros_like(signed)), axis=-1))

    members = rng.random(n) < 0.5
    trained = rng.random((k, n)) < 0.5
    audited = Evidence(
        answers(members), answers(np.zeros((k, n))), np.ones((k, n), dtype=np.bool_), labels, "probabilities", 1e-6
    )
    known = Evidence(answers(np.zeros(n)), answers(trained), ~trained, labels, "probabilities", 1e-6)
    return audited, known, members


def test_song_mittal_compares_with_the_class_s_own_threshold() -> None:
    # Margins N(base + 2, .5) and N(base, .5): within a class AUC Phi(2 / sqrt .5) = .998; between classes a hard member
    # (-1) lies below an easy nonmember (3), so without class thresholds it is about (.998 + 1 + 0 + .998) / 4 = .75.
    audited, known, members = two_classes(0, 600)
    score = SongMittal().score(audited, "per-class", known).score
    assert auc(score, members) > 0.97
    assert auc(-modified_entropy(audited.target, audited.labels, 1e-6), members) < 0.8
    # The natural threshold 0: balanced accuracy at best Phi(1 / .5) = .977.
    assert (score[members] >= 0).mean() > 0.95
    assert (score[~members] >= 0).mean() < 0.05


def test_song_mittal_by_hand() -> None:
    # One class, 20 IN at p = .9 and 20 OUT at p = .6: the threshold lies half-way between the two values of -Mentr.
    p = np.repeat([0.9, 0.6], 20)
    answers = np.stack((p, 1 - p), axis=-1)
    known = Evidence(
        answers, answers[None], np.repeat([False, True], 20)[None], np.zeros(40, dtype=np.int64), "probabilities"
    )
    high, low = (-2 * (1 - q) * math.log(q) for q in (0.9, 0.6))  # two classes: the other's p is 1 - q
    audited = known.take(np.array([0, 39]))
    score = SongMittal().score(audited, "per-class", known).score
    np.testing.assert_allclose(score, [(low - high) / 2, (high - low) / 2])


def test_a_class_without_examples_takes_the_common_threshold() -> None:
    audited, known, _ = two_classes(1, 200)
    only = known.take(known.labels == 0)
    as_one = replace(only, labels=np.zeros_like(only.labels))
    np.testing.assert_array_equal(
        SongMittal().score(audited, "per-class", only).score, SongMittal().score(audited, "per-class", as_one).score
    )


def test_shokri_distinguishes_classes_and_ml_leaks_ignores_labels() -> None:
    audited, known, members = two_classes(2, 800)
    assert auc(Shokri().score(audited, "classifier", known).score, members) > 0.95
    other = replace(audited, labels=1 - audited.labels)
    leaks = MlLeaks().score(audited, "top-3", known).score
    np.testing.assert_array_equal(leaks, MlLeaks().score(other, "top-3", known).score)
    assert not np.array_equal(
        Shokri().score(audited, "classifier", known).score, Shokri().score(other, "classifier", known).score
    )


@pytest.mark.parametrize(("attack", "variant"), CLASSIFIERS)
def test_the_natural_threshold_is_near_the_best(world_of: MakeWorld, attack: Shokri, variant: str) -> None:
    world = world_of(0, n=1000, k=6, reference=600, shift=3.0, spread=0.0)
    score = attack.score(world.evidence, variant, world.reference).score
    advantage = (score[world.members] >= 0).mean() - (score[~world.members] >= 0).mean()
    best = max((score[world.members] >= t).mean() - (score[~world.members] >= t).mean() for t in score)
    assert advantage > best - 0.06


@pytest.mark.parametrize(("attack", "variant"), CLASSIFIERS)
def test_neither_target_s_reference_answers_nor_audited_shadows_are_read(
    world_of: MakeWorld, attack: Shokri, variant: str
) -> None:
    world = world_of(1, n=60)
    plain = attack.score(world.evidence, variant, world.reference).score
    blind = attack.score(
        replace(world.evidence, shadows=-world.evidence.shadows),
        variant,
        replace(world.reference, target=-world.reference.target),
    ).score
    np.testing.assert_array_equal(plain, blind)


def test_examples_are_bounded_evenly(world_of: MakeWorld) -> None:
    known = world_of(2, k=4, reference=300).reference
    rows = np.linspace(0, 299, 25).astype(np.int64)
    some = shadow_examples(known.shadow_answers, 100)
    np.testing.assert_array_equal(some.answers, softmax(known.shadows[:, rows]).reshape(100, -1))
    np.testing.assert_array_equal(some.members, ~known.out[:, rows].ravel())
    assert len(shadow_examples(known.shadow_answers, 10**9).labels) == 1200


def test_examples_of_members_only_are_rejected() -> None:
    with pytest.raises(AttackError, match="on members and on nonmembers"):
        MembershipClassifier.fit(np.zeros((5, 2)), np.ones(5, dtype=np.bool_))


def test_many_classes_are_a_number() -> None:
    # 300 classes are more than scikit-learn takes as categories, also where only an audited record is of the last.
    rng = np.random.default_rng(4)
    labels, out = rng.integers(0, 255, 400), np.arange(400) % 2 == 0
    answers = np.full((400, 300), 1e-3)
    answers[np.arange(400), labels] = np.where(out, 0.2, 0.7)
    known = Evidence(answers, answers[None], out[None], labels, "probabilities")
    audited = replace(
        known.take(np.array([1, 2])), out=np.ones((1, 2), dtype=np.bool_), labels=np.array([299, labels[2]])
    )
    high = audited.target.copy()
    high[0, 299] = 0.7
    score = Shokri().score(replace(audited, target=high), "classifier", known).score
    assert score[0] > 0 > score[1]


@pytest.mark.parametrize(("attack", "variant"), CLASSIFIERS[:2])
def test_in_auditor_mode_examples_are_audited_records(attack: Attack, variant: str) -> None:
    # The auditor's shadows trained on halves of the audited records and on no reference record. Margins of members lie
    # 2 nats higher at a spread of .5, so within a class the AUC is Phi(2 / sqrt .5) = .998.
    audited, known, members = two_classes(0, 600)
    untaught = replace(known, out=np.ones_like(known.out))
    assert "learns from shadows' answers" in str(attack.inapplicable(audited, untaught, variant))
    trained = np.random.default_rng(1).random(known.out.shape) < 0.5
    halves = replace(audited, shadows=two_classes(2, 600)[1].shadows, out=two_classes(2, 600)[1].out)
    assert attack.inapplicable(halves, untaught, variant) is None
    easy = halves.labels == 0
    score = attack.score(halves, variant, untaught).score
    assert auc(score[easy], members[easy]) > 0.95
    # A mask that has nothing to do with the answers teaches nothing: the target's own memberships are not read.
    blind = attack.score(replace(halves, out=~trained), variant, untaught).score
    assert abs(auc(blind, members) - 0.5) < 0.15
