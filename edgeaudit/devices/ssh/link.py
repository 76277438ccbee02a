"""An ssh connection, through the system's OpenSSH client.

Users have already configured it (keys, agents, jump hosts, known hosts), and it is well maintained. One master process
holds the connection; remote commands and tunnels are multiplexed over it (OpenSSH's ControlMaster), so there is one
login and one touch of a hardware key.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edgeaudit.errors import DeviceError, DeviceLost
from edgeaudit.scratch import PLACES, make_scratch

__all__ = ["COMMAND", "ProgramEnded", "RemoteProgram", "SshLink", "require_address"]

COMMAND = "EDGEAUDIT_SSH"
"""Environment variable that overrides the command `ssh`, as in `ssh -F ./ssh_config`."""

_ADDRESS = re.compile(
    r"ssh://(?:[A-Za-z0-9_][A-Za-z0-9_.+-]*@)?(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?"
)
_OPTIONS = {
    "BatchMode": "yes",  # never prompt
    "ConnectTimeout": "15",
    "ServerAliveInterval": "5",  # a dead link is detected after three of these
    "ServerAliveCountMax": "3",
    "ControlMaster": "yes",
    "ControlPersist": "no",
    "ClearAllForwardings": "yes",  # ignore forwardings in the user's configuration
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "LogLevel": "INFO",  # reports why a channel was refused
}
_READY = "edgeaudit-is-here"
_LOGIN_SECONDS = 60.0
_END_SECONDS = 5.0
_LINE_LIMIT = 1 << 20
_NOISE_LIMIT = 1 << 16
_FORWARD_TRIES = 5
_LONGEST_SOCKET = 80
"""Length of the control socket's path; the system limit is 107, and ssh appends a suffix while creating it."""


