"""HopSkipJump: how far a record is from the decision boundary, found with predicted classes alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Boundary", "hop_skip_jump", "least_queries"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Predict = Callable[[npt.NDArray[np.float32]], IntArray]

_FIRST_DRAWS = 100
_HALVINGS = 10
_LEAST_DRAWS = 10


@dataclass(frozen=True)
class Boundary:
    """distance: float64 [n], L2, in the units of inputs; 0 where the record is misclassified. queries: int64 [n]."""

    distance: FloatArray
    queries: IntArray


def _search_steps(values: int) -> int:
    """Halvings of a binary search to the paper's precision, d^(-3/2) of the way."""
    return math.ceil(1.5 * math.log2(max(values, 2)))


def least_queries(values: int) -> int:
    """The smallest budget of one step for records of so many values."""
    return 2 + 2 * _search_steps(values) + _LEAST_DRAWS + _HALVINGS


def hop_skip_jump(
    predict: Predict,
    records: npt.NDArray[np.float32],
    labels: IntArray,
    starts: npt.NDArray[np.float32],
    budget: int,
    generators: Sequence[np.random.Generator],
    limits: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None,
    least_radius: float = 0.0,
) -> Boundary:
    """The distance from each record to the nearest point found that the model puts into another class.

    All records take the same steps side by side, so that a call of `predict` is one batch; no answer is read but the
    class.

    Args:
        predict: float32 [m, d] -> int64 [m], the classes.
        records: [n, d].
        labels: int64 [n], the true classes.
        starts: [n, d], points that the model puts into another class; where it does not, the start's distance stands.
        budget: queries a record, at most; at least `least_queries`.
        generators: one a record, so that a record's noise does not depend on which others are searched.
        limits: smallest and largest values that a query may have, each [1, d] or [n, d]; None for any.
        least_radius: of the draws around a point, as long as it is a tenth of the distance or less: what an integer
            input still notices.

    Source: Chen, Jordan, Wainwright, "HopSkipJumpAttack: A Query-Efficient Decision-Based Attack" (S&P 2020),
    algorithm 2 for L2. We deviate: the last step has as many draws as the budget leaves; a step that finds no point
    of another class after ten halvings, or only a farther one, stays where it is; `least_radius`.
    """
    x = records.astype(np.float64)
    n, d = x.shape
    low, high = (np.broadcast_to(end, x.shape) for end in limits or (-np.inf, np.inf))
    queries = np.zeros(n, dtype=np.int64)

    def adversarial(points: FloatArray, of: IntArray) -> npt.NDArray[np.bool_]:
        """Whether the points, one or as many for each record in `of`, are of another class."""
        each = points.shape[1] if points.ndim == 3 else 1
        queries[of] += each
        found = predict(points.reshape(-1, d).astype(np.float32)).reshape(len(of), each)
        return np.asarray(found != labels[of, None], dtype=np.bool_)

    everyone = np.arange(n)
    active = np.flatnonzero(~adversarial(x, everyone)[:, 0])
    distance = np.zeros(n)
    distance[active] = np.linalg.norm(starts[active] - x[active], axis=1)
    active = active[adversarial(starts[active].astype(np.float64), active)[:, 0]]
    if not len(active):
        return Boundary(distance, queries)

    def to_boundary(points: FloatArray) -> FloatArray:
        """The last point of another class on the way from each point to its record."""
        inner, outer = np.zeros(len(active)), np.ones(len(active))
        for _ in range(_search_steps(d)):
            middle = (inner + outer) / 2
            there = adversarial(_between(x[active], points, middle), active)[:, 0]
            inner, outer = np.where(there, inner, middle), np.where(there, middle, outer)
        return _between(x[active], points, outer)

    at, step = to_boundary(starts[active].astype(np.float64)), 0
    away, spent = np.linalg.norm(at - x[active], axis=1), 2 + _search_steps(d)
    while True:
        step += 1
        # Halvings that were not needed are not spent elsewhere, so a record's draws do not depend on the others'.
        left = budget - spent - _HALVINGS - _search_steps(d)
        draws = min(int(_FIRST_DRAWS * math.sqrt(step)), left)
        if draws < _LEAST_DRAWS:
            break
        spent = budget - left + draws
        # The paper's 0.1 of the input's range at first, then d^(-1) of the distance.
        radius = 0.1 * away if step == 1 else np.maximum(away / d, np.minimum(least_radius, 0.1 * away))
        normal = _normal(at, radius, draws, [generators[int(i)] for i in active], (low, high), active, adversarial)
        length, moved, open_ = away / math.sqrt(step), at.copy(), np.ones(len(active), dtype=np.bool_)
        for _ in range(_HALVINGS):
            trial = np.clip(at[open_] + length[open_, None] * normal[open_], low[active[open_]], high[active[open_]])
            there = adversarial(trial, active[open_])[:, 0]
            rows = np.flatnonzero(open_)
            moved[rows[there]] = trial[there]
            open_[rows[there]] = False
            length /= 2
            if not open_.any():
                break
        nearer = to_boundary(moved)
        found = np.linalg.norm(nearer - x[active], axis=1)
        at, away = np.where((found < away)[:, None], nearer, at), np.minimum(found, away)
    distance[active] = away
    return Boundary(distance, queries)


def _between(inner: FloatArray, outer: FloatArray, share: FloatArray) -> FloatArray:
    return np.asarray(inner + share[:, None] * (outer - inner), dtype=np.float64)


def _normal(
    at: FloatArray,
    radius: FloatArray,
    draws: int,
    generators: Sequence[np.random.Generator],
    ends: tuple[FloatArray, FloatArray],
    active: IntArray,
    adversarial: Callable[[FloatArray, IntArray], npt.NDArray[np.bool_]],
) -> FloatArray:
    """The boundary's direction at each point, unit length, from the classes of `draws` points around it."""
    noise = np.stack([rng.standard_normal((draws, at.shape[1])) for rng in generators])
    noise /= np.linalg.norm(noise, axis=2, keepdims=True)
    low, high = (end[active, None] for end in ends)
    points = np.clip(at[:, None] + radius[:, None, None] * noise, low, high)
    noise = (points - at[:, None]) / radius[:, None, None]
    sign = np.where(adversarial(points, active), 1.0, -1.0)
    mean = sign.mean(axis=1, keepdims=True)
    # Where all draws agree there is nothing to subtract.
    weight = np.where(np.abs(mean) == 1, sign, sign - mean)
    normal = np.einsum("nb,nbd->nd", weight, noise)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.asarray(normal / np.where(length > 0, length, 1), dtype=np.float64)
