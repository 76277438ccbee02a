"""Files that user code read while a job ran, kept with its result: the result is stale once one of them changed.

A key has the source closure of the code that runs, which is known before it does. Files that the code opens, and
modules that it finds by changing `sys.path`, are known only afterwards (`edgeaudit.graph.watch`), so that the entry
lists them, with those of the jobs before it. `Store.has` compares them: size and mtime, and the digest where the mtime
differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

__all__ = ["READS", "FileRead", "changed_file", "load_reads", "read_file", "save_reads"]

READS = "reads.json"
"""In an entry's folder; absent where nothing was read."""


@dataclass(frozen=True, order=True)
class FileRead:
    """A file as a job read it. path: absolute. size: bytes. mtime: ns since the epoch. sha256: of its content."""

    path: str
    size: int
    mtime: int
    sha256: str


def read_file(path: str) -> FileRead:
    """The file as it is now. Raises OSError."""
    status = Path(path).stat()
    return FileRead(path, status.st_size, status.st_mtime_ns, _digest(path, status.st_size, status.st_mtime_ns))


def save_reads(folder: Path, reads: Iterable[FileRead]) -> None:
    """Write the list into an entry's folder; no file where it is empty."""
    rows = [list(astuple(one)) for one in sorted(set(reads))]
    if rows:
        (folder / READS).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def load_reads(folder: Path) -> tuple[FileRead, ...]:
    """What `save_reads` wrote; empty where it wrote nothing. Raises ValueError for a damaged list."""
    try:
        text = (folder / READS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    try:
        return tuple(FileRead(*row) for row in json.loads(text))
    except TypeError as exc:
        raise ValueError(f"{folder / READS} is damaged") from exc


def changed_file(reads: Iterable[FileRead]) -> str | None:
    """The path of the first file that is missing or has another content."""
    for one in reads:
        try:
            status = Path(one.path).stat()
            same = (status.st_size, status.st_mtime_ns) == (one.size, one.mtime)
            if not same and (status.st_size != one.size or read_file(one.path).sha256 != one.sha256):
                return one.path
        except OSError:
            return one.path
    return None


@cache
def _digest(path: str, size: int, mtime: int) -> str:  # noqa: ARG001  another state may be another content
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
