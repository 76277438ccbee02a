"""Rounds of a small audit under random faults: `make soak`, or `python -m tests.soak --minutes 60`.

Each round disturbs one audit in one way: SIGKILL to a worker or to the main process at a random moment, a disk that
fills up, two runs on one store, and, where a host of its own can be made (root, OpenSSH), a link that is cut or a board
that is switched off while its formats are queried over ssh. Then the audit is run to its end, and its figures must be
those of an undisturbed one. Nothing may be left behind: processes, drafts, temporary files, mounts, files on the board.
EDGEAUDIT_SOAK_MINUTES: default of --minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml

from edgeaudit.devices.ssh.link import COMMAND
from tests.devices.far_host import FarHost, find_programs, host_python

SPEC: dict[str, Any] = {
    "model": {"recipe": "mlp", "epochs": 2},
    "data": {"source": "npz", "path": "records.npz", "members": 60, "nonmembers": 60, "reference": 200},
    "threat": {"shadows": 3},
    "controls": {"null-targets": 0, "shift": False},
    "quality": {"latency": False},
    "attacks": ["yeom", "gap"],
    "formats": ["torch-fp32", "onnx-fp32", "onnx-int8-static"],
}


class Soak:
    """A folder with audit.yaml, records of a source that is read in a confined worker, and a temporary folder."""

    def __init__(self, folder: Path, seed: int, board: FarHost | None) -> None:
        self.folder = folder
        self.board = board
        self.rng = random.Random(seed)  # noqa: S311  no secret
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        devices: dict[str, Any] = {"local": None}
        if board is not None:
            devices["board"] = {"via": board.address, "formats": ["onnx-int8-static"]}
        (folder / "audit.yaml").write_text(yaml.safe_dump({**SPEC, "devices": devices}), encoding="utf-8")
        rng = np.random.default_rng(0)
        labels = np.arange(400) % 4
        np.savez(folder / "records.npz", x=rng.normal(size=(400, 12)) + labels[:, None], y=labels)
        self.env = {**os.environ, "TMPDIR": str(self.temporary)}
        if board is not None:
            self.env |= {COMMAND: board.command(), **board.programs.environment}

    def command(self, store: str) -> list[str]:
        """One audit."""
        line = [sys.executable, "-P", "-m", "edgeaudit", "run", "audit.yaml", "--out", "out", "--store", store]
        return [*line, "--workers", str(self.rng.choice((1, 2)))]

    def started(self, command: list[str]) -> subprocess.Popen[str]:
        """An audit that runs."""
        return subprocess.Popen(
            command, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def finished(self, store: str) -> Any:
        """Run the audit to its end; its figures."""
        process = self.started(self.command(store))
        said, _ = process.communicate(timeout=600)
        if process.returncode not in (0, 1, 3):
            raise SystemExit(f"the audit after a fault ended with {process.returncode}:\n{said}")
        found = json.loads((self.folder / "out" / "audit.json").read_text("utf-8"))
        return found["leakage"], [one["accuracy"] for one in found["formats"]], found["verdict"]

    # The faults. Each starts audits and ends or disturbs them; the store may be in any state afterwards.

    def kill_main(self) -> None:
        """SIGKILL to the main process; its workers end by themselves."""
        process = self.started(self.command("store"))
        workers = self._after_a_while(process)
        process.kill()
        process.communicate()
        _, alive = psutil.wait_procs(workers, timeout=60)
        if alive:
            raise SystemExit(f"workers outlived their main process: {alive}")

    def kill_workers(self) -> None:
        """SIGKILL to workers, again and again; the run goes on with others."""
        process = self.started(self.command("store"))
        for _ in range(self.rng.choice((1, 2, 3))):
            workers = self._after_a_while(process)
            if workers:
                with suppress(psutil.NoSuchProcess):
                    self.rng.choice(workers).send_signal(self.rng.choice((signal.SIGKILL, signal.SIGSEGV)))
        self._ended(process)

    def kill_everything(self) -> None:
        """SIGKILL to all at once, so that nobody cleans up."""
        process = self.started(self.command("store"))
        workers = self._after_a_while(process)
        for one in workers:
            with suppress(psutil.NoSuchProcess):
                one.suspend()
        process.kill()
        process.communicate()
        for one in workers:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(workers, timeout=60)

    def fill_disk(self) -> None:
        """A small disk of its own under the store, in a mount namespace that ends with the run."""
        (self.folder / "store").mkdir(exist_ok=True)
        mount = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@"'
        size = f"{self.rng.choice((100, 300, 700, 1500))}k"
        before = ["unshare", "-m", "sh", "-c", mount, "sh", size, str(self.folder / "store")]
        self._ended(self.started([*before, *self.command("store")]))

    def two_at_once(self) -> None:
        """Two runs on one store, of which one is killed."""
        one, other = (self.started(self.command("store")) for _ in range(2))
        self._after_a_while(one)
        one.kill()
        one.communicate()
        self._ended(other)

    def cut_link(self) -> None:
        """The cable of the board is pulled for some seconds, once or twice."""
        assert self.board is not None
        process = self.started(self.command("store"))
        for _ in range(self.rng.choice((1, 2))):
            self._after_a_while(process)
            self.board.set_link(up=False)
            time.sleep(self.rng.uniform(0.5, 8))
            self.board.set_link(up=True)
        self._ended(process)

    def switch_off(self) -> None:
        """The board loses its power, and starts again after some seconds with the files that it had."""
        assert self.board is not None
        process = self.started(self.command("store"))
        self._after_a_while(process)
        self.board.halt()
        time.sleep(self.rng.uniform(0.5, 8))
        self.board.boot()
        self._ended(process)

    def _after_a_while(self, process: subprocess.Popen[str]) -> list[psutil.Process]:
        """Wait for a random moment; the workers that run then."""
        time.sleep(self.rng.uniform(0.2, 12))
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(process.pid).children(recursive=True)
        return []

    @staticmethod
    def _ended(process: subprocess.Popen[str]) -> None:
        said, _ = process.communicate(timeout=600)
        if "Traceback" in said or process.returncode not in (0, 1, 2, 3):
            raise SystemExit(f"a disturbed audit ended with {process.returncode}:\n{said}")

    def left_behind(self) -> list[str]:
        """What should not be there once an audit has ended."""
        found = [str(path) for path in (self.folder / "store" / ".tmp").iterdir()]
        found += [str(path) for path in self.temporary.iterdir()]
        found += [
            line for line in Path("/proc/self/mounts").read_text("utf-8").splitlines() if str(self.folder) in line
        ]
        for process in psutil.process_iter(["cmdline"]):
            if str(self.folder) in " ".join(process.info["cmdline"] or ()) and process.pid != os.getpid():
                found.append(f"process {process.pid}")
        return found + self._on_board()

    def _on_board(self) -> list[str]:
        """Files and programs on the board, once programs had time to notice that nobody asks any more.

        What a board had when it was switched off is removed when it is asked next.
        """
        left = self._left_on_board()
        if left:
            shutil.rmtree(self.folder / "asked-again", ignore_errors=True)
            self.finished("asked-again")
            left = self._left_on_board()
        return left

    def _left_on_board(self) -> list[str]:
        """An agent whose owner was killed may wait for him until its lease ends."""
        ends = time.monotonic() + 20
        while self.board is not None:
            waiting = self.board.processes("edgeaudit-agent")
            left = [] if waiting else [f"{name} on the board" for name in self.board.left()]
            if not left or time.monotonic() > ends:
                return left
            time.sleep(1)
        return []

    def agents_end(self) -> list[str]:
        """What is left on the board once the agents that wait have ended, as they do with their lease."""
        waiting = [] if self.board is None else self.board.processes("edgeaudit-agent")
        for one in waiting:
            with suppress(psutil.NoSuchProcess):
                one.terminate()
        psutil.wait_procs(waiting, timeout=60)
        return self._on_board()


@contextmanager
def _board(folder: Path) -> Iterator[FarHost | None]:
    """A host of its own with an sshd; None, and a sentence why, where it cannot be made."""
    host = None
    try:
        host = FarHost(folder / "host", find_programs(folder / "openssh"), 0, host_python())
        host.start()
    except pytest.skip.Exception as error:
        sys.stdout.write(f"without a board: {error}\n")
        if host is not None:
            host.close()
        host = None
    try:
        yield host
    finally:
        if host is not None:
            host.close()


def soak(minutes: float, seed: int) -> Counter[str]:
    """Rounds until the time is over; how many of each fault. Raises `SystemExit` that says what went wrong."""
    done: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory(prefix="edgeaudit-board-") as place,
        _board(Path(place)) as board,
        tempfile.TemporaryDirectory(prefix="edgeaudit-soak-") as folder,
    ):
        made = Soak(Path(folder), seed, board)
        figures = made.finished("undisturbed")
        faults: list[Callable[[], None]] = [made.kill_main, made.kill_workers, made.kill_everything, made.two_at_once]
        if shutil.which("unshare") and os.geteuid() == 0:
            faults.append(made.fill_disk)
        if board is not None:
            faults += [made.cut_link, made.switch_off]
        until = time.monotonic() + 60 * minutes
        while time.monotonic() < until:
            if made.rng.random() < 0.5:
                shutil.rmtree(made.folder / "store", ignore_errors=True)
            fault = made.rng.choice(faults)
            fault()
            if made.finished("store") != figures:
                raise SystemExit(
                    f"after {fault.__name__} the figures are others (seed {seed}, {sum(done.values())} rounds)"
                )
            if left := made.left_behind():
                raise SystemExit(f"after {fault.__name__} this was left behind: {', '.join(left)}")
            done[fault.__name__] += 1
            sys.stdout.write(f"{sum(done.values())}: {fault.__name__}\n")
            sys.stdout.flush()
        if left := made.agents_end():
            raise SystemExit(f"after the agents this was left behind: {', '.join(left)}")
    return done


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="rounds of a small audit under random faults")
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("EDGEAUDIT_SOAK_MINUTES", "60")))
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args()
    sys.stdout.write(f"{dict(soak(parsed.minutes, parsed.seed))}\n")
