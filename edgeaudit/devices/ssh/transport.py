"""Over ssh: what is needed is copied to the device, served there, reached through a tunnel, and removed."""

from __future__ import annotations

import hashlib
import json
import secrets
import shlex
import tempfile
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
from edgeaudit.agent.served import runtime_class
from edgeaudit.devices.agent_file import OLDEST_PYTHON, agent_bytes
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.oip.serving import ClientServing
from edgeaudit.devices.profiles import find_profile
from edgeaudit.devices.shipping import shipped
from edgeaudit.devices.ssh.link import FarProgram, ProgramEnded, SshLink, require_address
from edgeaudit.devices.transport import TransportSpec, Way
from edgeaudit.endpoint import Reach
from edgeaudit.errors import ArtifactError, DeviceError, DeviceLost, MissingToolchain
from edgeaudit.filetypes.artifact import Artifact, file_sha256

__all__ = ["LEASE_SECONDS", "SshDevice", "SshServing", "SshWay"]

LEASE_SECONDS = 1800.0
"""For how long an agent waits for a connection that was cut. After that it ends and removes what was copied."""

_AGENT = "edgeaudit-agent.pyz"
_START_SECONDS = 300.0
_ANSWER_SECONDS = 60.0
_TUNNEL_SECONDS = 600.0
_BLOCK = 1 << 20
_NOT_FOUND = (126, 127)
"""Exit codes by which shells say that a program is not there or cannot be executed. csh says 1, and why."""


@dataclass(frozen=True)
class _File:
    """Something to be sent. names: its paths in the folder there."""

    sha256: str
    content: bytes | Path
    names: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


