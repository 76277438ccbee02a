"""Images in one sub-folder for each class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.digests import tree_sha256
from edgeaudit.errors import DataError
from edgeaudit.population.class_folders import class_files, excluded
from edgeaudit.population.memory import require_memory
from edgeaudit.population.raw import Raw
from edgeaudit.population.sources import Source, SourceSpec, SourceUse

__all__ = ["IMAGE_SUFFIXES", "Folder"]

Size = tuple[int, int]
"""Height and width in pixels."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_DEEP: Mapping[str, type[np.generic]] = {
    "I;16": np.uint16,
    "I;16L": np.uint16,
    "I;16B": np.uint16,
    "I;16N": np.uint16,
    "I": np.int32,
    "F": np.float32,
}
"""Pillow's modes of one channel with more than 8 bits -> the dtype that holds them."""


class Folder(Source):
    """Images in one sub-folder for each class, also below train/ and test/ (`edgeaudit.population.class_folders`).

    Images of 8 bits are read as RGB, those of one channel with more bits as they are. `data.options.size` resizes them:
    a number of pixels, or `[height, width]`; `exclude` names folders that are no classes.
    """

    spec: ClassVar[SourceSpec] = SourceSpec(
        "folder", "images, one sub-folder for each class", needs_path=True, options=("size", "exclude")
    )

    def __init__(self, use: SourceUse) -> None:
        super().__init__(use)
        if not self.path.is_dir():
            raise DataError(
                f"{use.where}: {self.path} is a file; the source 'folder' needs a folder with one sub-folder per class"
            )

    @property
    def name(self) -> str:
        """See `Source.name`."""
        return f"folder:{self.path.name}"

    def read(self) -> Raw:
        """See `Source.read`. Labels are the names of folders; columns are `folder` and `split`."""
        size = _size(self.use.options.get("size"))
        found = class_files(self.path, IMAGE_SUFFIXES, "images", excluded(self.use.options))
        images: list[npt.NDArray[Any]] = []
        lossy = 0
        for file in found.files:
            image, cut = _read(file, size)
            lossy += cut
            if images and (image.shape != images[0].shape or image.dtype != images[0].dtype):
                raise DataError(_unequal(self.path, found.files[0], images[0], file, image))
            if not images:
                require_memory(
                    image.nbytes * len(found.files), f"data: reading {len(found.files):,} images of {self.path}"
                )
            images.append(image)
        notes = found.notes
        if lossy:
            notes += (f"{lossy:,} colour images of 16 bits were read at 8 bits",)
        columns = {"folder": np.array(found.folders), "split": np.array(found.splits)}
        return Raw(np.stack(images), np.array(found.labels), names=found.names, columns=columns, notes=notes)

    def fingerprint(self) -> str:
        """See `Source.fingerprint`. Hidden files, which are not read, do not count."""
        try:
            return tree_sha256(self.path, hidden=False)
        except OSError as exc:
            raise DataError(f"{self.use.where}: {exc.filename or self.path} cannot be read: {exc.strerror}") from exc


def _read(file: Path, size: Size | None) -> tuple[npt.NDArray[Any], bool]:
    """One image, [h, w, 3] of bytes or [h, w] of more bits, and whether bits were cut off."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            dtype = _DEEP.get(opened.mode)
            # Pillow 13 has no colour with 16 bits: it keeps the upper 8, and tells so by the codec's raw mode alone.
            cut = dtype is None and any("16" in str(tile[3]) for tile in getattr(opened, "tile", ()))
            image = opened.convert("RGB") if dtype is None else opened
            if size is not None:
                image = (image if dtype is None else image.convert("F")).resize((size[1], size[0]))
            pixels = np.asarray(image)
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as exc:
        raise DataError(f"{file} cannot be read as an image: {exc}. Remove or fix it") from exc
    if dtype is not None and pixels.dtype != dtype:
        if issubclass(dtype, np.integer):
            limits = np.iinfo(dtype)
            pixels = np.clip(np.rint(pixels), limits.min, limits.max)
        pixels = pixels.astype(dtype)
    return pixels, cut


def _unequal(folder: Path, first: Path, one: npt.NDArray[Any], file: Path, other: npt.NDArray[Any]) -> str:
    if one.dtype != other.dtype or one.ndim != other.ndim:
        bits = [f"{file} has {8 * image.dtype.itemsize} bits" for file, image in ((first, one), (file, other))]
        return f"{folder}: {bits[0]} a value, and {bits[1]}; convert all images to one depth"
    sizes = [f"{image.shape[0]} x {image.shape[1]}" for image in (one, other)]
    return (
        f"{folder} has images of different sizes: {first} has {sizes[0]} pixels (height x width), {file} {sizes[1]}; "
        "set data.options: {size: 32} or {size: [height, width]}"
    )


def _size(size: object) -> Size | None:
    """Height and width from data.options; None where images keep their size."""
    if size is None:
        return None
    entries = list(size) if isinstance(size, list | tuple) else [size, size]
    try:
        numbers = [int(entry) if isinstance(entry, str) else entry for entry in entries]
    except ValueError:
        numbers = []
    whole = [
        int(n) for n in numbers if isinstance(n, int | float) and not isinstance(n, bool) and int(n) == n and n > 0
    ]
    if len(whole) != 2 or len(entries) != 2:
        raise DataError(
            f"data.options: size is {size!r}; it must be a whole number of pixels, as in 32, or [height, width]"
        )
    return whole[0], whole[1]
