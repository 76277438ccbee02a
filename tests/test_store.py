"""The store: entries are whole or absent, keys follow content, drafts of the dead are swept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeaudit.errors import StoreError
from edgeaudit.store import Store, content_key


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


def test_only_drafts_of_dead_writers_are_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (tmp_path / ".tmp" / f"{dead}-a").mkdir()
    (tmp_path / ".tmp" / f"{os.getpid()}-b").mkdir()
    assert store.sweep() == 1
    assert [p.name for p in (tmp_path / ".tmp").iterdir()] == [f"{os.getpid()}-b"]


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
