"""The content-addressed store: a job's key is the hash of all its dependencies; its output folder appears atomically.

::

    <root>/edgeaudit-store.json     marks the folder as a store; nothing in a folder without it is ever removed
    <root>/<kind>/<40 hex>/         an entry: the files of one finished job, and entry.json with their digests
    <root>/.tmp/                    drafts, each named after its writer: host, process, start
    <root>/.partial/                parts of unfinished entries that are too expensive to compute twice
    <root>/.devices/                query logs and locks of devices
    <root>/logs/                    output of workers and toolchains

Several processes, containers and hosts may share one store on a shared folder: a draft becomes an entry by one atomic
rename, and drafts of other hosts are left alone. The store holds private records, so that only its owner can read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgeaudit.digests import file_sha256
from edgeaudit.errors import DamagedEntry, OutdatedEntry, StoreError, UnusableEntry, store_errors
from edgeaudit.graph.job import Job, KeyContents, R, Ref
from edgeaudit.graph.reads import READS, Comparison, FileRead, Place, load_reads, save_reads
from edgeaudit.scratch import is_older, owner_lives, owner_name

__all__ = ["MARKER", "Entry", "Store"]

MARKER = "edgeaudit-store.json"
_ABOUT = "entry.json"
_KIND = re.compile(r"[a-z][a-z0-9-]*")
_KEY = re.compile(r"[0-9a-f]{40}")
_OLD_LOG = 30 * 86_400
"""Seconds after which the log of a worker is removed."""


class EntryAbout(KeyContents):
    """The description of an entry. label: of its job. seconds: the job's. files: path in it -> SHA-256 in hex."""

    kind: str
    key: str
    label: str
    seconds: float
    files: dict[str, str]


@dataclass(frozen=True)
class Entry:
    """A finished job's folder."""

    ref: Ref
    folder: Path

    @property
    def about(self) -> EntryAbout:
        """Its description; raises `DamagedEntry`."""
        try:
            about = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
            digest = about.pop("digest")
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as exc:  # also JSON of another type
            raise DamagedEntry(*self.ref, _ABOUT, str(self.folder)) from exc
        if digest != _digest_of(about):
            raise DamagedEntry(*self.ref, _ABOUT, str(self.folder))
        description: EntryAbout = about
        return description


