"""Output granularity: answers at each level by hand, and the attacks on them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit

from edgeaudit.attacks.censored import target_cells
from edgeaudit.attacks.evidence import Evidence, Grid
from edgeaudit.attacks.exposure import Seen, largest, one_hot, rounded, unreadable
from edgeaudit.attacks.gap import Gap
from edgeaudit.attacks.registry import attack_specs, find_attack
from edgeaudit.attacks.watson import Watson
from edgeaudit.config.exposures import Level, parse_level
from edgeaudit.leakage.roc import auc
from edgeaudit.tasks.classification import softmax, true_class_margin
from tests.attacks.conftest import MakeWorld

ANSWER = np.array([0.05, 0.6, 0.05, 0.3])


def as_seen(evidence: Evidence, level: Level) -> Evidence:
    """The evidence of an attacker to whom no more is returned."""
    seen = Seen(evidence.exposure, level)
    return replace(
        evidence,
        target=seen.of(evidence.target),
        shadows=np.stack([seen.of(answers) for answers in evidence.shadows]),
        exposure=seen.read_as,
        floor=seen.floor(evidence.floor),
        grid=seen.grid(evidence.grid, 1 + len(evidence.shadows), evidence.target.shape[1]),
    )


@pytest.mark.parametrize(
    ("k", "read"),
    [
        # 1 - .6 = .4 over three classes: .1333 each, also for the class that has .3.
        (1, [0.4 / 3, 0.6, 0.4 / 3, 0.4 / 3]),
        # 1 - .9 = .1 over two.
        (2, [0.05, 0.6, 0.05, 0.3]),
        # Of the two classes with .05 the first is returned; .05 is left for one, which may not reach .05.
        (3, [0.05, 0.6, np.nextafter(0.05, 0), 0.3]),
        (4, ANSWER),
        (9, ANSWER),
    ],
)
def test_the_remaining_mass_is_spread_evenly(k: int, read: list[float]) -> None:
    np.testing.assert_allclose(largest(ANSWER, k), read, rtol=1e-15, atol=0)


def test_a_class_inside_the_largest_keeps_its_margin_and_one_outside_gets_its_share_s() -> None:
    # Top 2 of .6 .3 .08 .02: classes 2 and 3 get (1 - .9) / 2 = .05 each.
    answers = np.tile([0.6, 0.3, 0.08, 0.02], (4, 1))
    margins = true_class_margin(largest(answers, 2), np.arange(4), "probabilities", 1 / 512)
    np.testing.assert_allclose(margins, logit([0.6, 0.3, 0.05, 0.05]), rtol=1e-12)


def test_no_class_beyond_the_largest_reaches_the_smallest_of_them() -> None:
    # An integer softmax answered .3 in all: (1 - .25) / 3 = .25 would be as much as the known class has, and the first
    # class would be the largest. Zeros leave nothing below them.
    read = largest(np.array([[0.05, 0.25, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]), 1)
    assert read[0].tolist() == [np.nextafter(0.25, 0), 0.25, np.nextafter(0.25, 0), np.nextafter(0.25, 0)]
    assert read[0].argmax() == 1
    assert not read[1].any()
    # Sums above 1 leave nothing either.
    assert largest(np.array([0.02, 0.6, 0.41]), 2).tolist() == [0.0, 0.6, 0.41]


def test_shares_never_change_the_returned_classes_or_their_order() -> None:
    rng = np.random.default_rng(0)
    answers = np.round(softmax(3 * rng.normal(size=(5, 400, 7))) * 256) / 256  # with ties, and sums that are not 1
    for k in range(1, 8):
        read = largest(answers, k)
        assert (read.argmax(axis=-1) == answers.argmax(axis=-1)).all()
        kept = np.argsort(-answers, axis=-1, kind="stable")[..., :k]
        assert np.array_equal(np.take_along_axis(read, kept, -1), np.take_along_axis(answers, kept, -1))
        assert np.array_equal(np.sort(np.argsort(-read, axis=-1, kind="stable")[..., :k]), np.sort(kept))


def test_rounding_goes_to_the_even_neighbour_and_a_label_to_the_first_of_equals() -> None:
    assert rounded(np.array([0.125, 0.375, 0.494, 0.006]), 2).tolist() == [0.12, 0.38, 0.49, 0.01]
    answers = np.array([[0.2, 0.4, 0.4], [0.5, 0.3, 0.2]])
    assert one_hot(answers).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_levels_of_logits_are_levels_of_their_probabilities() -> None:
    logits = np.log(np.array([[0.2, 0.7, 0.1]])) + 3
    assert Seen("logits").of(logits) is logits
    np.testing.assert_allclose(Seen("logits", Level("probabilities")).of(logits), [[0.2, 0.7, 0.1]], rtol=1e-12)
    np.testing.assert_allclose(Seen("logits", Level("top", 1)).of(logits), [[0.15, 0.7, 0.15]], rtol=1e-12)
    assert Seen("logits", Level("rounded", 1)).of(logits).tolist() == [[0.2, 0.7, 0.1]]
    assert Seen("logits").read_as == "logits"
    assert Seen("logits", Level("label")).read_as == "probabilities"


@pytest.mark.parametrize(("name", "floor"), [("rounded-1", 0.05), ("rounded-2", 0.005), ("rounded-3", 1 / 512)])
def test_a_zero_may_be_half_of_the_last_decimal(name: str, floor: float) -> None:
    assert Seen("probabilities", parse_level(name)).floor(1 / 512) == floor


def test_rounded_answers_are_intervals_of_one_decimal() -> None:
    # Class 0 of answers .304, .002, .997 and .013, to two decimals: .30 +- .005, open below .005 and above .995, and
    # .01 +- .005. The cells tile the line.
    first = np.array([0.304, 0.002, 0.997, 0.013])
    answers = np.stack((first, 1 - first), axis=1)
    evidence = Evidence(
        answers, answers[None], np.ones((1, 4), np.bool_), np.zeros(4, np.int64), "probabilities"
    )  # fmt: skip
    cells = target_cells(as_seen(evidence, Level("rounded", 2)))
    np.testing.assert_allclose(cells.low, [logit(0.295), -math.inf, logit(0.995), logit(0.005)], rtol=1e-9)
    np.testing.assert_allclose(cells.high, [logit(0.305), logit(0.005), math.inf, logit(0.015)], rtol=1e-9)


def test_an_integer_softmax_coarser_than_the_decimals_keeps_its_own_grid() -> None:
    own = Grid("probabilities", np.array([1 / 256, 0.0]), np.array([0.0, -math.inf]), np.array([255 / 256, math.inf]))
    fine = Seen("probabilities", Level("rounded", 3)).grid(own, 2, 10)
    assert fine is not None
    # The shadow is continuous, so the decimals are all that rounds it.
    assert fine.step.tolist() == [1 / 256, 1e-3]
    assert (fine.low.tolist(), fine.high.tolist()) == ([0, 0], [255 / 256, 1])
    coarse = Seen("probabilities", Level("rounded", 2)).grid(own, 2, 10)
    assert coarse is not None
    assert coarse.step.tolist() == [1e-2, 1e-2]


def test_only_rounding_and_whole_answers_lie_on_a_grid() -> None:
    own = Grid("logits", np.array([0.1]), np.array([-math.inf]), np.array([math.inf]))
    grids = {name: Seen("probabilities", parse_level(name)).grid(own, 1, 4) for name in ("top-3", "label", "top-4")}
    assert grids == {"top-3": None, "label": None, "top-4": own}
    assert Seen("logits", Level("probabilities")).grid(own, 1, 4) is own
    assert Seen("probabilities").grid(own, 1, 4) is own


def test_top_of_all_classes_is_the_complete_answer(world_of: MakeWorld) -> None:
    world = world_of(1, exposure="probabilities", integer=False)
    level = Level("top", world.evidence.target.shape[1])
    for name, variant in (("cm-mia", "calibrated"), ("cm-mia", "t"), ("lira", "offline-global"), ("yeom", "loss")):
        attack = find_attack(name)()
        whole = attack.score(world.evidence, variant, world.reference).score
        seen = attack.score(as_seen(world.evidence, level), variant, as_seen(world.reference, level)).score
        np.testing.assert_array_equal(seen, whole)


def test_gap_is_the_same_for_labels_and_complete_answers(world_of: MakeWorld) -> None:
    world = world_of(2, exposure="probabilities")
    whole = Gap().score(world.evidence, "label").score
    for name in ("label", "top-1", "top-2"):
        np.testing.assert_array_equal(Gap().score(as_seen(world.evidence, parse_level(name)), "label").score, whole)


def test_coarser_answers_leak_less_and_a_label_leaks_correctness(world_of: MakeWorld) -> None:
    world = world_of(3, n=2000, exposure="probabilities", spread=2.0)
    areas = {}
    for name in ("rounded-6", "rounded-2", "rounded-1", "label"):
        evidence = as_seen(world.evidence, parse_level(name))
        areas[name] = auc(Watson().score(evidence, "loss").score, world.members)
    whole = auc(Watson().score(world.evidence, "loss").score, world.members)
    # Six decimals move no margin by more than 5e-7 * 512 nats, which swaps next to no records.
    assert abs(areas["rounded-6"] - whole) < 1e-4
    # A hundredth of AUC is noise between two neighbours; from the finest to the label it is a tenth.
    assert areas["rounded-2"] < whole + 0.01
    assert areas["rounded-1"] < areas["rounded-2"] + 0.01
    assert areas["label"] < areas["rounded-1"]
    assert 0.5 < areas["label"] < whole - 0.05


def test_watson_of_labels_is_correctness_minus_the_share_of_correct_shadows(world_of: MakeWorld) -> None:
    evidence = as_seen(world_of(4, n=50, k=5, exposure="probabilities").evidence, Level("label"))
    right = evidence.target.argmax(axis=1) == evidence.labels
    often = (evidence.shadows.argmax(axis=2) == evidence.labels).mean(axis=0)
    # A loss is -log(1/512) where the label is wrong and -log(511/512) where it is right.
    unit = math.log(511)
    np.testing.assert_allclose(Watson().score(evidence, "loss").score, unit * (right - often), atol=1e-9)


def test_the_interval_test_keeps_ties_of_rounded_answers_and_finds_members(world_of: MakeWorld) -> None:
    world = world_of(5, exposure="probabilities", integer=False)
    level = Level("rounded", 2)
    evidence, reference = as_seen(world.evidence, level), as_seen(world.reference, level)
    score = find_attack("cm-mia")().score(evidence, "discrete", reference).score
    assert auc(score, world.members) > 0.65
    # Two records that look alike to target and shadows have the same score.
    twice = evidence.take(np.array([0, 0, 1, 2]))
    same = find_attack("cm-mia")().score(twice, "discrete").score
    assert same[0] == same[1]


@pytest.mark.parametrize("spec", attack_specs(), ids=lambda spec: spec.name)
def test_attacks_declare_whether_they_work_on_labels(spec: object) -> None:
    about = find_attack(spec.name).spec  # type: ignore[attr-defined]
    readers = {
        variant for variant in about.variants if unreadable(about, variant, Level("label")) is None
    }  # fmt: skip
    expected = {"gap": {"label"}, "label-only": {"augmentation", "boundary"}, "watson": {"loss"}}
    assert readers == expected.get(about.name, set())


def test_the_reason_why_an_attack_cannot_use_a_level_is_given() -> None:
    lira, cm_mia, student = (find_attack(name).spec for name in ("lira", "cm-mia", "loss-trajectory"))
    assert unreadable(lira, "offline-global", Level("label")) == (
        "'lira' needs the model's confidence, which a label does not give"
    )
    assert unreadable(lira, "offline-global", Level("top", 1)) is None
    assert "intervals" in str(unreadable(cm_mia, "discrete", Level("top", 3)))
    assert unreadable(cm_mia, "discrete", Level("rounded", 1)) is None
    for level in (Level("label"), Level("top", 2), Level("probabilities")):
        assert "distilled from complete answers" in str(unreadable(student, "distilled", level))
