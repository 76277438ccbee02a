"""The ssh transport: copy agent and artifacts to the device, serve them, query through a tunnel, and clean up."""

from __future__ import annotations

import hashlib
import json
import secrets
import shlex
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy.typing as npt

from edgeaudit.agent import RUNTIMES
from edgeaudit.agent.messages import (
    AgentFacts,
    Failure,
    Request,
    RunRequest,
    Serving,
    Status,
    StatusRequest,
    StopRequest,
)
from edgeaudit.agent.served import runtime_class
from edgeaudit.devices import reported
from edgeaudit.devices.agent_file import OLDEST_PYTHON, agent_bytes
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.oip.session import ClientSession
from edgeaudit.devices.profiles import find_profile
from edgeaudit.devices.shipping import shipped
from edgeaudit.devices.ssh.link import ProgramEnded, RemoteProgram, SshLink, require_address
from edgeaudit.devices.transport import DeviceProperties, Transport, TransportSpec, properties
from edgeaudit.digests import file_sha256
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import ArtifactError, DeviceError, DeviceLost, MissingToolchain
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.scratch import scratch

__all__ = ["LEASE_SECONDS", "SshDevice", "SshSession", "SshTransport"]

LEASE_SECONDS = 1800.0
"""How long an agent waits after the connection is lost. Then it exits and removes its files."""

_AGENT = "edgeaudit-agent.pyz"
_START_SECONDS = 300.0
_ANSWER_SECONDS = 60.0
_TUNNEL_SECONDS = 600.0
_BLOCK = 1 << 20
_NOT_FOUND = (126, 127)
"""Exit codes of shells for a program that is missing or not executable. csh exits with 1 and a message."""


@dataclass(frozen=True)
class _File:
    """A file to copy. names: its paths in the remote folder."""

    sha256: str
    content: bytes | Path
    names: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


