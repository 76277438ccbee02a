"""An agent in a process of its own, which ends with this one."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy.typing as npt

from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.oip.serving import ClientServing
from edgeaudit.errors import ArtifactError, DeviceError, DeviceLost

__all__ = ["AgentProcess"]

_START_SECONDS = 120.0
_ANSWER_SECONDS = 600.0
_END_SECONDS = 5.0
_GONE_SECONDS = 1.0
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
"""Variables that the agent inherits; no PYTHONPATH, and nothing that is secret."""
_ANNOUNCEMENT_LIMIT = 1 << 16


class AgentProcess(ClientServing):
    """A started agent, serving. It is a `Serving`, and `restore` starts it again where it has ended.

    command: what starts a Python that runs the agent's file, that file included; the agent's own arguments follow it.
    For an environment on this machine that is [python, "-I", file]; an emulator goes in front of it.
    artifacts: model name -> folder; none is right where only the fingerprint is wanted. options: of the runtime.
    environment: variables beside the few that are inherited. start_seconds: until it must serve. answer_seconds: until
    an answer is given up. Raises `ArtifactError` for an artifact that the agent's runtime refuses, and `DeviceError`
    where it cannot serve.

    The token goes over standard input, which then stays open: when this process ends, however it ends, the system
    closes it, and the agent ends. `close` (also called when the object is no longer used) waits for it, so none stays a
    zombie.
    """

    def __init__(
        self,
        command: Sequence[str],
        runtime: str,
        artifacts: Mapping[str, Path],
        options: Mapping[str, Any],
        *,
        max_body: int | None = None,
        environment: Mapping[str, str] | None = None,
        start_seconds: float = _START_SECONDS,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        arguments = ["--stdin", "--runtime", runtime, "--options", json.dumps(dict(options))]
        if max_body is not None:
            arguments += ["--max-body", str(max_body)]
        arguments += [f"{name}={folder.resolve()}" for name, folder in artifacts.items()]
        self._command = [*command, *arguments]
        self._environment = dict(environment or {})
        self._start_seconds = start_seconds
        self._answer_seconds = answer_seconds
        self._start()

    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        """See `Serving.infer`."""
        with self._told():
            return super().infer(model, native, request)

    def facts(self, model: str) -> Mapping[str, Any]:
        """See `Serving.facts`."""
        with self._told():
            return super().facts(model)

    def fingerprint(self) -> Mapping[str, Any]:
        """See `Serving.fingerprint`."""
        with self._told():
            return super().fingerprint()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def restore(self) -> None:
        """See `Serving.restore`. A process that is there was only disconnected, which the client mends by itself."""
        self.client.close()
        if self.running:
            return
        self._close()
        self._start()

    def close(self) -> None:
        """See `Serving.close`."""
        self.client.close()
        self._close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say of a lost connection that the process ended, where it did, and how."""
        try:
            yield
        except DeviceLost as exc:
            with suppress(subprocess.TimeoutExpired):  # the system may close its connections before it is gone
                code = self._process.wait(_GONE_SECONDS)
                raise DeviceLost(f"the agent's process ended, {_how(code)}: {exc}") from exc
            raise

    def _start(self) -> None:
        token = secrets.token_urlsafe(32)
        with tempfile.TemporaryFile() as said:
            process = _started(self._command, said, self._environment)
            self._close = weakref.finalize(self, _end, process)
            try:
                _hand_over(process, token)
                url = _url(_announcement(process, self._start_seconds), said)
                self.client = OipClient(url, token, self._answer_seconds)
            except BaseException:
                self._close()
                raise
        self._process = process


def _how(code: int) -> str:
    """How a process ended; QEMU ends by the signal that its guest ended by."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by signal {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


def _started(command: list[str], said: IO[bytes], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    inherited = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        return subprocess.Popen(  # noqa: S603  the command is ours
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**inherited, **environment},
            start_new_session=True,  # Ctrl-C is for us; the agent ends when its standard input is closed
        )
    except OSError as exc:
        raise DeviceError(f"{command[0]} cannot be started: {exc.strerror or exc}") from exc


def _hand_over(process: subprocess.Popen[bytes], token: str) -> None:
    if process.stdin is None:
        raise DeviceError("the agent has no standard input")
    try:
        process.stdin.write(f"{token}\n".encode())
        process.stdin.flush()
    except OSError:  # it ended already; why, its announcement or standard error say
        return


def _announcement(process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    """The agent's one line; empty where it ended without."""
    if process.stdout is None:
        raise DeviceError("the agent has no standard output")
    ends = time.monotonic() + seconds
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n") and len(line) < _ANNOUNCEMENT_LIMIT:
            if not selector.select(max(0.0, ends - time.monotonic())):
                raise DeviceError(f"the agent did not start within {seconds:.0f} seconds")
            block = os.read(process.stdout.fileno(), 1 << 12)
            if not block:
                break
            line += block
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _url(announced: Mapping[str, Any], said: IO[bytes]) -> str:
    """Where it serves, or the error that it announced or died of."""
    if "url" in announced:
        return str(announced["url"])
    if announced.get("type") == ArtifactError.__name__:
        raise ArtifactError(announced["error"])
    if "error" in announced:
        raise DeviceError(f"the agent could not start: {announced['error']}")
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    raise DeviceLost(f"the agent ended before it served: {lines[-1] if lines else 'it said nothing'}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close standard input, which ends the agent; kill it where it does not. Wait, so that nothing is left of it."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:  # bytes that were never read by one that died
                continue
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
