"""How many bytes an artifact takes on a device, and in the package that an update over the air would bring."""

from __future__ import annotations

import zlib
from pathlib import Path

from edgeaudit.filetypes.artifact import Artifact

__all__ = ["COMPRESSION", "compressed_bytes"]

COMPRESSION = "deflate, level 9"
_LEVEL = 9
_CHUNK = 1 << 20


def compressed_bytes(artifact: Artifact) -> int:
    """Bytes of all of an artifact's files under raw deflate (zlib, level 9), each file by itself as a .zip has them.

    The archive's own directory (about 100 bytes a file) is not counted.
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
