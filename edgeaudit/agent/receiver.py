"""The first program to run on a device over ssh: it receives and starts the agent, reports its status, or stops it.

Its source is sent over standard input to `python3 -c`, so it is on no command line and in no file there. It needs only
the standard library, imports nothing of edgeaudit, and runs the agent in its own process: an emulated Python cannot
start another one.

It reads one line of JSON, {"do": "run" | "status" | "stop", ...}, and responds with lines of JSON; their types are in
`edgeaudit.agent.messages`. After two minutes without input it assumes that the connection is dead, and cleans up.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import runpy
import shutil
import signal
import stat
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:  # nothing of edgeaudit is there where this runs
    from edgeaudit.agent.messages import Failure, Place, Request, RunRequest, Status, StatusFile, Stopped, StopRequest

__all__ = ["LOCK", "hold", "main"]

LOCK = "edgeaudit-agent.lock"
"""The lock file in an agent's folder. The running agent holds its lock; it contains the process ID and the URL."""

_PREFIX = "edgeaudit-"
_AGENT = "edgeaudit-agent.pyz"
_HEAD_LIMIT = 1 << 24
_BLOCK = 1 << 20
_LOST = "the connection was closed before all data arrived"
_SILENCE_SECONDS = 120
_STALE_SECONDS = 3600.0
_END_SECONDS = 5.0
_POLL_SECONDS = 0.02


class _Refused(Exception):
    """A request that cannot be fulfilled; the message says why."""


def main() -> int:
    """Handle the request on standard input. Exit code 0, or 2 on failure."""
    os.umask(0o077)
    signal.signal(signal.SIGALRM, _on_timeout)
    try:
        request: Request = json.loads(_line())
        if request["do"] == "run":
            return _run(request)
        if request["do"] == "status":
            _say(_status(Path(request["folder"])))
        else:
            _say(_stop_all(request))
    except _Refused as exc:
        _say({"error": str(exc), "type": "DeviceError"})
        return 2
    except OSError as exc:
        _say({"error": f"{exc.filename or 'a file'}: {exc.strerror or exc}", "type": "DeviceError"})
        return 2
    return 0


def hold(folder: Path) -> IO[str] | None:
    """Acquire the folder's lock, held while the returned file is open; None if an agent holds it.

    Raises `FileNotFoundError` if there is no lock file.
    """
    file = (folder / LOCK).open("r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _run(request: RunRequest) -> int:
    """Receive the files and run the agent; returns its exit code."""
    root = _root() if request["keep"] else None
    for earlier in request["instead"]:
        _stop(Path(earlier))
    _sweep(Path(tempfile.gettempdir()))
    if root is not None:
        (root / "agents").mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(root / "agents")
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=None if root is None else root / "agents"))
    started = False
    try:
        (folder / LOCK).write_text("{}", encoding="utf-8")
        _receive_files(folder, folder / "files" if root is None else root / "files", request["files"])
        if root is None:
            shutil.rmtree(folder / "files")
        _redirect_caches(folder, caches=root is None)
        sys.stdin = io.StringIO(
            _line().decode()
        )  # the token, which never appears on a command line or in the environment
        served = [f"{name}={folder / path}" for name, path in request["serve"]]
        _require_unchanged(folder / request["agent"], request)
        started = _run_agent(folder / request["agent"], [*request["arguments"], *served])
        return 0 if started else 2
    finally:
        if not (started and request["stays"]):
            shutil.rmtree(folder, ignore_errors=True)


def _redirect_caches(folder: Path, *, caches: bool) -> None:
    """Redirect temporary files of the runtime to the agent's folder, so that they are removed with it.

    onnxruntime 1.32 leaves a file `.ses` in TMPDIR and a telemetry database in the user's cache. caches: also redirect
    the cache and CUDA's compiled kernels; otherwise the user's are used.
    """
    scratch = str(folder / "tmp")
    Path(scratch).mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = scratch
    if caches:
        os.environ["XDG_CACHE_HOME"] = os.environ["CUDA_CACHE_PATH"] = scratch


def _require_unchanged(agent: Path, request: RunRequest) -> None:
    """Refuse to run another agent than the one that was sent: others may have changed kept files, or links to them."""
    digests = [digest for digest, _, names in request["files"] if request["agent"] in names]
    if len(digests) != 1 or not _has(agent, digests[0]):
        raise _Refused(f"{agent} does not have the SHA-256 of the agent that was sent, so it was not run; try again")


def _run_agent(path: Path, arguments: list[str]) -> bool:
    sys.argv = [str(path), *arguments]
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as ended:
        return not ended.code
    return True


