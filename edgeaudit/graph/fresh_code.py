"""Compiles the user's modules from their source, never from bytecode that an edit may have left behind.

Python takes a module's .pyc for current while the source has the size and the second of modification that it had
(CPython 3.11 to 3.13). An edit within that second, or one whose time was set back, as by rsync or tar, keeps both: the
key of a job would have the new source, and the job would run the old code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import edgeaudit
from edgeaudit.graph.distributions import installed_folders, standard_folders

__all__ = ["compile_users_modules"]


def compile_users_modules() -> None:
    """Ignore and write no bytecode, in this process, of modules that no distribution has installed.

    Every way of importing goes through the loader: import statements, `spec_from_file_location`, editable installs.
    """
    SourceFileLoader.path_stats = _path_stats  # type: ignore[method-assign]


_stats = SourceFileLoader.path_stats


def _path_stats(self: SourceFileLoader, path: str) -> Mapping[str, Any]:
    if not os.path.realpath(path).startswith(_kept()):
        raise OSError(path)  # what the loader takes as: there is no bytecode
    return _stats(self, path)


@cache
def _kept() -> tuple[str, ...]:
    """Folders of modules that change by an installation. edgeaudit's own are many, and start with each worker."""
    folders = (*installed_folders(), *standard_folders(), Path(edgeaudit.__file__).resolve().parent)
    return tuple(f"{folder}{os.sep}" for folder in folders)
