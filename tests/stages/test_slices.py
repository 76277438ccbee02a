"""Slices: what a rare class leaks is not hidden by the average, and small or many slices are said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from edgeaudit.config.data import DataSpec
from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.rows import Place, Series
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population, population_content
from edgeaudit.stages.evidence import Case
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.slices import FEWEST, MOST, SliceFigures, records_by_slice
from tests.stages.test_measure import evidence

SERIES = Series(Place("f", "local", "matched"), "yeom", "loss", "logits")
N = 2000


def _case(n: int = N) -> Case:
    answered = evidence(0, n)
    return Case("target", answered, answered, np.arange(n) % 2 == 0, np.zeros(0, np.int64), 10)


def _leaky(case: Case, slice_records: np.ndarray) -> np.ndarray:
    """Scores that tell members from nonmembers in one slice alone."""
    score = np.random.default_rng(3).normal(size=len(case.members))
    score[slice_records & case.members] += 2
    return score


def test_a_leak_of_a_rare_class_is_the_worst_slice() -> None:
    case, labels = _case(), np.where(np.arange(N) < 60, 7, np.arange(N) % 3)
    score = _leaky(case, labels == 7)
    made = SliceFigures(records_by_slice(labels, {}), case, score, SERIES)
    rows = {(row.subset, row.metric): row for row in made.rows(case, score)}
    assert {subset for subset, _ in rows} == {"class:0", "class:1", "class:2", "class:7"}
    area, strict = rows["class:7", "auc"], rows["class:7", "tpr@fpr=0.01"]
    expected = {f.metric: f for f in figures(score[:60], case.members[:60], None)}
    assert (area.value, area.low, area.high) == (expected["auc"].value, expected["auc"].low, expected["auc"].high)
    assert (strict.low, strict.high) == (expected["tpr@fpr=0.01"].low, expected["tpr@fpr=0.01"].high)
    worst = made.worst()
    assert (worst.subset, worst.value, worst.low, worst.high) == ("class:7", area.value, area.low, area.high)
    assert (worst.n_members, worst.n_nonmembers, worst.slices, worst.unresolvable) == (30, 30, 4, 0)
    # Mean shift 2 of unit normals: AUC .92; over all records 3% of the members have it.
    assert area.value == pytest.approx(stats.norm.cdf(2 / np.sqrt(2)), abs=0.08)
    assert worst.overall == pytest.approx(0.5, abs=0.05)
    assert worst.adjusted_p is not None
    assert worst.adjusted_p < 1e-4


def test_the_p_value_of_the_worst_is_adjusted_over_slices() -> None:
    case, labels = _case(), np.arange(N) // 100
    score = np.random.default_rng(0).normal(size=N)
    single = [SliceFigures({"class": {"class:0": np.flatnonzero(labels == k)}}, case, score, SERIES) for k in range(20)]
    smallest = min(one.worst().adjusted_p or 1.0 for one in single)
    worst = SliceFigures(records_by_slice(labels, {}), case, score, SERIES).worst()
    assert worst.slices == 20
    assert worst.adjusted_p is not None
    # Holm multiplies the smallest of 20 by 20, and the largest AUC need not have the smallest p.
    assert worst.adjusted_p >= min(1.0, 20 * smallest) - 1e-12


def test_small_slices_have_one_row_that_says_so() -> None:
    case = _case()
    labels = np.where(np.arange(N) < 2 * FEWEST - 2, 1, 0)  # 19 of each side
    made = SliceFigures(records_by_slice(labels, {}), case, np.arange(N, dtype=float), SERIES)
    rows = [row for row in made.rows(case, np.arange(N, dtype=float)) if row.subset == "class:1"]
    assert [(row.metric, row.value, row.n_members) for row in rows] == [("auc", None, FEWEST - 1)]
    assert "at least 20 members and 20 nonmembers" in (rows[0].note or "")
    assert (made.worst().slices, made.worst().unresolvable) == (1, 1)
    none = SliceFigures(records_by_slice(np.arange(N), {}), case, np.arange(N, dtype=float), SERIES).worst()
    assert (none.subset, none.value, none.slices, none.unresolvable) == (None, None, 0, N)


def test_of_many_slices_those_with_the_largest_lower_ends_have_rows() -> None:
    case, labels = _case(6000), np.arange(6000) // 50  # 120 classes of 25 + 25
    score = _leaky(case, labels == 63)
    made = SliceFigures(records_by_slice(labels, {}), case, score, SERIES)
    rows = list(made.rows(case, score))
    assert len({row.subset for row in rows}) == MOST
    assert made.worst().subset == "class:63"
    assert made.worst().slices == 120
    assert "leakage has the 100 of 120 slices by class with the largest lower ends" in (made.worst().note or "")
    kept = {row.subset for row in rows}
    lows = {
        f"class:{k}": figures(score[labels == k], case.members[labels == k], None)[0].low or 0.0 for k in range(120)
    }
    assert min(lows[name] for name in kept) >= max(low for name, low in lows.items() if name not in kept)
    # A further target has the same slices.
    assert {row.subset for row in made.rows(replace(case, role="target-1"), -score)} == kept


def test_slices_of_related_records_are_by_group() -> None:
    case = replace(_case(400), members=np.arange(400) // 4 % 2 == 0, groups=np.arange(400) // 4)
    score = np.repeat(np.random.default_rng(0).normal(size=100), 4)
    columns = records_by_slice(np.zeros(400, np.int64), {})
    grouped = next(SliceFigures(columns, case, score, SERIES).rows(case, score))
    plain_case = replace(case, groups=None)
    plain = next(SliceFigures(columns, plain_case, score, SERIES).rows(plain_case, score))
    assert grouped.high - grouped.low > 1.6 * (plain.high - plain.low)  # type: ignore[operator]


def test_columns_of_the_user_are_stored_and_keyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_slices.py").write_text("def bright(x):\n    return [bool(r.mean() > 0) for r in x]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    rng = np.random.default_rng(0)
    clinic = np.array(["north", "south"])[rng.integers(0, 2, 300)]
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(300, 4)), y=np.arange(300) % 3, clinic=clinic)
    shared = {"source": "npz", "path": tmp_path / "d.npz", "members": 60, "nonmembers": 60}
    spec = DataSpec.model_validate({**shared, "slices": {"site": "clinic", "light": "my_slices:bright"}})
    out = tmp_path / "p"
    out.mkdir()
    build_population(spec, 0, out)
    population = Population(out)
    assert population.slices["site"].tolist() == clinic.tolist()
    assert set(population.slices["light"]) == {"True", "False"}
    audited = population.audited
    found = records_by_slice(population.labels[audited], {k: v[audited] for k, v in population.slices.items()})
    assert list(found) == ["class", "site", "light"]
    assert (clinic[audited[found["site"]["site:north"]]] == "north").all()
    assert sum(map(len, found["site"].values())) == 120
    plain = DataSpec.model_validate(shared)
    keys = {DrawPopulation(content=population_content(one) or {}, seed=0, data=one).key for one in (spec, plain)}
    assert len(keys) == 2
    assert "my_slices" in DrawPopulation(content={}, seed=0, data=spec).code()


@pytest.mark.parametrize("name", ["class", "all", "abnormal", "a:b", ""])
def test_reject_names_of_slices_that_are_taken(name: str) -> None:
    with pytest.raises(ValidationError, match="slices"):
        DataSpec.model_validate({"slices": {name: "column"}})
