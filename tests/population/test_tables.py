"""CSV and Parquet files, and frames: categories, missing values, columns that no model could use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import DataError
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population
from edgeaudit.population.raw import Table
from edgeaudit.population.sources import find_source
from edgeaudit.population.tables import encoded, table_of_frame


def _frame(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"height": rng.normal(size=n), "visits": rng.integers(0, 9, n)})
    frame["city"] = np.array(["Oslo", "Bern", "Rome"])[rng.integers(0, 3, n)]
    frame["kind"] = np.array(["good", "bad"])[rng.integers(0, 2, n)]
    return frame


def _build(tmp_path: Path, **settings: Any) -> Population:
    out = tmp_path / "population"
    out.mkdir(exist_ok=True)
    build_population(DataSpec.model_validate({"members": 10, "nonmembers": 10, **settings}), 0, out)
    return Population(out)


def _written(tmp_path: Path, frame: pd.DataFrame, kind: str) -> Path:
    file = tmp_path / f"table.{kind}"
    frame.to_csv(file, index=False) if kind == "csv" else frame.to_parquet(file, index=False)
    return file


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_texts_become_columns_and_the_label_column_is_named(tmp_path: Path, kind: str) -> None:
    frame = _frame()
    file = _written(tmp_path, frame, kind)
    found = _build(
        tmp_path, source=kind, path=file, options={"label": "kind"}, preprocessing="raw", slices={"v": "visits"}
    )
    # height, visits, then Bern, Oslo, Rome in sorted order
    expected = np.column_stack(
        [frame["height"], frame["visits"], *(frame["city"] == city for city in ("Bern", "Oslo", "Rome"))]
    )
    assert np.allclose(found.take(np.arange(60)), expected.astype(np.float32))
    assert found.labels.tolist() == (frame["kind"] == "good").astype(int).tolist()
    assert found.about["class_names"] == ["bad", "good"]
    assert found.about["notes"][0] == "texts became 3 columns of 0 and 1: city"
    assert found.slices["v"].tolist() == frame["visits"].astype(str).tolist()


def test_columns_are_left_out_and_still_name_groups(tmp_path: Path) -> None:
    frame = _frame().assign(person=np.arange(60) // 3)
    file = _written(tmp_path, frame, "csv")
    options = {"label": "kind", "drop": ["person", "city"]}
    found = _build(tmp_path, source="csv", path=file, options=options, groups="person")
    assert found.input_shape == (2,)
    assert len(np.unique(found.groups)) == 20


def test_sides_share_their_categories(tmp_path: Path) -> None:
    frame = _frame(90)
    first, second = frame[frame["city"] != "Rome"], frame[frame["city"] != "Bern"]
    for name, part in (("a", first), ("b", second)):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    sides = {key: {"path": tmp_path / f"{name}.csv"} for key, name in (("members", "a"), ("nonmembers", "b"))}
    sides["nonmembers"]["records"] = 20  # type: ignore[assignment]
    found = _build(tmp_path, source="csv", options={"label": "kind"}, preprocessing="raw", **sides)
    cities = found.take(np.arange(len(first) + len(second)))[:, 2:]
    assert (cities.sum(axis=1) == 1).all()
    assert cities[len(first) :, 0].max() == 0  # Bern is in the first file alone


def test_missing_numbers_are_refused_by_name_or_replaced_and_said(tmp_path: Path) -> None:
    frame = _frame()
    frame.loc[3:5, "height"] = np.nan
    frame.loc[7, "city"] = None
    file = _written(tmp_path, frame, "csv")
    with pytest.raises(DataError, match=r"numbers are missing in height \(3 of 60\)\. .*\{missing: median\}"):
        _build(tmp_path, source="csv", path=file, options={"label": "kind"})
    options = {"label": "kind", "missing": "median"}
    found = _build(tmp_path, source="csv", path=file, options=options, preprocessing="raw")
    x = found.take(np.arange(60))
    assert x.shape == (60, 7)  # height missing, height, visits, three cities, city missing
    assert x[:, 0].tolist() == [1.0 if 3 <= i <= 5 else 0.0 for i in range(60)]
    assert np.allclose(x[3:6, 1], frame["height"].median())
    assert x[7, 3:].tolist() == [0, 0, 0, 1]
    assert any("missing numbers became the median" in note and "height (3)" in note for note in found.about["notes"])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {}, r"name the column of table\.csv with the label, as in \{label: kind\}; there are height, visits"),
        ({}, {"label": "kin"}, r"no column 'kin'\. Did you mean 'kind'\?"),
        (
            {},
            {"label": "kind", "drop": "hight"},
            r"data\.options\.drop: there is no column 'hight'\. Did you mean 'height'",
        ),
        ({}, {"label": "kind", "missing": "mean"}, "missing is 'mean'; it is one of refuse, median"),
        ({}, {"label": "kind", "labels": 1}, "source 'csv' has no option 'labels'"),
        (
            {"name": [f"n{i}" for i in range(60)]},
            {"label": "kind"},
            r"column 'name' has 60 different texts .*drop: \[name\]",
        ),
        ({"none": [np.nan] * 60}, {"label": "kind"}, "column 'none' has no value at all"),
        ({"id": [2**60 + i for i in range(60)]}, {"label": "kind"}, r"column 'id' has integers beyond 2\^53"),
        ({"kind": ["good", None] * 30}, {"label": "kind"}, "record 1 has no label"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, Any], options: dict[str, Any], message: str) -> None:
    file = _written(tmp_path, _frame().assign(**change), "csv")
    with pytest.raises(DataError, match=message):
        _build(tmp_path, source="csv", path=file, options=options)


def test_a_column_that_loses_its_differences_is_refused_by_its_name(tmp_path: Path) -> None:
    frame = _frame().assign(seconds=1.7e9 + np.arange(60) / 10)
    file = _written(tmp_path, frame, "csv")
    options = {"label": "kind"}
    scaled = _build(tmp_path, source="csv", path=file, options=options)
    assert len(np.unique(scaled.take(np.arange(60))[:, -1])) == 60  # standardised in float64
    with pytest.raises(DataError, match="column 'seconds' loses in float32 what its records differ in"):
        _build(tmp_path, source="csv", path=file, options=options, preprocessing="raw")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separators_are_found_out(tmp_path: Path, separator: str) -> None:
    file = tmp_path / "table.csv"
    _frame().to_csv(file, index=False, sep=separator)
    found = find_source("csv", file, {"label": "kind"}).read().x
    assert isinstance(found, Table)
    assert list(found.columns) == ["height", "visits", "city"]


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    file.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"t\.parquet cannot be read as Parquet"):
        find_source("parquet", file, {"label": "kind"}).read()
    file.write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"t\.parquet cannot be read as CSV"):
        find_source("csv", file, {"label": "kind"}).read()
    file.write_text("a,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no rows"):
        find_source("csv", file, {"label": "b"}).read()


def test_numbers_that_are_categories_and_types_of_pandas() -> None:
    frame = pd.DataFrame(
        {
            "zip": [1000, 2000, 1000],
            "open": [True, False, True],
            "size": pd.array([1, None, 3], dtype="Int64"),
            "grade": pd.Categorical(["b", "a", "b"], categories=["b", "a", "c"]),
        }
    )
    made = encoded(table_of_frame(frame, missing="median", categories=["zip"]))
    assert made.names == ("zip=1000", "zip=2000", "open", "size missing", "size", "grade=a", "grade=b")
    assert made.x.tolist() == [[1, 0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 2, 1, 0], [1, 0, 1, 0, 3, 0, 1]]
    with pytest.raises(DataError, match=r"column 'when' is of type datetime64"):
        table_of_frame(pd.DataFrame({"when": pd.to_datetime(["2024-01-01"])}))
    with pytest.raises(DataError, match="column 'x' has values of type list"):
        table_of_frame(pd.DataFrame({"x": [[1], [2]]}))
