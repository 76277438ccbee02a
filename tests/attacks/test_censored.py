from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from edgeaudit.attacks.censored import Cells, CensoredNull, _truncated, shadow_cells, target_cells
from edgeaudit.attacks.cm_mia import CmMia
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, Grid
from edgeaudit.attacks.null_tests import ModeratedNull
from edgeaudit.attacks.signals import shadow_margins, target_margins
from edgeaudit.errors import AttackError
from edgeaudit.leakage.outputs import OutputGrid

from .conftest import MakeEvidence, logits_with_margins

N, K = 4000, 20


def softmax_world(margins: FloatArray, step: float) -> Evidence:
    """Two-class int8 softmax answers with these margins [1 + K, n], rounded to `step`; the highest is 1 - step."""
    p = np.clip(np.rint(special.expit(margins) / step) * step, 0, 1 - step)
    answers = np.stack((p, 1 - p), axis=-1)
    models, n = margins.shape
    grid = Grid("probabilities", np.full(models, step), np.zeros(models), np.full(models, 1 - step))
    out = np.ones((models - 1, n), dtype=np.bool_)
    return Evidence(answers[0], answers[1:], out, np.zeros(n, dtype=np.int64), "probabilities", grid=grid)


def logit_world(margins: FloatArray, step: float, rng: np.random.Generator) -> Evidence:
    """Logits of four classes rounded to about `step`, another one for each model."""
    models, n = margins.shape
    steps = step * np.exp(0.1 * rng.normal(size=models))
    z = logits_with_margins(margins, rng.normal(size=(models, n, 3)))
    z = np.rint(z / steps[:, None, None]) * steps[:, None, None]
    grid = Grid("logits", steps, np.full(models, -np.inf), np.full(models, np.inf))
    return Evidence(
        z[0], z[1:], np.ones((models - 1, n), dtype=np.bool_), np.zeros(n, dtype=np.int64), "logits", grid=grid
    )


def gaussian(seed: int, centre: float, spread: float) -> FloatArray:
    """Margins [1 + K, N] under H0: a mean and a variance for each record."""
    rng = np.random.default_rng(seed)
    scale = np.sqrt(8 / rng.chisquare(8, size=N))
    return np.asarray(centre + spread * rng.normal(size=N) + scale * rng.normal(size=(K + 1, N)), dtype=np.float64)


def run(evidence: Evidence) -> tuple[FloatArray, FloatArray]:
    tested = CensoredNull.fit(shadow_cells(evidence.shadow_answers), evidence.out).test(target_cells(evidence))
    return tested.p_value, tested.score


def tpr(score: FloatArray, members: BoolArray, fpr: float) -> float:
    threshold = np.quantile(score[~members], 1 - fpr, method="higher")
    return float((score[members] > threshold).mean())


@pytest.mark.parametrize("of", ["probabilities", "logits"])
@pytest.mark.parametrize("coarse", [1, 16, 64])
def test_p_is_valid_on_rounded_gaussian_margins(of: str, coarse: int) -> None:
    # Steps of 1/256, 1/16, 1/4 and of .05, .8, 3.2. P(p <= a) <= a; four standard errors of a rate of N nonmembers.
    margins = gaussian(coarse, 2.0, 2.0)
    rng = np.random.default_rng(1)
    evidence = softmax_world(margins, coarse / 256) if of == "probabilities" else logit_world(margins, coarse / 20, rng)
    p, _ = run(evidence)
    for level in (0.001, 0.01, 0.05, 0.1, 0.5):
        assert (p <= level).mean() <= level + 4 * math.sqrt(level * (1 - level) / N)


def test_p_is_exact_where_rounding_is_fine() -> None:
    p, _ = run(logit_world(gaussian(2, 0.0, 1.0), 1e-3, np.random.default_rng(3)))
    for level in (0.01, 0.05, 0.5):
        assert abs((p <= level).mean() - level) < 4 * math.sqrt(level * (1 - level) / N)


def test_fine_rounding_gives_the_moderated_t() -> None:
    # One model with two priors of the variance, so not to the digit: ranks agree, and so does the size of log p.
    evidence = logit_world(gaussian(4, 0.0, 1.0), 1e-6, np.random.default_rng(5))
    _, score = run(evidence)
    t = ModeratedNull.fit(shadow_margins(evidence.shadow_answers), evidence.out).test(target_margins(evidence))
    assert stats.spearmanr(score, t.score).statistic > 0.998
    assert np.median(np.abs(score - t.score)) < 0.03


