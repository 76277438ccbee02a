"""Which single records a report lists, and how: `report.records` of audit.yaml."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgeaudit.config.report import RecordsShown
from edgeaudit.errors import SpecError
from edgeaudit.leakage.rows import ClaimedRecord, ExposedRecord
from edgeaudit.population.base import Population
from edgeaudit.report.model import Thumbnail

__all__ = ["MOST_THUMBNAILS", "listed", "require_images", "thumbnails"]

MOST_THUMBNAILS = 20
_PIXELS = 64
"""Longest side of a thumbnail."""
_CHANNELS = (1, 3)

RowT = TypeVar("RowT", ExposedRecord, ClaimedRecord)


def listed(rows: Iterable[RowT], population: Population, shown: RecordsShown) -> list[RowT]:
    """The rows that a report may have: none, or all, with the names of their records unless only ids are asked for."""
    if shown == "none":
        return []
    names = () if shown == "ids" else population.names
    return [replace(row, name=names[row.record] if names else None) for row in rows]


def require_images(population: Population, shown: RecordsShown) -> None:
    """Raise `SpecError` where thumbnails are asked for and records are no images."""
    shape = population.input_shape
    if shown == "thumbnails" and (len(shape) != 3 or shape[0] not in _CHANNELS):
        raise SpecError(
            f"report.records: thumbnails are of images with 1 or 3 channels, and a record here is "
            f"{' x '.join(map(str, shape))}; use names, ids or none"
        )


def thumbnails(
    claimed: Sequence[ClaimedRecord], exposed: Sequence[ExposedRecord], population: Population, shown: RecordsShown
) -> list[Thumbnail]:
    """Small images of the listed records, if they are asked for: of claimed ones first, then by rank, at most 20."""
    if shown != "thumbnails":
        return []
    ranked = sorted(exposed, key=lambda row: row.rank)
    ids = list(dict.fromkeys([*(row.record for row in claimed), *(row.record for row in ranked)]))[:MOST_THUMBNAILS]
    if not ids:
        return []
    pixels = _bytes(population.as_stored(np.array(ids, np.int64)))
    return [Thumbnail(record=record, image=_png(image)) for record, image in zip(ids, pixels, strict=True)]


def _bytes(images: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Images [n, C, H, W] as bytes; those of other types from the smallest of all their values to the largest."""
    if images.dtype == np.uint8:
        return np.asarray(images, np.uint8)
    values = np.nan_to_num(np.asarray(images, np.float64))
    low, high = values.min(), values.max()
    return np.asarray(np.rint((values - low) / (high - low or 1.0) * 255), np.uint8)


def _png(image: npt.NDArray[np.uint8]) -> str:
    """A data URI of an image [C, H, W]."""
    from PIL import Image  # matplotlib requires it

    picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
    picture.thumbnail((_PIXELS, _PIXELS))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
