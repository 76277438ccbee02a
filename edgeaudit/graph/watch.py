"""Finds out which files user code reads: modules beside audit.yaml, recipes, sources, plugins.

An audit hook of the interpreter sees every file that Python opens. Counted are those opened below a frame of user code,
except while a library is being imported, which reads its own configuration. A file that is read once and kept in memory
serves later jobs of the process, so that it counts for every job that runs a module which ever opened it.

Not seen is what C code opens itself (safetensors, h5py, cv2) and what other processes do.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import source_from_cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from edgeaudit.errors import StoreError
from edgeaudit.graph.closure import Closure, imports_of
from edgeaudit.graph.distributions import distributions_of, installed_folders, standard_folders
from edgeaudit.graph.job import Job
from edgeaudit.graph.reads import CURRENT_FOLDER, FileRead, FileState, Place, file_state, module_folder, read_file

__all__ = ["Watch", "reads_of", "watching"]

_OWN = "edgeaudit"
_ENGINE = "edgeaudit.graph."
_SYSTEM = ("/proc/", "/sys/", "/dev/")
_MOVES = frozenset({"os.rename", "os.link", "os.symlink"})
"""Events that give a file another name, of `os.replace`, too; `shutil` opens what it writes."""


class _Opened(NamedTuple):
    """A file when it was opened first.

    real: its path without links. relative: whether it was opened by a path relative to the current folder. modules: the
    user's that opened it, nearest first.
    """

    state: FileState
    real: str
    relative: bool
    modules: tuple[str, ...] = ()


class Watch:
    """What user code opens in this process. There is one, since an audit hook cannot be removed."""

    def __init__(self) -> None:
        self._by_module: dict[str, dict[str, _Opened]] = {}
        self._now: dict[str, _Opened] = {}
        self._written: set[str] = set()  # paths without links
        self._updated: set[str] = set()  # opened to read and write: which of both is known afterwards
        self._real: dict[str, str] = {}
        self._root = ""
        self._place = Place("", ())
        self._plugins: frozenset[str] = frozenset()
        self._active = False
        self._hooked = False
        self._busy = threading.local()

    @contextmanager
    def watching(self, job: Job[Any], root: Path, place: Place) -> Iterator[None]:
        """Count what is opened inside the block for `job`, except in the store, whose folder is `root`.

        place: that of the process before user code changed it.
        """
        if not self._hooked:
            sys.addaudithook(self._hear)
            self._hooked = True
        self._now, self._written, self._updated, self._real = {}, set(), set(), {}
        self._root, self._place = os.path.realpath(root) + os.sep, place
        self._plugins = frozenset(name.partition(".")[0] for name in job.code()) - {_OWN}
        self._active = True
        try:
            yield
        finally:
            self._active = False

    def reads(self, job: Job[Any]) -> tuple[FileRead, ...]:
        """The files that the job read, except those that a key has by content and those that the code wrote itself.

        Raises `StoreError` where one of them was changed since.
        """
        closure = job.closure()
        opened = dict(self._now)
        loaded = dict(_loaded(closure, self._plugins))
        for module in (*(name for name, _ in closure.files), *loaded):
            opened |= self._by_module.get(module, {})
        for path in loaded.values():
            if path not in opened and (state := file_state(path)):
                opened[path] = _Opened(state, os.path.realpath(path), relative=False)
        keyed = {os.path.realpath(path) for path in _keyed(job)} if opened else set()
        folder_of = cache(module_folder)  # for this job: the next may have another import path
        users = [name for name in job.code() if name.partition(".")[0] != _OWN] if opened else []
        found: list[FileRead] = []
        for path, one in opened.items():
            if one.real in keyed or one.real in self._written or (state := file_state(path)) is None:
                continue  # the last: a temporary file
            if state != one.state:
                if one.real in self._updated:
                    self._wrote(one.real)
                    continue
                raise StoreError(
                    f"{job.label}: its code reads {path}, which was changed while the audit ran; run again"
                )
            folders = [(name, folder) for name in users or one.modules if (folder := folder_of(name)) is not None]
            found.append(_placed(read_file(path), folders, self._place.folder, relative=one.relative))
        return tuple(found)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._active or not (event == "open" or event in _MOVES) or getattr(self._busy, "hearing", False):
            return
        path = arguments[0] if event == "open" else arguments[1]
        if isinstance(path, str | bytes | os.PathLike):
            self._busy.hearing = True  # looking up a distribution opens files, too
            try:
                if event == "open":
                    self._note(os.fsdecode(path), int(arguments[2] or 0))
                else:
                    self._wrote(os.path.realpath(os.fsdecode(path)))
            finally:
                self._busy.hearing = False

    def _note(self, opened: str, flags: int) -> None:
        path = _absolute(opened)
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            if not flags & os.O_RDWR or flags & os.O_TRUNC or file_state(path) is None:
                self._wrote(os.path.realpath(path))
                return
            self._updated.add(os.path.realpath(path))
        modules = _users_above(sys._getframe(2), self._plugins)  # noqa: SLF001  what opened the file
        if not modules:
            return
        if path in self._now and all(path in self._by_module.get(module, ()) for module in modules):
            return
        if path.endswith(".pyc"):
            try:
                path = source_from_cache(path)
            except ValueError:
                return
        state, real = file_state(path), os.path.realpath(path)
        if state is None or real in self._written or real.startswith((self._root, *_SYSTEM)) or _is_installed(real):
            return
        relative = not opened.startswith(os.sep) and os.getcwd() == self._place.folder  # noqa: PTH109
        one = _Opened(state, real, relative, tuple(modules))
        self._now.setdefault(path, one)
        for module in modules:
            self._by_module.setdefault(module, {}).setdefault(path, one)

    def _wrote(self, real: str) -> None:
        """The code wrote the file; what was read of it before says nothing of what it is now."""
        self._written.add(real)
        for files in self._by_module.values():
            for path in [path for path, one in files.items() if one.real == real]:
                del files[path]


_WATCH = Watch()
watching = _WATCH.watching
reads_of = _WATCH.reads


def _users_above(frame: FrameType | None, plugins: frozenset[str]) -> list[str]:
    """Names of the user's modules that the call stack passes through; none below a library that is being imported."""
    found: list[str] = []
    while frame is not None:
        name, code = str(frame.f_globals.get("__name__", "")), frame.f_code
        if name == "edgeaudit.graph.worker" or (name.startswith(_ENGINE) and not found):
            break  # the engine compares files while a job reads a result
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
    return not _is_below(path, standard_folders())


