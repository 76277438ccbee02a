"""Conformal p-values of CM-MIA's tests are valid under H0, with ties and with shadows that share records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeaudit.attacks.cm_mia import CmMia
from edgeaudit.attacks.conformal import comparable_masks, lent_masks
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, Grid
from edgeaudit.attacks.signals import target_margins

from .conftest import MakeWorld, logits_with_margins

TESTS = ("t", "ecdf", "pchip", "discrete")
LEVELS = np.array([0.02, 0.05, 0.1, 0.5])


def null_rates(world: tuple[Evidence, Evidence], variant: str) -> tuple[FloatArray, FloatArray]:
    """Rates of p <= a at LEVELS by conformal p-values and by nominal ones."""
    scores = CmMia().score(world[0], variant, world[1])
    assert scores.p_value is not None
    assert scores.nominal is not None
    assert scores.known == len(world[1].labels)
    return tuple(np.mean(p[:, None] <= LEVELS, axis=0) for p in (scores.p_value, scores.nominal))


def null_world(
    seed: int, n: int, m: int, k: int, step: float = 0.0, pooled: float = 0.0, auditor: bool = False
) -> tuple[Evidence, Evidence]:
    """A target that trained on none of n audited and m known records; shadows trained on half of one of the two.

    Margin = difficulty + what all shadows of the pool share about the record (sd `pooled`; the target, of other
    records, has a draw of its own) + N(0, 1) + 2 if trained on; rounded to multiples of `step`, clipped to 3 steps.
    """
    rng = np.random.default_rng(seed)
    sides = []
    for size, untouched in ((n, not auditor), (m, auditor)):
        trained = np.zeros((k, size), np.bool_) if untouched else rng.random((k, size)) < 0.5
        trained[:2] = False  # two OUT shadows for every record
        difficulty, shared, own = rng.normal(size=size), *(pooled * rng.normal(size=(2, size)))
        target = difficulty + own + rng.normal(size=size)
        shadows = difficulty + shared + rng.normal(size=(k, size)) + 2 * trained
        if step:
            target, shadows = (np.clip(np.round(x / step), -3, 3) * step for x in (target, shadows))
        zeros = np.zeros((size, 1)), np.zeros((k, size, 1))
        answers = logits_with_margins(target, zeros[0]), logits_with_margins(shadows, zeros[1])
        ends = np.full(k + 1, -3 * (step or 100.0)), np.full(k + 1, 3 * (step or 100.0))
        grid = Grid("logits", np.full(k + 1, step or 1e-3), *ends)
        sides.append(Evidence(*answers, ~trained, np.zeros(size, np.int64), "logits", grid=grid))
    return sides[0], sides[1]


def error(n: int, m: int, worlds: int) -> FloatArray:
    """Standard error of a mean rate: records and known nonmembers are both drawn."""
    return np.asarray(np.sqrt(LEVELS * (1 - LEVELS) * (1 / n + 1 / m) / worlds))


@pytest.mark.parametrize("variant", TESTS)
@pytest.mark.parametrize("auditor", [False, True])
def test_uniform_under_the_null(variant: str, auditor: bool) -> None:
    n, m, worlds = 800, 799, 6
    found = [null_rates(null_world(s, n, m, k=9, auditor=auditor), variant)[0] for s in range(worlds)]
    rates, slack = np.mean(found, axis=0), 4 * error(n, m, worlds)
    assert (rates <= LEVELS + slack).all()
    if variant in {"t", "discrete"}:  # no ties: exact
        assert (rates >= LEVELS - slack).all()


@pytest.mark.parametrize("variant", TESTS)
def test_a_small_pool_breaks_the_rank_and_not_the_conformal_p(variant: str) -> None:
    # Shadows agree about a record, a target of other records does not: given K -> inf the rank test asks whether
    # N(0, 1 + 2 * .6^2) exceeds a quantile of N(0, 1): at .05, Phi(-1.645 / 1.311) = .105.
    n, m, worlds = 1000, 999, 4
    found = [null_rates(null_world(s, n, m, k=39, pooled=0.6), variant) for s in range(worlds)]
    conformal, nominal = np.mean(found, axis=0)
    slack = 4 * error(n, m, worlds)
    assert nominal[1] > 0.05 + slack[1] + 0.02
    assert (conformal <= LEVELS + slack).all()


@pytest.mark.parametrize("variant", TESTS)
@settings(max_examples=8, deadline=None)
@given(k=st.integers(3, 8), step=st.sampled_from([0.0, 0.5, 1.5, 4.0]), auditor=st.booleans(), seed=st.integers(0, 99))
def test_ties_make_it_conservative_and_never_more(variant: str, k: int, step: float, auditor: bool, seed: int) -> None:
    n, m, worlds = 400, 399, 3
    found = [null_rates(null_world(100 * seed + s, n, m, k, step, auditor=auditor), variant)[0] for s in range(worlds)]
    # 32 examples of 4 levels: five standard errors, and a rate can be above by a tie's rounding of 1 / (m + 1).
    assert (np.mean(found, axis=0) <= LEVELS + 5 * error(n, m, worlds) + 1 / m).all()


# Not `discrete`, whose mid-p of a tied record depends on how many shadows tie.
@pytest.mark.parametrize("variant", ["t", "ecdf", "pchip"])
def test_tied_answers_call_no_record_a_member(variant: str) -> None:
    one, two = null_world(0, 50, 40, k=5, step=1.0)
    flat = [replace(e, target=e.target * 0, shadows=e.shadows * 0) for e in (one, two)]
    p = CmMia().score(flat[0], variant, flat[1]).p_value
    assert p is not None
    np.testing.assert_array_equal(p, 1.0)


@pytest.mark.parametrize("variant", TESTS)
def test_scores_do_not_depend_on_the_reference_records(world_of: MakeWorld, variant: str) -> None:
    world = world_of(3, n=200, k=12)
    with_known = CmMia().score(world.evidence, variant, world.reference)
    without = CmMia().score(world.evidence, variant)
    np.testing.assert_array_equal(with_known.score, without.score)
    np.testing.assert_array_equal(np.asarray(with_known.nominal), np.asarray(without.nominal))
    assert without.p_value is None


def test_members_have_small_p_values_that_k_does_not_bound(world_of: MakeWorld) -> None:
    # 8 shadows: a rank is 1/9 at best. Of members shifted by 6, nearly all lie above 300 nonmembers.
    world = world_of(4, n=400, k=8, shift=6.0)
    scores = CmMia().score(world.evidence, "t", world.reference)
    assert scores.p_value is not None
    assert scores.p_value.min() == 1 / (scores.known + 1)
    assert (scores.p_value[world.members] <= 0.01).mean() > 0.8
    assert target_margins(world.evidence)[world.members].mean() > 4


def masks_of(phi: FloatArray, known_out: BoolArray, *, numbered: bool) -> BoolArray:
    known_phi = np.tile(np.arange(known_out.shape[1], dtype=np.float64), (len(known_out), 1))
    return lent_masks(phi, np.ones(phi.shape, np.bool_), known_phi, known_out, numbered=numbered)


def test_lent_masks_are_drawn_from_all_known_records() -> None:
    # Every known record has a mask of its own: the bits of its number.
    known_out = np.array([[(r >> b) & 1 for r in range(1, 64)] for b in range(6)], dtype=np.bool_)
    phi = np.tile(np.linspace(0, 62, 6300), (6, 1))
    lent = masks_of(phi, known_out, numbered=False)
    numbers = (lent * (1 << np.arange(6))[:, None]).sum(axis=0)
    assert set(numbers) == set(range(1, 64))
    # Order of the records and which are asked do not matter.
    some = np.array([40, 7, 6000])
    np.testing.assert_array_equal(masks_of(phi[:, some], known_out, numbered=False), lent[:, some])


def test_tied_records_borrow_from_different_lenders_only_for_p_values() -> None:
    known_out = np.random.default_rng(0).random((6, 200)) < 0.5
    known_out[0] = True
    phi = np.full((6, 1000), 17.0)
    assert len(np.unique(masks_of(phi, known_out, numbered=False), axis=1).T) == 1
    spread = masks_of(phi, known_out, numbered=True)
    # Each of the 200 masks is lent five times.
    np.testing.assert_allclose(spread.mean(axis=1), known_out.mean(axis=1))


def test_the_side_that_no_shadow_trained_on_borrows_masks() -> None:
    rng = np.random.default_rng(1)
    phi, known_phi = rng.normal(size=(4, 30)), rng.normal(size=(4, 20))
    whole, known_whole = np.ones((4, 30), np.bool_), np.ones((4, 20), np.bool_)
    part, known_part = rng.random((4, 30)) < 0.5, rng.random((4, 20)) < 0.5
    part[0], known_part[0] = True, True
    own, known = comparable_masks(phi, whole, known_phi, known_part)
    assert not own.all()
    np.testing.assert_array_equal(known, known_part)
    own, known = comparable_masks(phi, part, known_phi, known_whole)
    assert not known.all()
    np.testing.assert_array_equal(own, part)
    for one, two in ((whole, known_whole), (part, known_part)):
        own, known = comparable_masks(phi, one, known_phi, two)
        np.testing.assert_array_equal(own, one)
        np.testing.assert_array_equal(known, two)
