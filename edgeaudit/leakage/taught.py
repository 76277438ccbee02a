"""How well a target's own answers tell members from nonmembers, to a classifier that is taught memberships.

Attacks learn from shadows what the answers of members look like. Where a target was trained otherwise than its shadows,
as with a relaxed loss, which leaves members at one margin, its answers can tell members apart in a way that no shadow
shows. This classifier sees the target's answers alone, with the memberships of other records. Its figure must be within
a limit before a budget passes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.randomness import stream

__all__ = ["FEWEST", "FOLDS", "taught_scores"]

FOLDS = 5
FEWEST = 20
"""Members, and nonmembers, or groups of them, below which nothing is taught."""
_REPEATS = 2
_ROUNDS = 60
_LEAVES = 8

_BoolArray = npt.NDArray[np.bool_]
_FloatArray = npt.NDArray[np.float64]
_IntArray = npt.NDArray[np.int64]


def taught_scores(
    features: _FloatArray, members: _BoolArray, groups: _IntArray | None, seed: int
) -> _FloatArray | None:
    """Return log odds of membership of each record, by classifiers that learned from the records of other folds.

    Histogram gradient boosting (scikit-learn), the mean over two divisions into five folds. Related records are in one
    fold, and members and nonmembers count as equally frequent.

    Args:
        features: float64 [n, d], of one target's answers.
        members: bool [n].
        groups: int64 [n], of related records; None where each has one record.
        seed: of the divisions.

    Returns:
        float64 [n], positive for a member; None with fewer than 20 groups on a side.
    """
    unit = np.arange(len(members)) if groups is None else np.unique(groups, return_inverse=True)[1]
    # A group is on one side; should one be on both, it counts for members.
    of_members = np.zeros(int(unit.max(initial=-1)) + 1, np.bool_)
    of_members[unit[members]] = True
    if min(int(of_members.sum()), int((~of_members).sum())) < FEWEST:
        return None
    total = np.zeros(len(members))
    for repeat in range(_REPEATS):
        fold = _folds(of_members, stream(seed, "taught", repeat))[unit]
        for one in range(FOLDS):
            held = fold == one
            total[held] += _log_odds(features[~held], members[~held], features[held])
    return total / _REPEATS


def _folds(of_members: _BoolArray, rng: np.random.Generator) -> _IntArray:
    """Return the fold of each group; every fold has its share of either side."""
    fold = np.empty(len(of_members), np.int64)
    for side in (of_members, ~of_members):
        places = rng.permutation(np.flatnonzero(side))
        fold[places] = np.arange(len(places)) % FOLDS
    return fold


def _log_odds(features: _FloatArray, members: _BoolArray, held: _FloatArray) -> _FloatArray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model: Any = HistGradientBoostingClassifier(
        learning_rate=0.08,
        max_iter=_ROUNDS,
        max_leaf_nodes=_LEAVES,
        min_samples_leaf=min(40, max(5, len(members) // 40)),
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    )
    prior = np.log(members.sum() / (~members).sum())
    return np.asarray(model.fit(features, members).decision_function(held) - prior, np.float64)
