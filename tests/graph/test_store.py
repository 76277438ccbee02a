"""The store: entries are complete or absent, damage is detected, abandoned drafts are removed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edgeaudit.digests import file_sha256
from edgeaudit.errors import DamagedEntry, StoreError
from edgeaudit.graph import store as store_module
from edgeaudit.graph.job import Ref
from edgeaudit.graph.store import MARKER, Store
from edgeaudit.scratch import this_host

KEY, A, B = "0" * 40, "a" * 40, "b" * 40


def test_only_a_finished_draft_becomes_an_entry(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing("train", KEY) as draft:
        (draft / "weights").write_text("w")
    assert not store.has("train", KEY)
    with store.writing("train", KEY) as draft:
        (draft / "weights").write_text("w")
        store.finish(draft, {"seconds": 1.0})
    about = store.entry("train", KEY).about
    assert about == {"seconds": 1.0, "files": {"weights": hashlib.sha256(b"w").hexdigest()}}
    assert not list((tmp_path / ".tmp").iterdir())


def test_an_error_leaves_no_draft(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match="no"), store.writing("train", KEY) as draft:
        (draft / "weights").write_text("w")
        store.finish(draft, {})
        raise RuntimeError("no")
    assert not store.has("train", KEY)
    assert not list((tmp_path / ".tmp").iterdir())


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing("train", KEY) as first, store.writing("train", KEY) as second:
        for number, draft in enumerate((first, second)):
            (draft / "weights").write_text(str(number))
            store.finish(draft, {"label": str(number)})
    # The inner block finishes first.
    assert store.entry("train", KEY).about["label"] == "1"


def draft_of(store: Store) -> Path:
    """A draft that this process is writing."""
    with store.writing("train", KEY) as draft:
        return store.root / ".tmp" / draft.name


def test_sweep_removes_only_drafts_of_dead_writers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    host = draft_of(store).name.partition("-")[0]
    (tmp_path / ".tmp" / f"{host}-{dead}-{int(time.time())}-a").mkdir()
    mine = draft_of(store)
    mine.mkdir()
    assert store.sweep() == 1
    assert list((tmp_path / ".tmp").iterdir()) == [mine]


def test_a_zombie_writer_is_dead(tmp_path: Path) -> None:
    """An orphan's new parent may be an init that never reaps it; its process id then stays in use."""
    store = Store(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as writer:
        process = psutil.Process(writer.pid)
        host = draft_of(store).name.partition("-")[0]
        draft = tmp_path / ".tmp" / f"{host}-{writer.pid}-{int(process.create_time())}-a"
        draft.mkdir()
        assert store.sweep() == 0
        process.kill()
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert psutil.pid_exists(writer.pid)
        assert store.sweep() == 1
        assert not draft.exists()


def test_a_reused_process_id_is_not_the_writer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    host, pid, started, rest = draft_of(store).name.split("-")
    (tmp_path / ".tmp" / f"{host}-{pid}-{int(started) - 60}-{rest}").mkdir()
    assert store.sweep() == 1


def test_drafts_of_another_host_are_left_alone_for_a_week(tmp_path: Path) -> None:
    store = Store(tmp_path)
    host, pid, started, rest = draft_of(store).name.split("-")
    assert host != "0" * 12
    draft = tmp_path / ".tmp" / f"{'0' * 12}-{pid}-{int(started) - 60}-{rest}"
    draft.mkdir()
    assert store.sweep() == 0
    assert draft.is_dir()
    eight_days_ago = time.time() - 8 * 86_400
    os.utime(draft, (eight_days_ago, eight_days_ago))
    assert store.sweep() == 1


def test_logs_of_a_month_ago_are_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, new = (store.logs() / name for name in ("worker-1-1.log", "worker-2-2.log"))
    for log in (old, new):
        log.write_text("said", encoding="utf-8")
    month_ago = time.time() - 31 * 86_400
    os.utime(old, (month_ago, month_ago))
    store.sweep()
    assert list(store.logs().iterdir()) == [new]


def test_a_host_is_identified_by_name_and_process_id_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    here = this_host()
    assert here == this_host()
    monkeypatch.setattr(platform, "node", lambda: "another-host")
    this_host.cache_clear()
    try:
        assert this_host() != here
    finally:
        monkeypatch.undo()
        this_host.cache_clear()


def _entry(store: Store, key: str = KEY, **files: bytes) -> Path:
    with store.writing("train", key) as draft:
        for name, content in (files or {"weights": b"12345"}).items():
            (draft / name).write_bytes(content)
        store.finish(draft, {"seconds": 1.0})
    return store.folder("train", key)


@pytest.mark.parametrize("damage", ["flip", "grow", "lose", "add", "about", "digest", "empty", "list"])
def test_reading_an_entry_detects_damage(tmp_path: Path, damage: str) -> None:
    folder = _entry(Store(tmp_path), weights=b"12345", more=b"abc")
    file, about = folder / "weights", folder / "entry.json"
    name = "weights"
    if damage == "flip":
        file.write_bytes(b"12344")
    elif damage == "grow":
        file.write_bytes(b"123456")
    elif damage == "lose":
        file.unlink()
    elif damage == "add":
        (folder / "added").write_bytes(b"")
        name = "added"
    else:
        name = "entry.json"
        text = about.read_text(encoding="utf-8")
        about.write_text(
            {"about": text.replace("1.0", "2.0"), "digest": "{}", "empty": "", "list": "[1]"}[damage], encoding="utf-8"
        )
    store = Store(tmp_path)
    with pytest.raises(DamagedEntry, match=re.escape(f"{folder}: {name} is missing or damaged")) as raised:
        store.entry("train", KEY)
    assert (raised.value.kind, raised.value.key, raised.value.file) == ("train", KEY, name)
    assert [error.file for error in store.verify()] == [name]
    store.drop("train", KEY)
    assert not store.has("train", KEY)
    assert list(store.verify()) == []


def test_files_are_checked_once_per_process_while_size_and_mtime_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    folder = _entry(store)
    read: list[str] = []

    def digest(path: Path) -> str:
        read.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(store_module, "file_sha256", digest)
    store.entry("train", KEY)
    store.entry("train", KEY)
    assert read == ["weights"]
    (folder / "weights").write_bytes(b"54321")
    with pytest.raises(DamagedEntry):
        store.entry("train", KEY)
    assert read == ["weights", "weights"]


def test_a_missing_entry_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"entry\.json is missing or damaged; remove that folder and run again"):
        Store(tmp_path).entry("train", KEY)


