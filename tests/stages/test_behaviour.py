"""How a target and its shadows answer, read from stored answers of both kinds of shadows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from edgeaudit.stages.behaviour import behaviour
from edgeaudit.stages.evidence import Answers
from edgeaudit.tasks import CLASSIFICATION

MEMBERS, OTHERS, REFERENCE, SHADOWS = 60, 40, 120, 3


def answers(
    *,
    knows: float,
    shadows_know: float,
    auditor: bool = False,
    count: int = SHADOWS,
    copies: int = 1,
    seed: int = 3,
    kind: str = "shadow",
    surer_of: float = 0.0,
) -> Answers:
    """Answers of two classes: margins of deviation 1, and more on what a model trained on; right where positive.

    copies: how often the records of the target's sides repeat, with the same answers. surer_of: what the target's
    margins of one class have more, and those of the other less.
    """
    rng = np.random.default_rng(seed)
    n_audited, n = MEMBERS + OTHERS, MEMBERS + OTHERS + REFERENCE
    trained = np.arange(n) < MEMBERS
    out = np.ones((count, n), np.bool_)
    for row in out:
        pool = np.arange(n_audited) if auditor else np.arange(n_audited, n)
        row[rng.choice(pool, len(pool) // 2, replace=False)] = False
    margins = np.repeat(rng.standard_normal(n), copies)[:n] + knows * trained
    labels = np.arange(n) % 2
    margins += surer_of * (2 * labels - 1)
    shadow_margins = rng.standard_normal((count, n)) + shadows_know * ~out
    return cast(
        "Answers",
        SimpleNamespace(
            settings=SimpleNamespace(
                targets=(("target", None),), shadow_roles=tuple(f"{kind}-{k}" for k in range(count))
            ),
            alike=lambda: (),
            trained=lambda _: trained,
            n_audited=n_audited,
            margins=lambda _: (margins, shadow_margins),
            correct=lambda: (margins > 0, shadow_margins > 0),
            out=out,
            task=CLASSIFICATION,
            at_chance=False,
            labels=labels,
            groups_queried=None if copies == 1 else np.arange(n) // copies,
        ),
    )


@pytest.mark.parametrize("auditor", [False, True])
def test_gaps_are_those_of_means_on_each_models_own_records(auditor: bool) -> None:
    given = answers(knows=2.0, shadows_know=1.5, auditor=auditor)
    found = behaviour(given)
    margins, shadow_margins = given.margins(0.0)
    inside, outside = margins[:MEMBERS], margins[MEMBERS : MEMBERS + OTHERS]
    assert found.target.margin.value == pytest.approx(inside.mean() - outside.mean())
    assert found.target.margin.variance == pytest.approx(inside.var(ddof=1) / MEMBERS + outside.var(ddof=1) / OTHERS)
    assert found.target.accuracy.value == pytest.approx((inside > 0).mean() - (outside > 0).mean())
    loss = np.log1p(np.exp(-margins))
    assert found.target.loss.value == pytest.approx(loss[MEMBERS : MEMBERS + OTHERS].mean() - loss[:MEMBERS].mean())
    # A shadow's other side is what it left out of the records that it was drawn from.
    pool = slice(0, MEMBERS + OTHERS) if auditor else slice(MEMBERS + OTHERS, None)
    own, mask = shadow_margins[1][pool], given.out[1][pool]
    assert found.shadows[1].margin.value == pytest.approx(own[~mask].mean() - own[mask].mean())


@pytest.mark.parametrize("auditor", [False, True])
def test_what_the_list_of_a_given_shadow_does_not_have_is_compared_by_the_targets_sides(auditor: bool) -> None:
    given = answers(knows=2.0, shadows_know=1.5, auditor=auditor, kind="given")
    found = behaviour(given)
    assert len(found.unlisted) == SHADOWS
    mask, margins = given.out[2], given.margins(0.0)[1][2]
    audited = np.arange(len(mask)) < MEMBERS + OTHERS
    members = np.arange(len(mask)) < MEMBERS
    gaps = found.unlisted[2]
    if min((mask & members).sum(), (mask & audited & ~members).sum()) < 20:
        assert gaps is None
    else:
        assert gaps is not None
        wanted = margins[mask & members].mean() - margins[mask & audited & ~members].mean()
        assert gaps.margin.value == pytest.approx(wanted)
    assert behaviour(answers(knows=2.0, shadows_know=1.5)).unlisted == ()


def test_what_a_target_knows_is_significant_and_what_it_does_not_is_not() -> None:
    knows = behaviour(answers(knows=2.0, shadows_know=2.0))
    assert max(knows.p_accuracy, knows.p_loss) < 1e-4
    assert behaviour(answers(knows=0.0, shadows_know=2.0)).p_loss > 0.01
    worse = behaviour(answers(knows=-2.0, shadows_know=2.0))
    assert min(worse.p_accuracy, worse.p_loss) > 0.999


def test_copies_of_records_make_nothing_significant() -> None:
    """Twenty groups of five equal records know as much as twenty records."""
    found = [behaviour(answers(knows=0.0, shadows_know=0.0, count=2, copies=2, seed=k)) for k in range(300)]
    for p in ([one.p_accuracy for one in found], [one.p_loss for one in found]):
        assert np.mean(np.array(p) < 0.05) < 0.09
    of_copies, of_each = (
        behaviour(answers(knows=0.0, shadows_know=0.0, copies=copies)).target.margin for copies in (2, 1)
    )
    assert of_copies.variance > 1.5 * of_each.variance


def test_distances_are_those_of_distribution_functions() -> None:
    from scipy.stats import ks_2samp

    given = answers(knows=2.0, shadows_know=0.0)
    found = behaviour(given)
    margins, shadow_margins = given.margins(0.0)
    inside = [m[~mask] for m, mask in zip(shadow_margins, given.out, strict=True)]
    # All shadows trained on as many records, so that the mean of their functions is that of them together.
    assert found.trained_distance == pytest.approx(ks_2samp(margins[:MEMBERS], np.concatenate(inside)).statistic)
    assert found.trained_distance is not None
    assert found.trained_distance > 0.5
    assert found.other_distance is not None
    assert found.other_distance < 0.3


@pytest.mark.parametrize("auditor", [False, True])
def test_a_target_that_is_surer_of_one_class_and_less_of_another_is_far_from_its_shadows(auditor: bool) -> None:
    alike, biased = (
        behaviour(answers(knows=1.0, shadows_know=1.0, auditor=auditor, surer_of=offset)) for offset in (0.0, 1.5)
    )
    for small, large in (
        (alike.trained_distance, biased.trained_distance),
        (alike.other_distance, biased.other_distance),
    ):
        assert small is not None
        assert large is not None
        # Normal margins 1.5 deviations apart: 2 Phi(.75) - 1 = .55; with both classes together .27.
        assert small < 0.25
        assert 0.35 < large < 0.7


def test_without_shadows_only_the_target_is_described() -> None:
    found = behaviour(answers(knows=2.0, shadows_know=0.0, count=0))
    assert found.shadows == ()
    assert found.trained_distance is None
    assert found.p_loss < 1e-4
