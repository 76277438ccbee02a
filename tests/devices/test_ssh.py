"""Over real ssh: a host of its own with an sshd, keys and a network that is cut."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest

from edgeaudit.devices.device_runtime import RemoteRuntime, on_device
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.querying import QueryPolicy
from edgeaudit.devices.registry import find_transport
from edgeaudit.devices.ssh import link as ssh_link
from edgeaudit.devices.ssh import transport as ssh
from edgeaudit.devices.ssh.transport import SshSession, SshTransport
from edgeaudit.devices.transport import Transport
from edgeaudit.digests import file_sha256
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import ArtifactError, DeviceError, DeviceLost
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.formats.presets import FORMATS
from edgeaudit.runtimes.registry import find_runtime
from tests.devices.far_host import FarHost, Programs, emulated_python, end_all, find_programs, host_python
from tests.exporters.toys import artifact, toy
from tests.runtimes.served import RAMP, onnx_artifact, seal

pytestmark = pytest.mark.toolchain

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return find_programs(tmp_path_factory.mktemp("openssh"))


@pytest.fixture
def make_host(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str | None], FarHost]]:
    """Makes hosts and takes them away again; the last one made is the one that EDGEAUDIT_SSH has the keys of."""
    made: list[FarHost] = []

    def make(python: str | None) -> FarHost:
        number = next(NUMBERS)
        host = FarHost(tmp_path / f"host{number}", programs, number, python)
        made.append(host)
        host.start()
        monkeypatch.setenv(ssh_link.COMMAND, host.command())
        for name, value in programs.environment.items():
            monkeypatch.setenv(name, value)
        return host

    try:
        yield make
    finally:
        gc.collect()
        for host in made:
            host.close()


@pytest.fixture
def host(make_host: Callable[[str | None], FarHost]) -> FarHost:
    return make_host(host_python())


@pytest.fixture
def served(tmp_path: Path) -> Artifact:
    folder = tmp_path / "artifact"
    folder.mkdir()
    return onnx_artifact(folder)


def serve(host: FarHost, *artifacts: Artifact, lease: float = 600, **more: Any) -> SshSession:
    transport = SshTransport(Endpoint(host.address, **more), lease=lease)
    return transport.serve("onnxruntime", {f"m{n}": made.folder for n, made in enumerate(artifacts)}, {"batch": 5})


def restore(session: SshSession, seconds: float = 60) -> None:
    """As a query job does: again and again, a little later each time."""
    ends = time.monotonic() + seconds
    while True:
        try:
            return session.restore()
        except DeviceLost:
            assert time.monotonic() < ends
            time.sleep(0.2)


def agents(host: FarHost) -> list[psutil.Process]:
    return host.processes("receiver")


def wait_until(true: Callable[[], bool], seconds: float = 30) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if true():
            return True
        time.sleep(0.05)
    return False


class TestServing:
    def test_it_serves_and_leaves_nothing_behind(self, host: FarHost, served: Artifact) -> None:
        transport = find_transport(Endpoint(host.address))
        assert isinstance(transport, SshTransport)
        assert (transport.timed, transport.exclusive, transport.loads) == (True, True, True)
        facts = transport.facts("onnxruntime")
        spec = find_runtime("onnxruntime").spec
        assert facts["versions"] == spec.versions()
        assert facts["machine"] == os.uname().machine
        assert set(facts) == {"machine", "cpu", "isa", "os", "libc", "python", "versions"}
        assert json.loads(json.dumps(facts)) == facts
        assert host.left() == []
        session = serve(host, served, served)
        here = find_runtime("onnxruntime")(served, {"batch": 5})
        for name in ("m0", "m1"):
            np.testing.assert_array_equal(session.infer(name, RAMP, name), here.ask(RAMP))
        told = session.facts("m0")
        assert (told["sha256"], told["answered"]) == (served.manifest.sha256, 32)
        assert session.fingerprint()["machine"] == os.uname().machine
        assert len(agents(host)) == 1
        session.close()
        assert agents(host) == []
        assert host.left() == []
        session.close()

    def test_files_that_are_copied(self, host: FarHost, served: Artifact) -> None:
        """The files, a manifest without what is secret, nothing that others may read, and the token nowhere."""
        session = serve(host, served)
        folder = Path(session.folder)
        assert folder.parent == host.tmp
        assert folder.stat().st_mode & 0o777 == 0o700
        copied = Artifact.load(folder / "models" / "0")
        copied.verify()
        assert (copied.manifest.calibration_ids, copied.manifest.recipe) == ((), {})
        files = [path for path in folder.rglob("*") if path.is_file() and "tmp" not in path.relative_to(folder).parts]
        assert {path.name for path in files} == {
            "edgeaudit-agent.lock", "edgeaudit-agent.pyz", "manifest.json", "model.onnx",
        }  # fmt: skip
        assert not [path for path in files if path.stat().st_mode & 0o077]
        token = session.token.encode()
        assert not [path for path in folder.rglob("*") if path.is_file() and token in path.read_bytes()]
        for process in host.processes():
            shown = Path(f"/proc/{process.pid}")
            assert token not in (shown / "cmdline").read_bytes() + (shown / "environ").read_bytes()
        assert session.token not in " ".join(itertools.chain(*(here.cmdline() for here in psutil.Process().children())))

    def test_the_tunnel_requires_the_token(self, host: FarHost, served: Artifact) -> None:
        session = serve(host, served)
        assert session.client.ready()
        for token in (None, "f" * 43):
            other = OipClient(session.client.url, token)
            assert not other.ready()
            with pytest.raises(DeviceError, match=r"refused \(40[13]\)"):
                other.infer("m0", {"input": RAMP})
            other.close()
        assert session.facts("m0")["answered"] == 0

    def test_two_at_once(self, host: FarHost, served: Artifact) -> None:
        first, second = serve(host, served), serve(host, served)
        assert first.folder != second.folder
        assert first.client.url != second.client.url
        first.infer("m0", RAMP, "q")
        second.infer("m0", RAMP[:3], "q")
        assert (first.facts("m0")["answered"], second.facts("m0")["answered"]) == (32, 3)
        first.close()
        second.infer("m0", RAMP[:4], "r")
        assert second.facts("m0")["answered"] == 7
        second.close()
        assert host.left() == []

    def test_max_body_is_passed_on(self, host: FarHost, served: Artifact) -> None:
        transport = SshTransport(Endpoint(host.address))
        session = transport.serve("onnxruntime", {"m0": served.folder}, {}, max_body=300)
        assert len(session.infer("m0", RAMP[:2], "small")) == 2
        with pytest.raises(DeviceError, match="the limit is 300"):
            session.infer("m0", RAMP, "large")
        session.close()

    def test_errors_name_the_local_artifact(self, host: FarHost, served: Artifact) -> None:
        damaged = Artifact(served.folder, served.manifest)
        served.path.write_bytes(b"no model")
        with pytest.raises(ArtifactError, match="does not match its manifest"):
            serve(host, damaged)
        lying = seal(served.path, "onnx", served.manifest.input, served.manifest.output)
        with pytest.raises(ArtifactError, match=f"cannot load {served.path}"):
            serve(host, lying)
        assert host.left() == []

    def test_keep_copies_once(self, host: FarHost, served: Artifact) -> None:
        session = serve(host, served, keep=True)
        assert len(session.infer("m0", RAMP, "q")) == 32
        store = host.home / ".cache" / "edgeaudit" / "device" / "files"
        session.close()
        before = {path.name: path.stat().st_ino for path in store.iterdir()}
        assert len(before) == 3
        assert served.manifest.sha256 in before
        assert agents(host) == []
        (store / served.manifest.sha256).write_bytes(b"damaged")
        again = serve(host, served, keep=True)
        after = {path.name: path.stat().st_ino for path in store.iterdir()}
        assert {name for name in before if before[name] != after[name]} == {served.manifest.sha256}
        inside = Path(again.folder) / "edgeaudit-agent.pyz"
        assert inside.stat().st_ino in before.values()  # linked, not copied
        assert len(again.infer("m0", RAMP, "q")) == 32
        again.close()
        kept = {name for name in host.left() if name.startswith("home/.cache/edgeaudit/device/")}
        files = {f"home/.cache/edgeaudit/device/files/{name}" for name in before}
        assert kept == {"home/.cache/edgeaudit/device/agents", "home/.cache/edgeaudit/device/files", *files}
        assert not list(host.tmp.glob("edgeaudit*"))

    def test_an_agent_that_was_changed_on_the_device_is_not_run(
        self, host: FarHost, served: Artifact, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever happens to the file between its arrival and its start."""
        source, start = ssh._receiver().decode(), "        _require_unchanged("
        assert source.count(start) == 1
        change = "        (folder / request['agent']).write_bytes(b'print(1)')\n"
        monkeypatch.setattr(ssh, "_receiver", lambda: source.replace(start, change + start).encode())
        with pytest.raises(DeviceError, match="not have the SHA-256 of the agent that was sent, so it was not run"):
            serve(host, served)
        assert not agents(host)
        assert not [name for name in host.left() if "edgeaudit" in name]

    def test_a_given_python(self, make_host: Callable[..., FarHost], served: Artifact) -> None:
        host = make_host(None)
        (host.home / "my venv").mkdir()
        program = host.home / "my venv" / "python"
        program.write_text(host_python())
        program.chmod(0o755)
        for python in (str(program), "~/my venv/python"):
            session = serve(host, served, python=python)
            assert len(session.infer("m0", RAMP, "q")) == 32
            session.close()

    def test_output_of_start_up_files_is_skipped(self, host: FarHost, served: Artifact) -> None:
        text = (host.folder / "passwd").read_text()
        (host.folder / "passwd").write_text(text.replace(f"{host.home}:/bin/sh", f"{host.home}:{host.bin}/login"))
        (host.bin / "login").write_text('#!/bin/sh\necho "Welcome, board!"\necho "[1, 2]"\nexec /bin/sh "$@"\n')
        (host.bin / "login").chmod(0o755)
        host.halt()
        host.boot()
        session = serve(host, served)
        assert len(session.infer("m0", RAMP, "q")) == 32
        session.close()


