"""Windows of sensors: which axis has a scale of its own, and what models see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import DataError
from edgeaudit.filetypes.base import fits
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population
from edgeaudit.population.layout import prepare_records
from edgeaudit.population.views import input_range

STEPS, SENSORS = 24, 3
SCALES = np.array([1.0, 0.3, 500.0])


def _windows(n: int = 60) -> npt.NDArray[np.float64]:
    """An accelerometer in g, and one axis of a gyroscope in degrees a second, around different means."""
    return np.asarray(np.random.default_rng(0).normal(size=(n, STEPS, SENSORS)) * SCALES + [0, 1, 40], np.float64)


def _build(tmp_path: Path, x: npt.NDArray[Any], **settings: Any) -> Population:
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(len(x)) % 2)
    spec = {"source": "npz", "path": tmp_path / "d.npz", "members": 10, "nonmembers": 10, **settings}
    (tmp_path / "p").mkdir(exist_ok=True)
    build_population(DataSpec.model_validate(spec), 0, tmp_path / "p")
    return Population(tmp_path / "p")


@pytest.mark.parametrize("layout", ["TC", "CT"])
def test_a_declared_window_is_standardised_by_sensor_and_keeps_its_shape(tmp_path: Path, layout: str) -> None:
    windows = _windows()
    x = windows if layout == "TC" else np.moveaxis(windows, 2, 1)
    found = _build(tmp_path, x, layout=layout)
    assert found.input_shape == x.shape[1:]
    pool = windows[found.split.reference]
    expected = (windows - pool.mean(axis=(0, 1))) / pool.std(axis=(0, 1))
    given = found.take(np.arange(60))
    assert np.allclose(given if layout == "TC" else np.moveaxis(given, 1, 2), expected, atol=1e-5)
    assert found.about["notes"] == []


def test_every_sensor_may_have_its_own_numbers(tmp_path: Path) -> None:
    numbers = {"mean": [0, 1, 40], "std": SCALES.tolist()}
    found = _build(tmp_path, _windows(), layout="TC", preprocessing=numbers)
    assert np.allclose(found.take(np.arange(60)), (_windows() - [0, 1, 40]) / SCALES, atol=1e-5)
    with pytest.raises(DataError, match="'mean' has values for 2 channels, but records have 3"):
        _build(tmp_path, _windows(), layout="TC", preprocessing={"mean": [0, 1]})


@pytest.mark.parametrize("turned", [False, True])
def test_sensors_of_very_different_scale_are_found_out_and_it_is_said(tmp_path: Path, turned: bool) -> None:
    x = np.moveaxis(_windows(), 2, 1) if turned else _windows()
    found = _build(tmp_path, x)
    assert found.input_shape == (1, *x.shape[1:])  # as an image, which the built-in networks take
    given = found.take(found.split.reference)[:, 0]
    assert np.allclose(given.std(axis=(0, 2) if turned else (0, 1)), 1, atol=1e-4)
    (note,) = found.about["notes"]
    assert f"the 3 sensors of a record ({x.shape[1]} x {x.shape[2]}) differ in scale by more than 20 times" in note
    assert f"data.layout: {'CT' if turned else 'TC'}" in note


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).normal(size=(40, STEPS, SENSORS)) * [1.0, 0.3, 2.0],  # one scale serves all
        np.random.default_rng(0).normal(size=(40, 8, 8)) * np.logspace(0, 4, 8),  # not oblong: an image
        np.random.default_rng(0).integers(0, 255, (40, 24, 3), np.uint8),
        np.random.default_rng(0).normal(size=(40, STEPS, SENSORS)) * [1.0, 0.0, 1.0],  # a constant is no small scale
    ],
)
def test_other_records_have_one_scale(x: npt.NDArray[Any]) -> None:
    found = prepare_records(x, 40, "auto")
    assert (found.x.shape[1], found.axis, found.note) == (1, 1, None)


def test_a_window_has_two_axes() -> None:
    with pytest.raises(DataError, match=r"TC has 2 axes, but these records have shape \(8,\)"):
        prepare_records(np.zeros((4, 8)), 4, "TC")


def test_views_use_the_range_of_each_sensor(tmp_path: Path) -> None:
    limits = input_range(_build(tmp_path, _windows(), layout="TC"))
    assert limits.low.shape == limits.high.shape == (1, 1, SENSORS)


def test_files_take_windows_as_they_are() -> None:
    assert fits((128, 9), (128, 9), "flat")
    assert fits((-1, 9), (128, 9), "flat")
    assert not fits((9, 128), (128, 9), "flat")
    assert not fits((128, 9), (128, 9), "HW")
    assert fits((128, 9), (1, 128, 9), "HW")
