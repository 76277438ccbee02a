"""Folders in the user's cache that are created atomically and once.

A folder is filled under a temporary name and renamed when it is complete, so an interrupted preparation leaves nothing
that could be mistaken for a complete one. Concurrent requests for the same folder wait for the first and reuse it.
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

from edgeaudit.errors import store_errors
from edgeaudit.graph.confinement import USER_CACHE

__all__ = ["about", "cache_root", "land", "remove"]

_ABOUT = "edgeaudit.json"


def cache_root(variable: str, name: str) -> Path:
    """The folder named by the environment variable, or `edgeaudit/<name>` in the user's XDG cache."""
    if named := os.environ.get(variable):
        return Path(named)
    cached = os.environ.get(USER_CACHE) or os.environ.get("XDG_CACHE_HOME", "")
    home = Path(cached) if Path(cached).is_absolute() else Path.home() / ".cache"
    return home / "edgeaudit" / name


def about(folder: Path) -> dict[str, object] | None:
    """The metadata that `land` wrote; None if the folder is missing or incomplete."""
    try:
        metadata = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return metadata if isinstance(metadata, dict) else None


def land(final: Path, fill: Callable[[Path], Mapping[str, object]]) -> bool:
    """Create the folder if it does not exist; returns whether it was created.

    fill: writes into an empty folder and returns its metadata for `about`, as plain JSON. Raises `StoreError` if the
    disk is full or not writable.
    """
    if about(final) is not None:
        return False
    where = f"the cache folder {final.parent}"
    with store_errors(where):
        final.parent.mkdir(parents=True, exist_ok=True)
    with _locked(final, where):
        if about(final) is not None:  # another process created it in the meantime
            return False
        with store_errors(where):
            draft = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-"))
        try:
            metadata = fill(draft)
            with store_errors(where):
                (draft / _ABOUT).write_text(json.dumps(metadata, indent=1, sort_keys=True), encoding="utf-8")
                draft.chmod(0o755)
                if final.exists():  # remains of an interrupted removal
                    shutil.rmtree(final)
                draft.rename(final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return True


def remove(folder: Path) -> bool:
    """Remove it, marking it incomplete first; returns whether it existed."""
    existed = folder.exists()
    with store_errors(f"the cache folder {folder}"):
        (folder / _ABOUT).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=not existed)
    return existed


@contextmanager
def _locked(final: Path, where: str) -> Iterator[None]:
    """Hold a lock on a folder's name. The kernel releases it when this process exits, however it exits."""
    with store_errors(where):
        lock = (final.parent / f".{final.name}.lock").open("w")
    with lock:
        with store_errors(where):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
