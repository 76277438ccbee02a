"""Simulated evidence with known truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.attacks.evidence import BoolArray, Evidence, Exposure, FloatArray, Grid
from edgeaudit.attacks.signals import shadow_margins, target_margins
from edgeaudit.attacks.traces import Trace
from edgeaudit.attacks.views import View
from edgeaudit.tasks.classification import softmax

MakeEvidence = Callable[..., tuple[Evidence, BoolArray]]
MakeWorld = Callable[..., "World"]
Change = Callable[[FloatArray], FloatArray]


def logits_with_margins(margins: FloatArray, rest: FloatArray) -> FloatArray:
    """Logits [..., n, 1 + rest classes] of records labelled 0 whose margin is exactly the one given."""
    true = margins + np.log(np.exp(rest).sum(axis=-1))
    return np.concatenate((true[..., None], rest), axis=-1)


def uneven_evidence(seed: int, members: BoolArray, trained: BoolArray) -> Evidence:
    """Margins of easy records scatter and rise less than those of hard ones, as those of real models do.

    members: bool [n]. trained: bool [k, n].
    """
    rng = np.random.default_rng(seed)
    k, n = trained.shape
    difficulty = rng.normal(size=n)
    scale = np.exp(difficulty)
    target = difficulty + scale * (rng.normal(size=n) + 1.5 * members)
    shadows = difficulty + scale * (rng.normal(size=(k, n)) + 1.5 * trained)
    answers = logits_with_margins(target, rng.normal(size=(n, 3)))
    others = logits_with_margins(shadows, rng.normal(size=(k, n, 3)))
    return Evidence(answers, others, ~trained, np.zeros(n, dtype=np.int64), "logits")


def grid_of(k: int, step: float = 0.05, of: Exposure = "logits") -> Grid:
    """A grid whose ends are not known, finer than the answers scatter; steps differ by model."""
    return Grid(of, step * (1 + np.arange(k + 1) / 100), np.full(k + 1, -np.inf), np.full(k + 1, np.inf))


def simulate(  # noqa: PLR0917  # settings of a simulation, given by name
    seed: int,
    n: int = 400,
    k: int = 12,
    shift: float = 1.5,
    spread: float = 1.0,
    exposure: Exposure = "logits",
    halves: bool = False,
    floor: float = 1 / 512,
    member_share: float = 0.5,
    balanced: bool = False,
    integer: bool = True,
    views: tuple[str, ...] = (),
    traces: tuple[str, ...] = (),
) -> tuple[Evidence, BoolArray]:
    """Evidence, and the target's memberships. Margin = difficulty (sd `spread`) + N(0, 1) + `shift` if trained on.

    The first of five inputs tells half of the difficulty. `integer`: answers are said to lie on a grid (whose steps
    are too small to need rounding here).

    `halves`: each shadow trained on a random half; `balanced`: and each record is in the training sets of exactly
    half the shadows (the auditor's mask); neither: all shadows are OUT. `views`: of these names, one query each, whose
    margins are drawn anew around the same difficulty. `traces`: of these names, every model's margins, where positive.
    """
    rng = np.random.default_rng(seed)
    members: BoolArray = rng.permutation(n) < int(member_share * n)
    trained: BoolArray = rng.random((k, n)) < 0.5 if halves else np.zeros((k, n), dtype=np.bool_)
    if balanced:
        trained = rng.permuted(np.repeat(np.arange(k)[:, None] < k // 2, n, axis=1), axis=0)
    difficulty = spread * rng.normal(size=n)

    def ask() -> tuple[FloatArray, FloatArray]:
        target = difficulty + rng.normal(size=n) + shift * members
        shadows = difficulty + rng.normal(size=(k, n)) + shift * trained
        answers = logits_with_margins(target, rng.normal(size=(n, 3)))
        others = logits_with_margins(shadows, rng.normal(size=(k, n, 3)))
        return (softmax(answers), softmax(others)) if exposure == "probabilities" else (answers, others)

    labels: npt.NDArray[np.int64] = np.zeros(n, dtype=np.int64)
    asked = ask()
    inputs = rng.normal(size=(n, 5))
    inputs[:, 0] += difficulty
    grid = grid_of(k) if integer else None
    shown = tuple(View(name, *ask()) for name in views)
    evidence = Evidence(*asked, ~trained, labels, exposure, floor, inputs, grid, shown)
    margins = (target_margins(evidence), shadow_margins(evidence.shadow_answers))
    heights = [np.maximum(one, 0)[..., None] for one in margins]
    found = {name: Trace(heights[0], dict(enumerate(heights[1])), np.full(n, 100.0)) for name in traces}
    return replace(evidence, traces=found), members


def changed(part: Evidence, target: Change, shadows: Change) -> Evidence:
    """The evidence with the answers changed, those to views as well."""
    views = tuple(View(v.name, target(v.target), shadows(v.shadows)) for v in part.views)
    return replace(part, target=target(part.target), shadows=shadows(part.shadows), views=views)


@dataclass(frozen=True)
class World:
    """Evidence on audited records, their memberships, and evidence on 300 reference records."""

    evidence: Evidence
    members: BoolArray
    reference: Evidence


def simulate_world(seed: int, reference: int = 300, **settings: Any) -> World:
    """`simulate`, and reference records as an audit has them: each shadow trained on half, the target on none."""
    evidence, members = simulate(seed, **settings)
    known, _ = simulate(seed + 1000, **{**settings, "n": reference, "halves": True, "member_share": 0.0})
    return World(evidence, members, known)


@pytest.fixture
def evidence_of() -> MakeEvidence:
    return simulate


@pytest.fixture
def world_of() -> MakeWorld:
    return simulate_world
