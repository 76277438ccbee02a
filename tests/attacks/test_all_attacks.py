"""Properties that every attack must have; new attacks are tested automatically."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

from edgeaudit.attacks import attention
from edgeaudit.attacks.evidence import Exposure
from edgeaudit.attacks.registry import attack_specs, find_attack
from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import auc

from .conftest import MakeWorld, changed

ALL = [(spec.name, variant) for spec in attack_specs() for variant in spec.variants]
EXPOSURES: tuple[Exposure, ...] = ("logits", "probabilities")
# What blunter attacks see of a shift of 2: see test_higher_means_member.
LEAST_AUC = {"gap": 0.55, "ml-leaks": 0.7, "label-only": 0.6}

_TRAINED = {("samia", "attention")}
"""Attacks that train a network in each test."""

pytestmark = pytest.mark.parametrize(
    ("name", "variant"), [pytest.param(*one, marks=pytest.mark.slow if one in _TRAINED else ()) for one in ALL]
)


@pytest.fixture(autouse=True)
def few_steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer batches where it does not matter how well an attention network has learned."""
    if request.node.originalname != test_higher_means_member.__name__:
        monkeypatch.setattr(attention, "_STEPS", 80)


def settings_for(name: str, variant: str) -> dict[str, Any]:
    """What the variant needs of a simulation: IN shadows of the audited records, views, traces."""
    needs = find_attack(name).spec.needs_of(variant)
    views = ("noise-1", "noise-1") if needs.views else ()
    return {"balanced": online(name, variant), "views": views, "traces": (needs.trace,) if needs.trace else ()}


def online(name: str, variant: str) -> bool:
    """Whether the variant reads IN shadows of the audited records."""
    return find_attack(name).spec.needs_of(variant).inside > 0


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_higher_means_member(world_of: MakeWorld, name: str, variant: str, exposure: Exposure) -> None:
    # Fault 2, an inverted sign, gives less than 1/2. Yeom's and the shadow attacks' AUC is Phi(shift / sd of the
    # difference) or more: Phi(2 / sqrt(2 + 2)) = .84, sd .02; the gap attack sees only the sign of a margin: about
    # P[phi > 0 | member] = Phi(2 / sqrt 2) = .92 but argmax is kinder to nonmembers, .5 + (.98 - .72) / 2 = .63.
    # ML-Leaks has no label, and takes a confident mistake for a member: less than Yeom, and far more than gap.
    world = world_of(0, n=600, shift=2.0, exposure=exposure, **settings_for(name, variant))
    area = auc(find_attack(name)().score(world.evidence, variant, world.reference).score, world.members)
    assert area > LEAST_AUC.get(name, 0.78)


def test_no_leak_gives_an_auc_of_a_half(world_of: MakeWorld, name: str, variant: str) -> None:
    # Standard error of the AUC under H0: sqrt((m + n + 1) / (12 m n)) = sqrt(1201 / (12 * 600^2)) = .0167.
    world = world_of(1, n=1200, shift=0.0, **settings_for(name, variant))
    area = auc(find_attack(name)().score(world.evidence, variant, world.reference).score, world.members)
    assert abs(area - 0.5) < 4 * 0.0167