class SshDevice:
    """Operations on a device over ssh; connects on demand, and again after the connection was closed."""

    def __init__(self, endpoint: Endpoint) -> None:
        require_address(endpoint.via)
        self.endpoint = endpoint
        self._link: SshLink | None = None
        self._port: int | None = None

    @property
    def link(self) -> SshLink:
        """An open connection. `DeviceLost` if the device cannot be reached now, `DeviceError` if it refuses."""
        if self._link is None or not self._link.alive:
            self.disconnect()
            self._link = SshLink(self.endpoint.via)
        return self._link

    def disconnect(self) -> None:
        """Close the connection and its tunnels."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def tunnel(self, url: str) -> str:
        """The local URL of a tunnel to `url` on the device; keeps the previous port if possible."""
        self._port = self.link.forward(urlsplit(url).port or 80, self._port)
        return f"http://127.0.0.1:{self._port}"

    def why(self) -> str:
        """The last message of ssh about a closed connection; empty if there is none or the connection is open."""
        return "" if self._link is None or self._link.alive else self._link.last_error()

    def facts(self, runtime: str) -> AgentFacts:
        """Copy the agent, and return what it reports about the device and the runtime. Raises as `start` does."""
        return reported.agent_facts(self._run_agent(["--facts"], runtime, {}), self.endpoint.via)

    def start(
        self, arguments: Iterable[str], runtime: str, artifacts: Mapping[str, Path], token: str, folders: list[str]
    ) -> Serving:
        """Copy the agent and artifacts, and start the agent, which keeps running; returns its announcement.

        folders: of earlier agents that this one replaces; its own folder is appended as soon as it is known. Raises the
        error that the agent announces, or `DeviceError` with the remedy if it cannot run there.
        """
        announced = self._run_agent(arguments, runtime, artifacts, token=token, folders=folders)
        return reported.serving(announced, self.endpoint.via)

    def _run_agent(
        self,
        arguments: Iterable[str],
        runtime: str,
        artifacts: Mapping[str, Path],
        *,
        token: str = "",
        folders: list[str] | None = None,
    ) -> dict[str, object]:
        """Copy and run the agent; returns its announcement. folders: None if the agent does not keep running."""
        if runtime not in RUNTIMES:
            raise DeviceError(f"the agent does not serve '{runtime}' on a device; it serves: {', '.join(RUNTIMES)}")
        with scratch() as drafts:
            names = {name: f"models/{index}" for index, name in enumerate(artifacts)}
            files = _files({names[name]: folder for name, folder in artifacts.items()}, drafts)
            request: RunRequest = {
                "do": "run",
                "files": [(file.sha256, file.size, list(file.names)) for file in files],
                "agent": _AGENT,
                "arguments": [*arguments, "--runtime", runtime],
                "serve": list(names.items()),
                "keep": self.endpoint.keep,
                "stays": folders is not None,
                "instead": list(folders or ()),
            }
            with self._running(request) as program:
                announced, back = self._response(program, _ANSWER_SECONDS), {}
                if "error" not in announced:
                    place = reported.place(announced, self.endpoint.via)
                    if folders is not None:
                        folders.append(place["folder"])
                    self._send(program, files, place["missing"], token)
                    back = {f"{place['folder']}/{path}": str(artifacts[name]) for name, path in names.items()}
                    announced = self._response(program, _START_SECONDS)
        if (failure := reported.failure(announced)) is not None:
            raise self._announced_error(failure, runtime, back)
        return announced

    def status(self, folder: str) -> Status:
        """Whether an agent runs in the remote folder, and what it reports about itself."""
        return reported.status(self._reply({"do": "status", "folder": folder}), self.endpoint.via)

    def stop(self, folders: list[str] | None, *, forget: bool = False) -> list[str]:
        """Stop the agents in the given remote folders, or all that were left running, and remove the folders.

        forget: also remove kept files. Returns the folders in which an agent was running.
        """
        reply = self._reply({"do": "stop", "folders": folders, "forget": forget})
        return reported.stopped(reply, self.endpoint.via)["stopped"]

    def _reply(self, request: StatusRequest | StopRequest) -> dict[str, object]:
        with self._running(request) as program:
            reply = self._response(program, _ANSWER_SECONDS)
        if (failure := reported.failure(reply)) is not None:
            raise DeviceError(f"{self.endpoint.via}: {failure['error']}")
        return reply

    def _send(self, program: RemoteProgram, files: Iterable[_File], missing: list[str], token: str) -> None:
        for file in files:
            if file.sha256 in missing:
                for block in _blocks(file.content):
                    program.send(block)
        program.send(f"{token}\n".encode())

    @contextmanager
    def _running(self, request: Request) -> Iterator[RemoteProgram]:
        """The remote receiver; its source and the request are sent over its standard input."""
        with self.link.program(_bootstrap(self.endpoint.python)) as program:
            program.send(_receiver() + json.dumps(request).encode() + b"\n")
            yield program

    def _response(self, program: RemoteProgram, seconds: float) -> dict[str, object]:
        try:
            return program.answer(seconds)
        except ProgramEnded as exc:
            raise self._no_python(exc) from exc

    def _no_python(self, ended: ProgramEnded) -> DeviceError:
        via, python = self.endpoint.via, self.endpoint.python
        oldest = ".".join(map(str, OLDEST_PYTHON))
        if ended.code in _NOT_FOUND or "not found" in ended.message:
            return DeviceError(
                f"{via}: {python} was not found ({ended.message}); install Python {oldest} or later there, or set "
                "`python`"
            )
        if _TOO_OLD in ended.message:
            return DeviceError(f"{via}: {python} is too old: {ended.message}; set `python` to another one")
        return DeviceError(f"{via}: {python} exited with code {ended.code}: {ended.message or 'no output'}")

    def _announced_error(self, announced: Failure, runtime: str, back: Mapping[str, str]) -> Exception:
        text = announced["error"]
        for remote, local in back.items():
            text = text.replace(remote, local)
        if announced["type"] == ArtifactError.__name__:
            return ArtifactError(text)
        if announced["type"] == MissingToolchain.__name__:
            return self.missing(runtime, text.partition(" Install it with")[0])
        return DeviceError(f"{self.endpoint.via}: the agent could not start: {text}")

    def missing(self, runtime: str, what: str) -> DeviceError:
        """The error for a runtime that is not installed on the device, with the command that installs it."""
        packages: tuple[str, ...] = runtime_class(runtime).spec.packages
        if self.endpoint.profile is not None:
            build = find_profile(self.endpoint.profile).runtimes.get(runtime)
            packages = build.requirements if build is not None and build.requirements else packages
        line = " ".join([self.endpoint.python, "-m", "pip", "install", *map(shlex.quote, packages)])
        return DeviceError(f"{self.endpoint.via}: {what.rstrip('.')}. Install it there: {line}")


class SshSession(ClientSession):
    """A session with an agent on the device, through a tunnel.

    The agent is independent of the connection: it survives a disconnect, caches its last responses and can be reached
    again. `close` stops it; if the device cannot be reached then, the agent exits when its lease expires.
    """

    def __init__(
        self,
        device: SshDevice,
        runtime: str,
        artifacts: Mapping[str, Path],
        options: Mapping[str, object],
        max_body: int | None,
        lease: float,
    ) -> None:
        self._device = device
        self._runtime = runtime
        self._artifacts = dict(artifacts)
        self._arguments = ["--stdin", "--remove", "--lease", str(lease), "--options", json.dumps(dict(options))]
        if max_body is not None:
            self._arguments += ["--max-body", str(max_body)]
        self._state = _State(device)
        self._close = weakref.finalize(self, _State.end, self._state)
        try:
            self._start()
        except BaseException:
            self._close()
            raise

    @property
    def tunnel_pid(self) -> int:
        """Process ID of the local ssh master."""
        return self._device.link.pid

    @property
    def folder(self) -> str:
        """The agent's folder on the device."""
        return self._state.folders[-1]

    @property
    def token(self) -> str:
        """The token for the agent."""
        return self._state.token

    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        """See `InferenceSession.infer`."""
        try:
            return super().infer(model, native, request)
        except DeviceLost as exc:
            raise DeviceLost(
                f"{self._device.endpoint.via}: the connection was lost: {self._device.why() or exc}"
            ) from exc

    def restore(self) -> None:
        """See `InferenceSession.restore`.

        Looks for the agent over ssh, not through its port: after a reboot another program may have that port.
        """
        self.client.close()
        status = self._device.status(self.folder)
        if not status["running"]:
            self._start()
        elif "url" not in status["about"]:
            raise DeviceLost(f"{self._device.endpoint.via}: the agent is still starting")
        else:
            self._connect(status["about"]["url"])

    def close(self) -> None:
        """See `InferenceSession.close`."""
        self.client.close()
        self._close()

    def _start(self) -> None:
        self._state.token = secrets.token_urlsafe(32)
        announced = self._device.start(
            self._arguments, self._runtime, self._artifacts, self._state.token, self._state.folders
        )
        del self._state.folders[:-1]
        self._connect(announced["url"])

    def _connect(self, url: str) -> None:
        self.client = OipClient(self._device.tunnel(url), self._state.token, _TUNNEL_SECONDS)
        try:
            ready = self.client.ready()
        except DeviceLost as exc:
            if _PROHIBITED in self._device.link.stderr():
                raise DeviceError(
                    f"{self._device.endpoint.via}: its ssh server does not allow tunnels; set AllowTcpForwarding to "
                    "local or yes there"
                ) from exc
            raise
        if not ready:
            raise DeviceError(f"{self._device.endpoint.via}: another server than the agent responds at {url}")


