"""The agent's command line.

It prints one line of JSON on standard output: {"url", "pid"} once it serves, or {"error", "type"} where it cannot; with
`--facts` what decides a runtime's answers on this machine. Whatever else is said, by C++ libraries too, goes to
standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

from edgeaudit.agent import LEAST_TOKEN, LONGEST_LEASE, MAX_BODY, RUNTIMES
from edgeaudit.errors import ArtifactError, DeviceError, EdgeAuditError, MissingToolchain

__all__ = ["TOKEN", "main"]

TOKEN = "EDGEAUDIT_AGENT_TOKEN"  # noqa: S105  the name of the variable
"""The environment variable with the token."""

T = TypeVar("T")

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TFLITE_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until ended. Exit code 0, or 2 where nothing can be served."""
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")  # read once, when numpy is imported
    given = _parsed(arguments)
    token = "" if given.facts else _read_token(given)
    with _announcements() as say:
        if given.facts:
            found = _attempt(say, lambda: _facts(given.runtime))
            if found is not None:
                _tell(say, found)
            return 2 if found is None else 0
        if given.lease is not None:
            _serve_leased(given, token, say)
        server = _attempt(say, lambda: _server(given, token))
        if server is None:
            return 2
        _tell(say, {"url": server.url, "pid": os.getpid()})
    if given.stdin:
        threading.Thread(target=_end_with_standard_input, daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    return 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edgeaudit-agent",
        description="Serve artifacts over the Open Inference Protocol v2 (REST), on the loopback interface only.",
        epilog=f"The token, {LEAST_TOKEN} characters or more, comes from the environment variable {TOKEN}, or with "
        "--stdin from the first line of standard input. It is no argument, since everybody can read those.",
    )
    parser.add_argument(
        "artifacts",
        nargs="*",
        metavar="[NAME=]FOLDER",
        help="a folder with manifest.json and its file; without any, only the fingerprint is served",
    )
    parser.add_argument("--runtime", required=True, choices=sorted(RUNTIMES), help="what serves them")
    parser.add_argument("--options", default="{}", metavar="JSON", help='of the runtime, as in {"batch": 1}')
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--max-body", type=int, default=MAX_BODY, metavar="BYTES", help=f"default {MAX_BODY}")
    parser.add_argument(
        "--stdin",
        action="store_true",
        help="read the token from standard input, and end when that is closed, unless there is a lease",
    )
    parser.add_argument(
        "--lease",
        type=_seconds,
        metavar="SECONDS",
        help="serve in the background, and end when nobody who has the token asked for so long",
    )
    parser.add_argument("--remove", action="store_true", help="with --lease: remove the agent's own folder at the end")
    parser.add_argument("--facts", action="store_true", help="tell of this machine and the runtime, and serve nothing")
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= LONGEST_LEASE:
        raise argparse.ArgumentTypeError(f"a lease takes more than 0 and at most {LONGEST_LEASE:.0f} seconds")
    return seconds


def _serve_leased(given: argparse.Namespace, token: str, say: TextIO) -> NoReturn:
    """Serve in a process of its own. This one ends, as the other one announced itself."""
    from edgeaudit.agent.lease import Home, detach, serve_leased, silence

    home = Path(sys.argv[0]).resolve().parent
    given.artifacts = [_absolute(text) for text in given.artifacts]
    say = detach(say)
    try:
        started = _attempt(say, lambda: (Home(home, remove=given.remove), _server(given, token)))
        if started is not None:
            about = {"url": started[1].url, "pid": os.getpid()}
            started[0].tell({**about, "models": sorted(_folders(given.artifacts))})
            _tell(say, about)
            say.close()
            silence()
            serve_leased(started[1], given.lease, started[0])
    except Exception:  # noqa: BLE001  whoever started this has gone; its caller's frames are a copy
        traceback.print_exc()
    finally:
        os._exit(2)


def _absolute(text: str) -> str:
    name, equals, folder = text.partition("=")
    return f"{name}={Path(folder).resolve()}" if equals else str(Path(text).resolve())


def _read_token(given: argparse.Namespace) -> str:
    return sys.stdin.readline().strip() if given.stdin else os.environ.pop(TOKEN, "")


def _facts(runtime: str) -> dict[str, Any]:
    from edgeaudit.agent.fingerprint import agent_version, machine
    from edgeaudit.agent.served import runtime_class

    return {"agent": agent_version(), **machine(), "versions": runtime_class(runtime).spec.installed()}


def _server(given: argparse.Namespace, token: str) -> Any:
    from edgeaudit.agent.routes import Routes
    from edgeaudit.agent.served import open_artifacts
    from edgeaudit.agent.server import AgentServer

    if len(token) < LEAST_TOKEN or not token.isascii():
        where = "standard input" if given.stdin else f"the environment variable {TOKEN}"
        raise DeviceError(f"the token from {where} must be {LEAST_TOKEN} ASCII characters or more")
    options = _options(given.options)
    models = open_artifacts(given.runtime, options, _folders(given.artifacts))
    try:
        return AgentServer(Routes(given.runtime, models, options), token, given.port, given.max_body)
    except (OSError, OverflowError) as exc:
        raise DeviceError(f"the port {given.port} cannot be had: {exc}") from exc


def _options(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except ValueError as exc:
        raise ArtifactError(f"--options is not JSON: {exc}") from exc
    if not isinstance(options, dict):
        raise ArtifactError('--options is a JSON object, as in {"batch": 1}')
    return options


def _folders(texts: Sequence[str]) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        path = Path(folder if equals else text)
        name = name if equals else path.resolve().name
        if name in folders:
            raise ArtifactError(f"two artifacts are called '{name}'; name them: NAME=FOLDER")
        folders[name] = path
    return folders


def _announcements() -> TextIO:
    """Standard output for our own line alone: what writes to it from now on reaches standard error."""
    sys.stdout.flush()
    mine = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return mine


def _attempt(say: TextIO, do: Callable[[], T]) -> T | None:
    """What it returns; None where it failed, which is announced."""
    try:
        return do()
    except EdgeAuditError as exc:
        _tell(say, {"error": str(exc), "type": type(exc).__name__})
    except ModuleNotFoundError as exc:
        error = f"this Python has no {exc.name}, which the agent needs"
        _tell(say, {"error": error, "type": MissingToolchain.__name__})
    return None


def _tell(say: TextIO, message: dict[str, Any]) -> None:
    say.write(json.dumps(message) + "\n")
    say.flush()


def _end_with_standard_input() -> None:
    """Whoever started the agent holds the other end; the system closes it when that process ends, however it ends."""
    while sys.stdin.read(1 << 12):
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
