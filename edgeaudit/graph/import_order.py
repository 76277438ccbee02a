"""Where modules of the user's are looked for: after everything that is installed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["with_users_last"]


def with_users_last(path: Iterable[str], folder: Path | None) -> list[str]:
    """`sys.path` with the folder of audit.yaml at the end, and after it the working directory, if it was there.

    Python puts the working directory first (`python -m`, notebooks), where a file called onnx.py or statistics.py would
    be imported in place of the package by every toolchain. Folders of PYTHONPATH stay where they are.
    """
    here = Path.cwd()
    entries = list(path)
    own = [] if folder is None else [folder.resolve()]
    if any(_is(entry, here) for entry in entries) and here.resolve() not in own:
        own.append(here)
    return [*(entry for entry in entries if not any(_is(entry, one) for one in (here, *own))), *map(str, own)]


def _is(entry: str, folder: Path) -> bool:
    """Whether an entry of `sys.path` is this folder; an empty one is the working directory."""
    return Path(entry or ".").resolve() == folder.resolve()
