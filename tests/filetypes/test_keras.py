"""Keras files, read in a process that has torch and no TensorFlow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeaudit.filetypes.registry import find_filetype
from tests.filetypes.keras_file import keras_file
from tests.keras_process import TOYS, in_tensorflow, trained

pytestmark = pytest.mark.toolchain
KERAS = find_filetype("keras")


@pytest.mark.parametrize(("softmax", "inside"), [("layer", True), ("activation", True), ("", False)])
def test_a_softmax_at_the_end_is_seen(tmp_path: Path, softmax: str, inside: bool) -> None:
    in_tensorflow(keras_file, tmp_path, softmax=softmax)
    assert KERAS.ends_in_softmax(tmp_path / "model.keras") == inside


def test_the_state_of_an_optimizer_is_not_counted(tmp_path: Path) -> None:
    in_tensorflow(keras_file, tmp_path, trained=True)
    assert sorted(tensor.values.shape for tensor in KERAS.weights(tmp_path / "model.keras")) == [(3, 3, 1, 3), (48, 2)]


def test_a_network_of_a_recipe(tmp_path: Path) -> None:
    in_tensorflow(trained, TOYS["resnet8"], tmp_path)
    operators = KERAS.operators(tmp_path / "model.keras")
    # Nine convolutions and a matrix, as in MLPerf Tiny.
    assert (operators["Conv2D"], operators["Dense"]) == (9, 1)
    assert len(KERAS.weights(tmp_path / "model.keras")) == 10
    assert not KERAS.ends_in_softmax(tmp_path / "model.keras")
    assert "tensorflow" not in sys.modules
