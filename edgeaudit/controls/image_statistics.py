"""Image statistics: a few numbers an image that depend on codec, camera and brightness rather than on its content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn

__all__ = ["image_statistics"]

FloatArray = npt.NDArray[np.float32]

_BLOCK = 8
"""Side of JPEG's blocks in pixels; the block grid starts in the upper left corner."""
_CHUNK = 4_000_000
"""Values processed at a time, which bounds memory."""
_LUMA = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=np.float32
)  # JPEG's YCbCr, ITU-T T.871
_DIAGONAL = np.add.outer(np.arange(_BLOCK), np.arange(_BLOCK)).ravel()


def image_statistics(images: npt.NDArray[Any]) -> tuple[list[str], FloatArray]:
    """Return names and values, float32 [n, features], for images [n, C, H, W] in their source's scale.

    The features of a plane are its mean, deviation, extremes and number of different values; the differences between
    neighbours in both directions, on and off the edges of 8 x 8 blocks; and the energy and the share of coefficients
    near zero on each diagonal of the blocks' DCT. They show JPEG compression, which rounds high frequencies to zero,
    smooths within blocks and halves the resolution of chroma. RGB is converted to luma and chroma.
    """
    unit = _unit(images)
    size = max(1, _CHUNK // max(1, int(np.prod(images.shape[1:]))))
    names: list[str] = []
    parts = []
    for start in range(0, len(images), size):
        planes = _planes(images[start : start + size].astype(np.float32) / unit)
        features = dict(_features(planes))
        names = list(features)
        parts.append(np.stack(list(features.values()), axis=1))
    return names, np.concatenate(parts).astype(np.float32)


def _unit(images: npt.NDArray[Any]) -> float:
    """Return the size of an 8-bit step: 1 for integers, 1/255 of the range for floats."""
    if np.issubdtype(images.dtype, np.integer):
        return 1.0
    span = float(images.max()) - float(images.min())
    return span / 255 if span > 0 else 1.0


def _planes(images: FloatArray) -> FloatArray:
    """Return float32 [n, planes, H, W]: luma and chroma of RGB, else at most the first 4 channels."""
    if images.shape[1] == 3:
        luma: FloatArray = np.einsum("pc,nchw->nphw", _LUMA, images)
        return luma
    return images[:, :4]


def _features(planes: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    for p in range(planes.shape[1]):
        for name, values in (*_levels(planes[:, p]), *_edges(planes[:, p]), *_frequencies(planes[:, p])):
            yield f"plane {p} {name}", values


def _levels(plane: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    flat = plane.reshape(len(plane), -1)
    ordered = np.sort(flat, axis=1)
    yield "mean", flat.mean(axis=1)
    yield "deviation", flat.std(axis=1)
    yield "smallest", ordered[:, 0]
    yield "largest", ordered[:, -1]
    yield "different values", (np.diff(ordered, axis=1) > 1e-3).sum(axis=1).astype(np.float32)
    yield "share of the smallest", (flat == ordered[:, :1]).mean(axis=1, dtype=np.float32)
    yield "share of the largest", (flat == ordered[:, -1:]).mean(axis=1, dtype=np.float32)


def _edges(plane: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    for axis, name in ((1, "rows"), (2, "columns")):
        if plane.shape[axis] < 3:
            continue
        step = np.abs(np.diff(plane, axis=axis))
        bend = np.abs(np.diff(plane, 2, axis=axis))
        yield f"step over {name}", np.log(step.mean(axis=(1, 2)) + 0.1)
        yield f"bend over {name}", np.log(bend.mean(axis=(1, 2)) + 0.1)
        yield f"equal neighbours over {name}", (step < 0.5).mean(axis=(1, 2), dtype=np.float32)
        if plane.shape[axis] > _BLOCK:
            profile = step.mean(axis=3 - axis)
            on_edge = np.arange(profile.shape[1]) % _BLOCK == _BLOCK - 1
            yield f"blocks over {name}", profile[:, on_edge].mean(axis=1) - profile[:, ~on_edge].mean(axis=1)


def _frequencies(plane: FloatArray) -> Iterator[tuple[str, FloatArray]]:
    n, high, wide = plane.shape
    rows, columns = high // _BLOCK, wide // _BLOCK
    if rows == 0 or columns == 0:
        return
    blocks = plane[:, : rows * _BLOCK, : columns * _BLOCK].reshape(n, rows, _BLOCK, columns, _BLOCK)
    waves = np.abs(dctn(blocks, axes=(2, 4), norm="ortho")).transpose(0, 1, 3, 2, 4).reshape(n, -1, _BLOCK**2)
    near_zero, energy = (waves < 1).mean(axis=1), np.log(waves + 0.5).mean(axis=1)
    for diagonal in range(1, 2 * _BLOCK - 1):
        chosen = diagonal == _DIAGONAL
        yield f"zeros at frequency {diagonal}", near_zero[:, chosen].mean(axis=1)
        yield f"energy at frequency {diagonal}", energy[:, chosen].mean(axis=1)