class SshDevice:
    """What can be done on a device over ssh; a connection is made when it is needed, and again when it has ended."""

    def __init__(self, reach: Reach) -> None:
        require_address(reach.via)
        self.reach = reach
        self._link: SshLink | None = None
        self._port: int | None = None

    @property
    def link(self) -> SshLink:
        """A connection. `DeviceLost` where there is none to be had now, `DeviceError` where the device refuses."""
        if self._link is None or not self._link.there:
            self.disconnect()
            self._link = SshLink(self.reach.via)
        return self._link

    def disconnect(self) -> None:
        """End the connection. Tunnels end with it."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def tunnel(self, url: str) -> str:
        """The address here of what listens at `url` there; the same as before where that can be."""
        self._port = self.link.forward(urlsplit(url).port or 80, self._port)
        return f"http://127.0.0.1:{self._port}"

    def why(self) -> str:
        """What ssh said of a connection that has ended; empty where it said nothing, or it has not."""
        return "" if self._link is None or self._link.there else self._link.last_words()

    def run_agent(
        self,
        arguments: Iterable[str],
        runtime: str,
        artifacts: Mapping[str, Path] | None = None,
        *,
        token: str = "",
        stays: bool = False,
        folders: list[str] | None = None,
    ) -> dict[str, Any]:
        """Copy the agent and artifacts, run it, and return what it announces.

        stays: it goes on when it has announced itself. folders: of earlier ones that this one replaces; its own is
        appended as soon as it is known. Raises what the agent announces, or `DeviceError` with the remedy where it
        cannot run there.
        """
        if runtime not in RUNTIMES:
            raise DeviceError(f"the agent does not serve '{runtime}' on a device; it serves: {', '.join(RUNTIMES)}")
        with tempfile.TemporaryDirectory(prefix="edgeaudit-") as drafts:
            names = {name: f"models/{index}" for index, name in enumerate(artifacts or {})}
            files = _files({names[name]: folder for name, folder in (artifacts or {}).items()}, Path(drafts))
            asked = {
                "do": "run",
                "files": [[file.sha256, file.size, file.names] for file in files],
                "agent": _AGENT,
                "arguments": [*arguments, "--runtime", runtime],
                "serve": list(names.items()),
                "keep": self.reach.keep,
                "stays": stays,
                "instead": list(folders or ()),
            }
            with self._running(asked) as program:
                announced = place = self._answer(program, _ANSWER_SECONDS)
                if "error" not in place:
                    if folders is not None:
                        folders.append(place["folder"])
                    self._send(program, files, place["missing"], token)
                    announced = self._answer(program, _START_SECONDS)
        if "error" in announced:
            back = {f"{place.get('folder')}/{path}": str((artifacts or {})[name]) for name, path in names.items()}
            raise self._announced_error(announced, runtime, back)
        return announced

    def status(self, folder: str) -> dict[str, Any]:
        """{"running", "about"}: whether an agent runs in the folder there, and what it tells of itself."""
        return self._told({"do": "status", "folder": folder})

    def stop(self, folders: list[str] | None, *, forget: bool = False) -> list[str]:
        """End the agents in folders there, or all that were left running, and remove the folders.

        forget: remove also what was kept. Returns the folders in which an agent ran.
        """
        return list(self._told({"do": "stop", "folders": folders, "forget": forget})["stopped"])

    def _told(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        with self._running(asked) as program:
            told = self._answer(program, _ANSWER_SECONDS)
        if "error" in told:
            raise DeviceError(f"{self.reach.via}: {told['error']}")
        return told

    def _send(self, program: FarProgram, files: Iterable[_File], missing: list[str], token: str) -> None:
        for file in files:
            if file.sha256 in missing:
                for block in _blocks(file.content):
                    program.send(block)
        program.send(f"{token}\n".encode())

    @contextmanager
    def _running(self, asked: Mapping[str, Any]) -> Iterator[FarProgram]:
        """The receiver, which gets its own text and what is asked on its input."""
        with self.link.program(_bootstrap(self.reach.python)) as program:
            program.send(_receiver() + json.dumps(asked).encode() + b"\n")
            yield program

    def _answer(self, program: FarProgram, seconds: float) -> dict[str, Any]:
        try:
            return program.answer(seconds)
        except ProgramEnded as exc:
            raise self._no_python(exc) from exc

    def _no_python(self, ended: ProgramEnded) -> DeviceError:
        via, python = self.reach.via, self.reach.python
        oldest = ".".join(map(str, OLDEST_PYTHON))
        if ended.code in _NOT_FOUND or "not found" in ended.words:
            return DeviceError(
                f"{via}: there is no {python} ({ended.words}); install Python {oldest} or later there, or name one "
                "with `python`"
            )
        if _TOO_OLD in ended.words:
            return DeviceError(f"{via}: {python} is too old: {ended.words}; name another one with `python`")
        return DeviceError(f"{via}: {python} ended ({ended.code}): {ended.words or 'it said nothing'}")

    def _announced_error(self, told: Mapping[str, Any], runtime: str, back: Mapping[str, str]) -> Exception:
        text = str(told["error"])
        for there, here in back.items():
            text = text.replace(there, here)
        if told.get("type") == ArtifactError.__name__:
            return ArtifactError(text)
        if told.get("type") == MissingToolchain.__name__:
            return self.missing(runtime, text.partition(" Install it with")[0])
        return DeviceError(f"{self.reach.via}: the agent could not start: {text}")

    def missing(self, runtime: str, what: str) -> DeviceError:
        """The error for a runtime that is not installed there, with the line that installs it."""
        wanted: tuple[str, ...] = runtime_class(runtime).spec.packages
        if self.reach.profile is not None:
            build = find_profile(self.reach.profile).runtimes.get(runtime)
            wanted = build.requirements if build is not None and build.requirements else wanted
        line = " ".join([self.reach.python, "-m", "pip", "install", *map(shlex.quote, wanted)])
        return DeviceError(f"{self.reach.via}: {what.rstrip('.')}. Install it there: {line}")


class SshServing(ClientServing):
    """Artifacts that an agent on the device serves, through a tunnel.

    The agent is no child of the connection, so it outlives a cut, remembers its last answers and is found again.
    `close` ends it; where the device cannot be reached then, it ends itself after the lease.
    """

    def __init__(
        self,
        device: SshDevice,
        runtime: str,
        artifacts: Mapping[str, Path],
        options: Mapping[str, Any],
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
        """Of the process here that holds the connection."""
        return self._device.link.pid

    @property
    def folder(self) -> str:
        """Where on the device the agent lies."""
        return self._state.folders[-1]

    @property
    def token(self) -> str:
        """What the agent lets in."""
        return self._state.token

    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        """See `Serving.infer`."""
        try:
            return super().infer(model, native, request)
        except DeviceLost as exc:
            raise DeviceLost(f"{self._device.reach.via}: the connection was lost: {self._device.why() or exc}") from exc

    def restore(self) -> None:
        """See `Serving.restore`.

        The agent is asked for over ssh first, and not through its port: after a boot that port may be anybody's.
        """
        self.client.close()
        found = self._device.status(self.folder)
        if not found["running"]:
            self._start()
        elif "url" not in found["about"]:
            raise DeviceLost(f"{self._device.reach.via}: the agent is still starting")
        else:
            self._connect(found["about"]["url"])

    def close(self) -> None:
        """See `Serving.close`."""
        self.client.close()
        self._close()

    def _start(self) -> None:
        self._state.token = secrets.token_urlsafe(32)
        announced = self._device.run_agent(
            self._arguments,
            self._runtime,
            self._artifacts,
            token=self._state.token,
            stays=True,
            folders=self._state.folders,
        )
        del self._state.folders[:-1]
        self._connect(announced["url"])

    def _connect(self, url: str) -> None:
        self.client = OipClient(self._device.tunnel(url), self._state.token, _TUNNEL_SECONDS)
        try:
            good = self.client.ready()
        except DeviceLost as exc:
            if _PROHIBITED in self._device.link.said():
                raise DeviceError(
                    f"{self._device.reach.via}: its ssh server lets no tunnel through; set AllowTcpForwarding to "
                    "local or yes there"
                ) from exc
            raise
        if not good:
            raise DeviceError(f"{self._device.reach.via}: something else than the agent answers at its port {url}")


_PROHIBITED = "administratively prohibited"


class _State:
    """What has to be ended, apart from the object that it is for."""

    def __init__(self, device: SshDevice) -> None:
        self.device = device
        self.folders: list[str] = []
        self.token = ""

    def end(self) -> None:
        try:
            if self.folders:
                with suppress(DeviceError):  # it cannot be reached: the agent's lease does it
                    self.device.stop(self.folders)
        finally:
            self.device.disconnect()


class SshWay(Way):
    """Over ssh. lease: seconds for which an agent waits for a connection that was cut."""

    spec: ClassVar[TransportSpec] = TransportSpec("ssh", "ssh://[user@]host[:port]", "a board that is reached over ssh")
    timed: ClassVar[bool] = True

    def __init__(self, reach: Reach, lease: float = LEASE_SECONDS) -> None:
        super().__init__(reach)
        require_address(reach.via)
        self._lease = lease

    def facts(self, runtime: str) -> dict[str, Any]:
        """See `Way.facts`. Has also the libc and the agent's version. Asks the device each time."""
        device = SshDevice(self.reach)
        try:
            found = device.run_agent(["--facts"], runtime)
            missing = [package for package, version in found["versions"].items() if version is None]
            if missing:
                raise device.missing(runtime, f"'{runtime}' needs {' and '.join(missing)}, and it is not installed")
        finally:
            device.disconnect()
        return {key: value for key, value in found.items() if key != "agent"}

    def serve(
        self,
        runtime: str,
        artifacts: Mapping[str, Path],
        options: Mapping[str, Any],
        *,
        max_body: int | None = None,
    ) -> SshServing:
        """See `Way.serve`."""
        return SshServing(SshDevice(self.reach), runtime, artifacts, options, max_body, self._lease)