def test_a_store_is_marked_and_private(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "store")
    assert (store.root / MARKER).is_file()
    assert (store.root / ".gitignore").read_text(encoding="utf-8").splitlines()[-1] == "*"
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o700
    Store(store.root)  # again
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (Store(empty).root / MARKER).is_file()


def test_reject_a_nonempty_folder_without_a_marker(tmp_path: Path) -> None:
    (tmp_path / "Documents" / "taxes").mkdir(parents=True)
    with pytest.raises(StoreError, match="is not an edgeaudit store: it is not empty and has no"):
        Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["Documents"]


def test_two_processes_can_create_a_store_at_once(tmp_path: Path) -> None:
    (tmp_path / f".{MARKER}-being-written").touch()
    assert (Store(tmp_path).root / MARKER).is_file()


def test_links_and_foreign_files_are_never_entries(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    store = Store(tmp_path / "store")
    _entry(Store(outside), A)
    _entry(store, B)
    (store.root / "train" / A).symlink_to(outside / "train" / A)
    (store.root / "query").symlink_to(outside / "train")
    (store.root / "train" / "notes").mkdir()
    (store.root / "train" / "notes" / "entry.json").touch()
    assert not store.has("train", A)
    assert [entry.ref for entry in store.entries()] == [Ref("train", B)]
    assert store.clean() == 1
    assert Store(outside).has("train", A)
    assert (store.root / "train" / "notes").is_dir()


def test_purge_removes_everything(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    _entry(store)
    (store.partial("query", KEY) / "block.npy").touch()
    (store.logs() / "worker.log").touch()
    (store.devices() / "ledger.json").touch()
    assert store.purge() == 1
    assert not store.root.exists()


def test_purge_keeps_and_reports_foreign_files(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    _entry(store)
    (store.root / "mine.txt").touch()
    with pytest.raises(StoreError, match=r"still has files that the store did not write: mine\.txt"):
        store.purge()
    assert [path.name for path in store.root.iterdir()] == ["mine.txt"]


def test_reject_a_purge_while_a_writer_is_active(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.writing("train", KEY), pytest.raises(StoreError, match="is in use"):
        store.purge()


def test_usage_and_clean(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for key in (A, B):
        with store.writing("train", key) as draft:
            (draft / "weights").write_bytes(b"12345")
            store.finish(draft, {})
    assert store.usage()["train"][0] == 2
    assert store.clean(keep={Ref("train", A)}) == 1
    assert store.has("train", A)
    assert not store.has("train", B)


def test_an_entry_in_the_folder_of_another_is_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for key in (A, B):
        with store.writing("train", key) as draft:
            store.finish(draft, {"kind": "train", "key": key, "seconds": 1.0})
    folders = [store.folder("train", key) for key in (A, B)]
    folders[0].rename(tmp_path / "aside")
    folders[1].rename(folders[0])
    (tmp_path / "aside").rename(folders[1])
    assert [(error.key, error.file) for error in store.verify()] == [(A, "entry.json"), (B, "entry.json")]


def test_an_entry_that_another_process_has_dropped_can_be_dropped(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _entry(store)
    Store(tmp_path).drop("train", KEY)
    store.drop("train", KEY)
    assert not store.has("train", KEY)
