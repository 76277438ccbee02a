"""Small jobs that workers of the tests run."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from edgeaudit.errors import DataError
from edgeaudit.graph.executor import AnyJob, Silent
from edgeaudit.graph.job import Context, Job, Outcome, Ref, unkeyed


@dataclass(frozen=True)
class Text:
    """A file with text."""

    words: str

    def save(self, folder: Path) -> None:
        (folder / "words.txt").write_text(self.words, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Text:
        return cls((folder / "words.txt").read_text(encoding="utf-8"))


@dataclass(frozen=True, eq=False, kw_only=True)
class Say(Job[Text]):
    """Appends its words to those of its inputs. fails: raises a user error."""

    kind: ClassVar[str] = "say"
    result: ClassVar[type[Text]] = Text

    words: str
    before: tuple[Job[Text], ...] = ()
    fails: bool = False
    note: str = unkeyed("")
    alone: bool = unkeyed(default=False)

    @property
    def label(self) -> str:
        return self.words

    @property
    def exclusive(self) -> bool:
        return self.alone

    def run(self, context: Context) -> Text:
        if self.fails:
            raise DataError(f"{self.words} cannot be said")
        return Text(" ".join([*(context.read(job).words for job in self.before), self.words]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Crash(Job[Text]):
    """Kills its process `times` times, by a signal or an exit code, counting in a file; then it succeeds."""

    kind: ClassVar[str] = "crash"
    result: ClassVar[type[Text]] = Text

    by: int
    times: int
    counter: str

    @property
    def label(self) -> str:
        return f"crash by {self.by}"

    def run(self, context: Context) -> Text:
        counter = Path(self.counter)
        count = int(counter.read_text(encoding="utf-8")) if counter.exists() else 0
        counter.write_text(str(count + 1), encoding="utf-8")
        print("about to end", flush=True)  # noqa: T201  stands for a toolchain's output
        if count < self.times:
            if self.by < 0:
                os.kill(os.getpid(), -self.by)
                time.sleep(60)
            os._exit(self.by)
        return Text(f"ended {count} times")


@dataclass(frozen=True, eq=False, kw_only=True)
class Hog(Job[Text]):
    """Takes time and memory."""

    kind: ClassVar[str] = "hog"
    result: ClassVar[type[Text]] = Text

    seconds: float = 0.0
    mebibytes: int = 0

    def run(self, context: Context) -> Text:
        held = bytearray(self.mebibytes * 2**20)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(self.seconds)
        return Text(f"{len(held)} bytes")


@dataclass(frozen=True, eq=False, kw_only=True)
class Endless(Hog):
    """Has a limit of its own."""

    kind: ClassVar[str] = "endless"
    most_seconds: ClassVar[float | None] = 1.5


@dataclass(frozen=True, eq=False, kw_only=True)
class Odd(Job[Text]):
    """Fails with an unexpected error."""

    kind: ClassVar[str] = "odd"
    result: ClassVar[type[Text]] = Text

    settings: Mapping[str, Any]

    def run(self, context: Context) -> Text:
        return Text(self.settings["missing"])


@dataclass(frozen=True, eq=False, kw_only=True)
class Where(Job[Text]):
    """Reports facts about its process."""

    kind: ClassVar[str] = "where"
    result: ClassVar[type[Text]] = Text

    number: int

    def run(self, context: Context) -> Text:
        group = os.getpgid(0) == os.getpid()
        return Text(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']} {group} {'__main__' in sys.modules}")


class TwoArguments(DataError):
    """An error that cannot be unpickled: its class takes more than its message."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Unpicklable(Job[Text]):
    """Fails with such an error."""

    kind: ClassVar[str] = "unpicklable"
    result: ClassVar[type[Text]] = Text

    def run(self, context: Context) -> Text:
        raise TwoArguments("this", "that")


@dataclass(frozen=True, eq=False, kw_only=True)
class Orphan(Job[Text]):
    """Forks a child that holds all that the worker has open, writes its number, and ends the worker or not."""

    kind: ClassVar[str] = "orphan"
    result: ClassVar[type[Text]] = Text

    file: str
    ends: bool

    def run(self, context: Context) -> Text:
        child = os.fork()
        if not child:
            time.sleep(300)
            os._exit(0)
        Path(self.file).write_text(str(child), encoding="utf-8")
        if self.ends:
            os._exit(3)
        return Text(str(child))


@dataclass(frozen=True, eq=False, kw_only=True)
class Edits(Job[Text]):
    """Changes a module that it runs, while it runs."""

    kind: ClassVar[str] = "edits"
    result: ClassVar[type[Text]] = Text

    module: str

    def code(self) -> tuple[str, ...]:
        return (self.module,)

    def run(self, context: Context) -> Text:
        path = next(
            Path(folder) / f"{self.module}.py" for folder in sys.path if Path(folder, f"{self.module}.py").is_file()
        )
        path.write_text(path.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
        return Text("made by code that is no more")


class Log(Silent):
    """Records events, and which jobs ran concurrently."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.left_out: list[str] = []
        self.again: list[tuple[str, str]] = []
        self.beside: dict[str, list[str]] = {}

    def started(self, job: AnyJob) -> None:
        running = [label for label in self.begun if label not in (*self.ended, job.label)]
        self.beside[job.label] = running
        for label in running:
            self.beside[label].append(job.label)
        self.begun.append(job.label)

    def finished(self, job: AnyJob, outcome: Outcome) -> None:
        self.ended.append(job.label)

    def skipped(self, job: AnyJob) -> None:
        self.left_out.append(job.label)

    def repeated(self, job: AnyJob, reason: Exception) -> None:
        self.again.append((job.label, str(reason)))
        if job.label in self.begun:
            self.begun.remove(job.label)


def graph(*jobs: AnyJob) -> dict[Ref, AnyJob]:
    return {job.ref: job for job in jobs}


SIGKILL, SIGSEGV, SIGABRT = -signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT


@dataclass(frozen=True, eq=False, kw_only=True)
class Ask(Job[Text]):
    """What the function `answer` of a user's module returns."""

    kind: ClassVar[str] = "ask"
    result: ClassVar[type[Text]] = Text

    module: str
    again: int = 0

    def code(self) -> tuple[str, ...]:
        return (self.module,)

    def run(self, context: Context) -> Text:
        return Text(str(import_module(self.module).answer()))