class Store:
    """A folder of entries; see the module.

    Writers fill a folder under <root>/.tmp and rename it into place, so an entry is complete or absent, even if
    the writer is killed. Two writers of the same key do the same work; the first rename wins.
    """

    def __init__(self, root: Path, place: Place | None = None) -> None:
        """Open the store, or create it in a missing or empty folder. Raises `StoreError` for any other folder.

        place: where the files that user code read are looked for; None for the process as it is.
        """
        self.root = root
        self._comparison = Comparison(place)
        self._reads: dict[Ref, tuple[tuple[int, ...], tuple[FileRead, ...]]] = {}
        # Entries checked by this process; from then on, size and mtime of the files stand for their content.
        self._checked: dict[Ref, tuple[tuple[str, int, int], ...]] = {}
        with store_errors(f"the store {root}"):
            if not (root / MARKER).is_file():
                self._make()
            (root / ".tmp").mkdir(exist_ok=True)

    def _make(self) -> None:
        new = not self.root.exists()
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Another process may be creating the store at this moment; it writes the marker first.
        other = [path for path in self.root.iterdir() if not path.name.startswith((f".{MARKER}", MARKER))]
        if not new and other and not (self.root / MARKER).is_file():
            raise StoreError(
                f"{self.root} is not an edgeaudit store: it is not empty and has no {MARKER}. Choose another folder "
                "with --store; a store of an earlier version cannot be used and may be removed"
            )
        self.root.chmod(0o700)
        about = {"what": "an edgeaudit store: finished work, with private records", "layout": 2}
        _write_whole(self.root / MARKER, json.dumps(about, indent=1) + "\n")
        _write_whole(self.root / ".gitignore", "# private records and models\n*\n")

    def folder(self, kind: str, key: str) -> Path:
        """Path of the entry, whether or not it exists."""
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Whether the job is finished, and no file that user code read for it has changed since.

        Each such file is compared once, until `renew` is called.
        """
        return self._is_finished(kind, key) and self._problem(kind, key) is None

    def renew(self) -> None:
        """Compare the files that user code read again from now on: a run begins, or something was changed."""
        self._comparison.renew()

    @property
    def place(self) -> Place:
        """Where the files that user code read are looked for."""
        return self._comparison.place

    def files_read(self, kind: str, key: str) -> tuple[FileRead, ...]:
        """The files that user code read for a finished job and for those before it; none where there is no entry.

        Raises `DamagedEntry` for a damaged list.
        """
        folder, ref = self.folder(kind, key), Ref(kind, key)
        try:
            status = (folder / READS).stat()
        except OSError:
            return ()
        state = (status.st_ino, status.st_size, status.st_mtime_ns)
        if ref not in self._reads or self._reads[ref][0] != state:
            try:
                self._reads[ref] = (state, load_reads(folder))
            except ValueError as exc:
                raise DamagedEntry(kind, key, READS, str(folder)) from exc
        return self._reads[ref][1]

    def _is_finished(self, kind: str, key: str) -> bool:
        folder = self.folder(kind, key)
        return (folder / _ABOUT).is_file() and not folder.is_symlink()

    def _problem(self, kind: str, key: str) -> UnusableEntry | None:
        """What is wrong with a finished entry's list of files that user code read, or with these files."""
        try:
            changed = self._comparison.changed(self.files_read(kind, key))
        except DamagedEntry as exc:
            return exc
        return None if changed is None else OutdatedEntry(kind, key, changed, str(self.folder(kind, key)))

    def entry(self, kind: str, key: str) -> Entry:
        """A finished entry, with verified files.

        Raises `DamagedEntry` if the entry or one of its files is missing or changed, `OutdatedEntry` if a file that
        user code read for it has changed.
        """
        if not self._is_finished(kind, key):
            raise DamagedEntry(kind, key, _ABOUT, str(self.folder(kind, key)))
        if (problem := self._problem(kind, key)) is not None:
            raise problem
        entry = Entry(Ref(kind, key), self.folder(kind, key))
        self._verify(entry)
        return entry

    def entry_seconds(self, kind: str, key: str) -> float:
        """Duration of a finished job; 0 if its description is damaged. Its files are not checked."""
        try:
            return float(Entry(Ref(kind, key), self.folder(kind, key)).about["seconds"])
        except DamagedEntry:
            return 0.0

    def read(self, job: Job[R]) -> R:
        """The result of a finished job; raises as `entry`."""
        entry = self.entry(*job.ref)
        try:
            result: R = job.result.load(entry.folder)
        except FileNotFoundError as exc:
            raise DamagedEntry(*job.ref, Path(str(exc.filename)).name, str(entry.folder)) from exc
        return result

    def _verify(self, entry: Entry) -> None:
        """Compare the digests of an entry's files, once per process while sizes and mtimes stay the same."""
        now = _states(entry.folder)
        if self._checked.get(entry.ref) == now:
            return
        if (damaged := _damaged(entry, now)) is not None:
            raise DamagedEntry(*entry.ref, damaged, str(entry.folder))
        self._checked[entry.ref] = now

    def verify(self) -> Iterator[DamagedEntry]:
        """Check every file of every entry; yields the damaged ones."""
        for entry in self.entries():
            try:
                damaged = _damaged(entry, _states(entry.folder))
            except DamagedEntry as exc:
                yield exc
                continue
            if damaged is not None:
                yield DamagedEntry(*entry.ref, damaged, str(entry.folder))

    @contextmanager
    def writing(self, kind: str, key: str) -> Iterator[Path]:
        """An empty folder to fill; call `finish` inside the block. On any error the folder is removed."""
        draft = self._draft()
        with store_errors(f"the store {self.root}"):
            draft.mkdir()
        try:
            yield draft
            if (draft / _ABOUT).is_file():
                self._land(draft, kind, key)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def finish(self, draft: Path, about: Mapping[str, object]) -> None:
        """Write the entry's description with the digests of its files, the last file of a draft."""
        with store_errors(f"the store {self.root}"):
            description = {**about, "files": {name: file_sha256(draft / name) for name, _, _ in _states(draft)}}
            text = json.dumps({**description, "digest": _digest_of(description)}, indent=1, sort_keys=True)
            (draft / _ABOUT).write_text(text + "\n", encoding="utf-8")

    def _draft(self) -> Path:
        return self.root / ".tmp" / f"{owner_name(os.getpid())}-{uuid.uuid4().hex}"

    def _land(self, draft: Path, kind: str, key: str) -> None:
        final = self.folder(kind, key)
        with store_errors(f"the store {self.root}"):
            final.parent.mkdir(parents=True, exist_ok=True)
            if final.exists() and not self.has(kind, key):
                self.drop(kind, key)
            try:
                draft.rename(final)
            except OSError:
                if not self.has(kind, key):  # otherwise another writer was first, with the same content
                    raise

    def drop(self, kind: str, key: str) -> None:
        """Remove an entry atomically."""
        aside = self._draft()
        with store_errors(f"the store {self.root}"), suppress(FileNotFoundError):  # another process may drop it, too
            self.folder(kind, key).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        self._checked.pop(Ref(kind, key), None)

    def adopt(self, ref: Ref, content: Ref) -> None:
        """Move an entry to a key derived from its content, unless that entry exists."""
        if self.has(*content):
            self.drop(*ref)
        else:
            about = self.entry(*ref).about
            (self.folder(*ref) / READS).unlink(missing_ok=True)  # the new key has their content
            self.finish(self.folder(*ref), {**about, "key": content.key})
            self._land(self.folder(*ref), *content)

    def partial(self, kind: str, key: str, before: Iterable[Ref] = ()) -> Path:
        """A folder for parts of an entry that are too expensive to compute twice; kept until the entry exists.

        before: the jobs whose results the parts rest on. Parts are removed if files that user code read for these jobs
        have changed since: the results are others then, under the same keys.
        """
        folder = self.root / ".partial" / f"{kind}-{key}"
        now = sorted({one for ref in before for one in self.files_read(*ref)})
        with store_errors(f"the store {self.root}"):
            if folder.is_dir() and not _rest_on(folder, now):
                shutil.rmtree(folder)
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                save_reads(folder, now)
        return folder

    def private_home(self) -> Path:
        """A new empty folder that only its owner can open; removed like a draft where its process cannot."""
        home = self._draft()
        with store_errors(f"the store {self.root}"):
            home.mkdir(mode=0o700)
        return home

    def devices(self) -> Path:
        """The folder with query logs of devices, and locks of devices that serve one job at a time."""
        folder = self.root / ".devices"
        with store_errors(f"the store {self.root}"):
            folder.mkdir(exist_ok=True)
        return folder

    def logs(self) -> Path:
        """The folder with the output of workers."""
        folder = self.root / "logs"
        with store_errors(f"the store {self.root}"):
            folder.mkdir(exist_ok=True)
        return folder

    def sweep(self) -> int:
        """Remove drafts whose writer has ended, parts of entries that exist, and logs older than a month.

        Returns the number of drafts. Whether a writer on another host is alive cannot be known from here: its drafts
        are removed after seven days.
        """
        for folder in (self.root / ".partial").glob("*-*"):
            if self.has(*folder.name.rsplit("-", 1)):
                shutil.rmtree(folder, ignore_errors=True)
        for log in (self.root / "logs").glob("*"):
            if is_older(log, _OLD_LOG):
                log.unlink(missing_ok=True)
        removed = 0
        for draft in (self.root / ".tmp").iterdir():
            if not owner_lives(draft):
                shutil.rmtree(draft, ignore_errors=True)
                removed += 1
        return removed

    def entries(self) -> Iterator[Entry]:
        """Every finished entry. Links and other files in the folder are skipped."""
        for kind in sorted(_folders(self.root)):
            if _KIND.fullmatch(kind.name):
                for folder in sorted(_folders(kind)):
                    if _KEY.fullmatch(folder.name) and (folder / _ABOUT).is_file():
                        yield Entry(Ref(kind.name, folder.name), folder)

    def usage(self) -> dict[str, tuple[int, int]]:
        """Kind -> (entries, bytes)."""
        usage: dict[str, tuple[int, int]] = {}
        for entry in self.entries():
            count, size = usage.get(entry.ref.kind, (0, 0))
            usage[entry.ref.kind] = (count + 1, size + _bytes_in(entry.folder))
        return usage

    def clean(self, keep: set[Ref] | None = None) -> int:
        """Remove every entry that is not in `keep`, and parts of entries; returns the number of entries."""
        removed = 0
        for entry in list(self.entries()):
            if keep is None or entry.ref not in keep:
                self.drop(*entry.ref)
                removed += 1
        if keep is None:
            shutil.rmtree(self.root / ".partial", ignore_errors=True)
        return removed

    def purge(self) -> int:
        """Remove everything the store has written: entries, drafts, parts, logs, the marker, and the emptied folder.

        Returns the number of entries. Raises `StoreError` while a process of this host is writing, and if files remain
        that the store did not write. Files are unlinked; the disk may still contain their blocks.
        """
        self.sweep()
        writers = [draft.name for draft in (self.root / ".tmp").iterdir()]
        if writers:
            raise StoreError(
                f"the store {self.root} is in use ({len(writers)} drafts, {writers[0]} first); stop that audit "
                "first. An abandoned draft of another host can be removed by hand"
            )
        removed = self.clean()
        with store_errors(f"the store {self.root}"):
            for name in (".tmp", ".partial", ".devices", "logs"):
                if (self.root / name).is_dir() and not (self.root / name).is_symlink():
                    shutil.rmtree(self.root / name)
            for kind in _folders(self.root):
                if _KIND.fullmatch(kind.name) and not any(kind.iterdir()):
                    kind.rmdir()
            (self.root / ".gitignore").unlink(missing_ok=True)
            (self.root / MARKER).unlink(missing_ok=True)
        left = sorted(path.name for path in self.root.iterdir())
        if left:
            raise StoreError(
                f"{removed} entries were removed; {self.root} still has files that the store did not write: {left[0]}"
                + (f" and {len(left) - 1} more" if len(left) > 1 else "")
            )
        self.root.rmdir()
        return removed


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _folders(root: Path) -> Iterator[Path]:
    with os.scandir(root) as entries:
        yield from (Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def _rest_on(folder: Path, now: Iterable[FileRead]) -> bool:
    """Whether parts were computed from files with these contents; not if their list was cut by a killed process."""
    try:
        return [one.sha256 for one in load_reads(folder)] == [one.sha256 for one in now]
    except ValueError:
        return False


def _states(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and mtime in ns of each file of an entry except its description, sorted."""
    states: list[tuple[str, int, int]] = []
    for path in folder.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and path.name != _ABOUT:
            states.append((path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns))
    return tuple(sorted(states))


def _damaged(entry: Entry, states: tuple[tuple[str, int, int], ...]) -> str | None:
    """The first file that is missing, added or changed; raises `DamagedEntry` for a damaged description."""
    about = entry.about
    if (about.get("kind", entry.ref.kind), about.get("key", entry.ref.key)) != entry.ref:
        return _ABOUT  # the folder of another entry
    files: Mapping[str, str] = about["files"]
    present = {name for name, _, _ in states}
    for name in sorted(present | set(files)):
        if name not in present or name not in files or file_sha256(entry.folder / name) != files[name]:
            return name
    return None


def _digest_of(about: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _bytes_in(folder: Path) -> int:
    return sum(size for _, size, _ in _states(folder)) + (folder / _ABOUT).stat().st_size
