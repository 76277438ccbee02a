"""Folders in the user's cache that are made once: whole under their name, or not there.

A folder is filled under another name and renamed when it is whole, so an interrupted preparation leaves nothing that
could be taken for one. Whoever wants the same folder at the same time waits for the first, and finds it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeaudit.errors import store_errors

__all__ = ["about", "cache_root", "land", "remove"]

_ABOUT = "edgeaudit.json"


def cache_root(variable: str, name: str) -> Path:
    """What the environment variable names, or `edgeaudit/<name>` in the user's cache as XDG has it."""
    if named := os.environ.get(variable):
        return Path(named)
    cached = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(cached) if Path(cached).is_absolute() else Path.home() / ".cache"
    return home / "edgeaudit" / name


def about(folder: Path) -> dict[str, Any] | None:
    """What `land` wrote of a folder; None where it is not there, or not whole."""
    try:
        found = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def land(final: Path, fill: Callable[[Path], Mapping[str, Any]]) -> bool:
    """Make the folder unless it is there; whether it was made now.

    fill: writes into the empty folder that it is given, and returns what `about` tells of it, plain JSON. `StoreError`
    where the disk is full or cannot be written.
    """
    if about(final) is not None:
        return False
    where = f"the cache folder {final.parent}"
    with store_errors(where):
        final.parent.mkdir(parents=True, exist_ok=True)
    with _alone(final, where):
        if about(final) is not None:  # somebody else made it while we waited
            return False
        with store_errors(where):
            draft = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-"))
        try:
            told = fill(draft)
            with store_errors(where):
                (draft / _ABOUT).write_text(json.dumps(told, indent=1, sort_keys=True), encoding="utf-8")
                draft.chmod(0o755)
                if final.exists():  # half of one, left by a removal that was interrupted
                    shutil.rmtree(final)
                draft.rename(final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return True


def remove(folder: Path) -> bool:
    """Remove it; whether it was there. What was whole is not whole from the first moment on."""
    there = folder.exists()
    with store_errors(f"the cache folder {folder}"):
        (folder / _ABOUT).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=not there)
    return there


@contextmanager
def _alone(final: Path, where: str) -> Iterator[None]:
    """Hold the lock of a folder's name. The system lets go of it when this process ends, however it ends."""
    with store_errors(where):
        lock = (final.parent / f".{final.name}.lock").open("w")
    with lock:
        with store_errors(where):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
