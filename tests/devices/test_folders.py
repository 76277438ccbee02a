"""Folders that are made once: whole or not there, and by one process at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeaudit.devices.folders import about, cache_root, land, remove
from edgeaudit.errors import StoreError, ToolchainError


def test_location(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGEAUDIT_X", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root("EDGEAUDIT_X", "x") == tmp_path / "xdg" / "edgeaudit" / "x"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which XDG says is to be ignored
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root("EDGEAUDIT_X", "x") == tmp_path / "home" / ".cache" / "edgeaudit" / "x"
    monkeypatch.setenv("EDGEAUDIT_X", str(tmp_path / "named"))
    assert cache_root("EDGEAUDIT_X", "x") == tmp_path / "named"


def test_it_is_created_once(tmp_path: Path) -> None:
    final, fills = tmp_path / "cache" / "thing-1", []

    def fill(draft: Path) -> dict[str, int]:
        fills.append(draft)
        assert not final.exists()
        (draft / "content").write_text("whole")
        return {"size": 5}

    assert about(final) is None
    assert land(final, fill)
    assert not land(final, fill)
    assert len(fills) == 1
    assert (final / "content").read_text() == "whole"
    assert about(final) == {"size": 5}
    assert remove(final)
    assert not remove(final)
    assert about(final) is None


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fill(draft: Path) -> dict[str, int]:
        (draft / "half").write_text("")
        raise ToolchainError("no network")

    with pytest.raises(ToolchainError, match="no network"):
        land(tmp_path / "thing", fill)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_an_incomplete_folder_is_recreated(tmp_path: Path) -> None:
    """As a removal leaves it that was interrupted."""
    final = tmp_path / "thing"
    final.mkdir()
    (final / "old").write_text("")
    assert land(final, lambda draft: {"new": (draft / "new").write_text("")})
    assert sorted(path.name for path in final.iterdir()) == ["edgeaudit.json", "new"]


def test_an_unwritable_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="the cache folder"):
        land(tmp_path / "file" / "thing", lambda _: {})


_RACER = """
import sys, time
from pathlib import Path
from edgeaudit.devices.folders import land

def fill(draft):
    with open(sys.argv[2], "a") as log:
        log.write("filled\\n")
    time.sleep(0.5)
    (draft / "content").write_text("whole")
    return {}

land(Path(sys.argv[1]), fill)
print((Path(sys.argv[1]) / "content").read_text())
"""


def test_two_processes_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _RACER, str(tmp_path / "thing"), str(tmp_path / "log")]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [racer.communicate()[0] for racer in racers] == ["whole\n"] * 3
    assert (tmp_path / "log").read_text() == "filled\n"
