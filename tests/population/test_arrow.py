"""Hugging Face data sets, returned by a function and on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeaudit.errors import DataError
from edgeaudit.population.functions import raw_of_result
from edgeaudit.population.raw import Raw, Table
from edgeaudit.population.sources import find_source

datasets = pytest.importorskip("datasets")

N = 12
PIXELS = np.random.default_rng(0).integers(0, 255, (N, 5, 4, 3), np.uint8)
LABELS = (np.arange(N) % 2).tolist()


def _images() -> Any:
    from PIL import Image

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "person": datasets.Value("int64"),
        }
    )
    images = [Image.fromarray(pixels) for pixels in PIXELS]
    return datasets.Dataset.from_dict({"image": images, "label": LABELS, "person": list(range(N))}, features=features)


def _saved(data: Any, folder: Path) -> Path:
    data.save_to_disk(str(folder))
    return folder


def _read(path: Path, **options: Any) -> Raw:
    return find_source("arrow", path, options).read()


@pytest.mark.parametrize("on_disk", [False, True])
def test_images_with_the_names_of_their_classes(tmp_path: Path, on_disk: bool) -> None:
    found = _read(_saved(_images(), tmp_path / "d")) if on_disk else raw_of_result(_images(), "f")
    assert isinstance(found.x, np.ndarray)
    assert np.array_equal(found.x, PIXELS)
    assert (found.y.tolist(), found.classes) == (LABELS, ("cat", "dog"))
    assert found.columns["person"].tolist() == list(range(N))


def test_columns_of_numbers_and_texts_are_a_table(tmp_path: Path) -> None:
    data = datasets.Dataset.from_dict(
        {"age": [1.5] * N, "city": ["Bern", "Oslo"] * (N // 2), "label": ["a", "b"] * (N // 2)}
    )
    found = _read(_saved(data, tmp_path / "d"))
    assert isinstance(found.x, Table)
    assert list(found.x.columns) == ["age", "city"]
    assert found.y.tolist() == ["a", "b"] * (N // 2)


def test_columns_by_name_and_splits(tmp_path: Path) -> None:
    data = datasets.Dataset.from_dict({"window": np.zeros((N, 6)).tolist(), "gesture": LABELS})
    path = _saved(datasets.DatasetDict({"train": data, "test": data}), tmp_path / "d")
    found = _read(path, x="window", y="gesture", split="test")
    assert isinstance(found.x, np.ndarray)
    assert found.x.shape == (N, 6)
    for options, message in (
        ({}, "has several splits; .* to one of train, test"),
        ({"split": "val"}, "has no split 'val'"),
        ({"split": "train"}, "none of the columns window, gesture is called y or label"),
        ({"split": "train", "y": "gestures"}, r"no column 'gestures' \(y\); there are window, gesture"),
    ):
        with pytest.raises(DataError, match=message):
            _read(path, **options)


def test_a_folder_that_is_no_data_set_and_one_that_changed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=r"other cannot be read as a data set on disk: .*save_to_disk"):
        _read(tmp_path / "other")
    path = _saved(_images(), tmp_path / "d")
    before = find_source("arrow", path, {}).fingerprint()
    _saved(_images().select(range(6)), tmp_path / "e")
    assert find_source("arrow", tmp_path / "e", {}).fingerprint() != before
