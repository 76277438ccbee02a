"""A worker that opens files of others: what it cannot reach, what it may use, what it leaves behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edgeaudit.graph import confinement, processes
from edgeaudit.graph.confinement import (
    Bounds,
    bounds_of,
    bytes_below,
    described,
    environment_of,
    network_problem,
    write_problem,
)
from edgeaudit.graph.executor import AnyJob, Limits, RunResult
from edgeaudit.graph.processes import LocalProcesses
from edgeaudit.graph.store import Store
from tests.graph.confined_jobs import Call, CallInside, Forge, Grow, Look, Return, Spin, Suspect, Write
from tests.graph.jobs import Log, Text, graph

_RUNS = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import numpy, psutil'], check=True)"

needs_namespace = pytest.mark.skipif(
    network_problem() is not None, reason=f"this system gives no network namespace: {network_problem()}"
)


def _run(store: Store, *jobs: AnyJob, limits: Limits | None = None) -> RunResult:
    with LocalProcesses(store, 1, limits=limits) as executor:
        return executor.run(graph(*jobs), Log())


def _said(store: Store, job: AnyJob) -> str:
    result = _run(store, job)
    assert result.errors == {}
    text: Text = store.read(job)
    return text.words


@pytest.fixture
def port() -> Iterator[int]:
    """A server on the loopback that greets whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"welcome")

        threading.Thread(target=greet, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@needs_namespace
def test_a_confined_job_reaches_no_server_of_this_machine(tmp_path: Path, port: int) -> None:
    store = Store(tmp_path)
    assert _said(store, Call(port=port)) == "ConnectionRefusedError: no way out"
    assert _said(store, Call(port=port, number=1, trusted=True)) == "welcome"
    assert _said(store, CallInside()) == "heard"  # runtimes in environments of their own are served on the loopback


@needs_namespace
@pytest.mark.skipif(write_problem() is not None, reason=f"{write_problem()}")
def test_a_confined_job_writes_nowhere_but_in_the_store(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("as it was", encoding="ascii")
    store = Store(tmp_path / "store")
    assert _said(store, Write(folder=str(mine))) == ""
    assert (mine / "file").read_text(encoding="ascii") == "as it was"
    assert [path.name for path in mine.iterdir()] == ["file"]
    # The same job, trusted, does all of it.
    assert set(_said(store, Write(folder=str(mine), trusted=True, number=1)).split()) >= {"make", "change", "program"}


def test_without_landlock_the_rest_holds_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (confinement, processes):
        monkeypatch.setattr(module, "write_problem", lambda: "no Landlock: Function not implemented")
    assert "but with its user's right to write (no Landlock: Function not implemented)" in described()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("as it was", encoding="ascii")
    assert "make" in _said(Store(tmp_path / "store"), Write(folder=str(mine)))


def test_a_confined_job_cannot_go_back_to_the_network(tmp_path: Path) -> None:
    assert _said(Store(tmp_path), Return()) == "closed"


def test_a_confined_job_sees_neither_secrets_nor_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = {
        "AWS_SECRET_ACCESS_KEY": "s1", "EDGEAUDIT_AGENT_TOKEN": "s2", "HTTPS_PROXY": "http://s3",
        "XDG_RUNTIME_DIR": "/s4", "SSH_AUTH_SOCK": "/s5", "WHATEVER": "s6",
    }  # fmt: skip
    for name, value in {
        **secret,
        "EDGEAUDIT_DATA": "/data",
        "HOME": "/home/me",
        "ATEN_CPU_CAPABILITY": "default",
    }.items():
        monkeypatch.setenv(name, value)
    store = Store(tmp_path)
    seen = dict(line.split("=", 1) for line in _said(store, Look()).splitlines() if "=" in line)
    assert not set(secret) & set(seen)
    assert not set(secret.values()) & set(seen.values())
    assert "/home/me" not in seen.values()
    assert seen["EDGEAUDIT_DATA"] == "/data"
    assert seen["ATEN_CPU_CAPABILITY"] == "default"  # answers depend on it
    assert seen["OMP_NUM_THREADS"] == "1"
    assert seen["<home>"] == seen["<temporary>"] == seen["HOME"] == seen["TMPDIR"]
    assert seen["<mode>"] == "0o700"
    assert seen["<owner>"] == str(os.getuid())
    assert seen["<core>"] == "(0, 0)"
    assert not Path(seen["<home>"]).exists()
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_the_home_goes_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    home, worker, waiting = _waiting(tmp_path)
    assert (home / "held").is_file()
    os.kill(worker, signal.SIGTERM)  # stands for a crash: the job is tried again, and stays again
    second, _, _ = waiting.again()
    assert second != home
    assert not home.exists()
    waiting.main.kill()
    waiting.main.wait()
    until = time.monotonic() + 20
    while second.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not second.exists()  # the worker itself removed it


def test_the_next_run_removes_the_home_where_worker_and_main_process_are_killed(tmp_path: Path) -> None:
    home, worker, waiting = _waiting(tmp_path)
    os.kill(worker, signal.SIGSTOP)
    until = time.monotonic() + 20
    while psutil.Process(worker).status() != "stopped" and time.monotonic() < until:
        time.sleep(0.01)  # a thread of it that still runs would remove the home, once the main process is gone
    waiting.main.kill()
    waiting.main.wait()
    os.kill(worker, signal.SIGKILL)
    until = time.monotonic() + 20
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != "zombie" and time.monotonic() < until:
        time.sleep(0.05)
    assert home.is_dir()
    Store(tmp_path / "store").sweep()
    assert not home.exists()


class _Waiting:
    """A main process whose confined worker stays in its job."""

    def __init__(self, folder: Path) -> None:
        self._said = folder / "store" / "said"
        code = (
            "from pathlib import Path\nfrom edgeaudit.graph.processes import LocalProcesses\n"
            "from edgeaudit.graph.store import Store\nfrom tests.graph.confined_jobs import Wait\n"
            "from tests.graph.jobs import Log, graph\n"
            f"with LocalProcesses(Store(Path({str(folder / 'store')!r})), 1) as executor:\n"
            f"    executor.run(graph(Wait(file={str(self._said)!r})), Log())\n"
        )
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.main = subprocess.Popen([sys.executable, "-c", code], env=env)

    def again(self) -> tuple[Path, int, _Waiting]:
        """The home and the number of the worker, once its job runs."""
        until = time.monotonic() + 60
        while not self._said.exists() and time.monotonic() < until:
            time.sleep(0.05)
        home, worker = self._said.read_text(encoding="utf-8").split("\n")
        self._said.unlink()
        return Path(home), int(worker), self


def _waiting(folder: Path) -> tuple[Path, int, _Waiting]:
    return _Waiting(folder).again()


@pytest.mark.parametrize("touched", [True, False])
def test_a_job_that_allocates_without_end_is_one_sentence(tmp_path: Path, touched: bool) -> None:
    grow = Grow(touched=touched, step=2**24 if touched else 2**28)
    result = _run(Store(tmp_path), grow, limits=Limits(memory=300 * 2**20))
    message = str(result.errors[grow.ref])
    assert "\n" not in message
    if touched:
        assert message.startswith("'grow' took more than 300 MiB of memory (limits.job-memory) and was stopped")
    else:
        assert message.startswith("'grow' could not get the memory that it asked for (limits.job-memory)")


def test_without_a_limit_memory_follows_the_size_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "_MEMORY", 200 * 2**20)
    (tmp_path / "file").write_bytes(bytes(10 * 2**20))
    grow = Grow(open=(str(tmp_path / "file"),))
    result = _run(Store(tmp_path / "store"), grow)
    # 200 MiB and ten times 10 MiB
    found = re.search(
        r"took more than (\d+) MiB of memory \(as much as a file of its size", str(result.errors[grow.ref])
    )
    assert found is not None
    assert 300 < int(found[1]) < 450  # and what the worker has before it


@pytest.mark.parametrize("touched", [True, False])
def test_a_job_that_says_what_it_needs_cannot_even_allocate_more(tmp_path: Path, touched: bool) -> None:
    grow = Grow(step=2**24, touched=touched, needed=100 * 2**20)
    message = str(_run(Store(tmp_path), grow).errors[grow.ref])
    assert "\n" not in message
    assert "took more than" in message or "could not get the memory" in message


@pytest.mark.parametrize("whole", [True, False])
def test_what_a_taken_worker_sends_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    monkeypatch.setattr(processes, "_ANSWER_SECONDS", 1)
    forge = Forge(trap=str(tmp_path / "trap"), whole=whole)
    message = str(_run(Store(tmp_path / "store"), forge).errors[forge.ref])
    assert message.startswith("'forge' gave an answer that cannot be read and was stopped")
    assert not (tmp_path / "trap").exists()


def test_bounds_grow_with_the_file_and_follow_the_users_limit() -> None:
    assert bounds_of(0, None, None) == Bounds(6 * 2**30, 18 * 2**30, None)
    assert bounds_of(2**30, None, 60.0) == Bounds(16 * 2**30, 48 * 2**30, 120.0)
    assert bounds_of(2**30, 2**31, 60.0) == Bounds(2**31, 6 * 2**30, 120.0)
    assert bounds_of(0, 2**40, None).memory == 2**40
    assert bounds_of(2**20, None, None, 2**29) == Bounds(2**29 + 10 * 2**20, 2**29 + 10 * 2**20, None)
    assert bounds_of(2**20, 2**31, None, 2**29) == Bounds(2**31, 2**31, None)
    assert bounds_of(0, 2**20, None).data == 4 * 2**30  # torch alone reserves two


def test_sizes_are_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a").write_bytes(b"123")
    (tmp_path / "b").write_bytes(b"12")
    assert bytes_below([tmp_path / "deep", tmp_path / "b", tmp_path / "none"]) == 5


def test_time_of_the_processor_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "bounds_of", lambda *_: Bounds(2**40, 2**40, 1.0))
    spin = Spin(seconds=60.0)
    result = _run(Store(tmp_path), spin)
    assert "it took more than 1 seconds of the processor (limits.job-minutes)" in str(result.errors[spin.ref])


