"""One connection over ssh, through the system's own client: OpenSSH's `ssh`.

It is the client whose configuration, keys, agents, jump hosts and known hosts users have already, and the one that is
kept best. One process of it holds the connection; programs and tunnels on the far side go through that one (OpenSSH's
ControlMaster), so that there is one login and one touch of a hardware key.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import shlex
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from edgeaudit.errors import DeviceError, DeviceLost

__all__ = ["COMMAND", "FarProgram", "ProgramEnded", "SshLink", "require_address"]

COMMAND = "EDGEAUDIT_SSH"
"""The environment variable with another command than `ssh`, as in `ssh -F ./ssh_config`."""

_ADDRESS = re.compile(
    r"ssh://(?:[A-Za-z0-9_][A-Za-z0-9_.+-]*@)?(?:[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?"
)
_OPTIONS = {
    "BatchMode": "yes",  # it never asks
    "ConnectTimeout": "15",
    "ServerAliveInterval": "5",  # a link that is dead is noticed after three of these
    "ServerAliveCountMax": "3",
    "ControlMaster": "yes",
    "ControlPersist": "no",
    "ClearAllForwardings": "yes",  # those of the user's configuration are for other purposes
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "LogLevel": "INFO",  # says why a channel was refused
}
_READY = "edgeaudit-is-here"
_LOGIN_SECONDS = 60.0
_END_SECONDS = 5.0
_LINE_LIMIT = 1 << 20
_NOISE_LIMIT = 1 << 16
_FORWARD_TRIES = 5
_LONGEST_SOCKET = 80
"""Characters of the control socket's path; the system takes 107, and ssh appends some while it makes it."""


class SshLink:
    """A connection that is there. It ends with `close`, with this object, and with this process however that ends.

    The master's session on the far side is a `cat` that waits for the end of its input. The input is held open by this
    process, so the system ends the connection where this process is killed.
    Raises `DeviceLost` where the host cannot be reached now, and `DeviceError` where it refuses.
    """

    def __init__(self, address: str) -> None:
        self.address = require_address(address)
        folder = _socket_folder()
        self._socket = f"{folder.name}/s"
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process that writes to it
        try:
            self._master = self._started()
        except BaseException:
            folder.cleanup()
            self._said.close()
            raise
        self._close = weakref.finalize(self, _close, self._master, folder, self._said)
        try:
            self._log_in()
        except BaseException:
            self._close()
            raise
        self.pid = self._master.pid

    @property
    def there(self) -> bool:
        """Whether the connection has not ended, as far as is known here."""
        return self._master.poll() is None

    @contextmanager
    def program(self, command: str) -> Iterator[FarProgram]:
        """A program on the far side. command: for the login shell there, whichever it is."""
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(  # noqa: S603  the words are ours
                [*self._through(), "-T", self.address, command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,  # Ctrl-C is for this process, which ends the other
            )
            try:
                yield FarProgram(self, process, said)
            finally:
                _end(process)

    def forward(self, port: int, here: int | None = None) -> int:
        """The port here, on the loopback interface, that leads to `port` on the loopback interface there.

        here: the one to take if it is free.
        """
        words = ""
        for _ in range(_FORWARD_TRIES):  # somebody else may take the port that was free just now
            here = here or _free_port()
            command = [*self._through(), "-O", "forward", "-L", f"127.0.0.1:{here}:127.0.0.1:{port}", self.address]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603
            if done.returncode == 0:
                return here
            here, words = None, done.stderr.decode(errors="replace")
        raise self.error(f"no tunnel could be made: {_last_line(words)}", words)

    def error(self, otherwise: str, said: str = "") -> DeviceError:
        """Why ssh failed, as its own words tell, or in the words `otherwise`. said: what another one of it wrote."""
        told = self._told(said if self.there else self.said() + said)
        if told is not None:
            return told
        if not self.there:
            return DeviceLost(f"{self.address}: the connection ended: {_last_line(self.said() + said) or otherwise}")
        return DeviceError(f"{self.address}: {otherwise}")

    def _told(self, text: str) -> DeviceError | None:
        for pattern, kind, words in _REASONS:
            if re.search(pattern, text):
                target = shlex.quote(self.address.rstrip("/"))
                return kind(f"{self.address}: {words.format(line=_matching(pattern, text), target=target)}")
        return None

    def said(self) -> str:
        """What the process that holds the connection wrote."""
        return _content(self._said)

    def last_words(self) -> str:
        """The last line of that."""
        return _last_line(self.said())

    def ends_within(self, seconds: float) -> bool:
        """Whether the connection is gone or goes in that time: it takes its programs with it just before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._master.wait(seconds)
        return not self.there

    def close(self) -> None:
        """End the connection. Once is enough; more does no harm."""
        self._close()

    def _through(self) -> list[str]:
        # No configuration, which the master has read; and where the master has gone, no other connection.
        return [*_words(), "-F", os.devnull, "-o", "ProxyCommand=false", "-S", self._socket]

    def _started(self) -> subprocess.Popen[bytes]:
        options = [word for name, value in _OPTIONS.items() for word in ("-o", f"{name}={value}")]
        command = [*_words(), *options, "-S", self._socket, "-T", self.address, f"echo {_READY}; exec cat"]
        try:
            return subprocess.Popen(  # noqa: S603  the words are ours, or the user's own
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, start_new_session=True
            )
        except OSError as exc:
            raise DeviceError(
                f"{command[0]} cannot be started: {exc.strerror or exc}. Install OpenSSH's client (Debian: "
                f"openssh-client), or name one in {COMMAND}"
            ) from exc

    def _log_in(self) -> None:
        """Wait until commands run there."""
        passed = ""
        for line in _lines(self._master, _LOGIN_SECONDS):
            if line.strip() == _READY:
                return
            passed = line
        if not self.ends_within(_END_SECONDS):
            raise DeviceLost(f"{self.address}: nobody was let in within {_LOGIN_SECONDS:.0f} seconds")
        told, last = self._told(self.said()), self.last_words() or passed.strip()
        if told is not None:
            raise told
        if self._master.returncode != _SSH_FAILED:  # it is the command's
            raise DeviceError(f"{self.address}: no command can be run there: {last or 'it said nothing'}")
        raise DeviceError(f"{self.address}: ssh failed: {last or 'it said nothing'}")


class ProgramEnded(DeviceError):
    """A program on the far side ended without an answer. code: its exit code. words: its last line of error."""

    def __init__(self, address: str, code: int, words: str) -> None:
        super().__init__(f"{address}: the program there ended ({code}): {words or 'it said nothing'}")
        self.code = code
        self.words = words


class FarProgram:
    """A program that runs on the far side: bytes to it, lines from it."""

    def __init__(self, link: SshLink, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        self._link = link
        self._process = process
        self._said = said

    def send(self, content: bytes) -> None:
        """Write to its standard input; nothing where it has ended, since what it said tells more."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._process.stdin.write(content)
                self._process.stdin.flush()

    def answer(self, seconds: float) -> dict[str, Any]:
        """The next line that is a JSON object. Lines before, as start-up files of shells print them, are passed over.

        Raises `DeviceLost` where the connection ended, and `ProgramEnded` where the program did.
        """
        for line in _lines(self._process, seconds):
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict):
                    return found
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            raise DeviceLost(f"{self._link.address}: no answer within {seconds:.0f} seconds") from None
        said = _content(self._said)
        if code == _SSH_FAILED or self._link.ends_within(0):
            self._link.ends_within(_MOMENT)
            raise self._link.error(f"ssh failed: {_last_line(said) or 'it said nothing'}", said)
        raise ProgramEnded(self._link.address, code, _last_line(said))


