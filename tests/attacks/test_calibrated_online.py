from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeaudit.attacks import calibrated_online
from edgeaudit.attacks.calibrated_online import CalibratedOnline
from edgeaudit.attacks.cm_mia import CmMia
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray
from edgeaudit.attacks.lira import Lira
from edgeaudit.attacks.rmia import Rmia
from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import auc

from .conftest import MakeWorld, logits_with_margins, uneven_evidence

ONLINE = "calibrated-online"


def uneven(n: int, k: int, seed: int = 0) -> tuple[Evidence, BoolArray]:
    """Each record is in the training sets of half of the shadows; see `uneven_evidence`."""
    rng = np.random.default_rng(seed)
    members = rng.permutation(n) < n // 2
    trained = rng.permuted(np.repeat(np.arange(k)[:, None] < k // 2, n, axis=1), axis=0)
    return uneven_evidence(seed + 1, members, trained), members


@pytest.mark.parametrize("k", [4, 8, 16])
def test_it_is_ahead_of_lira_where_records_differ(k: int) -> None:
    evidence, members = uneven(3000, k)
    area = auc(CmMia().score(evidence, ONLINE).score, members)
    lira = max(auc(Lira().score(evidence, f"online-{kind}").score, members) for kind in ("global", "per-record"))
    assert area > lira + 0.015


@pytest.mark.parametrize("k", [4, 16])
def test_it_is_level_with_the_best_test_of_equal_records(world_of: MakeWorld, k: int) -> None:
    # Gaussian margins of one variance: LiRA with a global variance is the best test, and there is nothing to learn.
    world = world_of(1, n=4000, k=k, balanced=True)
    area = auc(CmMia().score(world.evidence, ONLINE, world.reference).score, world.members)
    lira = auc(Lira().score(world.evidence, "online-global").score, world.members)
    assert area > lira - 0.01
    assert area > auc(Rmia().score(world.evidence, "online", world.reference).score, world.members)


def test_numbers_of_shadows_do_not_tell_membership(world_of: MakeWorld) -> None:
    # Without a leak there is nothing in a play but how many shadows are left on either side: 1 and 2, or 2 and 1.
    world = world_of(2, n=3000, k=4, shift=0.0, balanced=True)
    score = CalibratedOnline.fit(world.evidence.shadow_answers).score(world.evidence, world.evidence).score
    assert abs(auc(score, world.members) - 0.5) < 4 * 0.0106
    # Learners that found something would be sure of it.
    assert np.abs(score).max() < 1.5


def complements(seed: int) -> tuple[Evidence, BoolArray]:
    """Two pairs of complements. Models are surer of groups of ten records of which they trained on many."""
    rng = np.random.default_rng(seed)
    n, k, groups = 3000, 4, np.arange(3000) % 300
    halves = np.array([rng.permutation(n) < n // 2 for _ in range(k // 2)])
    trained = np.stack([halves, ~halves], axis=1).reshape(k, n)
    members = rng.permutation(n) < n // 2

    def answers(mask: BoolArray) -> FloatArray:
        share = np.bincount(groups, mask) / np.bincount(groups)
        margins = difficulty + 0.5 * mask + 12 * (share[groups] - 0.5) + rng.normal(size=n)
        return logits_with_margins(margins, rng.normal(size=(n, 3)))

    difficulty = rng.normal(size=n)
    shadows = np.array([answers(mask) for mask in trained])
    return Evidence(answers(members), shadows, ~trained, np.zeros(n, dtype=np.int64), "logits"), members


def test_the_complement_of_the_shadow_that_plays_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where one trained on more of a group, its complement trained on less: never so for a target.
    worlds = [complements(seed) for seed in range(3)]
    left_out = [auc(CmMia().score(evidence, ONLINE).score, members) for evidence, members in worlds]
    monkeypatch.setattr(calibrated_online, "most_opposite", lambda _out, shadow, _order: shadow)  # any other one
    kept = [auc(CmMia().score(evidence, ONLINE).score, members) for evidence, members in worlds]
    assert np.mean(left_out) > np.mean(kept) + 0.005


def test_even_odds_are_a_sensible_threshold() -> None:
    evidence, members = uneven(3000, 8)
    score = CmMia().score(evidence, ONLINE).score
    best = max(
        (score[members] >= t).mean() + (score[~members] < t).mean() for t in np.quantile(score, np.linspace(0, 1, 200))
    )
    assert (score[members] >= 0).mean() + (score[~members] < 0).mean() > best - 0.03


@pytest.mark.parametrize("classes", [2, 3])
def test_a_target_that_is_surer_of_a_class_is_as_well_attacked(classes: int) -> None:
    # As with a loss weighted by class, or a bias that was moved after training.
    evidence, members = uneven(1200, 8)
    labels = np.arange(1200) % classes
    # Class 0 is that of the margins of `uneven`.
    order = np.stack([(np.arange(3) - one) % 3 for one in labels])
    turned = replace(
        evidence,
        target=np.take_along_axis(evidence.target, order, axis=-1),
        shadows=np.take_along_axis(evidence.shadows, order[None], axis=-1),
        labels=labels,
    )
    moved = replace(turned, target=turned.target + np.array([0.0, 6.0, 0.0]))
    plain, found = (auc(CmMia().score(one, ONLINE).score, members) for one in (turned, moved))
    assert plain > 0.7
    assert found > plain - 0.06


def test_one_fit_scores_every_target() -> None:
    evidence, members = uneven(600, 8)
    other, _ = uneven(600, 8, seed=5)
    fitted = CmMia().fit(evidence.shadow_answers, ONLINE)
    second = replace(evidence, target=other.target)
    for one in (evidence, second):
        np.testing.assert_array_equal(fitted.score(one.target_answers).score, CmMia().score(one, ONLINE).score)
    assert auc(fitted.score(evidence.target_answers).score, members) > 0.7


def test_it_needs_four_shadows_on_both_sides(world_of: MakeWorld) -> None:
    world = world_of(3, n=100, k=3, balanced=True)
    assert (
        CmMia().inapplicable(world.evidence, world.reference, ONLINE) == "'cm-mia' needs at least 4 shadows and has 3"
    )
    world = world_of(3, n=100, k=8)
    reason = CmMia().inapplicable(world.evidence, world.reference, ONLINE)
    assert reason is not None
    assert reason.startswith("'cm-mia' needs 1 or more IN shadows per record; 100 of 100 records have fewer.")
    with pytest.raises(AttackError):
        CmMia().score(world.evidence, ONLINE, world.reference)


@pytest.mark.parametrize("factor", [0.4, 4.0])
def test_a_target_that_is_surer_or_less_sure_than_its_shadows_is_found_as_well(factor: float) -> None:
    # Margins times a factor, as of a model that trained longer or less: the order of records is the same.
    evidence, members = uneven(3000, 8)
    alike = auc(CmMia().score(evidence, ONLINE).score, members)
    scaled = replace(evidence, target=factor * evidence.target)
    area = auc(CmMia().score(scaled, ONLINE).score, members)
    assert area > alike - 0.02
    assert area > auc(Lira().score(scaled, "online-global").score, members) + 0.05


def test_huge_logits_are_scored() -> None:
    evidence, _ = uneven(200, 6)
    huge = replace(evidence, target=1e39 * evidence.target, shadows=1e39 * evidence.shadows)
    assert np.isfinite(CmMia().score(huge, ONLINE).score).all()
