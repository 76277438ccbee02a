"""Preprocessing of the models' inputs, by a common name or by numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeaudit.config.data import PreprocessingSpec
from edgeaudit.errors import DataError

__all__ = ["NAMED", "Affine", "affine"]

Affine = tuple[list[float], list[float]]
"""Mean and deviation a channel (images) or a column (tables): a model is given (x - mean) / deviation."""

_IMAGENET = PreprocessingSpec(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
NAMED: Mapping[str, PreprocessingSpec] = {
    "raw": PreprocessingSpec(),
    "unit": PreprocessingSpec(scale=1 / 255),
    "symmetric": PreprocessingSpec(scale=1 / 127.5, mean=1.0),
    "imagenet": _IMAGENET,
}
"""Values as they are; 0..1 and -1..1 of bytes; torchvision's, for three channels (RGB)."""


def affine(wish: str | PreprocessingSpec, channels: int) -> Affine:
    """Mean and deviation of each of `channels` channels, in the data's own unit.

    (x * scale - mean) / std is (x - mean / scale) / (std / scale). Raises `DataError` where figures are given for
    another number of channels.
    """
    spec = NAMED[wish] if isinstance(wish, str) else wish
    found = []
    for key in ("mean", "std"):
        given = np.atleast_1d(np.asarray(getattr(spec, key), np.float64))
        if len(given) not in {1, channels}:
            which = wish if isinstance(wish, str) else key
            raise DataError(
                f"data.preprocessing: '{which}' has values for {len(given)} channels, but records have {channels}"
            )
        found.append((np.broadcast_to(given, channels) / spec.scale).tolist())
    return found[0], found[1]
