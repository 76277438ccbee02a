"""Finds out which files user code reads: modules beside audit.yaml, recipes, sources, plugins.

An audit hook of the interpreter sees every file that Python opens. Counted are those opened below a frame of user code,
except while a library is being imported, which reads its own configuration. A file that is read once and kept in memory
serves later jobs of the process, so that it counts for every job that runs a module which ever opened it.

Not seen is what C code opens itself (safetensors, h5py, cv2) and what other processes do.
"""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import source_from_cache
from pathlib import Path
from types import FrameType
from typing import Any

from edgeaudit.errors import StoreError
from edgeaudit.graph.closure import Closure, imports_of
from edgeaudit.graph.distributions import distributions_of, installed_folders
from edgeaudit.graph.job import Job
from edgeaudit.graph.reads import FileRead, read_file

__all__ = ["Watch", "reads_of", "watching"]

_OWN = "edgeaudit"
_SYSTEM = ("/proc/", "/sys/", "/dev/")
_State = tuple[int, int]
"""Size, and mtime in ns."""


class Watch:
    """What user code opens in this process. There is one, since an audit hook cannot be removed."""

    def __init__(self) -> None:
        self._by_module: dict[str, dict[str, _State]] = {}
        self._written: set[str] = set()
        self._now: dict[str, _State] = {}
        self._root = ""
        self._plugins: frozenset[str] = frozenset()
        self._active = False
        self._hooked = False
        self._busy = threading.local()

    @contextmanager
    def watching(self, job: Job[Any], root: Path) -> Iterator[None]:
        """Count what is opened inside the block for `job`, except in the store, whose folder is `root`."""
        if not self._hooked:
            sys.addaudithook(self._hear)
            self._hooked = True
        self._now, self._root, self._active = {}, os.path.realpath(root) + os.sep, True
        self._plugins = frozenset(name.partition(".")[0] for name in job.code()) - {_OWN}
        try:
            yield
        finally:
            self._active = False

    def reads(self, job: Job[Any]) -> tuple[FileRead, ...]:
        """The files that the job read, except those that a key has by content and those that the code wrote itself.

        Raises `StoreError` where one of them was changed since.
        """
        closure = job.closure()
        opened = {**self._now}
        loaded = dict(_loaded(closure, self._plugins))
        for module in (*(name for name, _ in closure.files), *loaded):
            opened |= self._by_module.get(module, {})
        opened |= {path: state for path in loaded.values() if (state := _state(path)) and path not in opened}
        keyed = {os.path.realpath(path) for path in _keyed(job)} if opened else set()
        found: list[FileRead] = []
        for path, state in opened.items():
            if path in keyed or path in self._written or _state(path) is None:  # the last: a temporary file
                continue
            found.append(read_file(path))
            if (found[-1].size, found[-1].mtime) != state:
                raise StoreError(
                    f"{job.label}: its code reads {path}, which was changed while the audit ran; run again"
                )
        return tuple(found)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not self._active or getattr(self._busy, "hearing", False):
            return
        path, _, flags = arguments
        if isinstance(path, str | bytes | os.PathLike):
            self._busy.hearing = True  # looking up a distribution opens files, too
            try:
                self._note(os.path.realpath(os.fsdecode(path)), int(flags or 0))
            finally:
                self._busy.hearing = False

    def _note(self, path: str, flags: int) -> None:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self._written.add(path)
            return
        modules = _users_above(sys._getframe(2), self._plugins)  # noqa: SLF001  what opened the file
        if not modules:
            return
        if path.endswith(".pyc"):
            try:
                path = source_from_cache(path)
            except ValueError:
                return
        state = _state(path)
        if state is None or path.startswith((self._root, *_SYSTEM)) or _is_installed(path):
            return
        self._now.setdefault(path, state)
        for module in modules:
            self._by_module.setdefault(module, {}).setdefault(path, state)


_WATCH = Watch()
watching = _WATCH.watching
reads_of = _WATCH.reads


def _users_above(frame: FrameType | None, plugins: frozenset[str]) -> list[str]:
    """Names of the user's modules that the call stack passes through; none below a library that is being imported."""
    found: list[str] = []
    while frame is not None:
        name, code = str(frame.f_globals.get("__name__", "")), frame.f_code
        if name == "edgeaudit.graph.worker":
            break
        if _is_users(name, code.co_filename, plugins):
            found.append(name)
        elif code.co_name == "<module>" and not found:
            return []
        frame = frame.f_back
    return found


@cache
def _is_users(name: str, file: str, plugins: frozenset[str]) -> bool:
    """Whether a module is the user's or a plugin's."""
    top = name.partition(".")[0]
    if top == _OWN or file.startswith("<"):
        return False
    if top in plugins:
        return True
    path = os.path.realpath(file)
    if _is_below(path, installed_folders()):
        return not distributions_of(top)
    return not _is_below(path, _standard_folders())


def _is_installed(path: str) -> bool:
    """Whether a file is of the standard library or of a distribution; a module copied by hand is of none."""
    for folder in installed_folders():
        if _is_below(path, (folder,)):
            top = Path(path).relative_to(folder).parts[0].partition(".")[0]
            return not path.endswith(".py") or bool(distributions_of(top))
    return _is_below(path, _standard_folders())


def _is_below(path: str, folders: tuple[Path, ...]) -> bool:
    return path.startswith(tuple(f"{folder}{os.sep}" for folder in folders))


@cache
def _standard_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple({Path(paths[name]).resolve() for name in ("stdlib", "platstdlib")})


def _loaded(closure: Closure, plugins: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Modules that the closure's import statements have found in this process and that it has not, with their files."""
    seen = set(closure.modules)
    queue = [(name, path) for name, path in closure.files if name.partition(".")[0] != _OWN]
    while queue:
        for name in imports_of(*queue.pop()):
            file = getattr(sys.modules.get(name), "__file__", None)
            if name not in seen and file and _is_users(name, file, plugins):
                seen.add(name)
                queue.append((name, Path(file)))
                yield name, os.path.realpath(file)


def _keyed(job: Job[Any]) -> Iterator[Path]:
    """Files of the closures of a job and of all jobs before it, whose keys are in its own."""
    seen: dict[Any, Job[Any]] = {}
    queue = [job]
    while queue:
        one = queue.pop()
        if one.ref not in seen:
            seen[one.ref] = one
            queue += one.needs
            yield from (path for _, path in one.closure().files)


def _state(path: str) -> _State | None:
    """None where there is no such regular file."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
