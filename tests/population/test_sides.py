"""Sides with files of their own, what is declared of them, and how their values are given to models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.config.data import DataSpec, PreprocessingSpec
from edgeaudit.errors import DataError, SplitError
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population, population_content
from edgeaudit.population.preprocessing import affine

SHAPE = (4, 4, 3)


def _images(n: int, seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def _file(folder: Path, name: str, x: npt.NDArray[Any], **more: npt.NDArray[Any]) -> Path:
    arrays: dict[str, Any] = {"x": x, "y": np.arange(len(x)) % 3, **more}
    np.savez(folder / name, **arrays)
    return folder / name


def _build(folder: Path, **settings: Any) -> Population:
    spec = DataSpec.model_validate({"source": "npz", **settings})
    (folder / "population").mkdir()
    build_population(spec, 0, folder / "population")
    return Population(folder / "population")


def test_sides_use_their_own_files(tmp_path: Path) -> None:
    train, test = _file(tmp_path, "train.npz", _images(50, 1)), _file(tmp_path, "test.npz", _images(90, 2))
    found = _build(tmp_path, members={"path": train, "records": 20}, nonmembers={"path": test, "records": 30})
    assert (len(found.split.members), len(found.split.nonmembers)) == (20, 30)
    assert (found.split.members < 50).all()
    assert (found.split.nonmembers >= 50).all()
    # All that is left of the nonmembers' file, and nothing of the members': the target trained on that.
    assert set(found.split.reference) == set(range(50, 140)) - set(found.split.nonmembers)
    assert found.about["files"] == {"members": ["train.npz", 0], "nonmembers": ["test.npz", 50]}
    assert found.about["shadow_records"] == 20


def test_a_shadow_trains_on_half_of_a_small_pool(tmp_path: Path) -> None:
    train, test = _file(tmp_path, "train.npz", _images(50, 1)), _file(tmp_path, "test.npz", _images(60, 2))
    found = _build(tmp_path, members={"path": train}, nonmembers={"path": test, "records": 30})
    assert len(found.training_ids("shadow-0", 0)) == 15


def test_a_reference_with_its_own_file(tmp_path: Path) -> None:
    own = _images(40, 3)
    own[5] = _images(50, 1)[7]  # a copy of a record that the target trained on
    paths = [_file(tmp_path, f"{n}.npz", x) for n, x in enumerate((_images(50, 1), _images(20, 2), own))]
    found = _build(
        tmp_path,
        members={"path": paths[0], "records": 10},
        nonmembers={"path": paths[1]},
        reference={"path": paths[2]},
    )
    assert set(found.split.reference) == set(range(70, 110)) - {75}


def test_a_nonmember_that_repeats_a_member_record_is_removed(tmp_path: Path) -> None:
    train, test = _images(50, 1), _images(20, 2)
    test[3] = train[49]
    paths = _file(tmp_path, "train.npz", train), _file(tmp_path, "test.npz", test)
    found = _build(tmp_path, members={"path": paths[0], "records": 2}, nonmembers={"path": paths[1]})
    assert 53 not in found.split.nonmembers
    assert found.about["moved"] == 1


@pytest.mark.parametrize("listed", ["flags", "places", "places.npy", "places.txt"])
def test_calibrated_records_are_counted_in_their_file(tmp_path: Path, listed: str) -> None:
    flags = np.zeros(20, np.bool_)
    flags[[2, 11]] = True
    np.save(tmp_path / "places.npy", np.array([2, 11]))
    (tmp_path / "places.txt").write_text("2\n11  # the second\n", encoding="utf-8")
    train = _file(tmp_path, "train.npz", _images(50, 1))
    test = _file(tmp_path, "test.npz", _images(20, 2), flags=flags, places=np.array([11, 2]))
    name = str(tmp_path / listed) if "." in listed else listed
    found = _build(tmp_path, members={"path": train}, nonmembers={"path": test, "calibrated": name})
    assert found.calibrated.tolist() == [52, 61]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"nonmembers": {"path": "test.npz", "calibrated": "nothing"}}, DataError, "has no array 'nothing'"),
        ({"nonmembers": {"path": "test.npz", "calibrated": "x"}}, DataError, "must have a boolean for each of its 20"),
        ({"nonmembers": {"path": "test.npz", "records": 21}}, SplitError, "21 records requested, but test.npz has 20"),
        ({"nonmembers": {"path": "flat.npz"}}, DataError, r"its records have shape \(5,\), but those of members"),
        ({"nonmembers": {"path": "none.npz"}}, DataError, "data.nonmembers.path: .*none.npz does not exist"),
        ({"reference": 5}, SplitError, "5 records requested, but 0 are left"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str) -> None:
    _file(tmp_path, "train.npz", _images(50, 1))
    _file(tmp_path, "test.npz", _images(20, 2))
    _file(tmp_path, "flat.npz", np.zeros((20, 5), np.uint8))
    named: dict[str, Any] = {"members": {"path": "train.npz"}, "nonmembers": {"path": "test.npz"}, **settings}
    for side in named.values():
        if isinstance(side, dict):
            side["path"] = tmp_path / side["path"]
    with pytest.raises(error, match=message):
        _build(tmp_path, **named)


def test_the_key_depends_on_the_content_of_every_side(tmp_path: Path) -> None:
    train, test = _file(tmp_path, "train.npz", _images(50, 1)), _file(tmp_path, "test.npz", _images(20, 2))
    spec = DataSpec.model_validate({"source": "npz", "members": {"path": train}, "nonmembers": {"path": test}})
    before = population_content(spec)
    _file(tmp_path, "test.npz", _images(20, 3))
    after = population_content(spec)
    assert before is not None
    assert after is not None
    assert before["source"][0] == after["source"][0]
    assert before["source"][1] != after["source"][1]


@pytest.mark.parametrize(
    ("wish", "value", "given"),
    [
        ("raw", 200, 200),
        ("unit", 51, 0.2),
        ("symmetric", 255, 1),
        ("symmetric", 0, -1),
        ("imagenet", 0, -0.485 / 0.229),
        ({"scale": 2, "mean": 10, "std": 5}, 30, 10),
    ],
)
def test_values_are_preprocessed_as_declared(tmp_path: Path, wish: object, value: int, given: float) -> None:
    x = np.full((20, *SHAPE), value, np.uint8)
    x[:, 0, 0, 0] = np.arange(20)  # no copies
    train, test = _file(tmp_path, "train.npz", x), _file(tmp_path, "test.npz", x + np.uint8(20))
    found = _build(tmp_path, members={"path": train}, nonmembers={"path": test}, preprocessing=wish)
    assert found.take(found.split.members)[:, 0, 3, 3] == pytest.approx(given, abs=1e-5)


def test_reject_preprocessing_for_other_channels() -> None:
    with pytest.raises(DataError, match="'imagenet' has values for 3 channels, but records have 1"):
        affine("imagenet", 1)
    assert affine(PreprocessingSpec(mean=(1.0, 2.0), std=4.0), 2) == ([1.0, 2.0], [4.0, 4.0])
