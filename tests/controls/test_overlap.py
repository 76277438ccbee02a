"""Windows of one recording on two sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.controls.duplicates import near_copies
from edgeaudit.controls.overlap import overlapping

WINDOW = 64


def _windows(step: int, count: int = 40, sensors: int = 1, seed: int = 0) -> npt.NDArray[np.float32]:
    """Windows [count, WINDOW, sensors] of one recording, each `step` after the one before."""
    signal = np.random.default_rng(seed).normal(size=(step * count + WINDOW, sensors)).astype(np.float32)
    return np.stack([signal[i * step : i * step + WINDOW] for i in range(count)])


FORMS: dict[str, Any] = {
    "columns": lambda x: x[:, :, 0],
    "image of one channel": lambda x: x[:, None],
    "turned image": lambda x: np.swapaxes(x, 1, 2)[:, None],
    "channels first": lambda x: np.swapaxes(x, 1, 2),
    "channels last": lambda x: x,
    "integers": lambda x: np.round(x[:, :, 0] * 1000).astype(np.int16),
}


@pytest.mark.parametrize("form", FORMS)
def test_windows_that_overlap_by_three_quarters_are_found(form: str) -> None:
    x, axis = FORMS[form](_windows(WINDOW // 4)), 2 if form == "channels last" else 1
    # Each odd window shares 48 of 64 steps with both of its even neighbours.
    assert overlapping(x[::2], x[1::2], axis).all()
    apart = FORMS[form](_windows(WINDOW, seed=1))
    assert not overlapping(apart[::2], apart[1::2], axis).any()


def test_sensors_must_agree_on_every_axis() -> None:
    x = _windows(16, sensors=3)
    other = x.copy()
    other[:, :, 2] += 1
    assert overlapping(x[::2], x[1::2], 2).all()
    assert not overlapping(x[::2], other[1::2], 2).any()


@pytest.mark.parametrize("overlap", [15, 16, 40])
def test_overlaps_from_16_steps_on_are_found(overlap: int) -> None:
    x = _windows(WINDOW - overlap)
    assert overlapping(x[::2, :, 0], x[1::2, :, 0]).any() == (overlap >= 16)


def test_what_tables_and_silence_share_is_no_overlap() -> None:
    rng = np.random.default_rng(0)
    binary = rng.integers(0, 2, (200, 400)).astype(np.uint8)
    silent = np.zeros((50, WINDOW))
    same_columns = rng.normal(size=(60, WINDOW))
    same_columns[:, :20] = same_columns[0, :20]  # the same values at the same place
    few = rng.normal(size=(40, 16))
    images = rng.normal(size=(40, 1, 40, 40))
    for x in (binary, silent, same_columns, few, images):
        assert not overlapping(x[::2], x[1::2]).any()


def test_the_control_warns_with_the_remedy() -> None:
    x = _windows(16)[:, :, 0]
    found = near_copies(x[::2], x[1::2], overlapping(x[::2], x[1::2]))
    assert (found.status, found.value) == ("warning", 1.0)
    assert found.statement.endswith("and 20 share a stretch of values with one, as windows that overlap do")
    assert found.note is not None
    assert "data.groups" in found.note