_SSH_FAILED = 255
_MOMENT = 1.0

_CHANGED = (
    "its host key is not the one that is known. Either it was set up anew, or something else answers in its place. "
    "Where you know why, remove the old key (ssh-keygen -R HOST), and connect once by hand: ssh {target}"
)
_UNKNOWN = "its host key is not known here. Connect once by hand and compare the fingerprint: ssh {target}"
_DENIED = (
    "it refused the login ({line}). Put your public key there (ssh-copy-id), and have the private one in an agent "
    "(ssh-add) or named in ~/.ssh/config; passwords are not asked for"
)
_ONE_SESSION = "its ssh server takes no second session in a connection ({line}); set MaxSessions to 2 or more there"
_NO_NAME = "{line}. Is the name right, and the network there?"
_UNREACHABLE = "it cannot be reached ({line}). Is it switched on and in this network, and does its ssh server run?"
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
"""What ssh says, whether trying again later may help, and what to tell. The first that is found holds."""


def require_address(text: str) -> str:
    """The address; `DeviceError` for one that is none. What is let through cannot be an option of ssh."""
    if not _ADDRESS.fullmatch(text):
        raise DeviceError(f"'{text}' is no address for ssh; write ssh://user@host or ssh://user@host:port")
    return text


def _words() -> list[str]:
    return shlex.split(os.environ.get(COMMAND, "")) or ["ssh"]


def _socket_folder() -> tempfile.TemporaryDirectory[str]:
    """For the control socket, mode 0700, at a path that a socket may have."""
    roomy = len(tempfile.gettempdir()) + len("/edgeaudit-ssh-12345678/s") < _LONGEST_SOCKET
    return tempfile.TemporaryDirectory(prefix="edgeaudit-ssh-", dir=None if roomy else "/tmp")  # noqa: S108  0700


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def _lines(process: subprocess.Popen[bytes], seconds: float) -> Iterator[str]:
    """Lines of its standard output until it ends, the time is over, or there is more than anybody means to say."""
    if process.stdout is None:
        return
    ends = time.monotonic() + seconds
    pending, passed = b"", 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while passed < _NOISE_LIMIT and len(pending) < _LINE_LIMIT:
            if not selector.select(max(0.0, ends - time.monotonic())):
                return
            block = os.read(process.stdout.fileno(), 1)  # no more than the line: others follow, for others
            if not block:
                return
            pending += block
            if block == b"\n":
                passed += len(pending)
                yield pending.decode(errors="replace")
                pending = b""


def _content(said: IO[bytes]) -> str:
    """All of a file that somebody else is writing to at its end."""
    size = os.fstat(said.fileno()).st_size
    return os.pread(said.fileno(), min(size, _NOISE_LIMIT), max(0, size - _NOISE_LIMIT)).decode(errors="replace")


def _last_line(text: str) -> str:
    """The last one that says something: fish underlines its errors."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    return lines[-1] if lines else ""


def _matching(pattern: str, text: str) -> str:
    return next((line.strip() for line in text.splitlines() if re.search(pattern, line)), "")


def _close(master: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str], said: IO[bytes]) -> None:
    _end(master, 0)  # by itself it would wait for tunnels that are open
    folder.cleanup()
    said.close()


def _end(process: subprocess.Popen[bytes], seconds: float = _END_SECONDS) -> None:
    """Close what is open to a process, and end it where it does not end so. Wait, so that nothing is left of it."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):  # bytes that were never read by one that died
                stream.close()
    for patience, harder in ((seconds, process.terminate), (_END_SECONDS, process.kill)):
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            harder()
    process.wait()
