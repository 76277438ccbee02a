"""The store: entries are whole or absent, keys follow content, drafts of the dead are swept."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edgeaudit.errors import StoreError
from edgeaudit.graph.store import Store, content_key


def test_equal_inputs_have_equal_keys_whatever_their_order() -> None:
    assert content_key("train", {"a": 1, "b": [1, 2]}) == content_key("train", {"b": [1, 2], "a": 1})
    assert content_key("train", {"a": 1}) != content_key("query", {"a": 1})
    assert content_key("train", {"a": 1}) != content_key("train", {"a": 1.5})


def test_what_json_cannot_say_exactly_is_no_key() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_key("train", {"a": float("nan")})
    with pytest.raises(TypeError):
        content_key("train", {"a": {1, 2}})


def test_a_finished_draft_lands_and_an_unfinished_one_does_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing("train", "k") as draft:
        (draft / "weights").write_text("w")
    assert not store.has("train", "k")
    with store.writing("train", "k") as draft:
        (draft / "weights").write_text("w")
        store.finish(draft, {"seconds": 1.0})
    assert store.entry("train", "k").about == {"seconds": 1.0}
    assert not list((tmp_path / ".tmp").iterdir())


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match="no"), store.writing("train", "k") as draft:
        (draft / "weights").write_text("w")
        store.finish(draft, {})
        raise RuntimeError("no")
    assert not store.has("train", "k")
    assert not list((tmp_path / ".tmp").iterdir())


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing("train", "k") as first, store.writing("train", "k") as second:
        for number, draft in enumerate((first, second)):
            (draft / "weights").write_text(str(number))
            store.finish(draft, {"writer": number})
    # The inner block lands first.
    assert store.entry("train", "k").about == {"writer": 1}


def draft_of(store: Store) -> Path:
    """A draft that its writer, this process, has begun."""
    with store.writing("train", "k") as draft:
        return store.root / ".tmp" / draft.name


def test_only_drafts_of_dead_writers_are_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (tmp_path / ".tmp" / f"{dead}-{int(time.time())}-a").mkdir()
    mine = draft_of(store)
    mine.mkdir()
    assert store.sweep() == 1
    assert list((tmp_path / ".tmp").iterdir()) == [mine]


def test_a_writer_that_was_killed_and_not_yet_reaped_is_dead(tmp_path: Path) -> None:
    """An orphan's new parent may be an init that never asks for it; its number then exists for ever."""
    store = Store(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as writer:
        process = psutil.Process(writer.pid)
        draft = tmp_path / ".tmp" / f"{writer.pid}-{int(process.create_time())}-a"
        draft.mkdir()
        assert store.sweep() == 0
        process.kill()
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert psutil.pid_exists(writer.pid)
        assert store.sweep() == 1
        assert not draft.exists()


def test_a_process_number_that_was_given_again_is_not_the_writer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pid, started, rest = draft_of(store).name.split("-")
    (tmp_path / ".tmp" / f"{pid}-{int(started) - 60}-{rest}").mkdir()
    assert store.sweep() == 1


def test_a_missing_or_damaged_entry_says_what_to_do(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="run the audit again"):
        store.entry("train", "none")
    folder = tmp_path / "train" / "k"
    folder.mkdir(parents=True)
    (folder / "entry.json").write_text("{")
    with pytest.raises(StoreError, match="remove that folder"):
        _ = store.entry("train", "k").about


def test_usage_and_clean(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for key in ("a", "b"):
        with store.writing("train", key) as draft:
            (draft / "weights").write_bytes(b"12345")
            store.finish(draft, {})
    assert store.usage()["train"][0] == 2
    assert store.clean(keep={("train", "a")}) == 1
    assert store.has("train", "a")
    assert not store.has("train", "b")