def test_saturated_records_are_not_called_members() -> None:
    # Margins near 9: all answers are the highest of the grid. Raw t finds no variance there; here p is near 1.
    evidence = softmax_world(gaussian(6, 2.0, 5.0), 1 / 256)
    p, score = run(evidence)
    top = 255 / 256
    tied = (evidence.target[:, 0] == top) & (evidence.shadows[:, :, 0] == top).all(axis=0)
    assert tied.sum() > 200
    assert (p[tied] > 0.9).all()
    # q = p / 2 in an open cell, so the score is -log p: below -log .9.
    np.testing.assert_allclose(score[tied], -np.log(p[tied]), atol=1e-9)


def test_one_shadow_a_step_below_does_not_make_saturated_records_significant() -> None:
    # 19 shadows on the highest value and one a step below: a target on the highest is nothing special.
    margins = gaussian(7, 3.0, 2.0)
    margins[:, :50] = 9.0
    margins[5, :50] = special.logit(254 / 256)
    p, _ = run(softmax_world(margins, 1 / 256))
    assert (p[:50] > 0.5).all()


def test_it_outperforms_t_on_saturated_members() -> None:
    # Most members and many nonmembers are on the highest value; four worlds of 4000, standard error of TPR .01.
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        members = rng.random(N) < 0.5
        scale = 2 * np.sqrt(20 / rng.chisquare(20, size=N))
        margins = 2 + 3 * rng.normal(size=N) + scale * rng.normal(size=(K + 1, N))
        margins[0] += 8 * members
        evidence = softmax_world(margins, 1 / 256)
        assert (evidence.target[members, 0] == 255 / 256).mean() > 0.8
        found.append([tpr(CmMia().score(evidence, variant).score, members, 0.01) for variant in ("discrete", "t")])
    discrete, raw = np.mean(found, axis=0)
    assert discrete > raw + 0.02


@pytest.mark.parametrize(
    ("a", "b"), [(-1, 0.3), (3, math.inf), (-math.inf, -2), (2, 2.5), (-4, 5), (-math.inf, math.inf), (1, 1.001)]
)
def test_moments_of_a_truncated_normal(a: float, b: float) -> None:
    log_mass, mean, kept = (float(part) for part in _truncated(np.array(a), np.array(b), 1.0))
    truth = stats.truncnorm(a, b)
    expected = math.log(special.ndtr(b) - special.ndtr(a)), truth.mean(), 1 - truth.var()
    assert (log_mass - math.log(2 * math.pi) / 2, mean, kept) == pytest.approx(expected, abs=1e-8)


def test_moments_far_in_the_tail() -> None:
    # P[Z > t] = density(t) / t (1 - 1/t^2 + ...), mean t + 1/t - 2/t^3; the same in both tails; a point; a thin cell.
    a, b = np.array([30.0, -np.inf, 20.0, 20.0]), np.array([np.inf, -30.0, 20.0, 20.0 + 1e-7])
    log_mass, mean, kept = _truncated(a, b, 0.5)
    np.testing.assert_allclose(log_mass[:2], -450 - math.log(30) + math.log(1 - 1 / 900), atol=1e-5)
    np.testing.assert_allclose(mean, [30 + 1 / 30 - 2 / 27000, -30 - 1 / 30 + 2 / 27000, 20, 20], atol=1e-5)
    np.testing.assert_allclose(kept[2:], 1)
    # A point has its density per unit of the margin, 1 / sigma = 2; a cell its width.
    np.testing.assert_allclose(log_mass[2:], [-200 + math.log(2), -200 + math.log(1e-7)], atol=1e-5)


def test_cells_of_probabilities_by_hand() -> None:
    # Step 1/4 up to 3/4: cells [0, 1/8], [1/8, 3/8], [3/8, 5/8], [5/8, 1], open at the ends, which tile the line.
    p = np.array([0, 0.25, 0.5, 0.75])
    evidence = softmax_world(np.tile(special.logit(np.clip(p, 1e-9, 1)), (3, 1)), 0.25)
    cells = target_cells(evidence)
    edges = special.logit(np.array([1 / 8, 3 / 8, 5 / 8]))
    np.testing.assert_allclose(cells.low, [-np.inf, *edges])
    np.testing.assert_allclose(cells.high, [*edges, np.inf])