class SshLink:
    """An open connection. It is closed by `close`, on garbage collection, and when this process exits for any reason.

    The master runs a remote `cat` that waits for the end of its input. This process holds that input open, so the
    operating system ends the connection if this process is killed. Raises `DeviceLost` if the host cannot be reached
    now, and `DeviceError` if it refuses.
    """

    def __init__(self, address: str) -> None:
        self.address = require_address(address)
        folder = _socket_folder()
        self._socket = f"{folder}/s"
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process that writes to it
        try:
            self._master = self._started()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            self._stderr.close()
            raise
        self._close = weakref.finalize(self, _close, self._master, folder, self._stderr)
        try:
            self._log_in()
        except BaseException:
            self._close()
            raise
        self.pid = self._master.pid

    @property
    def alive(self) -> bool:
        """Whether the master process is running."""
        return self._master.poll() is None

    @contextmanager
    def program(self, command: str) -> Iterator[RemoteProgram]:
        """Run a remote command. command: for the remote login shell, whichever it is."""
        with tempfile.TemporaryFile() as stderr:
            process = subprocess.Popen(  # noqa: S603  our command
                [*self._through(), "-T", self.address, command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C is for this process, which ends the remote one
            )
            try:
                yield RemoteProgram(self, process, stderr)
            finally:
                _end(process)

    def forward(self, port: int, local: int | None = None) -> int:
        """Forward a local port to `port` on the remote loopback interface; returns the local port.

        local: the port to use if it is free.
        """
        message = ""
        for _ in range(_FORWARD_TRIES):  # another process may have taken the free port
            local = local or _free_port()
            command = [*self._through(), "-O", "forward", "-L", f"127.0.0.1:{local}:127.0.0.1:{port}", self.address]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603
            if done.returncode == 0:
                return local
            local, message = None, done.stderr.decode(errors="replace")
        raise self.error(f"the tunnel could not be created: {_last_line(message)}", message)

    def error(self, otherwise: str, stderr: str = "") -> DeviceError:
        """The error for a failure of ssh, from its messages, or else `otherwise`. stderr: of another ssh process."""
        known = self._known_error(stderr if self.alive else self.stderr() + stderr)
        if known is not None:
            return known
        if not self.alive:
            return DeviceLost(
                f"{self.address}: the connection ended: {_last_line(self.stderr() + stderr) or otherwise}"
            )
        return DeviceError(f"{self.address}: {otherwise}")

    def _known_error(self, text: str) -> DeviceError | None:
        for pattern, kind, message in _REASONS:
            if re.search(pattern, text):
                target = shlex.quote(self.address.rstrip("/"))
                return kind(f"{self.address}: {message.format(line=_matching(pattern, text), target=target)}")
        return None

    def stderr(self) -> str:
        """Standard error of the master process."""
        return _content(self._stderr)

    def last_error(self) -> str:
        """The last line of `stderr`."""
        return _last_line(self.stderr())

    def ends_within(self, seconds: float) -> bool:
        """Whether the connection is closed or closes within that time; its programs end just before it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._master.wait(seconds)
        return not self.alive

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._close()

    def _through(self) -> list[str]:
        # Without configuration, which the master has read; and without a new connection if the master is gone.
        return [*_words(), "-F", os.devnull, "-o", "ProxyCommand=false", "-S", self._socket]

    def _started(self) -> subprocess.Popen[bytes]:
        options = [word for name, value in _OPTIONS.items() for word in ("-o", f"{name}={value}")]
        command = [*_words(), *options, "-S", self._socket, "-T", self.address, f"echo {_READY}; exec cat"]
        try:
            return subprocess.Popen(  # noqa: S603  our command, or the user's
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, start_new_session=True
            )
        except OSError as exc:
            raise DeviceError(
                f"{command[0]} cannot be started: {exc.strerror or exc}. Install the OpenSSH client (Debian: "
                f"openssh-client), or set {COMMAND}"
            ) from exc

    def _log_in(self) -> None:
        """Wait until remote commands run."""
        last_line = ""
        for line in _lines(self._master, _LOGIN_SECONDS):
            if line.strip() == _READY:
                return
            last_line = line
        if not self.ends_within(_END_SECONDS):
            raise DeviceLost(f"{self.address}: no login within {_LOGIN_SECONDS:.0f} seconds")
        known, last = self._known_error(self.stderr()), self.last_error() or last_line.strip()
        if known is not None:
            raise known
        if self._master.returncode != _SSH_FAILED:  # the exit code of the remote command
            raise DeviceError(f"{self.address}: remote commands cannot be run: {last or 'no output'}")
        raise DeviceError(f"{self.address}: ssh failed: {last or 'no output'}")


class ProgramEnded(DeviceError):
    """A remote program exited without a response. code: its exit code. message: its last line of standard error."""

    def __init__(self, address: str, code: int, message: str) -> None:
        super().__init__(f"{address}: the remote program exited with code {code}: {message or 'no output'}")
        self.code = code
        self.message = message


class RemoteProgram:
    """A running remote program: takes bytes, returns lines."""

    def __init__(self, link: SshLink, process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
        self._link = link
        self._process = process
        self._stderr = stderr

    def send(self, content: bytes) -> None:
        """Write to its standard input. Ignored if it has exited: its standard error explains more."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._process.stdin.write(content)
                self._process.stdin.flush()

    def answer(self, seconds: float) -> dict[str, object]:
        """The next line that is a JSON object. Skips other lines, such as output of shell start-up files.

        Raises `DeviceLost` if the connection was closed, and `ProgramEnded` if the program exited.
        """
        for line in _lines(self._process, seconds):
            with contextlib.suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict):
                    return message
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            raise DeviceLost(f"{self._link.address}: no response within {seconds:.0f} seconds") from None
        stderr = _content(self._stderr)
        if code == _SSH_FAILED or self._link.ends_within(0):
            self._link.ends_within(_MOMENT)
            raise self._link.error(f"ssh failed: {_last_line(stderr) or 'no output'}", stderr)
        raise ProgramEnded(self._link.address, code, _last_line(stderr))


_SSH_FAILED = 255
_MOMENT = 1.0

