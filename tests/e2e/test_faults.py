"""Faults of the machine during a whole audit: it finishes or says one sentence; a later run has the same figures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import jobs_run

pytestmark = pytest.mark.e2e

SPEC = {
    "model": {"recipe": "mlp", "epochs": 2},
    "data": {"source": "digits", "members": 60, "nonmembers": 60, "reference": 200},
    "threat": {"shadows": 2},
    "controls": {"null-targets": 0, "shift": False},
    "quality": {"latency": False},
    "attacks": ["yeom"],
    "formats": ["onnx-fp32"],
}


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int
    said: str
    words: str

    def require_one_sentence(self, *parts: str) -> None:
        """Fail unless it ended with 2, and one line or a format's failure has these parts."""
        assert self.code == 2, self.words
        said = " ".join(self.words.split())
        assert said.count("error: ") + said.count("ERROR (exit code 2): ") == 1, self.words
        for part in parts:
            assert part in said, self.words


class Place:
    """A folder with audit.yaml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "audit.yaml").write_text(yaml.safe_dump(SPEC), encoding="utf-8")

    def run(
        self,
        *,
        store: str = "store",
        out: str = "out",
        before: Sequence[str] = (),
        env: dict[str, str | None] | None = None,
        user: int | None = None,
    ) -> Ended:
        """Run the audit. before: a command that runs it. env: variables to set, None to remove."""
        variables = {**os.environ, **(env or {})}
        done = subprocess.run(
            [*before, *self.command(store, out)],
            cwd=self.folder,
            env={name: value for name, value in variables.items() if value is not None},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            user=user,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return Ended(done.returncode, done.stderr, done.stdout + done.stderr)

    @staticmethod
    def command(store: str, out: str) -> list[str]:
        return [
            sys.executable,
            "-P",
            "-m",
            "edgeaudit",
            "run",
            "audit.yaml",
            "--workers",
            "1",
            "--out",
            out,
            "--store",
            store,
        ]

    def figures(self, out: str = "out") -> Any:
        """Figures of a finished run."""
        found = json.loads((self.folder / out / "audit.json").read_text("utf-8"))
        return found["leakage"], found["formats"][0]["accuracy"], found["verdict"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A finished store, and its figures."""
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    ended = place.run()
    assert ended.code == 0, ended.words
    return place.folder / "store", place.figures()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _can_mount() -> bool:
    return (
        shutil.which("unshare") is not None
        and not subprocess.run(
            ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"], capture_output=True, check=False
        ).returncode
    )


needs_mount = pytest.mark.skipif(not _can_mount(), reason="a small file system of its own needs the right to mount")


def _on_small_disk(folder: Path, size: str) -> list[str]:
    """A command that gives another one a small disk at a folder, in a mount namespace that ends with it."""
    folder.mkdir(exist_ok=True)
    mount = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@"'
    return ["unshare", "-m", "sh", "-c", mount, "sh", size, str(folder)]


def _same_later(place: Place, figures: Any, **how: Any) -> None:
    ended = place.run(**how)
    assert ended.code == 0, ended.words
    assert place.figures() == figures


@needs_mount
def test_a_full_disk_under_the_store(place: Place, undisturbed: tuple[Path, Any]) -> None:
    place.run(before=_on_small_disk(place.folder / "store", "300k")).require_one_sentence("the disk is full")
    _same_later(place, undisturbed[1])


@needs_mount
def test_a_full_disk_under_the_reports(place: Place, undisturbed: tuple[Path, Any]) -> None:
    shutil.copytree(undisturbed[0], place.folder / "store")
    ended = place.run(before=_on_small_disk(place.folder / "out", "8k"))
    ended.require_one_sentence("out/", "the disk is full")
    _same_later(place, undisturbed[1])


@needs_mount
def test_a_full_temporary_folder(place: Place, undisturbed: tuple[Path, Any]) -> None:
    before = _on_small_disk(place.folder / "tmp", "4k")
    filled = [
        *before[:4],
        before[4].replace("exec", '{ head -c 4096 /dev/zero > "$TMPDIR/full" || true; } && exec'),
        *before[5:],
    ]
    ended = place.run(before=filled, env={"TMPDIR": str(place.folder / "tmp")})
    if ended.code != 0:
        ended.require_one_sentence("disk is full")
    _same_later(place, undisturbed[1])


def test_neither_a_home_nor_a_temporary_folder(place: Place, undisturbed: tuple[Path, Any]) -> None:
    none = str(place.folder / "none")
    _same_later(place, undisturbed[1], env={"HOME": none, "TMPDIR": none, "XDG_CACHE_HOME": None})


@needs_mount
def test_a_store_that_cannot_be_written(place: Place, undisturbed: tuple[Path, Any]) -> None:
    """A mount that is read only: root may write to anything else."""
    shutil.copytree(undisturbed[0], place.folder / "store")
    shutil.rmtree(next((place.folder / "store" / "measure").iterdir()))
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    before = ["unshare", "-m", "sh", "-c", mount, "sh", str(place.folder / "store")]
    place.run(before=before).require_one_sentence("the store", "Read-only file system")
    _same_later(place, undisturbed[1])


def test_entries_of_the_future(place: Place, undisturbed: tuple[Path, Any]) -> None:
    """The clock was set back: everything in the store is of next year."""
    shutil.copytree(undisturbed[0], place.folder / "store")
    later = time.time() + 365 * 86_400
    draft = place.folder / "store" / ".tmp" / "0123456789ab-1-1-deadbeef"
    draft.mkdir()
    for path in (place.folder / "store").rglob("*"):
        os.utime(path, (later, later))
    shutil.rmtree(next((place.folder / "store" / "measure").iterdir()))
    ended = place.run()
    assert ended.code == 0, ended.words
    assert jobs_run(ended.words)[0] == 1
    assert place.figures() == undisturbed[1]


def test_the_output_folder_is_removed_during_the_run(place: Place, undisturbed: tuple[Path, Any]) -> None:
    ended: list[Ended] = []
    runner = threading.Thread(target=lambda: ended.append(place.run()))
    runner.start()
    until = time.monotonic() + 200
    while not list((place.folder / "store").glob("train/*/entry.json")) and time.monotonic() < until:
        time.sleep(0.05)
    shutil.rmtree(place.folder / "out", ignore_errors=True)
    runner.join()
    if ended[0].code != 0:
        ended[0].require_one_sentence("out")
    _same_later(place, undisturbed[1])


def test_two_runs_at_once_on_one_store(place: Place, undisturbed: tuple[Path, Any]) -> None:
    ended: list[Ended] = []
    runners = [threading.Thread(target=lambda out=out: ended.append(place.run(out=out))) for out in ("a", "b")]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert [one.code for one in ended] == [0, 0], [one.words for one in ended]
    assert place.figures("a") == place.figures("b") == undisturbed[1]
    assert not list((place.folder / "store" / ".tmp").iterdir())
