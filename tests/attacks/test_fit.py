"""An attack is fitted to shadows once, without the targets, and scores any number of them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import numpy as np
import pytest

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import Evidence, ShadowAnswers, TargetAnswers
from edgeaudit.attacks.registry import attack_specs, find_attack
from edgeaudit.errors import AttackError

from .conftest import MakeEvidence, MakeWorld
from .test_all_attacks import settings_for

ALL = [(spec.name, variant) for spec in attack_specs() for variant in spec.variants]
_TRAINED = {("samia", "attention"), ("loss-trajectory", "distilled")}


def other_target(evidence: Evidence, shadow: int) -> Evidence:
    """The same shadows on the same records, with a target between the evidence's own and one of the shadows."""
    views = tuple(replace(v, target=(v.target + v.shadows[shadow]) / 2) for v in evidence.views)
    traces = {n: replace(t, target=(t.target + t.shadows[shadow]) / 2) for n, t in evidence.traces.items()}
    return replace(evidence, target=(evidence.target + evidence.shadows[shadow]) / 2, views=views, traces=traces)


@pytest.mark.parametrize(
    ("name", "variant"), [pytest.param(*one, marks=pytest.mark.slow if one in _TRAINED else ()) for one in ALL]
)
def test_targets_that_share_a_fit_score_as_with_a_fit_of_their_own(
    world_of: MakeWorld, name: str, variant: str
) -> None:
    world = world_of(20, n=60, k=8, **settings_for(name, variant))
    targets = [(world.evidence, world.reference)]
    targets += [(other_target(world.evidence, k), other_target(world.reference, k)) for k in (0, 5)]
    scorer = find_attack(name)().fit(world.evidence.shadow_answers, variant, world.reference.shadow_answers)
    alone = [find_attack(name)().score(evidence, variant, reference) for evidence, reference in targets]
    both = list(zip(targets, alone, strict=True))
    for (evidence, reference), own in (*both, *both[::-1]):
        shared = scorer.score(evidence.target_answers, reference.target_answers)
        for one in fields(Scores):
            np.testing.assert_array_equal(getattr(shared, one.name), getattr(own, one.name))


@dataclass
class Calls:
    fits: list[tuple[ShadowAnswers, ShadowAnswers]] = field(default_factory=list)


def spy(calls: Calls, least: int = 0) -> Attack:
    """An attack that keeps what `_fit` is given, and scores how far the target's answers are from the shadows'."""

    @dataclass(frozen=True)
    class Mean:
        answers: np.ndarray

        def score(self, evidence: Evidence, reference: Evidence) -> Scores:
            return Scores((evidence.target - self.answers).max(axis=1))

    class Spy(Attack):
        spec: ClassVar[AttackSpec] = AttackSpec("spy", ("mean",), "", "", Needs(shadows=least))

        def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> Mean:
            calls.fits.append((shadows, reference))
            return Mean(shadows.shadows.mean(axis=0))

    return Spy()


def test_fit_does_not_receive_the_target(world_of: MakeWorld) -> None:
    world, calls = world_of(1, n=40, k=4, views=("flip",), traces=("boundary",)), Calls()
    attack = spy(calls)
    for number in range(3):
        attack.score(other_target(world.evidence, number), "mean", other_target(world.reference, number))
    assert len(calls.fits) == 3
    for shadows, reference in calls.fits:
        assert shadows.same_as(world.evidence.shadow_answers)
        assert reference.same_as(world.reference.shadow_answers)
        assert not {one.name for one in fields(shadows)} & {one.name for one in fields(TargetAnswers)} - {
            "grid", "views", "traces",
        }  # fmt: skip
        assert shadows.grid is not None
        assert len(shadows.grid.step) == 4
        assert [one.name for one in fields(shadows.views[0])] == ["name", "shadows"]
        assert set(shadows.traces["boundary"].shadows) == set(range(4))


def test_a_scorer_is_fitted_once_for_any_number_of_targets(world_of: MakeWorld) -> None:
    world, calls = world_of(2, n=40, k=4), Calls()
    scorer = spy(calls).fit(world.evidence.shadow_answers, "mean", world.reference.shadow_answers)
    for number in range(4):
        one, two = (other_target(part, number).target_answers for part in (world.evidence, world.reference))
        scorer.score(one, two)
    assert len(calls.fits) == 1


def test_fit_reports_missing_requirements_without_a_target(evidence_of: MakeEvidence) -> None:
    evidence, _ = evidence_of(0, n=10, k=3)
    with pytest.raises(AttackError, match="needs at least 4 shadows and has 3"):
        spy(Calls(), least=4).fit(evidence.shadow_answers, "mean")
    with pytest.raises(AttackError, match="no variant"):
        spy(Calls()).fit(evidence.shadow_answers, "median")


def test_answers_on_other_records_are_rejected(world_of: MakeWorld) -> None:
    world = world_of(3, n=30, k=3, views=("flip",))
    scorer = spy(Calls()).fit(world.evidence.shadow_answers, "mean", world.reference.shadow_answers)
    target, reference = world.evidence.target_answers, world.reference.target_answers
    with pytest.raises(AttackError, match="array shapes do not match"):
        scorer.score(target.take(np.arange(29)), reference)
    with pytest.raises(AttackError, match="views"):
        scorer.score(replace(target, views=()), reference)
    with pytest.raises(AttackError, match="fitted with reference records"):
        scorer.score(target)


def test_evidence_is_the_combination_of_both_parts(world_of: MakeWorld) -> None:
    part = world_of(4, n=20, k=3, views=("flip",), traces=("boundary",)).evidence
    joined = Evidence.of(part.target_answers, part.shadow_answers)
    assert joined.shadow_answers is part.shadow_answers
    for name in ("target", "shadows", "out", "labels", "inputs"):
        assert getattr(joined, name) is getattr(part, name)
    assert joined.grid is not None
    assert joined.grid.same_as(part.grid)
    # What is replaced is validated anew, and not served by the part that was validated before.
    changed = replace(joined, shadows=joined.shadows + 1)
    assert changed.shadow_answers.shadows is changed.shadows
    with pytest.raises(AttackError, match="NaN or infinity"):
        replace(joined, shadows=joined.shadows * np.nan)


@pytest.mark.parametrize("part", ["shadows", "out", "labels", "records", "floor", "inputs", "grid", "views", "traces"])
def test_other_answers_are_not_the_same(world_of: MakeWorld, part: str) -> None:
    world = world_of(13, n=30, k=3, views=("flip",), traces=("boundary",))
    one = world.reference.shadow_answers
    assert one.inputs is not None
    assert one.grid is not None
    view, trace = one.views[0], one.traces["boundary"]
    changed = {
        "shadows": replace(one, shadows=one.shadows * 1.01),
        "out": replace(one, out=~one.out),
        "labels": replace(one, labels=1 - one.labels),
        "records": one.take(np.arange(299)),
        "floor": replace(one, floor=1e-3),
        "inputs": replace(one, inputs=one.inputs + 1),
        "grid": replace(one, grid=replace(one.grid, step=2 * one.grid.step)),
        "views": replace(one, views=(replace(view, shadows=view.shadows + 1e-9),)),
        "traces": replace(one, traces={"boundary": trace.keep(np.array([0, 2]))}),
    }[part]
    assert not one.same_as(changed)
    assert one.same_as(one.take(np.arange(300)))


def test_an_attack_without_fit_and_score_is_rejected() -> None:
    with pytest.raises(TypeError, match="Nothing must define _score or _fit"):

        class Nothing(Attack):
            spec: ClassVar[AttackSpec] = AttackSpec("nothing", ("plain",), "", "")
