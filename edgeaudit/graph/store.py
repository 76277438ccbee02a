"""The content-addressed store: a job's key is the hash of all it depends on, its output a folder that lands whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edgeaudit.errors import StoreError, store_errors

__all__ = ["Entry", "Store", "content_key"]

_ABOUT = "entry.json"


def content_key(kind: str, inputs: Mapping[str, Any]) -> str:
    """40 hex digits of SHA-256 over canonical JSON. Raises TypeError for what JSON cannot say exactly."""
    text = json.dumps({"kind": kind, "inputs": inputs}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


@dataclass(frozen=True)
class Entry:
    """A finished job's folder. `about` holds its inputs, its seconds and the small facts it reported."""

    folder: Path

    @property
    def about(self) -> dict[str, Any]:
        """{kind, key, inputs, seconds, facts}."""
        try:
            found: dict[str, Any] = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise StoreError(f"store entry {self.folder} is damaged ({exc}); remove that folder and run again") from exc
        return found


class Store:
    """A folder of entries: <root>/<kind>/<key>/.

    Writers fill a folder under <root>/.tmp and rename it into place, so an entry exists whole or not at all, also
    when the writer is killed. Two writers of the same key do the same work; the first rename wins.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        with store_errors(f"the store {root}"):
            (root / ".tmp").mkdir(parents=True, exist_ok=True)

    def folder(self, kind: str, key: str) -> Path:
        """Where the entry is or will be."""
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Whether the job is done."""
        return (self.folder(kind, key) / _ABOUT).is_file()

    def entry(self, kind: str, key: str) -> Entry:
        """A finished entry; raises `StoreError` where it is not there."""
        if not self.has(kind, key):
            raise StoreError(f"the store {self.root} has no {kind} {key}; run the audit again")
        return Entry(self.folder(kind, key))

    @contextmanager
    def writing(self, kind: str, key: str) -> Iterator[Path]:
        """An empty folder to fill; `finish` it inside the block. On any error it is removed."""
        draft = self.root / ".tmp" / f"{_writer(os.getpid())}-{uuid.uuid4().hex}"
        with store_errors(f"the store {self.root}"):
            draft.mkdir()
        try:
            yield draft
            if (draft / _ABOUT).is_file():
                self._land(draft, self.folder(kind, key))
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def finish(self, draft: Path, about: Mapping[str, Any]) -> None:
        """Write the entry's description, the last file of a draft."""
        with store_errors(f"the store {self.root}"):
            (draft / _ABOUT).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def _land(self, draft: Path, final: Path) -> None:
        with store_errors(f"the store {self.root}"):
            final.parent.mkdir(parents=True, exist_ok=True)
            if final.exists() and not (final / _ABOUT).is_file():
                shutil.rmtree(final)
            try:
                draft.rename(final)
            except OSError:
                if not (final / _ABOUT).is_file():  # else: another writer was first, with the same content
                    raise

    def adopt(self, kind: str, key: str, content: str) -> str:
        """Move an entry to a key that its content decides, where that is not taken; returns that key."""
        final = self.folder(kind, content)
        if self.has(kind, content):
            shutil.rmtree(self.folder(kind, key), ignore_errors=True)
        else:
            self._land(self.folder(kind, key), final)
        return content

    def partial(self, kind: str, key: str) -> Path:
        """A folder for parts of an entry that cost too much to be done twice; it stays until the entry is there."""
        folder = self.root / ".partial" / f"{kind}-{key}"
        with store_errors(f"the store {self.root}"):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def devices(self) -> Path:
        """The folder with what was asked of devices, and the locks of those that are asked one at a time."""
        folder = self.root / ".devices"
        with store_errors(f"the store {self.root}"):
            folder.mkdir(exist_ok=True)
        return folder

    def sweep(self) -> int:
        """Remove drafts whose writer no longer lives, and parts of entries that are there; returns how many drafts."""
        for folder in (self.root / ".partial").glob("*-*"):
            if self.has(*folder.name.split("-", 1)):
                shutil.rmtree(folder, ignore_errors=True)
        removed = 0
        for draft in (self.root / ".tmp").iterdir():
            if not _lives(draft.name):
                shutil.rmtree(draft, ignore_errors=True)
                removed += 1
        return removed

    def usage(self) -> dict[str, tuple[int, int]]:
        """Kind -> (entries, bytes)."""
        found: dict[str, tuple[int, int]] = {}
        for kind in sorted(p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith(".")):
            entries = [p for p in kind.iterdir() if p.is_dir()]
            size = sum(f.stat().st_size for e in entries for f in e.rglob("*") if f.is_file())
            found[kind.name] = (len(entries), size)
        return found

    def clean(self, keep: set[tuple[str, str]] | None = None) -> int:
        """Remove every entry that is not in `keep` as (kind, key); returns how many."""
        removed = 0
        for kind in self.usage():
            for entry in (self.root / kind).iterdir():
                if keep is None or (kind, entry.name) not in keep:
                    shutil.rmtree(entry)
                    removed += 1
        return removed


def _writer(pid: int) -> str:
    """`<pid>-<started>`, in whole seconds since the epoch.

    A number alone does not name a process: it is given again to others, and one that was killed keeps it until its
    parent asks for it, which an init process that reaps nothing never does.
    """
    return f"{pid}-{int(psutil.Process(pid).create_time())}"


def _lives(draft: str) -> bool:
    """Whether the writer that a draft is named after is still at work."""
    pid, _, rest = draft.partition("-")
    started = rest.partition("-")[0]
    if not (pid.isdecimal() and started.isdecimal()):
        return False
    try:
        process = psutil.Process(int(pid))
        # A second either way: the clock that starts are told by may be set while we run.
        same = abs(process.create_time() - int(started)) < 2
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