_PROHIBITED = "administratively prohibited"


class _State:
    """What has to be stopped at the end of a session, held apart from the session for its finalizer."""

    def __init__(self, device: SshDevice) -> None:
        self.device = device
        self.folders: list[str] = []
        self.token = ""

    def end(self) -> None:
        try:
            if self.folders:
                with suppress(DeviceError):  # unreachable: the agent exits when its lease expires
                    self.device.stop(self.folders)
        finally:
            self.device.disconnect()


class SshTransport(Transport):
    """The ssh transport. lease: seconds that an agent waits after the connection is lost."""

    spec: ClassVar[TransportSpec] = TransportSpec("ssh", "ssh://[user@]host[:port]", "a device reached over ssh")
    timed: ClassVar[bool] = True

    def __init__(self, endpoint: Endpoint, lease: float = LEASE_SECONDS) -> None:
        super().__init__(endpoint)
        require_address(endpoint.via)
        self._lease = lease

    def facts(self, runtime: str) -> DeviceProperties:
        """See `Transport.facts`. Also has the libc. Connects to the device on each call."""
        device = SshDevice(self.endpoint)
        try:
            facts = device.facts(runtime)
            missing = [package for package, version in facts["versions"].items() if version is None]
            if missing:
                raise device.missing(runtime, f"'{runtime}' needs {' and '.join(missing)}, which is not installed")
        finally:
            device.disconnect()
        return properties(facts, facts["versions"])

    def serve(
        self,
        runtime: str,
        artifacts: Mapping[str, Path],
        options: Mapping[str, object],
        *,
        max_body: int | None = None,
    ) -> SshSession:
        """See `Transport.serve`."""
        return SshSession(SshDevice(self.endpoint), runtime, artifacts, options, max_body, self._lease)


_TOO_OLD = f"edgeaudit-agent needs Python {'.'.join(map(str, OLDEST_PYTHON))} or later"


def _bootstrap(python: str) -> str:
    """The command for the remote login shell: one line, valid in sh, csh and fish."""
    code = (
        f'import sys; sys.version_info < {OLDEST_PYTHON} and sys.exit("{_TOO_OLD}"); '
        'sys.path[:1] == [""] and sys.path.pop(0); '  # otherwise files in the home directory would shadow modules
        f'exec(compile(sys.stdin.buffer.read({len(_receiver())}), "receiver", "exec"))'
    )
    home = '"$HOME"/' if python.startswith("~/") else ""
    return f"exec {home}{shlex.quote(python[2:] if home else python)} -c {shlex.quote(code)}"


def _receiver() -> bytes:
    return resources.files("edgeaudit.agent").joinpath("receiver.py").read_bytes()


def _files(artifacts: Mapping[str, Path], drafts: Path) -> list[_File]:
    """The agent, and the shipped files of every artifact (remote path -> local folder); each content once."""
    agent = agent_bytes()
    contents: dict[str, tuple[bytes | Path, list[str]]] = {hashlib.sha256(agent).hexdigest(): (agent, [_AGENT])}
    for index, (remote, folder) in enumerate(artifacts.items()):
        draft = drafts / str(index)
        draft.mkdir()
        shipped(Artifact.load(folder), draft)
        for path in sorted(path for path in draft.rglob("*") if path.is_file()):
            entry = contents.setdefault(file_sha256(path), (path, []))
            entry[1].append(f"{remote}/{path.relative_to(draft).as_posix()}")
    return [_File(digest, content, tuple(names)) for digest, (content, names) in contents.items()]


def _blocks(content: bytes | Path) -> Iterable[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