def test_a_worker_is_used_again_and_each_of_its_jobs_has_its_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "bounds_of", lambda *_: Bounds(2**40, 2**40, 2.0))
    assert _run(Store(tmp_path), *(Spin(seconds=1.0, number=n) for n in range(4))).errors == {}


def test_confined_jobs_have_a_worker_of_their_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with LocalProcesses(store, 1) as executor:
        jobs = [Suspect(number=n, trusted=n % 2 == 0) for n in range(4)]
        assert executor.run(graph(*jobs), Log()).errors == {}
        assert sorted(worker.group for worker in executor._workers) == [("torch", False), ("torch", True)]


def test_whether_a_job_is_confined_does_not_change_its_key() -> None:
    assert Suspect().key == Suspect(trusted=True).key


def test_without_a_namespace_the_rest_holds_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    for module in (confinement, processes):
        monkeypatch.setattr(module, "network_problem", lambda: "Operation not permitted")
    assert "with this machine's network, since the system gives no network namespace (Operation" in described()
    store = Store(tmp_path)
    assert _said(store, Call(port=port)) == "welcome"
    seen = dict(line.split("=", 1) for line in _said(store, Look()).splitlines() if "=" in line)
    assert seen["<mode>"] == "0o700"
    assert seen["HOME"] != os.environ.get("HOME")


