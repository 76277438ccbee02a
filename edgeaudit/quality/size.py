"""Size of an artifact in bytes, as installed on a device and compressed as in an over-the-air update."""

from __future__ import annotations

import zlib
from pathlib import Path

from edgeaudit.filetypes.artifact import Artifact

__all__ = ["COMPRESSION", "compressed_bytes"]

COMPRESSION = "deflate, level 9"
_LEVEL = 9
_CHUNK = 1 << 20


def compressed_bytes(artifact: Artifact) -> int:
    """Return the bytes of all files of an artifact under raw deflate (zlib, level 9), each compressed by itself.

    A .zip does the same; its directory (about 100 bytes a file) is not counted. Raises `OSError` for a missing file.
    """
    names = (artifact.manifest.file, *artifact.manifest.companions)
    return sum(_deflated(artifact.folder / name) for name in names)


def _deflated(path: Path) -> int:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    total = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total += len(packer.compress(chunk))
    return total + len(packer.flush())
