"""SHA-256 of a user's file or folder, as keys of jobs have it. Linked folders are followed, as readers follow them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["file_sha256", "files_below", "path_sha256", "tree_sha256"]


def files_below(folder: Path, *, hidden: bool = True) -> Iterator[Path]:
    """Every file of a folder and its sub-folders, sorted by name within each folder; links are followed.

    A link to a folder that contains it is passed over, since it would lead in a circle. `Path.rglob` of Python 3.11 and
    3.12 follows no link below the folder, so that what is behind one would not be seen.

    hidden: whether files and folders whose name begins with a dot count.

    Raises `OSError` for a folder that cannot be listed.
    """
    yield from _below(folder, (), hidden=hidden)


def _below(folder: Path, above: tuple[tuple[int, int], ...], *, hidden: bool) -> Iterator[Path]:
    state = folder.stat()
    here = (state.st_dev, state.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if hidden or not entry.name.startswith("."))
    for path in (folder / name for name in names):
        if path.is_dir():
            yield from _below(path, (*above, here), hidden=hidden)
        elif path.is_file():
            yield path


def file_sha256(file: Path) -> str:
    """Of a file's content, in hex. Raises `OSError` for one that cannot be read."""
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while block := handle.read(1 << 20):  # hashlib.file_digest came with Python 3.11, and boards run older ones
            digest.update(block)
    return digest.hexdigest()


def tree_sha256(folder: Path, *, hidden: bool = True) -> str:
    """Of all files of `files_below`, with their paths relative to the folder, in hex. Raises `OSError`."""
    digest = hashlib.sha256()
    for file in files_below(folder, hidden=hidden):
        digest.update(f"{file.relative_to(folder)}\0{file_sha256(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def path_sha256(path: Path) -> str:
    """Of a file, or of all files of a folder, in hex. Raises `OSError`."""
    return tree_sha256(path) if path.is_dir() else file_sha256(path)
