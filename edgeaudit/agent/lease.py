"""A background agent that outlives the connection that started it, and exits when it is no longer used.

The network connection to a board may be lost at any time, and for good. So the agent runs in its own process session,
independent of the connection, with a lease that every request renews.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn, TextIO

from edgeaudit.agent.messages import Failure, Serving, StatusFile
from edgeaudit.agent.receiver import LOCK, hold
from edgeaudit.agent.server import AgentServer
from edgeaudit.errors import DeviceError

__all__ = ["Home", "detach", "serve_leased", "silence"]

_LOOK_SECONDS = 1.0
_RELAY_LIMIT = 1 << 16
_REMOVALS = 20
_PAUSE = 0.1


class Home:
    """The folder of a background agent; its lock is held while the agent runs.

    remove: whether to remove the folder when the agent exits. Only a folder with a lock file, which marks it as created
    for an agent, is ever removed. Raises `DeviceError` for any other, and if an agent already runs in it.
    """

    def __init__(self, folder: Path, *, remove: bool) -> None:
        self.folder = folder
        self.remove = remove
        if not (folder / LOCK).is_file():
            if remove:
                raise DeviceError(f"--remove: {folder} was not created for an agent (it has no {LOCK}), so it is kept")
            return
        lock = hold(folder)
        if lock is None:
            raise DeviceError(f"an agent already runs in {folder}")
        self._lock = lock  # stays open until this process exits
        self.write_status({"pid": os.getpid()})  # so that it can be stopped during start-up

    def write_status(self, about: StatusFile) -> None:
        """Write the agent's status into the lock file."""
        if (self.folder / LOCK).is_file():
            (self.folder / LOCK).write_text(json.dumps(about), encoding="utf-8")

    def leave(self) -> None:
        """Remove the folder if requested."""
        for _ in range(_REMOVALS if self.remove else 0):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(_PAUSE)  # a runtime's thread has just written a file


def detach(announcements: TextIO) -> TextIO:
    """Continue as a background process. Returns the stream for its announcement; the calling process exits here.

    Forks twice, with a new session in between. Forking works under QEMU user-mode emulation, where starting
    `sys.executable` fails because the kernel cannot execute it. No module that starts threads may be imported before.
    The first process relays the announcement, so that its caller learns whether the start succeeded.
    """
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        os.waitpid(child, 0)
        _relay(reading, announcements)
    os.close(reading)
    os.setsid()
    if os.fork():
        os._exit(0)
    announcements.close()
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return os.fdopen(writing, "w", encoding="utf-8")


def serve_leased(server: AgentServer, seconds: float, home: Home) -> NoReturn:
    """Serve until no authorized request came for that long, or until SIGTERM; does not return."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while not ended.wait(min(_LOOK_SECONDS, seconds / 4)) and server.idle_seconds() < seconds:
        pass
    server.socket.close()
    home.leave()
    os._exit(0)  # drop requests in progress: their clients are gone


def silence() -> None:
    """Redirect standard output and error to /dev/null: an ssh session stays open as long as a process holds them."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)


def _relay(reading: int, announcements: TextIO) -> NoReturn:
    """Relay the announcement and exit; stop the agent if the caller is gone."""
    with os.fdopen(reading, "rb") as pipe:
        line = pipe.readline(_RELAY_LIMIT)
    try:
        about: Serving | Failure = json.loads(line)
    except ValueError:
        about = {"error": "the agent exited before serving", "type": "DeviceError"}
    try:
        announcements.write(json.dumps(about) + "\n")
        announcements.flush()
    except OSError:
        if "pid" in about:
            os.kill(about["pid"], signal.SIGTERM)
    sys.exit(0 if "url" in about else 2)
