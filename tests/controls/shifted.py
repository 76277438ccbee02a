"""Populations without a shift, and changes of the members that shift them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_digits

from edgeaudit.controls import Control
from edgeaudit.controls.shift import Sides, shift

Records = npt.NDArray[Any]
Change = Callable[[Records], Records]


def digits() -> tuple[Records, npt.NDArray[np.int64]]:
    """uint8 [1797, 1, 8, 8] and labels."""
    data = load_digits()
    return np.round(data.images * (255 / 16)).astype(np.uint8)[:, None], data.target.astype(np.int64)


def table(columns: int, seed: int) -> tuple[Records, npt.NDArray[np.int64]]:
    """Normal, skewed and binary columns in turn; float64 [3000, columns] and labels of 5 classes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3000, columns))
    x[:, 1::3] = np.exp(x[:, 1::3])
    x[:, 2::3] = x[:, 2::3] > 2.5
    return x, rng.integers(0, 5, 3000)


def recompressed(quality: int) -> Change:
    """Return a change that passes images through JPEG; PIL halves the resolution of chroma."""

    def change(images: Records) -> Records:
        return np.stack([_through_jpeg(image, quality) for image in images])

    return change


def _through_jpeg(image: Records, quality: int) -> Records:
    file = io.BytesIO()
    pixels = image.transpose(1, 2, 0)
    Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels).save(file, "JPEG", quality=quality)
    read = np.asarray(Image.open(file))
    return read[None] if read.ndim == 2 else read.transpose(2, 0, 1)


def sides(x: Records, y: npt.NDArray[np.int64], n: int, seed: int, change: Change | None = None) -> Sides:
    """Draw `n` records a side from one population, and apply `change` to the members."""
    ids = np.random.default_rng(seed).permutation(len(x))[: 2 * n]
    members = np.arange(2 * n) < n
    records = x[ids]
    if change is not None:
        records[members] = change(records[members])
    return Sides(records, y[ids], members)


def findings(compared: Sides, seed: int = 0) -> dict[str, Control]:
    """Return the findings of the shift control by name."""
    return {finding.name: finding for finding in shift(compared, np.random.default_rng(seed))}


def failed(compared: Sides, seed: int = 0) -> set[str]:
    """Return the names of the controls that failed."""
    return {name for name, finding in findings(compared, seed).items() if finding.status == "failed"}
