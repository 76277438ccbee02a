"""HopSkipJump: the distance of a record to the decision boundary, estimated from predicted classes alone."""

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
    """distance: float64 [n], L2 in units of the inputs, 0 where the record is misclassified. queries: int64 [n]."""

    distance: FloatArray
    queries: IntArray


def _search_steps(values: int) -> int:
    """Return the number of halvings of a binary search to the paper's precision, d^(-3/2) of the distance."""
    return math.ceil(1.5 * math.log2(max(values, 2)))


def least_queries(values: int) -> int:
    """Return the smallest query budget that allows one step, for records of this many values."""
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
    """Return the distance from each record to the nearest point found that the model assigns to another class.

    All records take the same steps in parallel, so that each call of `predict` is one batch. Only predicted classes are
    used.

    Args:
        predict: float32 [m, d] -> int64 [m], the predicted classes.
        records: float32 [n, d].
        labels: int64 [n], the true classes.
        starts: float32 [n, d], points that the model assigns to another class; where it does not, the distance to the
            start is returned.
        budget: maximum number of queries a record; at least `least_queries`.
        generators: one a record, so that a record's noise does not depend on the other records.
        limits: smallest and largest values of a query, each [1, d] or [n, d]; None for no limits.
        least_radius: smallest radius of the draws around a point, unless it exceeds a tenth of the distance: smaller
            changes are rounded away by an integer input.

    Source: Chen, Jordan, Wainwright, "HopSkipJumpAttack: A Query-Efficient Decision-Based Attack" (S&P 2020),
    algorithm 2 for L2. Deviations: the last step has as many draws as the budget allows; a step that finds no point of
    another class after ten halvings, or only a farther one, keeps the previous point; `least_radius`.
    """
    x = records.astype(np.float64)
    n, d = x.shape
    low, high = (np.broadcast_to(end, x.shape) for end in limits or (-np.inf, np.inf))
    queries = np.zeros(n, dtype=np.int64)

    def adversarial(points: FloatArray, of: IntArray) -> npt.NDArray[np.bool_]:
        """Return whether the points, one or several for each record in `of`, are assigned to another class."""
        each = points.shape[1] if points.ndim == 3 else 1
        queries[of] += each
        predicted = predict(points.reshape(-1, d).astype(np.float32)).reshape(len(of), each)
        return np.asarray(predicted != labels[of, None], dtype=np.bool_)

    active = np.flatnonzero(~adversarial(x, np.arange(n))[:, 0])
    distance = np.zeros(n)
    distance[active] = np.linalg.norm(starts[active] - x[active], axis=1)
    active = active[adversarial(starts[active].astype(np.float64), active)[:, 0]]
    if not len(active):
        return Boundary(distance, queries)

    def to_boundary(points: FloatArray) -> FloatArray:
        """Return, by binary search, the last point of another class on the line from each point to its record."""
        inner, outer = np.zeros(len(active)), np.ones(len(active))
        for _ in range(_search_steps(d)):
            middle = (inner + outer) / 2
            crossed = adversarial(_between(x[active], points, middle), active)[:, 0]
            inner, outer = np.where(crossed, inner, middle), np.where(crossed, middle, outer)
        return _between(x[active], points, outer)

    at, step = to_boundary(starts[active].astype(np.float64)), 0
    away, spent = np.linalg.norm(at - x[active], axis=1), 2 + _search_steps(d)
    while True:
        step += 1
        # Unused halvings are not spent on draws, so that a record's draws do not depend on the other records.
        left = budget - spent - _HALVINGS - _search_steps(d)
        draws = min(int(_FIRST_DRAWS * math.sqrt(step)), left)
        if draws < _LEAST_DRAWS:
            break
        spent = budget - left + draws
        # In the first step a tenth of the distance (the paper: of the input's range), then d^(-1) of the distance.
        radius = 0.1 * away if step == 1 else np.maximum(away / d, np.minimum(least_radius, 0.1 * away))
        normal = _normal(at, radius, draws, [generators[int(i)] for i in active], (low, high), active, adversarial)
        length, moved, open_ = away / math.sqrt(step), at.copy(), np.ones(len(active), dtype=np.bool_)
        for _ in range(_HALVINGS):
            trial = np.clip(at[open_] + length[open_, None] * normal[open_], low[active[open_]], high[active[open_]])
            crossed = adversarial(trial, active[open_])[:, 0]
            rows = np.flatnonzero(open_)
            moved[rows[crossed]] = trial[crossed]
            open_[rows[crossed]] = False
            length /= 2
            if not open_.any():
                break
        nearer = to_boundary(moved)
        distances = np.linalg.norm(nearer - x[active], axis=1)
        at, away = np.where((distances < away)[:, None], nearer, at), np.minimum(distances, away)
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
    """Estimate the boundary's unit normal at each point from the predicted classes of `draws` points around it."""
    noise = np.stack([rng.standard_normal((draws, at.shape[1])) for rng in generators])
    noise /= np.linalg.norm(noise, axis=2, keepdims=True)
    low, high = (end[active, None] for end in ends)
    points = np.clip(at[:, None] + radius[:, None, None] * noise, low, high)
    noise = (points - at[:, None]) / radius[:, None, None]
    sign = np.where(adversarial(points, active), 1.0, -1.0)
    mean = sign.mean(axis=1, keepdims=True)
    # Where all draws have one class, the mean is not subtracted: all weights would be 0.
    weight = np.where(np.abs(mean) == 1, sign, sign - mean)
    normal = np.einsum("nb,nbd->nd", weight, noise)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.asarray(normal / np.where(length > 0, length, 1), dtype=np.float64)
