"""Files that user code read while a job ran, kept with its result: the result is stale once one of them changed.

A key has the source closure of the code that runs, which is known before it does. Files that the code opens, and
modules that it finds by changing `sys.path`, are known only afterwards (`edgeaudit.graph.watch`), so that the entry
lists them, with those of the jobs before it. `Store.has` compares them: size and mtime, and the digest where the mtime
differs.

A copy of a project, or another mount of it, has the same keys and its own files. So a file that was opened by a
relative path is looked for below the current folder; one that was opened by an absolute path, below the folder that the
user's module is imported from now. The absolute path counts as well where it exists, since the code may name it: the
result is current only if every file that the code may mean has the content.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from edgeaudit.digests import file_sha256
from edgeaudit.graph.closure import module_file

__all__ = [
    "CURRENT_FOLDER", "READS", "Comparison", "FileRead", "FileState", "Place", "file_state", "import_path",
    "load_reads", "module_folder", "read_file", "save_reads",
]  # fmt: skip

READS = "reads.json"
"""In an entry's folder; absent where nothing was read."""
CURRENT_FOLDER = "."
FileState = tuple[int, int]
"""Size, and mtime in ns."""


class FileRead(NamedTuple):
    """A file as a job read it.

    path: absolute. size: bytes. mtime: ns since the epoch. sha256: of its content. base: `.` for a file that was opened
    by a path relative to the current folder; else the user's module that the job runs, "" for none. within: path
    relative to the current folder, or to the folder that the module is imported from. near: path relative to the
    current folder, of a file below it that was opened by an absolute path; else "".
    """

    path: str
    size: int
    mtime: int
    sha256: str
    base: str = ""
    within: str = ""
    near: str = ""


@dataclass(frozen=True)
class Place:
    """Where code runs. folder: the current one. path: the import path."""

    folder: str
    path: tuple[str, ...]

    @classmethod
    def now(cls) -> Place:
        """That of this process as it is."""
        folder = ""
        with suppress(OSError):  # the folder was removed
            folder = os.getcwd()  # noqa: PTH109  a text, as the paths of an audit hook
        return cls(folder, tuple(sys.path))


@contextmanager
def import_path(path: Sequence[str]) -> Iterator[None]:
    """Another `sys.path` for the block, such as that before user code changed it."""
    changed = list(sys.path)
    sys.path[:] = path
    try:
        yield
    finally:
        sys.path[:] = changed


def module_folder(name: str) -> str | None:
    """The absolute path of the folder that a module is imported from; None for one without a file."""
    file = module_file(name)
    if file is None:
        return None
    above = name.count(".") + (file.stem == "__init__")
    folders = Path(os.path.abspath(file)).parents  # noqa: PTH100  a link stays one: its target may be another tomorrow
    return str(folders[min(above, len(folders) - 1)])


def read_file(path: str) -> FileRead:
    """The file as it is now. Raises OSError."""
    status = Path(path).stat()
    return FileRead(path, status.st_size, status.st_mtime_ns, _digest(path, status.st_size, status.st_mtime_ns))


def save_reads(folder: Path, reads: Iterable[FileRead]) -> None:
    """Write the list into an entry's folder; no file where it is empty."""
    rows = [json.dumps(one, separators=(",", ":")) for one in sorted(set(reads))]
    if rows:
        (folder / READS).write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")


def load_reads(folder: Path) -> tuple[FileRead, ...]:
    """What `save_reads` wrote; empty where it wrote nothing. Raises ValueError for a damaged list."""
    try:
        text = (folder / READS).read_bytes()
    except FileNotFoundError:
        return ()
    try:
        return _parsed(text)
    except TypeError as exc:
        raise ValueError(f"{folder / READS} is damaged") from exc


@lru_cache(maxsize=16)
def _parsed(text: bytes) -> tuple[FileRead, ...]:
    """Most entries of an audit have the same list."""
    return tuple(FileRead(*row) for row in json.loads(text))


class Comparison:
    """Compares lists with the files as they are, each file once until `renew` is called.

    place: where relative paths and modules are looked for; None for the process as it is when it first compares.
    """

    def __init__(self, place: Place | None = None) -> None:
        self._given = place
        self._place = place
        self._folders: dict[str, str | None] = {}
        self._lists: dict[int, tuple[tuple[FileRead, ...], str | None]] = {}
        self._files: dict[FileRead, str | None] = {}

    @property
    def place(self) -> Place:
        """Where relative paths and modules are looked for."""
        if self._place is None:
            self._place = Place.now()
        return self._place

    def renew(self) -> None:
        """Compare all files again: they may have changed."""
        self._place = self._given
        for known in (self._folders, self._lists, self._files):
            known.clear()

    def changed(self, reads: tuple[FileRead, ...]) -> str | None:
        """The path of the first file that is missing or has another content."""
        known = self._lists.get(id(reads))  # a list that is kept here keeps its id
        if known is None or known[0] is not reads:
            known = self._lists[id(reads)] = (reads, next(filter(None, map(self._changed_file, reads)), None))
        return known[1]

    def _changed_file(self, one: FileRead) -> str | None:
        if one not in self._files:
            self._files[one] = self._compared(one)
        return self._files[one]

    def _compared(self, one: FileRead) -> str | None:
        needed, others = self._candidates(one)
        found = False
        for path in {needed: None, **dict.fromkeys(others)}:
            state = file_state(path) if path else None
            if state is None:
                if path and path == needed:
                    return path
                continue
            if not _same(one, path, state):
                return path
            found = True
        return None if found else one.path

    def _candidates(self, one: FileRead) -> tuple[str, list[str]]:
        """The path that must exist, "" for none, and others that count where they exist."""
        if one.base == CURRENT_FOLDER:
            return _joined(self.place.folder, one.within), []
        others = [one.path]
        if one.near:
            others.append(_joined(self.place.folder, one.near))
        folder = self._folder_of(one.base) if one.base else None
        if folder is None:
            return "", others
        path = _joined(folder, one.within)
        # The path of a file outside of the module's folder may be of the project's larger folder, or of no project.
        return ("", [path, *others]) if _leads_out(one.within) else (path, others)

    def _folder_of(self, module: str) -> str | None:
        if module not in self._folders:
            with import_path(self.place.path):
                self._folders[module] = module_folder(module)
        return self._folders[module]


def _joined(folder: str, path: str) -> str:
    joined = f"{folder.rstrip(os.sep)}{os.sep}{path}"
    return os.path.normpath(joined) if _leads_out(path) else joined


def _leads_out(path: str) -> bool:
    return path.partition(os.sep)[0] == os.pardir


def _same(one: FileRead, path: str, state: FileState) -> bool:
    """Whether a file has the content; the mtime says so of the same file alone, since tools that copy keep it."""
    if state[0] != one.size:
        return False
    if path == one.path and state[1] == one.mtime:
        return True
    try:
        return _digest(path, *state) == one.sha256
    except OSError:
        return False


def file_state(path: str) -> FileState | None:
    """None where there is no such regular file."""
    try:
        status = os.stat(path)  # noqa: PTH116  a Path takes as long again, and there may be 100,000
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


@cache
def _digest(path: str, size: int, mtime: int) -> str:  # noqa: ARG001  another state may be another content
    return file_sha256(Path(path))
