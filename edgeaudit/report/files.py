"""Atomic writing of report files."""

from __future__ import annotations

import os
from pathlib import Path

from edgeaudit.errors import store_errors

__all__ = ["write_atomically"]


def write_atomically(path: Path, text: str) -> None:
    """Write text as UTF-8 under another name beside `path`, then rename: a reader never sees half a file.

    Raises `StoreError` where the folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with store_errors(str(path)):
        try:
            with beside.open("wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
