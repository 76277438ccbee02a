"""An agent that outlives the connection which started it, and ends by itself when nobody asks any more.

On a board behind a network the connection may be cut at any time and may never come back. So the agent is no child of
it: it has a session of its own, and a lease that every question renews.
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
from typing import Any, NoReturn, TextIO

from edgeaudit.agent.receiver import LOCK, hold
from edgeaudit.agent.server import AgentServer
from edgeaudit.errors import DeviceError

__all__ = ["Home", "detach", "serve_leased", "silence"]

_LOOK_SECONDS = 1.0
_RELAY_LIMIT = 1 << 16
_REMOVALS = 20
_PAUSE = 0.1


class Home:
    """The folder that a leased agent lies in, and whose lock says that it runs.

    remove: whether the folder goes when the agent ends. Only a folder with a lock file, which whoever made it for an
    agent put there, is ever removed. Raises `DeviceError` for another, and where an agent runs in it.
    """

    def __init__(self, folder: Path, *, remove: bool) -> None:
        self.folder = folder
        self.remove = remove
        if not (folder / LOCK).is_file():
            if remove:
                raise DeviceError(f"--remove: {folder} was not made for an agent (it has no {LOCK}), so it stays")
            return
        held = hold(folder)
        if held is None:
            raise DeviceError(f"an agent runs in {folder} already")
        self._lock = held  # open as long as this process lives
        self.tell({"pid": os.getpid()})  # so that it can be ended while it still starts

    def tell(self, about: dict[str, Any]) -> None:
        """Write who runs here into the lock file."""
        if (self.folder / LOCK).is_file():
            (self.folder / LOCK).write_text(json.dumps(about), encoding="utf-8")

    def leave(self) -> None:
        """Remove the folder where that was wanted."""
        for _ in range(_REMOVALS if self.remove else 0):
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(_PAUSE)  # some runtime's thread has just written something


def detach(say: TextIO) -> TextIO:
    """Go on as a process of its own. Returns where it announces itself; the caller's process ends in here.

    Two forks and a session between them. A fork needs nothing of the system that emulation lacks, where starting
    `sys.executable` does: under QEMU's user mode the kernel cannot execute it. Nothing that has threads may be imported
    before. The first process passes on what is announced, so that whoever waits for it learns how the start went.
    """
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        os.waitpid(child, 0)
        _relay(reading, say)
    os.close(reading)
    os.setsid()
    if os.fork():
        os._exit(0)
    say.close()
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return os.fdopen(writing, "w", encoding="utf-8")


def serve_leased(server: AgentServer, seconds: float, home: Home) -> NoReturn:
    """Serve until nobody who has the token asked for that long, or until SIGTERM; does not return."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while not ended.wait(min(_LOOK_SECONDS, seconds / 4)) and server.idle_seconds() < seconds:
        pass
    server.socket.close()
    home.leave()
    os._exit(0)  # whatever is being computed has nobody to go to


def silence() -> None:
    """Let go of standard output and error: an ssh session lasts as long as somebody holds them."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)


def _relay(reading: int, say: TextIO) -> NoReturn:
    """Pass on the announcement and end, with the agent where nobody is left to hear it."""
    with os.fdopen(reading, "rb") as pipe:
        line = pipe.readline(_RELAY_LIMIT)
    try:
        about = json.loads(line)
    except ValueError:
        about = {"error": "the agent ended before it served", "type": "DeviceError"}
    try:
        say.write(json.dumps(about) + "\n")
        say.flush()
    except OSError:
        if "pid" in about:
            os.kill(about["pid"], signal.SIGTERM)
    sys.exit(0 if "url" in about else 2)
