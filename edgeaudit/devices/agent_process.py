"""An agent in a child process, which exits with this one."""

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

from edgeaudit.agent.messages import Fingerprint, ServedFacts
from edgeaudit.devices import reported
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.oip.session import ClientSession
from edgeaudit.errors import ArtifactError, DeviceError, DeviceLost

__all__ = ["AgentProcess"]

_START_SECONDS = 120.0
_ANSWER_SECONDS = 600.0
_END_SECONDS = 5.0
_GONE_SECONDS = 1.0
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
"""Environment variables that the agent inherits: neither PYTHONPATH nor secrets."""
_ANNOUNCEMENT_LIMIT = 1 << 16


class AgentProcess(ClientSession):
    """A session with an agent that runs as a child process; `restore` restarts one that has exited.

    command: the command line up to and including the agent's file; the agent's arguments are appended. For an
    environment on this machine that is [python, "-I", file], preceded by an emulator if there is one.
    artifacts: model name -> folder; may be empty if only the fingerprint is needed. options: of the runtime.
    environment: variables in addition to the few that are inherited. start_seconds, answer_seconds: timeouts of the
    start and of a response. Raises `ArtifactError` if the agent's runtime rejects an artifact, and `DeviceError` if the
    agent cannot serve.

    The token is sent over standard input, which then stays open: when this process exits, however it exits, the
    system closes the pipe and the agent exits. `close` (also called on garbage collection) reaps the process.
    """

    def __init__(
        self,
        command: Sequence[str],
        runtime: str,
        artifacts: Mapping[str, Path],
        options: Mapping[str, object],
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
        """See `InferenceSession.infer`."""
        with self._explained():
            return super().infer(model, native, request)

    def facts(self, model: str) -> ServedFacts:
        """See `InferenceSession.facts`."""
        with self._explained():
            return super().facts(model)

    def fingerprint(self) -> Fingerprint:
        """See `InferenceSession.fingerprint`."""
        with self._explained():
            return super().fingerprint()

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def restore(self) -> None:
        """See `InferenceSession.restore`. If the process still runs, the client reconnects by itself."""
        self.client.close()
        if self.running:
            return
        self._close()
        self._start()

    def close(self) -> None:
        """See `InferenceSession.close`."""
        self.client.close()
        self._close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Add to the error of a lost connection how the process exited, if it did."""
        try:
            yield
        except DeviceLost as exc:
            with suppress(subprocess.TimeoutExpired):  # its connections may close before it exits
                code = self._process.wait(_GONE_SECONDS)
                raise DeviceLost(f"the agent's process exited {_how(code)}: {exc}") from exc
            raise

    def _start(self) -> None:
        token = secrets.token_urlsafe(32)
        with tempfile.TemporaryFile() as stderr:
            process = _started(self._command, stderr, self._environment)
            self._close = weakref.finalize(self, _end, process)
            try:
                _hand_over(process, token)
                url = _url(_announcement(process, self._start_seconds), stderr)
                self.client = OipClient(url, token, self._answer_seconds)
            except BaseException:
                self._close()
                raise
        self._process = process


def _how(code: int) -> str:
    """How a process exited; QEMU dies of the same signal as its guest."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by signal {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


def _started(command: list[str], stderr: IO[bytes], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    inherited = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        return subprocess.Popen(  # noqa: S603  the command is ours
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**inherited, **environment},
            start_new_session=True,  # Ctrl-C is for this process; the agent exits when its standard input closes
        )
    except OSError as exc:
        raise DeviceError(f"{command[0]} cannot be started: {exc.strerror or exc}") from exc


def _hand_over(process: subprocess.Popen[bytes], token: str) -> None:
    if process.stdin is None:
        raise DeviceError("the agent has no standard input")
    try:
        process.stdin.write(f"{token}\n".encode())
        process.stdin.flush()
    except OSError:  # it has exited; its announcement or standard error says why
        return


def _announcement(process: subprocess.Popen[bytes], seconds: float) -> dict[str, object]:
    """The agent's one line of JSON; {} if it exited without printing one."""
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
        announced = json.loads(line)
    except ValueError:
        return {}
    return announced if isinstance(announced, dict) else {}


def _url(announced: Mapping[str, object], stderr: IO[bytes]) -> str:
    """Its URL. Raises the error that it announced, or the last line of its standard error."""
    if "url" in announced:
        return reported.serving(announced, "the agent")["url"]
    if (failure := reported.failure(announced)) is not None:
        if failure["type"] == ArtifactError.__name__:
            raise ArtifactError(failure["error"])
        raise DeviceError(f"the agent could not start: {failure['error']}")
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    raise DeviceLost(f"the agent exited before serving: {lines[-1] if lines else 'no output'}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close standard input, at which the agent exits; kill it if it does not. Reap the process."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:  # unread bytes of a process that died
                continue
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