_CHANGED = (
    "its host key has changed. Either the host was reinstalled, or another host answers in its place. "
    "If you know why, remove the old key (ssh-keygen -R HOST), and connect once manually: ssh {target}"
)
_UNKNOWN = "its host key is unknown. Connect once manually and compare the fingerprint: ssh {target}"
_DENIED = (
    "it refused the login ({line}). Install your public key there (ssh-copy-id), and provide the private key by an "
    "agent "
    "(ssh-add) or in ~/.ssh/config; there is no password prompt"
)
_ONE_SESSION = "its ssh server allows only one session per connection ({line}); set MaxSessions to 2 or more there"
_NO_NAME = "{line}. Check the name and the network"
_UNREACHABLE = "it cannot be reached ({line}). Check that it is on, in this network, and runs an ssh server"
_NETWORK = (
    "(?i)(connection refused|connection timed out|operation timed out|no route to host|network is unreachable|"
    "connection (?:closed|reset)|kex_exchange_identification|timeout, server|broken pipe|banner exchange).*"
)
_REASONS = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", DeviceError, _CHANGED),
    ("Host key verification failed", DeviceError, _UNKNOWN),
    (r"Permission denied \(.*|Too many authentication failures", DeviceError, _DENIED),
    ("session request failed.*", DeviceError, _ONE_SESSION),
    ("Could not resolve hostname.*", DeviceLost, _NO_NAME),
    (_NETWORK, DeviceLost, _UNREACHABLE),
)
"""Pattern in ssh's messages, error type (`DeviceLost` if a retry may help), message. The first match applies."""


def require_address(text: str) -> str:
    """The address; `DeviceError` if it is invalid. Rejects anything ssh would parse as an option."""
    if not _ADDRESS.fullmatch(text):
        raise DeviceError(f"'{text}' is not an ssh address; write ssh://user@host or ssh://user@host:port")
    return text


def _words() -> list[str]:
    return shlex.split(os.environ.get(COMMAND, "")) or ["ssh"]


def _socket_folder() -> Path:
    """A folder for the control socket, mode 0700, with a path short enough for a socket."""
    folder = make_scratch()
    if len(str(folder / "s")) < _LONGEST_SOCKET:
        return folder
    folder.rmdir()
    return make_scratch(Path(PLACES[0]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _lines(process: subprocess.Popen[bytes], seconds: float) -> Iterator[str]:
    """Lines of its standard output until it exits, the timeout expires, or the output exceeds the limit."""
    if process.stdout is None:
        return
    ends = time.monotonic() + seconds
    pending, total = b"", 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while total < _NOISE_LIMIT and len(pending) < _LINE_LIMIT:
            if not selector.select(max(0.0, ends - time.monotonic())):
                return
            block = os.read(process.stdout.fileno(), 1)  # byte by byte, so that the rest stays in the pipe
            if not block:
                return
            pending += block
            if block == b"\n":
                total += len(pending)
                yield pending.decode(errors="replace")
                pending = b""


def _content(stream: IO[bytes]) -> str:
    """The last part of a file that another process appends to."""
    size = os.fstat(stream.fileno()).st_size
    return os.pread(stream.fileno(), min(size, _NOISE_LIMIT), max(0, size - _NOISE_LIMIT)).decode(errors="replace")


def _last_line(text: str) -> str:
    """The last line with a word in it: fish underlines its errors."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    return lines[-1] if lines else ""


def _matching(pattern: str, text: str) -> str:
    return next((line.strip() for line in text.splitlines() if re.search(pattern, line)), "")


def _close(master: subprocess.Popen[bytes], folder: Path, stderr: IO[bytes]) -> None:
    _end(master, 0)  # it would wait for open tunnels
    shutil.rmtree(folder, ignore_errors=True)
    stderr.close()


def _end(process: subprocess.Popen[bytes], seconds: float = _END_SECONDS) -> None:
    """Close a process's pipes, terminate it if it does not exit, and reap it."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):  # unread bytes of a process that died
                stream.close()
    for timeout, escalate in ((seconds, process.terminate), (_END_SECONDS, process.kill)):
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            escalate()
    process.wait()
