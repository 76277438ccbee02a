"""Folders that are named after their process, so that what a killed process left behind is told and removed."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

__all__ = ["PLACES", "is_older", "make_scratch", "owner_lives", "owner_name", "scratch", "sweep_scratch", "this_host"]

_PREFIX = "edgeaudit-"
PLACES = ("/tmp",)  # noqa: S108
"""Where there are scratch folders beside those in TMPDIR: paths of sockets have to be short."""
_FOREIGN = 7 * 86_400
"""Seconds after which a folder of another host is taken to be abandoned."""


@cache
def this_host() -> str:
    """12 hex digits that identify the scope of process ids: this host and boot, or this container."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def owner_name(pid: int) -> str:
    """`<host>-<pid>-<started>`, in whole seconds since the epoch.

    A process id alone does not identify a process: ids are reused, and a killed process keeps its id until its parent
    reaps it, which some init processes never do.
    """
    import psutil  # boards lack it

    return f"{this_host()}-{pid}-{int(psutil.Process(pid).create_time())}"


def is_older(path: Path, seconds: float) -> bool:
    """Whether the file was last modified longer ago; False if that is unknown."""
    try:
        return time.time() - path.lstat().st_mtime > seconds
    except OSError:
        return False


def owner_lives(path: Path, name: str | None = None) -> bool:
    """Whether the process that a folder is named after is still running, as far as can be known.

    name: `owner_name` and what follows it; by default the folder's name. A name without an owner has none that lives.
    Of a process of another host nothing can be known from here: it lives until its folder is seven days old.
    """
    host, _, rest = (path.name if name is None else name).partition("-")
    pid, _, rest = rest.partition("-")
    started = rest.partition("-")[0]
    if not (pid.isdecimal() and started.isdecimal()):
        return False
    if host != this_host():
        return not is_older(path, _FOREIGN)
    import psutil

    try:
        process = psutil.Process(int(pid))
        # Within two seconds: the system clock, from which start times are derived, may be adjusted.
        same = abs(process.create_time() - int(started)) < 2
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def make_scratch(place: Path | None = None) -> Path:
    """Make an empty folder that only its owner can open, among temporary files (TMPDIR) or in another place.

    Within a scratch folder, which goes as a whole, its name is short: paths of sockets may have 100 bytes or so.
    Without psutil, as on a board, it is not named after the process; the agent's temporary files go with its folder.

    Raises `OSError` where there is no place for one.
    """
    within = place or Path(tempfile.gettempdir())
    if _owner_in(within.name) is not None:
        return Path(tempfile.mkdtemp(prefix="s", dir=within))
    try:
        owner = owner_name(os.getpid())
    except ImportError:
        return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=within))
    folder = within / f"{_PREFIX}{owner}-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    return folder


def _owner_in(name: str) -> str | None:
    """What a scratch folder's name has after the prefix; None for a folder of another kind, or of another program."""
    rest = name.removeprefix(_PREFIX)
    parts = rest.split("-")
    if rest == name or len(parts) != 4 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        return None
    return rest


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of `make_scratch` that is removed with the block."""
    folder = make_scratch()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch() -> None:
    """Remove the scratch folders of processes of this user that have ended, as one that was killed leaves them."""
    for place in dict.fromkeys((tempfile.gettempdir(), *PLACES)):
        with suppress(OSError):
            for path in Path(place).glob(f"{_PREFIX}*-*-*-*"):
                _sweep(path)


def _sweep(path: Path) -> None:
    name = _owner_in(path.name)
    if name is None:
        return
    with suppress(OSError):
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not owner_lives(path, name):
            shutil.rmtree(path, ignore_errors=True)
