"""Distribution shift: do members differ from nonmembers as records, before any model is queried?

Where they do, an attack's figure does not measure leakage: a model that learned nothing from its members would give the
same figure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from edgeaudit.controls.base import ALARM, Control, Status
from edgeaudit.controls.image_statistics import image_statistics
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.multiplicity import holm

__all__ = ["CONTROLS", "FEWEST", "Sides", "sampled_ids", "shift"]

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

CONTROLS = ("shift: labels", "shift: single features", "shift: blind classifier")
FEWEST = 40
"""Records a side below which halves are too small for the normal approximation of a rank test."""
MOST = 5000
"""Records a side above which more would cost time and add little power."""
_VALUES = 200_000_000
_COLUMNS, _COMPONENTS, _BOOSTED = 4096, 30, 512


@dataclass(frozen=True)
class Sides:
    """Members and nonmembers.

    records: [n, C, H, W] or [n, d], in the source's scale. labels: int64 [n]. members: bool [n]. groups: int64 [n],
    groups of related records, which the population draws as units; None where each has one record.
    """

    records: npt.NDArray[Any]
    labels: IntArray
    members: BoolArray
    groups: IntArray | None = None

    def take(self, ids: IntArray) -> Sides:
        """Return some of the records."""
        groups = None if self.groups is None else self.groups[ids]
        return Sides(self.records[ids], self.labels[ids], self.members[ids], groups)

    @property
    def fewest(self) -> int:
        """Groups on the side that has fewer of them."""
        if self.groups is None:
            return int(min(self.members.sum(), (~self.members).sum()))
        return min(len(np.unique(self.groups[side])) for side in (self.members, ~self.members))


@dataclass(frozen=True)
class _Test:
    """One test of one control. p_value: two-sided. auc: of members against nonmembers, for rank tests only."""

    control: str
    what: str
    p_value: float
    n: int
    auc: float | None = None
    low: float | None = None
    high: float | None = None


def sampled_ids(side: IntArray, shape: tuple[int, ...], rng: np.random.Generator) -> IntArray:
    """Return the ids of one side that the control tests, ascending: at most 5,000, and fewer of large records."""
    most = int(np.clip(_VALUES // max(1, int(np.prod(shape))), 1000, MOST))
    return side if len(side) <= most else np.sort(rng.choice(side, most, replace=False))


def shift(sides: Sides, rng: np.random.Generator) -> list[Control]:
    """Run three controls: labels, single features, and a blind classifier.

    The probability that any of them fails is at most 1% where both sides come from one population. Every test is a rank
    test on exchangeable records (or the chi-squared test), so its p-value needs no model of the data. Classifiers are
    fitted on one half and tested on the other, in both directions. Holm's method corrects over all tests, and allows
    for dependence: p-values over the folds of a cross-validation depend on each other.

    Both sides are subsampled to the same size, because the tails of rank tests are inaccurate for rare values on
    unequal sides. All of these records are judged, copies included, and related ones enter every test as one draw.
    """
    balanced = _balanced(sides, rng)
    count = balanced.fewest
    if count < FEWEST:
        what = "records" if sides.groups is None else "groups of related records"
        why = f"{count} {what} on the smaller side; at least {FEWEST} are needed"
        return [Control(name, "not run", f"members and nonmembers were not compared: {why}") for name in CONTROLS]
    tests = [*_labels(balanced), *_single(balanced), *_blind(balanced, rng)]
    corrected = holm(np.array([test.p_value for test in tests])).tolist()
    return [_finding(name, tests, corrected, balanced) for name in CONTROLS]


def _finding(name: str, tests: list[_Test], corrected: list[float], sides: Sides) -> Control:
    """Return the finding of a control's test with the smallest p-value."""
    candidates = [(p, test.p_value, index) for index, (p, test) in enumerate(zip(corrected, tests, strict=True))
                  if test.control == name]  # fmt: skip
    p, _, index = min(candidates)
    test = tests[index]
    failed = p < ALARM
    statement = (
        f"{test.what} separates members from nonmembers"
        if failed
        else f"{test.what} does not separate members from nonmembers"
    )
    if test.control == CONTROLS[0]:
        statement = f"{test.what} {'differ' if failed else 'do not differ'} between members and nonmembers"
    note = f"the strongest of {len(candidates)} tests; p-value after Holm over {len(tests)} tests"
    if sides.groups is not None:
        note += f"; related records count as one draw, {len(np.unique(sides.groups)):,} in all"
    status: Status = "failed" if failed else "holds"
    return Control(name, status, statement, test.auc, test.low, test.high, p, test.n, note=note)


