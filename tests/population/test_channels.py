"""Images with channels in the other order are read in the model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeaudit.config.data import DataSpec
from edgeaudit.errors import DataError
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population


def _built(tmp_path: Path, x: np.ndarray, **keys: Any) -> Population:
    np.savez(tmp_path / "all.npz", x=x, y=np.arange(len(x)) % 2)
    folder = tmp_path / "population"
    folder.mkdir()
    data = {"source": "npz", "path": tmp_path / "all.npz", "members": 10, "nonmembers": 10, "preprocessing": "raw"}
    build_population(DataSpec.model_validate({**data, **keys}), 0, folder)
    return Population(folder)


def test_reversed(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 5, 5, 3), dtype=np.uint8)
    population = _built(tmp_path, x, channels="reversed")
    found = population.take(np.arange(40))
    np.testing.assert_array_equal(found, np.transpose(x[..., ::-1], (0, 3, 1, 2)).astype(np.float32))


def test_only_images_with_channels(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    with pytest.raises(DataError, match=r"data.channels: only images with several channels .* shape \(6,\)"):
        _built(tmp_path, x, channels="reversed")
