"""The files that an audit is about, out of the store: what ships, named by their digests in audit.json."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgeaudit.digests import file_sha256
from edgeaudit.errors import DamagedEntry, RunError, did_you_mean, store_errors
from edgeaudit.graph.store import Entry, Store
from edgeaudit.report.model import ArtifactInfo, Audit

__all__ = ["CopiedFile", "copy_audited_files"]


@dataclass(frozen=True)
class CopiedFile:
    """A file that was audited, and its copy. companions: files beside the copy without which it does not run."""

    format: str
    device: str
    path: Path
    sha256: str
    bytes: int
    companions: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Audited:
    """A format's file as audit.json states it. files: name -> SHA-256, of the file and of its companions."""

    format: str
    device: str
    artifact: ArtifactInfo

    @property
    def files(self) -> dict[str, str]:
        return {self.artifact.file: self.artifact.sha256, **self.artifact.companions}


def copy_audited_files(audit: Audit, store: Store, out: Path, formats: Iterable[str] = ()) -> list[CopiedFile]:
    """Copy the files of formats, with their companions, into a folder for each format; digests are compared.

    Args:
        audit: the run's audit.json, which has the SHA-256 of each file.
        store: where the run left its artifacts. Records are not needed.
        out: a folder, made where it is missing, which gets FORMAT/FILE, or FORMAT@DEVICE/FILE where a device has a file
            of its own.
        formats: ids; by default every format that was audited.

    Raises:
        RunError: the run has no such format, or the store lacks a file. StoreError: `out` cannot be written.
    """
    audited = [_Audited(one.id, one.device, one.artifact) for one in audit.formats if one.artifact is not None]
    known = list(dict.fromkeys(one.format for one in audited))
    for name in formats:
        if name not in known:
            raise RunError(
                f"the run has no audited format '{name}'; it has: {', '.join(known)}.{did_you_mean(name, known)}"
            )
    wanted = set(formats) or set(known)
    chosen = [one for one in audited if one.format in wanted]
    entries = _entries(store, chosen)
    digests: dict[str, set[str]] = {}
    for one in chosen:
        digests.setdefault(one.format, set()).add(one.artifact.sha256)
    copied: dict[str, CopiedFile] = {}
    for one in chosen:
        place = one.format if len(digests[one.format]) == 1 else f"{one.format}@{one.device}"
        if place not in copied:
            copied[place] = _copied(one, entries[one.artifact.sha256], out, place)
    return list(copied.values())


def _entries(store: Store, audited: Iterable[_Audited]) -> dict[str, Entry]:
    """SHA-256 of an audited file -> an entry of the store that has it with its companions."""
    missing = {one.artifact.sha256: one for one in audited}
    found: dict[str, Entry] = {}
    for entry in store.entries():
        with suppress(DamagedEntry):
            files = entry.about["files"]
            for sha256, one in list(missing.items()):
                if all(files.get(name) == digest for name, digest in one.files.items()):
                    found[sha256] = entry
                    del missing[sha256]
    for sha256, one in missing.items():
        raise RunError(
            f"the store {store.root} has no file of '{one.format}' with SHA-256 {sha256[:12]}: name the run's store "
            "with --store, or run the audit again, which makes what is missing"
        )
    return found


def _copied(one: _Audited, entry: Entry, out: Path, place: str) -> CopiedFile:
    for name, digest in one.files.items():
        target = out / place / name
        if not target.resolve().is_relative_to(out.resolve()):  # audit.json was changed
            raise RunError(f"audit.json: '{place}/{name}' leads out of the folder {out}; run the audit again")
        with store_errors(f"the folder {out}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{target.name}.draft")
            shutil.copyfile(entry.folder / name, draft)
            if file_sha256(draft) != digest:
                draft.unlink()
                raise DamagedEntry(*entry.ref, name, str(entry.folder))
            draft.replace(target)
    artifact = one.artifact
    path = out / place / artifact.file
    return CopiedFile(one.format, one.device, path, artifact.sha256, artifact.bytes, tuple(artifact.companions))