def _balanced(sides: Sides, rng: np.random.Generator) -> Sides:
    inside, outside = np.flatnonzero(sides.members), np.flatnonzero(~sides.members)
    count = min(len(inside), len(outside))
    kept = np.sort(np.concatenate([rng.permutation(inside)[:count], rng.permutation(outside)[:count]]))
    return sides.take(kept)


def _labels(sides: Sides) -> Iterator[_Test]:
    """Chi-squared test of the label counts; labels expected fewer than 5 times on a side are pooled into one class.

    With related records the statistic is divided by the mean of its terms under random sides of whole groups, and
    compared with F (Rao & Scott 1984).
    """
    classes, index = np.unique(sides.labels, return_inverse=True)
    counts = np.stack([np.bincount(index[side], minlength=len(classes)) for side in (sides.members, ~sides.members)])
    rare = counts.sum(axis=0) < 10
    table = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    p = 1.0
    if table.shape[1] > 1:
        result = scipy.stats.chi2_contingency(table, correction=False)
        p = float(result.pvalue)
        if sides.groups is not None:
            pooled = np.where(rare, -1, np.arange(len(classes)))[index]
            scaled = float(result.statistic) / _label_design(pooled, sides)
            free = table.shape[1] - 1
            p = float(scipy.stats.f.sf(scaled / free, free, free * (sides.fewest - 1)))
    yield _Test(CONTROLS[0], "label counts", p, len(sides.labels))


def _label_design(labels: IntArray, sides: Sides) -> float:
    """Return the mean of the chi-squared statistic with whole groups on random sides, in units of its degrees."""
    classes = np.unique(labels)
    design = 0.0
    for label in classes:
        indicator = (labels == label).astype(np.float64)
        share = indicator.mean()
        # Of every class the expected square of its deviation, by group and by record.
        by_group = _spread(indicator[:, None], sides.members, sides.groups)[0]
        by_record = _spread(indicator[:, None], sides.members, None)[0]
        design += (1 - share) * by_group / by_record
    return max(1.0, design / (len(classes) - 1))


def _flat(sides: Sides, most: int) -> FloatArray:
    """Return the records as float32 [n, columns], with at most `most` evenly spaced columns."""
    flat = sides.records.reshape(len(sides.records), -1)
    if flat.shape[1] > most:
        flat = flat[:, np.linspace(0, flat.shape[1] - 1, most).astype(int)]
    return np.asarray(flat, dtype=np.float32)


def _single(sides: Sides) -> Iterator[_Test]:
    """Test every column by itself, and every image statistic."""
    columns = _flat(sides, _COLUMNS)
    names = [f"column {i}" for i in range(columns.shape[1])]
    yield _strongest(columns, names if sides.records.ndim == 2 else [f"pixel {i}" for i in range(len(names))], sides)
    if sides.records.ndim == 4:
        names, features = image_statistics(sides.records)
        yield _strongest(features, names, sides)


def _strongest(columns: FloatArray, names: list[str], sides: Sides) -> _Test:
    p = rank_tests(columns, sides.members, sides.groups)
    best = int(p.argmin())
    area = delong(columns[:, best].astype(np.float64), sides.members, groups=sides.groups)
    corrected = min(1.0, float(p[best]) * len(names))
    return _Test(CONTROLS[1], names[best], corrected, len(columns), area.auc, area.low, area.high)