def test_the_reason_for_no_namespace_is_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    network_problem.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert network_problem() == "darwin has none"
    network_problem.cache_clear()


def test_what_is_kept_of_the_environment() -> None:
    seen = environment_of(
        {"PATH": "/bin", "HOME": "/me", "MY_TOKEN": "x", "PYTHON_TOKEN": "y", "LC_ALL": "C"}, Path("/h")
    )
    assert {name: seen[name] for name in ("PATH", "HOME", "TMPDIR", "LC_ALL", confinement.USER_CACHE)} == {
        "PATH": "/bin",
        "HOME": "/h",
        "TMPDIR": "/h",
        "LC_ALL": "C",
        confinement.USER_CACHE: "/me/.cache",
    }
    assert not {"MY_TOKEN", "PYTHON_TOKEN"} & set(seen)
    assert "EDGEAUDIT_SIGNING_KEY" not in environment_of({"EDGEAUDIT_SIGNING_KEY": "pem"}, Path("/h"))
    assert environment_of({"EDGEAUDIT_FUZZ": "1"}, Path("/h"))["EDGEAUDIT_FUZZ"] == "1"
    assert environment_of({"XDG_CACHE_HOME": "/cache"}, Path("/h"))[confinement.USER_CACHE] == "/cache"


@needs_namespace
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_an_ordinary_user_confines_as_root_does() -> None:
    """The same jobs as nobody, whose user namespace keeps its number."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom edgeaudit.graph.processes import LocalProcesses\n"
        "from edgeaudit.graph.store import Store\nfrom tests.graph import confined_jobs as jobs\n"
        "from tests.graph.jobs import Log, graph\n"
        "store = Store(Path('store'))\n"
        "asked = [jobs.Look(), jobs.Return(), jobs.CallInside(), jobs.Call(port=int(sys.argv[1]))]\n"
        "with LocalProcesses(store, 1) as executor:\n    print(executor.run(graph(*asked), Log()).errors)\n"
        "print(*(store.read(job).words for job in asked), list(Path('store/.tmp').iterdir()), sep='\\n')\n"
    )
    with tempfile.TemporaryDirectory() as home, socket.create_server(("127.0.0.1", 0)) as server:
        shutil.chown(home, 65534, 65534)
        user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        path = [entry for entry in sys.path if entry and "lib-dynload" not in entry]
        environment = {"PYTHONPATH": os.pathsep.join(path), "PATH": os.environ["PATH"], "HOME": home}
        python = next(
            (
                one
                for one in (sys.executable, "/usr/bin/python{}.{}".format(*sys.version_info))
                if not subprocess.run(
                    [*user, one, "-c", _RUNS], cwd=home, env=environment, check=False, stderr=-3
                ).returncode
            ),
            None,
        )
        if python is None:
            pytest.skip("nobody can run no Python of this version with these packages")
        done = subprocess.run(
            [*user, python, "-c", code, str(server.getsockname()[1])],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    lines = done.stdout.splitlines()
    assert lines[:1] == ["{}"], done.stdout + done.stderr
    assert "<owner>=65534" in lines
    assert lines[-4:] == ["closed", "heard", "ConnectionRefusedError: no way out", "[]"]
