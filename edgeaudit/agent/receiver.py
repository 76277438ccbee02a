"""What runs first on the far side of ssh: it takes the agent and its artifacts in, starts the agent, or ends one.

Its text is sent over standard input to `python3 -c`, so it is on no command line and in no file there. It needs the
standard library alone, imports nothing of edgeaudit, and runs the agent in its own process: an emulated Python cannot
start another one.

It reads one line of JSON, {"do": "run" | "status" | "stop", ...}, and answers with lines of JSON. Where nothing comes
for two minutes the connection is dead, and everything is taken back.
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
from typing import IO, Any

__all__ = ["LOCK", "hold", "main"]

LOCK = "edgeaudit-agent.lock"
"""In every folder that was made for an agent. Whoever holds its lock runs there; it tells the pid and the port."""

_PREFIX = "edgeaudit-"
_AGENT = "edgeaudit-agent.pyz"
_HEAD_LIMIT = 1 << 24
_BLOCK = 1 << 20
_LOST = "the connection ended before everything was there"
_SILENCE_SECONDS = 120
_STALE_SECONDS = 3600.0
_END_SECONDS = 5.0
_POLL_SECONDS = 0.02


class _Refused(Exception):
    """Something cannot be done, in words."""


def main() -> int:
    """Do what one line of standard input asks. Exit code 0, or 2 where it could not be done."""
    os.umask(0o077)
    signal.signal(signal.SIGALRM, _silent)
    try:
        asked = json.loads(_line())
        if asked["do"] == "run":
            return _run(asked)
        if asked["do"] == "status":
            _say(_status(Path(asked["folder"])))
        else:
            _say(_stop_all(asked))
    except _Refused as exc:
        _say({"error": str(exc), "type": "DeviceError"})
        return 2
    except OSError as exc:
        _say({"error": f"{exc.filename or 'a file'}: {exc.strerror or exc}", "type": "DeviceError"})
        return 2
    return 0


def hold(folder: Path) -> IO[str] | None:
    """The folder's lock, held for as long as the file is open; None where an agent holds it.

    Raises `FileNotFoundError` where there is none.
    """
    file = (folder / LOCK).open("r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _run(asked: dict[str, Any]) -> int:
    """Take the files in and run the agent; its exit code. This is what `asked` has.

    files: [sha256, bytes, [paths in the folder]]; agent: the path of the agent among them; arguments: of the agent;
    serve: [name, path in the folder] of what it serves. keep: files stay, and what is there already is not sent again.
    stays: the agent goes on in the folder when this ends well. instead: folders of agents that this one replaces.
    """
    root = _root() if asked["keep"] else None
    for folder in asked["instead"]:
        _stop(Path(folder))
    _sweep(Path(tempfile.gettempdir()))
    if root is not None:
        (root / "agents").mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(root / "agents")
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=None if root is None else root / "agents"))
    good = False
    try:
        (folder / LOCK).write_text("{}", encoding="utf-8")
        _take_in(folder, folder / "files" if root is None else root / "files", asked["files"])
        if root is None:
            shutil.rmtree(folder / "files")
        _move_in(folder, caches=root is None)
        sys.stdin = io.StringIO(_line().decode())  # the token, which no command line and no environment ever has
        served = [f"{name}={folder / path}" for name, path in asked["serve"]]
        good = _agent_runs(folder / asked["agent"], [*asked["arguments"], *served])
        return 0 if good else 2
    finally:
        if not (good and asked["stays"]):
            shutil.rmtree(folder, ignore_errors=True)


def _move_in(folder: Path, *, caches: bool) -> None:
    """Have what the runtime writes beside the agent, so that it goes with the agent.

    onnxruntime 1.32 leaves a file `.ses` in TMPDIR and a database of telemetry in the user's cache. caches: those, too,
    and CUDA's compiled kernels; otherwise the user's are used.
    """
    beside = str(folder / "tmp")
    Path(beside).mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = beside
    if caches:
        os.environ["XDG_CACHE_HOME"] = os.environ["CUDA_CACHE_PATH"] = beside


def _agent_runs(path: Path, arguments: list[str]) -> bool:
    sys.argv = [str(path), *arguments]
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as ended:
        return not ended.code
    return True


def _take_in(folder: Path, store: Path, files: list[Any]) -> None:
    """Read what is missing in the store from standard input, and link all of it into the folder."""
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    missing = [digest for digest, _, _ in files if not _has(store / digest, digest)]
    _say({"folder": str(folder), "missing": missing, "python": "{}.{}.{}".format(*sys.version_info)})
    for digest, size, _ in files:
        if digest in missing:
            _receive(store / digest, digest, size)
    for digest, _, names in files:
        for name in names:
            if name.startswith("/") or ".." in name.split("/"):
                raise _Refused(f"'{name}' is no name for a file of an artifact")
            path = folder / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                os.link(str(store / digest), str(path))
            except OSError:  # a file system without links
                shutil.copyfile(str(store / digest), str(path))


def _has(path: Path, digest: str) -> bool:
    if not path.is_file():
        return False
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest() == digest


def _receive(path: Path, digest: str, size: int) -> None:
    """Into a file of another name, which gets its own when it is whole."""
    found = hashlib.sha256()
    source: Any = sys.stdin.buffer  # read1, which gives what has come, is not in its type
    handle, draft = tempfile.mkstemp(dir=str(path.parent), prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            while size:
                signal.alarm(_SILENCE_SECONDS)
                block = source.read1(min(size, _BLOCK))
                signal.alarm(0)
                if not block:
                    raise _Refused(_LOST)
                found.update(block)
                file.write(block)
                size -= len(block)
        if found.hexdigest() != digest:
            raise _Refused("a file changed while it was sent; try again")
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


def _silent(*_: object) -> None:
    raise _Refused(f"nothing came for {_SILENCE_SECONDS} seconds")


def _root() -> Path:
    """Where files stay: `edgeaudit/device` in the user's cache."""
    cached = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(cached) if Path(cached).is_absolute() else Path.home() / ".cache"
    return home / "edgeaudit" / "device"


