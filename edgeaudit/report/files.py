"""Atomic writing of files of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edgeaudit.errors import store_errors

__all__ = ["whole_file", "write_atomically"]


def write_atomically(path: Path, text: str) -> None:
    """Write text as UTF-8, as `whole_file` does."""
    with whole_file(path) as file:
        file.write(text.encode())


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file under another name beside `path`, which replaces `path` at the end: a reader never sees half a file.

    Its owner alone may read it, since it tells which records a model trained on. Raises `StoreError` where the folder
    cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with store_errors(str(path)):
        try:
            beside.unlink(missing_ok=True)  # of a process that was killed and had the same number
            with os.fdopen(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