def _receive_files(folder: Path, store: Path, files: list[tuple[str, int, list[str]]]) -> None:
    """Read missing files from standard input into the store, and link all files into the folder."""
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    missing = [digest for digest, _, _ in files if not _has(store / digest, digest)]
    _say({"folder": str(folder), "missing": missing, "python": "{}.{}.{}".format(*sys.version_info)})
    for digest, size, _ in files:
        if digest in missing:
            _receive(store / digest, digest, size)
    for digest, _, names in files:
        for name in names:
            if name.startswith("/") or ".." in name.split("/"):
                raise _Refused(f"'{name}' is not a valid path for an artifact's file")
            path = folder / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                os.link(str(store / digest), str(path))
            except OSError:  # the file system has no links
                shutil.copyfile(str(store / digest), str(path))


def _has(path: Path, digest: str) -> bool:
    if not path.is_file():
        return False
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest() == digest


def _receive(path: Path, digest: str, size: int) -> None:
    """Write to a temporary file and rename it when it is complete."""
    hasher = hashlib.sha256()
    source: Any = sys.stdin.buffer  # read1, which returns available data, is missing in its type
    handle, draft = tempfile.mkstemp(dir=str(path.parent), prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            while size:
                signal.alarm(_SILENCE_SECONDS)
                block = source.read1(min(size, _BLOCK))
                signal.alarm(0)
                if not block:
                    raise _Refused(_LOST)
                hasher.update(block)
                file.write(block)
                size -= len(block)
        if hasher.hexdigest() != digest:
            raise _Refused("a file changed during the transfer; try again")
        Path(draft).replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(draft).unlink()


def _line() -> bytes:
    signal.alarm(_SILENCE_SECONDS)
    line = sys.stdin.buffer.readline(_HEAD_LIMIT)
    signal.alarm(0)
    if not line.endswith(b"\n"):
        raise _Refused(_LOST)
    return line


def _on_timeout(*_: object) -> None:
    raise _Refused(f"no data for {_SILENCE_SECONDS} seconds")


def _root() -> Path:
    """The folder of kept files: `edgeaudit/device` in the user's cache."""
    cached = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(cached) if Path(cached).is_absolute() else Path.home() / ".cache"
    return home / "edgeaudit" / "device"


def _is_ours(folder: Path) -> bool:
    """Whether the folder was created for an agent, by this user."""
    if not folder.name.startswith(_PREFIX) or not (folder / LOCK).is_file():
        return False
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _sweep(parent: Path) -> None:
    """Remove folders of agents that were killed or lost power."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process may sweep, too
            if not _is_ours(folder) or time.time() - folder.stat().st_mtime < _STALE_SECONDS:
                continue
            lock = hold(folder)
            if lock is not None:
                shutil.rmtree(str(folder), ignore_errors=True)
                lock.close()


def _status(folder: Path) -> Status:
    """Whether an agent runs in the folder, and its status file."""
    with contextlib.suppress(FileNotFoundError):
        if _is_ours(folder):
            lock = hold(folder)
            if lock is None:
                return {"running": True, "about": _about(folder)}
            lock.close()
    return {"running": False, "about": {}}


def _about(folder: Path) -> StatusFile:
    with contextlib.suppress(OSError, ValueError):
        about: StatusFile = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        if isinstance(about, dict):
            return about
    return {}


def _stop_all(request: StopRequest) -> Stopped:
    """Stop the agents in `folders`, or all that were left running; with `forget` also remove kept files."""
    root = _root()
    if request["folders"] is None:
        folders = sorted((root / "agents").glob(f"{_PREFIX}*"))
    else:
        folders = [Path(folder) for folder in request["folders"]]
    stopped = [str(folder) for folder in folders if _stop(folder)]
    if request["forget"] and root.is_dir():
        shutil.rmtree(str(root))
        with contextlib.suppress(OSError):
            root.parent.rmdir()  # not empty if edgeaudit itself runs here, too
    return {"stopped": stopped}


def _stop(folder: Path) -> bool:
    """Stop the agent in the folder, if any, and remove the folder; returns whether an agent was running."""
    if not _is_ours(folder):
        return False
    free = _free(folder)
    was_running = not free
    pid = _about(folder).get("pid")
    for kill_signal in (signal.SIGTERM, signal.SIGKILL):
        if free:
            break
        if isinstance(pid, int):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, kill_signal)
        deadline = time.monotonic() + _END_SECONDS
        while not free and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            free = _free(folder)
    if not free:
        raise _Refused(f"the agent in {folder} (process {pid}) does not exit")
    shutil.rmtree(str(folder), ignore_errors=True)
    return was_running


def _free(folder: Path) -> bool:
    """Whether no agent runs in the folder, or the folder is gone."""
    try:
        lock = hold(folder)
    except FileNotFoundError:
        return True
    if lock is not None:
        lock.close()
    return lock is not None


def _say(message: Place | Status | Stopped | Failure) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