def _is_ours(folder: Path) -> bool:
    """Whether it was made for an agent, by this user."""
    if not folder.name.startswith(_PREFIX) or not (folder / LOCK).is_file():
        return False
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _sweep(parent: Path) -> None:
    """Remove folders of agents that were killed or lost their power."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another one sweeps, too
            if not _is_ours(folder) or time.time() - folder.stat().st_mtime < _STALE_SECONDS:
                continue
            held = hold(folder)
            if held is not None:
                shutil.rmtree(str(folder), ignore_errors=True)
                held.close()


def _status(folder: Path) -> dict[str, Any]:
    """Whether an agent runs in the folder, and what it wrote of itself."""
    with contextlib.suppress(FileNotFoundError):
        if _is_ours(folder):
            held = hold(folder)
            if held is None:
                return {"running": True, "about": _about(folder)}
            held.close()
    return {"running": False, "about": {}}


def _about(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        about = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        if isinstance(about, dict):
            return about
    return {}


def _stop_all(asked: dict[str, Any]) -> dict[str, Any]:
    """End the agents in `folders`, or all that were left running; with `forget` also what was kept goes."""
    root = _root()
    if asked["folders"] is None:
        folders = sorted((root / "agents").glob(f"{_PREFIX}*"))
    else:
        folders = [Path(folder) for folder in asked["folders"]]
    stopped = [str(folder) for folder in folders if _stop(folder)]
    if asked["forget"] and root.is_dir():
        shutil.rmtree(str(root))
        with contextlib.suppress(OSError):
            root.parent.rmdir()  # it has other things in it where edgeaudit runs here, too
    return {"stopped": stopped}


def _stop(folder: Path) -> bool:
    """End the agent in the folder, if there is one, and remove the folder. Whether there was one."""
    if not _is_ours(folder):
        return False
    free = _free(folder)
    was_running = not free
    pid = _about(folder).get("pid")
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if free:
            break
        if isinstance(pid, int):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
        ends = time.monotonic() + _END_SECONDS
        while not free and time.monotonic() < ends:
            time.sleep(_POLL_SECONDS)
            free = _free(folder)
    if not free:
        raise _Refused(f"the agent in {folder} (process {pid}) does not end")
    shutil.rmtree(str(folder), ignore_errors=True)
    return was_running


def _free(folder: Path) -> bool:
    """Whether no agent runs in the folder, or there is no folder any more."""
    try:
        held = hold(folder)
    except FileNotFoundError:
        return True
    if held is not None:
        held.close()
    return held is not None


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