@pytest.mark.parametrize("halves", [False, True])
def test_equivariant_to_the_order_of_records_and_shadows(
    world_of: MakeWorld, name: str, variant: str, halves: bool
) -> None:
    world = world_of(2, n=80, k=20, halves=halves, **settings_for(name, variant))
    rng = np.random.default_rng(3)
    records, others, shadows = rng.permutation(80), rng.permutation(300), rng.permutation(20)
    attack = find_attack(name)()
    plain = attack.score(world.evidence, variant, world.reference)
    moved = attack.score(world.evidence.take(records), variant, world.reference.take(others))
    shuffled = attack.score(world.evidence.keep(shadows), variant, world.reference.keep(shadows))
    np.testing.assert_allclose(moved.score, plain.score[records], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(shuffled.score, plain.score, rtol=1e-9, atol=1e-12)


def test_a_constant_on_a_record_s_logits_changes_nothing(world_of: MakeWorld, name: str, variant: str) -> None:
    world = world_of(4, n=60, **settings_for(name, variant))
    rng = np.random.default_rng(5)
    parts = []
    for part in (world.evidence, world.reference):
        constants = rng.normal(scale=30, size=(len(part.labels), 1))
        parts.append(changed(part, partial(np.add, constants), partial(np.add, -2 * constants)))
    attack = find_attack(name)()
    plain = attack.score(world.evidence, variant, world.reference).score
    np.testing.assert_allclose(attack.score(parts[0], variant, parts[1]).score, plain, atol=1e-9)


def test_in_shadows_are_read_online_only(world_of: MakeWorld, name: str, variant: str) -> None:
    world = world_of(6, n=60, **{**settings_for(name, variant), "balanced": True})
    garbled = world.evidence.shadows.copy()
    garbled[~world.evidence.out] = -77.0
    attack = find_attack(name)()
    plain = attack.score(world.evidence, variant, world.reference).score
    moved = attack.score(replace(world.evidence, shadows=garbled), variant, world.reference).score
    assert np.array_equal(plain, moved) != online(name, variant)


def test_scoring_changes_no_input_and_repeats(world_of: MakeWorld, name: str, variant: str) -> None:
    world = world_of(7, n=50, **settings_for(name, variant))
    for part in (world.evidence, world.reference):
        assert part.inputs is not None
        assert part.grid is not None
        for array in (part.target, part.shadows, part.out, part.labels, part.inputs, part.grid.step):
            array.flags.writeable = False
    attack = find_attack(name)()
    first = attack.score(world.evidence, variant, world.reference).score
    np.testing.assert_array_equal(first, attack.score(world.evidence, variant, world.reference).score)


def test_p_values_fall_as_scores_rise(world_of: MakeWorld, name: str, variant: str) -> None:
    world = world_of(8, n=300, **settings_for(name, variant))
    scores = find_attack(name)().score(world.evidence, variant, world.reference)
    assert (scores.p_value is not None) == (variant in find_attack(name).spec.calibrated_p)
    assert (scores.nominal is not None) == (
        (name == "cm-mia" and not variant.startswith("calibrated")) or (name, variant[:7]) == ("lira", "offline")
    )
    if scores.nominal is not None and variant != "discrete":  # which ranks by mid-p, and p is conservative
        order = np.argsort(scores.score)
        assert (np.diff(scores.nominal[order]) <= 0).all()
    if scores.p_value is not None:
        # A record is ranked among known ones as they are seen, through a borrowed out mask: order is nearly kept.
        assert stats.spearmanr(scores.score, scores.p_value).statistic < -0.8
        assert scores.p_value.min() >= 1 / (scores.known + 1)


def test_saturated_integer_answers_get_finite_scores(world_of: MakeWorld, name: str, variant: str) -> None:
    # A uint8 softmax puts most records of an overfit model on one value, in the target and in all shadows.
    world = world_of(9, n=100, exposure="probabilities", **settings_for(name, variant))
    one, two = (changed(part, np.round, np.round) for part in (world.evidence, world.reference))
    assert len(np.unique(one.target)) == 2
    assert np.isfinite(find_attack(name)().score(one, variant, two).score).all()
    constant = changed(one, lambda x: np.full_like(x, 0.25), lambda x: np.full_like(x, 0.25))
    constant = replace(constant, inputs=np.zeros((100, 5)))
    constant = replace(constant, traces={k: replace(t, target=t.target * 0) for k, t in one.traces.items()})
    assert np.ptp(find_attack(name)().score(constant, variant, two).score) == 0


def test_missing_requirements_are_reported_and_rejected(world_of: MakeWorld, name: str, variant: str) -> None:
    # Every need that the spec declares, taken away: one reason each, and the same words when it is run all the same.
    world = world_of(10, n=40, **{**settings_for(name, variant), "balanced": True})
    attack, needs = find_attack(name)(), find_attack(name).spec.needs_of(variant)
    assert attack.inapplicable(world.evidence, world.reference, variant) is None
    closed = replace(world.evidence, out=np.zeros_like(world.evidence.out))
    opened = replace(world.evidence, out=np.ones_like(world.evidence.out))
    untrained = replace(world.reference, out=np.ones_like(world.reference.out))
    one = replace(world.evidence.keep(np.array([0])), out=np.ones((1, 40), dtype=np.bool_))
    blind, continuous = replace(world.evidence, inputs=None), replace(world.evidence, grid=None)
    plain, unseen = (replace(part, views=()) for part in (world.evidence, world.reference))
    cost = "a training run" if name == "loss-trajectory" else "hundreds of queries a record"
    cases = {
        "OUT shadows per record; 40 of 40": (needs.out > 0, closed, world.reference),
        "IN shadows per record; 40 of 40": (needs.inside > 0, opened, world.reference),
        "or more reference records": (needs.reference > 0, world.evidence, None),
        "learns from shadows' answers": (needs.examples > 0, opened, untrained),
        "shadows and has 1": (needs.shadows > 1, one, None),
        "reads the records themselves": (needs.inputs, blind, world.reference),
        "these answers are continuous": (needs.grid, continuous, replace(world.reference, grid=None)),
        "which cost queries: set threat.views": (bool(needs.views), plain, unseen),
        f"which cost {cost}: add '{name}'": (
            bool(needs.trace),
            replace(plain, traces={}),
            unseen,
        ),
        "learns from shadows' traces": (bool(needs.trace), world.evidence, replace(world.reference, traces={})),
    }
    for words, (needed, evidence, reference) in cases.items():
        reason = attack.inapplicable(evidence, reference, variant)
        assert (reason is not None and words in reason) == needed, words
        if reason is not None:
            with pytest.raises(AttackError) as refused:
                attack.score(evidence, variant, reference)
            assert str(refused.value) == reason


def test_records_are_scored_one_by_one(world_of: MakeWorld, name: str, variant: str) -> None:
    # No record's score depends on which others are audited, but through a variance that is pooled over them.
    world = world_of(11, n=90, **settings_for(name, variant))
    attack, rows = find_attack(name)(), np.array([3, 14, 15, 80])
    if find_attack(name).spec.needs_of(variant).variance:
        return
    alone = attack.score(world.evidence.take(rows), variant, world.reference).score
    np.testing.assert_allclose(alone, attack.score(world.evidence, variant, world.reference).score[rows], rtol=1e-9)