def test_cells_of_logits_by_hand() -> None:
    # z = (2, 1, 1), step .5: phi = 2 - 1 - log 2, +- .25. A true logit at an end of the grid is open on that side.
    answers = np.array([[2.0, 1.0, 1.0]])
    phi = 1 - math.log(2)
    for high, expected in ((np.inf, phi + 0.25), (2.0, np.inf)):
        grid = Grid("logits", np.array([0.5, 0.2]), np.full(2, -np.inf), np.full(2, high))
        evidence = Evidence(answers, answers[None], np.ones((1, 1), dtype=np.bool_), np.array([0]), "logits", grid=grid)
        assert (target_cells(evidence).low[0], target_cells(evidence).high[0]) == pytest.approx((phi - 0.25, expected))
        assert shadow_cells(evidence.shadow_answers).low[0, 0] == pytest.approx(phi - 0.1)
    grid = Grid("logits", np.array([0.5, 0.2]), np.full(2, -np.inf), np.full(2, np.inf))
    # A softmax outside: the same cells, but beyond the floor all is one.
    p = special.softmax(np.array([[2.0, 1.0, 1.0], [9.0, 1.0, 1.0], [-9.0, 1.0, 1.0]]), axis=1)
    outside = Evidence(
        p, p[None], np.ones((1, 3), dtype=np.bool_), np.zeros(3, dtype=np.int64), "probabilities", grid=grid
    )
    edge = float(special.logit(1 - 1 / 512))
    np.testing.assert_allclose(target_cells(outside).low, [phi - 0.25, edge - 0.25, -np.inf])
    np.testing.assert_allclose(target_cells(outside).high, [phi + 0.25, np.inf, -edge + 0.25])


def test_a_play_takes_its_own_grid(evidence_of: MakeEvidence) -> None:
    evidence, _ = evidence_of(1, n=20, k=3)
    assert evidence.grid is not None
    played = evidence.play(1)[0]
    assert played.grid is not None
    np.testing.assert_array_equal(played.grid.step, evidence.grid.step[[2, 1, 3]])
    # fp32 shadows of an integer target: no play has a grid.
    bare = replace(evidence, grid=replace(evidence.grid, step=np.array([0.1, 0, 0, 0])))
    assert bare.play(1)[0].grid is None
    assert np.isfinite(CmMia().score(bare, "discrete").score).all()


def test_invalid_grids_are_rejected(evidence_of: MakeEvidence) -> None:
    evidence, _ = evidence_of(2, n=20, k=3)
    grid = evidence.grid
    assert grid is not None
    with pytest.raises(AttackError, match="the grid has 4 models, but there are a target and 2 shadows"):
        replace(evidence, shadows=evidence.shadows[:2], out=evidence.out[:2])
    with pytest.raises(AttackError, match="the grid is of probabilities"):
        replace(evidence, grid=replace(grid, of="probabilities"))
    with pytest.raises(AttackError, match="at least one model"):
        replace(evidence, grid=replace(grid, step=np.zeros(4)))
    with pytest.raises(AttackError, match="steps must be finite and 0"):
        replace(grid, step=np.array([-1.0, 1, 1, 1]))
    with pytest.raises(AttackError, match="low end"):
        replace(grid, low=grid.high)
    with pytest.raises(AttackError, match="different grids"):
        CmMia().score(evidence, "discrete", replace(evidence, grid=replace(grid, step=2 * grid.step)))
    reason = CmMia().inapplicable(replace(evidence, grid=None), None, "discrete")
    assert reason == "'cm-mia' needs answers on the grid of an integer output; these answers are continuous"


def test_grids_are_joined_for_a_discrete_target() -> None:
    grid = Grid.joined("logits", [OutputGrid(0.5, -1, 2), OutputGrid(0.25), OutputGrid()])
    assert grid is not None
    np.testing.assert_array_equal(grid.step, [0.5, 0.25, 0])
    np.testing.assert_array_equal(grid.high, [2, np.inf, np.inf])
    assert Grid.joined("logits", [OutputGrid(), OutputGrid(0.5)]) is None


def test_points_of_cells() -> None:
    cells = Cells(np.array([1, -np.inf, 2, -np.inf]), np.array([2, 3, np.inf, np.inf]))
    np.testing.assert_array_equal(cells.point(), [1.5, 3, 2, 0])


def test_without_two_shadows_no_variance_can_be_estimated() -> None:
    cells = Cells(np.zeros((1, 3)), np.ones((1, 3)))
    with pytest.raises(AttackError, match="two for some"):
        CensoredNull.fit(cells, np.ones((1, 3), dtype=np.bool_))
