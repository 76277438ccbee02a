"""Confined workers: those that open files of others have no network, few variables, a private home, and bounds.

A parser of model files is native code that a crafted file may take over. What it can then reach is what this module
takes away. The files that the user may read stay readable, since the worker needs the store and the packages; written
are the store and the private home alone (Landlock, Linux 5.19 and later).

Standard library only: the worker runs `confine` before it imports anything else, because a user namespace can be made
only by a process with one thread. `python confinement.py` tries it and ends with 0, or says why it cannot.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import shutil
import signal
import site
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = [
    "USER_CACHE", "Bounds", "bounds_of", "bytes_below", "confine", "described", "environment_of",
    "network_problem", "remove", "write_problem",
]  # fmt: skip

USER_CACHE = "EDGEAUDIT_USER_CACHE"
"""Names the user's own cache to a worker whose home is another; see `edgeaudit.devices.folders`."""

_NAMES = frozenset(
    (
        "PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD", "CI", "TQDM_DISABLE", "CUDA_VISIBLE_DEVICES",
        "GLIBC_TUNABLES", "QEMU_LD_PREFIX",
    )
)  # fmt: skip
_BEGINNINGS = (
    "LC_", "PYTHON", "EDGEAUDIT_", "COV", "OMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "MALLOC_", "ATEN_",
    "ONEDNN_", "DNNL_", "TFLITE_", "TF_CPP_", "TF_ENABLE_", "LITERT_", "ORT_", "NNCF_",
)  # fmt: skip
"""Variables that change how runtimes compute, print and find their libraries, and what measures coverage."""
_SECRET = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "_KEY")

_MEMORY, _TIMES = 6 * 2**30, 10
"""Resident bytes of a job that opens a file, and for each byte of it."""
_DATA_TIMES, _LEAST_DATA = 3, 4 * 2**30
"""Bytes that may be allocated for each resident one where a job states no need of its own: toolchains reserve more than
they use."""

_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_NO_NEW_PRIVILEGES = 38
_CAPABILITIES_3 = 0x20080522
_OF_FILES = 0b11111
"""CAP_CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID: with which root reads and writes its store."""
_UP, _GET_FLAGS, _SET_FLAGS = 0x1, 0x8913, 0x8914

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Landlock's system calls, the same numbers on every architecture."""
_ASK_VERSION, _PATH_BENEATH = 1, 1
_FIRST_VERSION = 2
"""The one that can allow a file to be moved to another folder; the first denies that everywhere."""
_WRITES = 1 << 1 | sum(1 << bit for bit in range(4, 14))
"""LANDLOCK_ACCESS_FS_WRITE_FILE, REMOVE_*, MAKE_*, and REFER, which is moving to another folder."""
_TRUNCATE, _FIRST_WITH_TRUNCATE = 1 << 14, 3
_OF_FILES_ALONE = 1 << 1 | _TRUNCATE
_DEVICES = ("/dev/null", "/dev/shm")  # noqa: S108
"""Written by libraries: output that nobody reads, and memory shared with threads."""


@dataclass(frozen=True)
class Bounds:
    """What a job may use.

    memory: resident bytes, watched by the supervisor. data: bytes allocated; seconds: of the processor, None for no
    bound; the system enforces these two, and both are on top of what the worker has taken before.
    """

    memory: int
    data: int
    seconds: float | None

    def set(self, process: int) -> None:
        """Bound a worker from now on. Soft limits, since the next job may do more.

        Does nothing where the system has no limits of other processes.
        """
        if not hasattr(resource, "prlimit"):
            return
        seconds = resource.RLIM_INFINITY if self.seconds is None else int(_used(process) + self.seconds) + 1
        with suppress(OSError, ValueError):  # the worker has ended, which is noticed when its answer is read
            data = _allocated(process) + self.data
            for limit, most in ((resource.RLIMIT_DATA, data), (resource.RLIMIT_CPU, seconds)):
                _, hard = resource.prlimit(process, limit)
                fits = most if hard == resource.RLIM_INFINITY or most < hard else hard
                resource.prlimit(process, limit, (fits, hard))


def bounds_of(opened: int, memory: int | None, seconds: float | None, needed: int | None = None) -> Bounds:
    """The bounds of a job.

    opened: bytes of the files that it opens. memory: what the user allows; without it, ten times `opened` and what the
    job needs apart from that. seconds: wall time that the job may take; None for no limit. needed: bytes that the job
    needs for whatever file, which then bound what it allocates, too; None where that is not known.
    """
    most = (_MEMORY if needed is None else needed) + _TIMES * opened if memory is None else memory
    data = max(_DATA_TIMES * most, _LEAST_DATA) if needed is None else most
    return Bounds(most, data, None if seconds is None else 2 * seconds)


def bytes_below(paths: Iterable[Path]) -> int:
    """Bytes of files, and of all files in folders; what cannot be read counts as nothing."""
    total = 0
    for path in paths:
        with suppress(OSError):
            if not path.is_dir():
                total += path.stat().st_size
                continue
        for folder, _, names in os.walk(path):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118  there may be millions
    return total