class TestRefusals:
    def test_an_unknown_host_key(self, host: FarHost) -> None:
        (host.folder / "known_hosts").write_text("")
        with pytest.raises(DeviceError, match=rf"host key is unknown\..*fingerprint: ssh {host.address}") as refused:
            SshTransport(Endpoint(host.address)).facts("onnxruntime")
        assert type(refused.value) is DeviceError  # it does not help to try again

    def test_another_host_key(self, host: FarHost) -> None:
        public = host.make_key("other").with_suffix(".pub").read_text().split()
        (host.folder / "known_hosts").write_text(f"{host.far} {public[0]} {public[1]}\n")
        with pytest.raises(DeviceError, match="host key has changed") as refused:
            SshTransport(Endpoint(host.address)).facts("onnxruntime")
        assert type(refused.value) is DeviceError

    def test_a_key_that_is_refused(self, host: FarHost) -> None:
        shutil.move(host.make_key("other"), host.folder / "user_key")
        (host.folder / "user_key.pub").unlink()
        with pytest.raises(
            DeviceError, match=r"refused the login \(.*Permission denied \(publickey\).*ssh-copy"
        ) as refused:
            SshTransport(Endpoint(host.address)).facts("onnxruntime")
        assert type(refused.value) is DeviceError

    def test_an_unreachable_host(self, host: FarHost, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(ssh_link.COMMAND, host.command("-o", "ConnectTimeout=1"))
        host.set_link(False)
        with pytest.raises(DeviceLost, match=r"cannot be reached.*Check that it is on"):
            SshTransport(Endpoint(host.address)).facts("onnxruntime")
        host.set_link(True)
        host.halt()
        with pytest.raises(DeviceLost, match=r"cannot be reached \(.*(refused|timed out|unreachable|No route)"):
            SshTransport(Endpoint(host.address)).facts("onnxruntime")
        with pytest.raises(DeviceLost, match=r"resolve hostname nowhere\.invalid.*Check the name"):
            SshTransport(Endpoint("ssh://nowhere.invalid")).facts("onnxruntime")

    def test_without_a_python(self, make_host: Callable[..., FarHost]) -> None:
        host = make_host(None)
        python = "python3-of-nobody"
        with pytest.raises(DeviceError, match=rf"{python} was not found \(.*not found\); install Python 3\.9 or later"):
            SshTransport(Endpoint(host.address, python=python)).facts("onnxruntime")

    def test_with_an_old_python(self, make_host: Callable[..., FarHost]) -> None:
        """One that says it is 3.8: the check is the first thing that runs."""
        host = make_host(
            f'#!/bin/sh\nexec {sys.executable} -I -c "import sys; sys.version_info = (3, 8); exec(sys.argv[2])" "$@"\n'
        )
        with pytest.raises(DeviceError, match=r"python3 is too old: edgeaudit-agent needs Python 3\.9 or later"):
            SshTransport(Endpoint(host.address)).facts("onnxruntime")

    def test_without_numpy(self, make_host: Callable[..., FarHost]) -> None:
        host = make_host(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
        with pytest.raises(
            DeviceError, match=r"needs numpy.*python3 -m pip install onnxruntime==1\.32\.0 numpy=="
        ) as told:
            SshTransport(Endpoint(host.address, profile="raspberry-pi-4")).facts("onnxruntime")
        assert host.address in str(told.value)
        assert host.left() == []

    def test_without_the_runtime(self, host: FarHost, served: Artifact) -> None:
        """tflite-runtime cannot be in the environment of these tests: it needs numpy 1."""
        with pytest.raises(DeviceError, match=r"needs tflite-runtime.*python3 -m pip install tflite-runtime"):
            SshTransport(Endpoint(host.address)).facts("tflite-runtime")
        (served.folder / "any.tflite").write_bytes(b"nothing")
        unread = seal(served.folder / "any.tflite", "tflite", served.manifest.input, served.manifest.output)
        with pytest.raises(DeviceError, match=r"not installed.*pip install tflite-runtime"):
            SshTransport(Endpoint(host.address)).serve("tflite-runtime", {"m0": unread.folder}, {})
        assert host.left() == []

    def test_a_server_without_tunnels(self, host: FarHost, served: Artifact) -> None:
        with (host.folder / "sshd_config").open("a") as file:
            file.write("AllowTcpForwarding no\n")
        host.halt()
        host.boot()
        with pytest.raises(DeviceError, match="does not allow tunnels; set AllowTcpForwarding"):
            serve(host, served)
        assert host.left() == []

    def test_a_server_with_one_session(self, host: FarHost) -> None:
        with (host.folder / "sshd_config").open("a") as file:
            file.write("MaxSessions 1\n")
        host.halt()
        host.boot()
        with pytest.raises(DeviceError, match="set MaxSessions to 2 or more"):
            SshTransport(Endpoint(host.address)).facts("onnxruntime")

    def test_a_user_without_command_execution(self, host: FarHost) -> None:
        text = (host.folder / "passwd").read_text()
        (host.folder / "passwd").write_text(text.replace(f"{host.home}:/bin/sh", f"{host.home}:/usr/sbin/nologin"))
        host.halt()
        host.boot()
        with pytest.raises(DeviceError, match=r"remote commands cannot be run: .*not available") as refused:
            SshTransport(Endpoint(host.address)).facts("onnxruntime")
        assert type(refused.value) is DeviceError

    def test_an_invalid_configuration(self, host: FarHost) -> None:
        (host.folder / "ssh_config").write_text("Nonsense yes\n")
        with pytest.raises(DeviceError, match=r"ssh failed: .*bad configuration option") as refused:
            SshTransport(Endpoint(host.address)).facts("onnxruntime")
        assert type(refused.value) is DeviceError

    def test_a_full_disk(self, host: FarHost, served: Artifact) -> None:
        """TMPDIR on a device is a file system of 64 KB."""
        (pid,) = (process.pid for process in host.processes("[listener]"))
        mount = ["nsenter", "-t", str(pid), "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(host.tmp)]
        subprocess.run(mount, check=True)
        with pytest.raises(DeviceError, match="No space left on device"):
            serve(host, served)
        inside = subprocess.run(
            ["nsenter", "-t", str(pid), "-m", "ls", "-A", str(host.tmp)], capture_output=True, check=True
        )
        assert inside.stdout == b""


@pytest.mark.parametrize(
    "via",
    [
        "ssh://", "ssh://board:22/path", "ssh://-oProxyCommand=touch", "ssh://a b", "ssh://x;y", "ssh://u@-x", "ssh://$(x)",
        "ssh://a@b@c", "ssh://host:port", "ssh://-l@host",
    ],
)  # fmt: skip
def test_invalid_addresses(via: str) -> None:
    with pytest.raises(DeviceError, match="is not an ssh address; write ssh://user@host"):
        find_transport(Endpoint(via))


@pytest.mark.parametrize(
    "via", ["ssh://pi", "ssh://pi@raspberrypi.local", "ssh://u_1@10.0.0.1:2222/", "ssh://u@[fe80::1]:22"]
)
def test_addresses(via: str) -> None:
    assert isinstance(find_transport(Endpoint(via)), Transport)


def test_without_an_ssh_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv(ssh_link.COMMAND, raising=False)
    with pytest.raises(DeviceError, match=r"ssh cannot be started.*Install the OpenSSH client"):
        SshTransport(Endpoint("ssh://board")).facts("onnxruntime")


def all_asked(
    session: SshSession,
    records: npt.NDArray[Any],
    cuts: dict[int, Callable[[], None]],
    lost_then: Mapping[int, Callable[[], None]] = MappingProxyType({}),
) -> tuple[npt.NDArray[Any], int]:
    """Ask 25 records at a time, each block by its name until it is answered, and count the cuts that were noticed.

    cuts: block -> what is done meanwhile. lost_then: block -> what is done when its cut was noticed, before a retry.
    """
    answers, lost = [], 0
    for number, start in enumerate(range(0, len(records), 25)):
        if number in cuts:
            cuts[number]()
        while True:
            try:
                answers.append(session.infer("m0", records[start : start + 25], f"block {number}"))
                break
            except DeviceLost:
                lost += 1
                lost_then.get(number, lambda: None)()
                restore(session)
    return np.concatenate(answers), lost


def frozen(agent: psutil.Process, then: Callable[[], None]) -> Callable[[], None]:
    """Stop the agent's process; a second later, when the question has reached it, do something; then let it go on.

    So its answer comes to a connection that is gone.
    """

    def cut() -> None:
        agent.suspend()

        def later() -> None:
            time.sleep(1)
            then()
            agent.resume()

        threading.Thread(target=later).start()

    return cut


class TestCuts:
    def test_a_lost_response_is_not_computed_again(self, host: FarHost, served: Artifact) -> None:
        session = serve(host, served)
        (agent,) = agents(host)
        pid = session.tunnel_pid
        cuts = {
            3: frozen(agent, lambda: os.kill(pid, signal.SIGKILL)),  # the tunnel here
            7: frozen(agent, lambda: end_all(host.processes("sshd: board"))),
        }
        records = np.random.default_rng(7).normal(size=(250, 2)).astype(np.float32)
        answers, lost = all_asked(session, records, cuts)
        assert lost == 2
        np.testing.assert_array_equal(answers, find_runtime("onnxruntime")(served, {"batch": 5}).ask(records))
        assert session.facts("m0")["answered"] == 250
        assert agents(host) == [agent]
        session.close()
        assert host.left() == []

    def test_a_runtime_of_an_audit_continues(
        self, host: FarHost, served: Artifact, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a query job asks: the same as here, through a cut of the tunnel while a question is under way."""
        monkeypatch.setattr("edgeaudit.devices.device_runtime._REQUEST_BYTES", 320)  # 40 records of two float32
        runtime = on_device(Endpoint(host.address), "onnxruntime", QueryPolicy("board"))(served, {"batch": 5})
        assert isinstance(runtime, RemoteRuntime)
        (agent,) = agents(host)
        session = runtime.session.inner
        assert isinstance(session, SshSession)
        records = np.random.default_rng(5).normal(size=(250, 2)).astype(np.float32)
        pid = session.tunnel_pid
        frozen(agent, lambda: os.kill(pid, signal.SIGKILL))()
        np.testing.assert_array_equal(
            runtime.query(records), find_runtime("onnxruntime")(served, {"batch": 5}).query(records)
        )
        assert (runtime.session.queried, runtime.session.restored) == (250, 1)
        assert session.facts("model")["answered"] == 250
        runtime.close()
        assert host.left() == []

    def test_a_missing_agent_is_restarted(self, host: FarHost, served: Artifact) -> None:
        """As after a loss of power: another process, another token, and the old folder is removed."""
        session = serve(host, served)
        before, token, (agent,) = session.folder, session.token, agents(host)
        session.infer("m0", RAMP, "q")
        host.halt()
        assert Path(before).is_dir()
        with pytest.raises(DeviceLost, match=f"{host.address}: the connection was lost"):
            session.infer("m0", RAMP, "r")
        host.boot()
        restore(session)
        assert len(session.infer("m0", RAMP, "r")) == 32
        assert not Path(before).exists()
        assert session.token != token
        (agent,) = agents(host)
        end_all([agent])  # as the system does when memory runs out
        with pytest.raises(DeviceLost):
            session.infer("m0", RAMP, "s")
        restore(session)
        assert len(session.infer("m0", RAMP, "s")) == 32
        session.close()
        assert host.left() == []

    def test_nothing_is_left_if_the_connection_is_never_restored(self, host: FarHost, served: Artifact) -> None:
        session = serve(host, served, lease=3)
        host.set_link(False)
        with pytest.raises(DeviceLost):
            session.infer("m0", RAMP, "q")
        assert wait_until(lambda: not agents(host))
        assert wait_until(lambda: host.left() == [])
        host.set_link(True)
        restore(session)  # and yet it may come back
        assert len(session.infer("m0", RAMP, "q")) == 32
        session.close()
        assert host.left() == []

    def test_a_process_that_is_killed_leaves_nothing(self, host: FarHost, served: Artifact, tmp_path: Path) -> None:
        code = (
            "import sys\nfrom pathlib import Path\nfrom edgeaudit.devices.ssh.transport import *\n"
            "from edgeaudit.endpoint import Endpoint\naddress, folder = sys.argv[1:]\n"
            "session = SshTransport(Endpoint(address), lease=3).serve('onnxruntime', {'m0': Path(folder)}, {})\n"
            "print(session.tunnel_pid, flush=True)\nsys.stdin.read()"
        )
        command = [sys.executable, "-c", code, host.address, str(served.folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        tunnel = int(process.stdout.readline())
        assert len(agents(host)) == 1
        words = psutil.Process(tunnel).cmdline()
        sockets = Path(words[words.index("-S") + 1]).parent
        process.kill()
        process.communicate()
        assert wait_until(lambda: not psutil.pid_exists(tunnel))
        assert wait_until(lambda: not agents(host))
        assert wait_until(lambda: host.left() == [])
        # ssh took its socket away; the folder here is what a kill leaves, unless another run has swept it already.
        with contextlib.suppress(FileNotFoundError):
            assert list(sockets.iterdir()) == []
            sockets.rmdir()

    def test_garbage_collection_leaves_nothing(self, host: FarHost, served: Artifact) -> None:
        session = serve(host, served)
        tunnel = session.tunnel_pid
        del session
        gc.collect()
        assert not psutil.pid_exists(tunnel)
        assert host.left() == []

    def test_a_connection_lost_during_the_transfer(
        self, host: FarHost, served: Artifact, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """64 MB that are not all sent: the folder goes with the connection."""
        large = served.folder / "weights.bin"
        large.write_bytes(bytes(64 << 20))
        blocks = ssh._blocks

        def some(content: bytes | Path) -> Iterator[bytes]:
            for number, block in enumerate(blocks(content)):
                if isinstance(content, Path) and number == 3:
                    end_all(host.processes("sshd: board"))
                yield block

        monkeypatch.setattr(ssh, "_blocks", some)
        heavy = Artifact(served.folder, replace(served.manifest, companions={large.name: file_sha256(large)}))
        heavy.save()
        with pytest.raises(DeviceLost):
            serve(host, heavy)
        assert wait_until(lambda: host.left() == [])

    def test_files_of_a_killed_agent_are_removed_later(self, host: FarHost, served: Artifact) -> None:
        session = serve(host, served)
        running = serve(host, served)
        left = Path(session.folder)
        (agent, *_) = [
            process
            for process in agents(host)
            if json.loads((left / "edgeaudit-agent.lock").read_text())["pid"] in _pids(process)
        ]
        end_all([agent])
        mine = host.tmp / "edgeaudit-my-own-work"
        mine.mkdir()
        for folder in (left, Path(running.folder), mine):
            os.utime(folder, (1, 1))
        SshTransport(Endpoint(host.address)).facts("onnxruntime")
        assert not left.exists()
        assert mine.is_dir()  # without a lock file it was not created for an agent
        assert len(running.infer("m0", RAMP, "q")) == 32
        running.close()
        session.close()


def _pids(process: psutil.Process) -> set[int]:
    """Of a process, in all of its namespaces."""
    line = next(
        line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("NSpid:")
    )
    return {int(number) for number in line.split()[1:]}


def test_a_thousand_records_from_an_emulated_board_over_a_network_that_is_cut(
    make_host: Callable[..., FarHost], tmp_path: Path
) -> None:
    """The answers are those of the direct emulated path, bit for bit, and each record was computed once."""
    profile = "raspberry-pi-4"
    board = make_host(emulated_python(profile, "onnxruntime"))
    model = toy("cnn-8x8x1")
    made = artifact(model, FORMATS["onnx-int8-static"].passes)
    made.save()
    records = np.random.default_rng(3).uniform(0, 1, (1000, *model.recipe.shape)).astype(np.float32)
    native = find_runtime("onnxruntime")(made, {"batch": 8})._to_native(records)
    direct = find_transport(Endpoint("emulated", profile=profile)).serve(
        "onnxruntime", {"m0": made.folder}, {"batch": 8}
    )
    expected = np.concatenate([direct.infer("m0", native[n : n + 25], f"{n}") for n in range(0, 1000, 25)])
    direct.close()
    session = SshTransport(Endpoint(board.address, profile=profile)).serve(
        "onnxruntime", {"m0": made.folder}, {"batch": 8}
    )
    assert session.fingerprint()["machine"] == "aarch64"
    (agent,) = agents(board)
    pid = session.tunnel_pid

    cuts = {9: frozen(agent, lambda: os.kill(pid, signal.SIGKILL)), 23: frozen(agent, lambda: board.set_link(False))}
    # Only after the second cut: a link that an earlier timer sets up at once loses nothing.
    lost_then = {23: lambda: threading.Timer(2, board.set_link, (True,)).start()}
    answers, lost = all_asked(session, native, cuts, lost_then)
    assert lost == 2
    np.testing.assert_array_equal(answers, expected)
    assert session.facts("m0")["answered"] == 1000
    assert agents(board) == [agent]
    session.close()
    assert board.left() == []
    assert agents(board) == []
