"""What killed processes leave among temporary files is removed by the next run; what others have there is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import edgeaudit.scratch as scratch_module
from edgeaudit.scratch import make_scratch, owner_name, scratch, sweep_scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch_module, "PLACES", ())
    return tmp_path


def test_a_folder_is_private_and_goes_with_its_block(temporary: Path) -> None:
    with scratch() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
    assert list(temporary.iterdir()) == []


def test_within_one_names_are_short(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = make_scratch()
    monkeypatch.setattr(tempfile, "tempdir", str(outer))
    inner = make_scratch()
    assert inner.parent == outer
    assert len(inner.name) < 12
    assert inner.stat().st_mode & 0o777 == 0o700


def test_folders_of_processes_that_live_stay(temporary: Path) -> None:
    mine = make_scratch()
    sweep_scratch()
    assert mine.is_dir()


def test_a_folder_of_a_killed_process_is_removed(temporary: Path) -> None:
    code = "from edgeaudit.scratch import make_scratch; (make_scratch() / 'file').touch(); print(flush=True); input()"
    env = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as one:
        assert one.stdout is not None
        one.stdout.readline()
        sweep_scratch()
        assert len(list(temporary.iterdir())) == 1
        one.send_signal(signal.SIGKILL)
    sweep_scratch()
    assert list(temporary.iterdir()) == []


def test_what_is_named_otherwise_or_is_a_link_is_left_alone(temporary: Path) -> None:
    host, pid, started = owner_name(os.getpid()).split("-")
    dead = f"{host}-{pid}-{int(started) - 60}"
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("x")
    (temporary / f"edgeaudit-{dead}-00000000").symlink_to(elsewhere)
    for name in ("edgeaudit-probe-ab-cd-ef", f"edgeaudit-{dead}", f"other-{dead}-00000000"):
        (temporary / name).mkdir()
    (temporary / f"edgeaudit-{dead}-file").write_text("x")
    before = sorted(temporary.rglob("*"))
    sweep_scratch()
    assert sorted(temporary.rglob("*")) == before


def test_a_folder_of_another_host_stays_for_a_week(temporary: Path) -> None:
    folder = temporary / f"edgeaudit-{'0' * 12}-1-1700000000-00000000"
    folder.mkdir()
    sweep_scratch()
    assert folder.is_dir()
    eight_days_ago = time.time() - 8 * 86_400
    os.utime(folder, (eight_days_ago, eight_days_ago))
    sweep_scratch()
    assert not folder.exists()