def environment_of(variables: Mapping[str, str], home: Path) -> dict[str, str]:
    """The variables that a confined worker gets. home: its empty private folder."""
    kept = {
        name: value
        for name, value in variables.items()
        if (name in _NAMES or name.startswith(_BEGINNINGS)) and not any(word in name.upper() for word in _SECRET)
    }
    cached = variables.get("XDG_CACHE_HOME", "")
    if not Path(cached).is_absolute():
        cached = str(Path(variables.get("HOME") or "/") / ".cache")
    places = dict.fromkeys(("HOME", "TMPDIR"), str(home))
    # Packages that pip installed for this user alone are looked for in the home.
    return {"PYTHONUSERBASE": site.getuserbase(), USER_CACHE: cached, **kept, **places}


def confine(written: Iterable[str] | None = None, *, network: bool = False) -> None:
    """Give up the network and the means to get it back; called by a process with one thread.

    written: folders below which files may be written from now on, by this process and those that it starts; None for
    no such limit, as where the system cannot set one. network: keep the network, where no namespace can be had. Raises
    OSError where what is asked for cannot be had after all.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if not network:
        _leave_network(libc)
    _call(libc, "prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _drop_capabilities(libc)
    if written is not None:
        _write_only_below(libc, (*written, *_DEVICES))


def described() -> str:
    """One sentence for reports: how files of others were opened."""
    kept = ["a private home", "bounded memory"]
    missing = []
    if (problem := network_problem()) is None:
        kept.insert(0, "no network")
    else:
        missing.append(f"with this machine's network, since the system gives no network namespace ({problem})")
    if (problem := write_problem()) is None:
        kept.append("no right to write outside of the store")
    else:
        missing.append(f"with its user's right to write ({problem})")
    words = f"opened in processes of their own with {', '.join(kept[:-1])} and {kept[-1]}"
    return f"{words}, but {' and '.join(missing)}" if missing else words


@cache
def write_problem() -> str | None:
    """Why this system cannot limit where a process writes; None if it can."""
    if not sys.platform.startswith("linux"):
        return f"{sys.platform} has no Landlock"
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    if version >= _FIRST_VERSION:
        return None
    return "Landlock is of its first version" if version > 0 else f"no Landlock: {os.strerror(ctypes.get_errno())}"


@cache
def network_problem() -> str | None:
    """Why this process cannot start one without network; None if it can. Another process tries, once."""
    if not sys.platform.startswith("linux"):
        return f"{sys.platform} has none"
    try:
        tried = subprocess.run(  # noqa: S603  our own interpreter and file
            [sys.executable, "-I", "-S", __file__], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return str(exc)
    if tried.returncode == 0:
        return None
    return (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]


def _leave_network(libc: ctypes.CDLL) -> None:
    """An empty network namespace of this process's own, in which only the loopback of its children is up."""
    user, group = os.geteuid(), os.getegid()
    try:
        _call(libc, "unshare", _NEWNET)
    except OSError as exc:
        if exc.errno != errno.EPERM:
            raise
        _call(libc, "unshare", _NEWUSER | _NEWNET)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, _GET_FLAGS, request))[1]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled", ctypes.c_uint64),)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def _write_only_below(libc: ctypes.CDLL, paths: Iterable[str]) -> None:
    """Deny this process, and those that it starts, every write outside of these folders and files."""
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    handled = _WRITES | (_TRUNCATE if version >= _FIRST_WITH_TRUNCATE else 0)
    asked = _Ruleset(handled)
    size = ctypes.c_size_t(ctypes.sizeof(asked))
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(asked), size, ctypes.c_uint32(0))
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    try:
        for path in paths:
            with suppress(FileNotFoundError):
                opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
                try:
                    rights = handled if Path(path).is_dir() else handled & _OF_FILES_ALONE
                    rule = _Beneath(rights, opened)
                    _call(libc, "syscall", _ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), ctypes.c_uint32(0))
                finally:
                    os.close(opened)
        _call(libc, "syscall", _RESTRICT_SELF, ruleset, ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Keep those of root that concern files, without which it cannot read its own store; none in a user namespace."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then their upper halves
    _call(libc, "capget", header, sets)
    kept = _OF_FILES if os.geteuid() == 0 else 0
    _call(libc, "capset", header, (ctypes.c_uint32 * 6)(sets[0] & kept, sets[1] & kept, 0, 0, 0, 0))


def _call(libc: ctypes.CDLL, name: str, *arguments: object) -> None:
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _allocated(process: int) -> int:
    """Bytes that count for RLIMIT_DATA; 0 where the system does not say."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    found = next((line for line in status.splitlines() if line.startswith("VmData:")), "VmData: 0 kB")
    return int(found.split()[1]) * 1024


def _used(process: int) -> float:
    """Seconds of the processor that a process has used."""
    text = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def remove(folder: Path) -> None:
    """Remove a private home, also where a job has taken away rights in it."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    for place, names, _ in os.walk(folder):
        for name in names:
            with suppress(OSError):
                Path(place, name).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _try() -> int:
    try:
        confine()
    except OSError as exc:
        sys.stderr.write(f"{exc.strerror or exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    signal.alarm(30)
    raise SystemExit(_try())
