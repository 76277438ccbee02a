"""An agent with a lease: it goes on without whoever started it, and ends by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgeaudit.agent.receiver import LOCK
from edgeaudit.devices.agent_file import write_agent
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.errors import DeviceLost
from tests.agent.serving import TOKEN, serving
from tests.runtimes.served import onnx_artifact

SECONDS = 20.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder as the receiver makes it: the agent, an artifact, and the lock that says whose it is."""
    home = tmp_path / "home"
    (home / "model").mkdir(parents=True)
    write_agent(home / "agent.pyz")
    onnx_artifact(home / "model")
    (home / LOCK).write_text("{}")
    return home


@pytest.fixture
def started(home: Path) -> Iterator[Any]:
    pids: list[int] = []

    def start(*arguments: str, token: str = TOKEN, folder: str = "one=model") -> dict[str, Any]:
        command = [sys.executable, "-I", str(home / "agent.pyz"), "--stdin", "--runtime", "onnxruntime"]
        done = subprocess.run(
            [*command, *arguments, folder],
            input=f"{token}\n", capture_output=True, text=True, check=False, cwd=home, timeout=60,
        )  # fmt: skip
        told: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if "url" in told else 2)
        pids.extend([told["pid"]] if "pid" in told else [])
        return told

    yield start
    for pid in pids:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)


def wait_until(true: Any) -> bool:
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        if true():
            return True
        time.sleep(0.02)
    return False


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.toolchain
class TestALeasedAgent:
    def test_it_is_a_separate_process(self, started: Any, home: Path) -> None:
        """The call that started it is over, standard output and error are closed, and no terminal reaches it."""
        told = started("--lease", "60")
        process = psutil.Process(told["pid"])
        assert os.getsid(told["pid"]) != os.getsid(0)
        assert os.getsid(told["pid"]) != told["pid"]  # no leader, so that it never gets a terminal
        assert process.cwd() == "/"
        files = {Path(f"/proc/{told['pid']}/fd/{number}").resolve() for number in (0, 1, 2)}
        assert files == {Path(os.devnull)}
        assert TOKEN not in " ".join(process.cmdline())
        assert TOKEN not in str(process.environ())
        client = OipClient(told["url"], TOKEN)
        assert client.ready("one")
        client.close()
        about = json.loads((home / LOCK).read_text())
        assert (about["pid"], about["url"]) == (told["pid"], told["url"])

    def test_it_exits_when_the_lease_expires(self, started: Any, home: Path) -> None:
        told = started("--lease", "0.5")
        assert wait_until(lambda: gone(told["pid"]))
        assert home.is_dir()  # nobody said that it be removed
        with pytest.raises(DeviceLost):
            OipClient(told["url"], TOKEN).live()

    def test_only_authorized_requests_renew_the_lease(self, started: Any) -> None:
        told = started("--lease", "2")
        client, other = OipClient(told["url"], TOKEN), OipClient(told["url"], "f" * 16)
        begun = time.monotonic()
        while time.monotonic() - begun < 3:
            assert client.live()
            time.sleep(0.1)
        ends = time.monotonic() + SECONDS
        with pytest.raises(DeviceLost):
            while time.monotonic() < ends:
                assert not other.live()
                time.sleep(0.1)
        assert gone(told["pid"])

    @pytest.mark.parametrize("how", ["lease", "SIGTERM"])
    def test_it_removes_its_own_folder(self, started: Any, home: Path, how: str) -> None:
        told = started("--lease", "0.5" if how == "lease" else "60", "--remove")
        if how == "SIGTERM":
            assert OipClient(told["url"], TOKEN).ready()
            os.kill(told["pid"], signal.SIGTERM)
        assert wait_until(lambda: gone(told["pid"]))
        assert not home.exists()

    def test_it_removes_no_foreign_folder(self, started: Any, home: Path) -> None:
        (home / LOCK).unlink()
        assert "was not created for an agent" in started("--lease", "60", "--remove")["error"]
        assert (home / "model" / "model.onnx").is_file()

    def test_only_one_agent_per_folder(self, started: Any) -> None:
        started("--lease", "60")
        assert "an agent already runs in" in started("--lease", "60")["error"]

    def test_what_it_cannot_serve_is_reported_before_the_call_returns(self, started: Any, home: Path) -> None:
        assert started("--lease", "60", folder="one=nothing")["type"] == "ArtifactError"
        assert "16 ASCII characters" in started("--lease", "60", token="short")["error"]  # noqa: S106

    @pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e9", "soon"])
    def test_invalid_leases(self, home: Path, seconds: str) -> None:
        command = [sys.executable, "-I", str(home / "agent.pyz"), "--runtime", "onnxruntime", "--lease", seconds]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "--lease" in done.stderr

    def test_facts(self, home: Path) -> None:
        command = [sys.executable, "-I", str(home / "agent.pyz"), "--runtime", "tflite-runtime", "--facts"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        told = json.loads(done.stdout)
        assert told["machine"] == os.uname().machine
        assert told["python"] == ".".join(map(str, sys.version_info[:3]))
        assert told["versions"]["tflite-runtime"] is None
        assert set(told) == {"agent", "machine", "cpu", "isa", "os", "libc", "python", "versions"}


def test_what_counts_as_a_request() -> None:
    with serving() as agent:
        server = agent.server
        server._last_request -= 100
        agent.ask("GET", "/v2", token=None)
        agent.ask("GET", "/v2", token="f" * 16)
        assert server.idle_seconds() > 100
        server.begin()
        assert server.idle_seconds() == 0  # for however long an answer takes
        server.end()
        assert server.idle_seconds() < 100
        for ask in (lambda: agent.ask("GET", "/v2/health/live"), agent.serves, lambda: agent.infer({})):
            server._last_request -= 100
            ask()
            assert wait_until(lambda: 0 < server.idle_seconds() < 100)  # the answer is out a moment before