def _is_installed(path: str) -> bool:
    """Whether a file is of the standard library or of a distribution; a module copied by hand is of none."""
    for folder in installed_folders():
        if _is_below(path, (folder,)):
            top = Path(path).relative_to(folder).parts[0].partition(".")[0]
            return not path.endswith(".py") or bool(distributions_of(top))
    return _is_below(path, standard_folders())


def _is_below(path: str, folders: tuple[Path | str, ...]) -> bool:
    return path.startswith(tuple(f"{folder}{os.sep}" for folder in folders))


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
                yield name, os.path.abspath(file)  # noqa: PTH100  see `_absolute`


def _keyed(job: Job[Any]) -> Iterator[Path]:
    """Files of the closures of a job and of all jobs before it, whose keys are in its own."""
    for one in (job, *job.upstream()):
        yield from (path for _, path in one.closure().files)


def _absolute(path: str) -> str:
    """The absolute path; a link in it stays one, since its target may be another tomorrow."""
    plain = os.path.abspath(path)  # noqa: PTH100
    # Behind a link to a folder, `..` is the folder above its target.
    return (
        plain if os.pardir not in path or os.path.realpath(path) == os.path.realpath(plain) else os.path.realpath(path)
    )


def _placed(one: FileRead, folders: Sequence[tuple[str, str]], current: str, *, relative: bool) -> FileRead:
    """The file with its place in the project; `folders`: of modules, `current`: the folder that the job began in."""
    below = os.path.relpath(one.path, current) if _is_below(one.path, (current,)) else ""
    if relative:
        return one._replace(base=CURRENT_FOLDER, within=below or os.path.relpath(one.path, current))
    paths = [(os.path.relpath(one.path, folder), name) for name, folder in folders]
    if not paths:
        return one._replace(near=below)
    within, name = min(paths, key=lambda path: (path[0].count(os.pardir + os.sep), len(path[0])))
    return one._replace(base=name, within=within, near=below)