_TOO_OLD = f"edgeaudit-agent needs Python {'.'.join(map(str, OLDEST_PYTHON))} or later"


def _bootstrap(python: str) -> str:
    """The command for the login shell there: one line, which sh, csh and fish read alike."""
    code = (
        f'import sys; sys.version_info < {OLDEST_PYTHON} and sys.exit("{_TOO_OLD}"); '
        'sys.path[:1] == [""] and sys.path.pop(0); '  # else files in the home folder would be modules
        f'exec(compile(sys.stdin.buffer.read({len(_receiver())}), "receiver", "exec"))'
    )
    home = '"$HOME"/' if python.startswith("~/") else ""
    return f"exec {home}{shlex.quote(python[2:] if home else python)} -c {shlex.quote(code)}"


def _receiver() -> bytes:
    return resources.files("edgeaudit.agent").joinpath("receiver.py").read_bytes()


def _files(artifacts: Mapping[str, Path], drafts: Path) -> list[_File]:
    """The agent, and of every artifact (path there -> folder here) what a device gets of it; each content once."""
    agent = agent_bytes()
    found: dict[str, tuple[bytes | Path, list[str]]] = {hashlib.sha256(agent).hexdigest(): (agent, [_AGENT])}
    for index, (there, folder) in enumerate(artifacts.items()):
        draft = drafts / str(index)
        draft.mkdir()
        shipped(Artifact.load(folder), draft)
        for path in sorted(path for path in draft.rglob("*") if path.is_file()):
            known = found.setdefault(file_sha256(path), (path, []))
            known[1].append(f"{there}/{path.relative_to(draft).as_posix()}")
    return [_File(digest, content, tuple(names)) for digest, (content, names) in found.items()]


def _blocks(content: bytes | Path) -> Iterable[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