def rank_tests(
    columns: npt.NDArray[Any], members: BoolArray, groups: IntArray | None = None
) -> npt.NDArray[np.float64]:
    """Return the two-sided Mann-Whitney p-value of each column, float64 [columns].

    Ties count half; the normal approximation is used. A constant column gives 1. With groups of related records, whole
    groups are exchangeable and not single records, and Student's t has the degrees of freedom of the side with fewer.
    """
    m, n = int(members.sum()), int((~members).sum())
    fewest = m if groups is None else min(len(np.unique(groups[side])) for side in (members, ~members))
    null = scipy.stats.norm() if groups is None else scipy.stats.t(max(1, fewest - 1))
    p = np.ones(columns.shape[1])
    for start in range(0, columns.shape[1], 256):
        ranks = scipy.stats.rankdata(columns[:, start : start + 256], axis=0)
        spread = _spread(ranks, members, groups)
        distance = np.abs(ranks[members].sum(axis=0) - m * (m + n + 1) / 2)
        varied = spread > 0
        part = np.ones(ranks.shape[1])
        part[varied] = 2 * null.sf(distance[varied] / np.sqrt(spread[varied]))
        p[start : start + 256] = part
    return p


def _spread(values: npt.NDArray[np.float64], members: BoolArray, groups: IntArray | None) -> npt.NDArray[np.float64]:
    """Return the variance of the members' sum of each column over random sides of whole groups, float64 [columns].

    m n / (m + n)^2 G / (G - 1) times the sum over groups of (sum of deviations from the mean)^2; for groups of one
    record, m n / (m + n) times the sample variance, the permutation variance with ties included.
    """
    m, n = int(members.sum()), int((~members).sum())
    if groups is None:
        found: npt.NDArray[np.float64] = values.var(axis=0, ddof=1) * m * n / (m + n)
        return found
    index = np.unique(groups, return_inverse=True)[1]
    sums = np.zeros((int(index.max()) + 1, values.shape[1]))
    np.add.at(sums, index, values - values.mean(axis=0))
    whole: npt.NDArray[np.float64] = (sums**2).sum(axis=0) * len(sums) / max(1, len(sums) - 1)
    return whole * m * n / (m + n) ** 2


def _blind(sides: Sides, rng: np.random.Generator) -> Iterator[_Test]:
    """Fit a linear and a boosted classifier on each half of the records and test it on the other half.

    Related records are in one half: a classifier would know those of the other half by heart.
    """
    first = np.zeros(len(sides.members), dtype=np.bool_)
    for side in (sides.members, ~sides.members):
        ids = np.flatnonzero(side)
        first[ids[_half(len(ids), None if sides.groups is None else sides.groups[ids], rng)]] = True
    seed = int(rng.integers(2**31))
    flat = _flat(sides, _COLUMNS)
    boosted = image_statistics(sides.records)[1] if sides.records.ndim == 4 else _flat(sides, _BOOSTED)
    for what, inputs, make in (
        ("a linear classifier of raw inputs", flat, _linear),
        ("a boosted classifier of raw inputs", boosted, _trees),
    ):
        for fitted in (first, ~first):
            model = make(int(fitted.sum()), inputs.shape[1], seed)
            model.fit(inputs[fitted], sides.members[fitted])
            scores = np.asarray(model.decision_function(inputs[~fitted]), dtype=np.float64)
            members, groups = sides.members[~fitted], None if sides.groups is None else sides.groups[~fitted]
            area = delong(scores, members, groups=groups)
            p = float(rank_tests(scores[:, None], members, groups)[0])
            yield _Test(CONTROLS[2], what, p, len(scores), area.auc, area.low, area.high)


def _half(count: int, groups: IntArray | None, rng: np.random.Generator) -> IntArray:
    """Return the positions of about half of the records, of whole groups."""
    if groups is None:
        return rng.permutation(count)[: count // 2]
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(len(sizes))
    taken = order[np.cumsum(sizes[order]) <= count / 2]
    return np.flatnonzero(np.isin(index, taken))


def _linear(records: int, columns: int, seed: int) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    components = min(_COMPONENTS, columns, records // 10)
    reduced = PCA(components, random_state=seed)
    return make_pipeline(StandardScaler(), reduced, StandardScaler(), LogisticRegression(C=0.1, max_iter=500))


def _trees(records: int, columns: int, seed: int) -> Any:  # noqa: ARG001 - same signature as _linear
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=8, min_samples_leaf=10, l2_regularization=1.0, early_stopping=False,
        random_state=seed,
    )  # fmt: skip
