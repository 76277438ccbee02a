"""Jobs that try what a confined worker must not reach."""

from __future__ import annotations

import os
import pickle
import resource
import socket
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from edgeaudit.graph.job import Context, Job, unkeyed
from tests.graph.jobs import Text


@dataclass(frozen=True, eq=False, kw_only=True)
class Suspect(Job[Text]):
    """Opens a file of others. open: its path, for the bounds."""

    kind: ClassVar[str] = "suspect"
    result: ClassVar[type[Text]] = Text

    number: int = 0
    open: tuple[str, ...] = unkeyed(())
    trusted: bool = unkeyed(default=False)

    @property
    def confined(self) -> bool:
        return not self.trusted

    def opens(self) -> Iterable[Path]:
        return map(Path, self.open)

    def run(self, context: Context) -> Text:
        del context
        return Text("opened")


@dataclass(frozen=True, eq=False, kw_only=True)
class Call(Suspect):
    """Calls a server of this machine."""

    kind: ClassVar[str] = "call"
    port: int

    def run(self, context: Context) -> Text:
        del context
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                return Text(connection.recv(100).decode())
        except OSError as exc:
            return Text(f"{type(exc).__name__}: no way out")


@dataclass(frozen=True, eq=False, kw_only=True)
class CallInside(Suspect):
    """Serves on the loopback and calls itself, as a runtime in a separate environment does."""

    kind: ClassVar[str] = "call-inside"

    def run(self, context: Context) -> Text:
        del context
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname(), timeout=5) as connection:
                connection.sendall(b"heard")
            return Text(server.accept()[0].recv(100).decode())


@dataclass(frozen=True, eq=False, kw_only=True)
class Write(Suspect):
    """Writes, changes, moves and removes what lies in a folder, and starts a program that does."""

    kind: ClassVar[str] = "write"
    folder: str

    def run(self, context: Context) -> Text:
        folder, done = Path(self.folder), []
        tries: dict[str, Callable[[], object]] = {
            "make": lambda: (folder / "made").write_text("x", encoding="ascii"),
            "change": lambda: (folder / "file").write_text("changed", encoding="ascii"),
            "shorten": lambda: os.truncate(folder / "file", 1),
            "remove": (folder / "file").unlink,
            "move": lambda: (folder / "file").rename(Path.home() / "file"),
            "link": lambda: os.link(folder / "file", Path.home() / "linked"),
            "folder": (folder / "deep").mkdir,
            "program": lambda: subprocess.run(["touch", str(folder / "touched")], check=True, stderr=-3),
        }
        for name, attempt in tries.items():
            with suppress(OSError, subprocess.CalledProcessError):
                attempt()
                done.append(name)
        (Path.home() / "own").write_text("x", encoding="ascii")
        (context.draft / "moved").mkdir()
        (Path.home() / "own").rename(context.draft / "moved" / "own")
        (context.draft / "moved" / "own").unlink()
        (context.draft / "moved").rmdir()
        Path("/dev/null").write_text("x", encoding="ascii")
        return Text(" ".join(done))


@dataclass(frozen=True, eq=False, kw_only=True)
class Return(Suspect):
    """Tries to enter the network of its parent, as root could."""

    kind: ClassVar[str] = "return"

    def run(self, context: Context) -> Text:
        import ctypes

        del context
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            handle = os.open(f"/proc/{os.getppid()}/ns/net", os.O_RDONLY)
        except OSError:
            return Text("closed")
        return Text("entered" if libc.setns(handle, 0) == 0 else "closed")


@dataclass(frozen=True, eq=False, kw_only=True)
class Look(Suspect):
    """The names and values of its variables, its homes, and who it is."""

    kind: ClassVar[str] = "look"

    def run(self, context: Context) -> Text:
        del context
        home = Path.home()
        (home / "left").mkdir()
        (home / "left" / "file").write_text("left behind", encoding="ascii")
        (home / "left").chmod(0)
        with tempfile.NamedTemporaryFile(delete=False) as file:
            pass
        facts = {
            "home": str(home),
            "temporary": str(Path(file.name).parent),
            "mode": oct(home.stat().st_mode & 0o777),
            "owner": str(os.getuid()),
            "core": str(resource.getrlimit(resource.RLIMIT_CORE)),
        }
        variables = [f"{name}={value}" for name, value in os.environ.items()]
        return Text("\n".join([*(f"<{name}>={value}" for name, value in facts.items()), *variables]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Grow(Suspect):
    """Allocates without end. step: bytes; touched: whether it writes to them. needed: what it says to need."""

    kind: ClassVar[str] = "grow"
    step: int = 2**24
    touched: bool = True
    needed: int | None = None

    def memory(self) -> int | None:
        return self.needed

    def run(self, context: Context) -> Text:
        del context
        held = []
        while True:
            held.append(np.zeros(self.step, np.uint8))
            if self.touched:
                held[-1][::4096] = 1
                time.sleep(0.002)


class _Trap:
    """Read as a pickle, it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (Path(self.path),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Forge(Suspect):
    """Answers the main process itself, as a file could that has taken the worker over.

    trap: file to be made there. whole: whether all of the answer is sent.
    """

    kind: ClassVar[str] = "forge"
    trap: str
    whole: bool = True

    def run(self, context: Context) -> Text:
        del context
        answer = pickle.dumps(_Trap(self.trap))
        content = struct.pack("!i", len(answer)) + (answer if self.whole else answer[:5])
        for descriptor in range(3, 64):
            with suppress(OSError):
                if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    os.write(descriptor, content)
        time.sleep(60)
        return Text("answered")


@dataclass(frozen=True, eq=False, kw_only=True)
class Spin(Suspect):
    """Takes the processor in several threads, so that its time passes faster than the clock's."""

    kind: ClassVar[str] = "spin"
    most_seconds: ClassVar[float | None] = 30.0
    seconds: float

    def run(self, context: Context) -> Text:
        del context
        until = time.process_time() + self.seconds
        while time.process_time() < until:
            pass
        return Text("spun")


@dataclass(frozen=True, eq=False, kw_only=True)
class Wait(Suspect):
    """Says where its home is, and stays."""

    kind: ClassVar[str] = "wait"
    file: str

    def run(self, context: Context) -> Text:
        del context
        (Path.home() / "held").write_text("held", encoding="ascii")
        part = Path(self.file).with_suffix(".part")
        part.write_text(f"{Path.home()}\n{os.getpid()}", encoding="utf-8")
        part.rename(self.file)
        time.sleep(120)
        return Text("stayed")
