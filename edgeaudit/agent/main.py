"""The agent's command line.

It prints one line of JSON on standard output: {"url", "pid"} once it serves, or {"error", "type"} if it cannot; with
`--facts` the properties that decide a runtime's outputs on this machine. All other output, also of C++ libraries, goes
to standard error.
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
from edgeaudit.agent.messages import AgentFacts, Failure, Serving
from edgeaudit.errors import ArtifactError, DeviceError, EdgeAuditError, MissingToolchain

__all__ = ["TOKEN", "main"]

TOKEN = "EDGEAUDIT_AGENT_TOKEN"  # noqa: S105  the name of the variable
"""Environment variable with the token."""

T = TypeVar("T")

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TFLITE_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped. Exit code 0, or 2 if nothing can be served."""
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")  # read only when numpy is imported
    parsed = _parsed(arguments)
    token = "" if parsed.facts else _read_token(parsed)
    with _announcements() as announcements:
        if parsed.facts:
            facts = _attempt(announcements, lambda: _facts(parsed.runtime))
            if facts is not None:
                _announce(announcements, facts)
            return 2 if facts is None else 0
        if parsed.lease is not None:
            _serve_leased(parsed, token, announcements)
        server = _attempt(announcements, lambda: _server(parsed, token))
        if server is None:
            return 2
        _announce(announcements, {"url": server.url, "pid": os.getpid()})
    if parsed.stdin:
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
        "--stdin from the first line of standard input. It is not an argument, since other users can see those.",
    )
    parser.add_argument(
        "artifacts",
        nargs="*",
        metavar="[NAME=]FOLDER",
        help="a folder with manifest.json and its file; without one, only the fingerprint is served",
    )
    parser.add_argument("--runtime", required=True, choices=sorted(RUNTIMES), help="the runtime that serves them")
    parser.add_argument("--options", default="{}", metavar="JSON", help='options of the runtime, as in {"batch": 1}')
    parser.add_argument("--port", type=int, default=0, help="default: any free port")
    parser.add_argument("--max-body", type=int, default=MAX_BODY, metavar="BYTES", help=f"default {MAX_BODY}")
    parser.add_argument(
        "--stdin",
        action="store_true",
        help="read the token from standard input, and exit when it is closed, unless there is a lease",
    )
    parser.add_argument(
        "--lease",
        type=_seconds,
        metavar="SECONDS",
        help="serve in the background, and exit when no authorized request came for that long",
    )
    parser.add_argument("--remove", action="store_true", help="with --lease: remove the agent's folder at exit")
    parser.add_argument("--facts", action="store_true", help="describe this machine and the runtime, and serve nothing")
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= LONGEST_LEASE:
        raise argparse.ArgumentTypeError(f"a lease must be more than 0 and at most {LONGEST_LEASE:.0f} seconds")
    return seconds


def _serve_leased(parsed: argparse.Namespace, token: str, announcements: TextIO) -> NoReturn:
    """Serve in a background process. This process exits once the other has announced itself."""
    from edgeaudit.agent.lease import Home, detach, serve_leased, silence

    home = Path(sys.argv[0]).resolve().parent
    parsed.artifacts = [_absolute(text) for text in parsed.artifacts]
    announcements = detach(announcements)
    try:
        started = _attempt(announcements, lambda: (Home(home, remove=parsed.remove), _server(parsed, token)))
        if started is not None:
            about: Serving = {"url": started[1].url, "pid": os.getpid()}
            started[0].write_status({**about, "models": sorted(_folders(parsed.artifacts))})
            _announce(announcements, about)
            announcements.close()
            silence()
            serve_leased(started[1], parsed.lease, started[0])
    except Exception:  # noqa: BLE001  the parent is gone; the caller's frames are its copy
        traceback.print_exc()
    finally:
        os._exit(2)


def _absolute(text: str) -> str:
    name, equals, folder = text.partition("=")
    return f"{name}={Path(folder).resolve()}" if equals else str(Path(text).resolve())


def _read_token(parsed: argparse.Namespace) -> str:
    return sys.stdin.readline().strip() if parsed.stdin else os.environ.pop(TOKEN, "")


def _facts(runtime: str) -> AgentFacts:
    from edgeaudit.agent.fingerprint import agent_version, machine
    from edgeaudit.agent.served import runtime_class

    return {"agent": agent_version(), **machine(), "versions": runtime_class(runtime).spec.installed()}


def _server(parsed: argparse.Namespace, token: str) -> Any:
    from edgeaudit.agent.routes import Routes
    from edgeaudit.agent.served import open_artifacts
    from edgeaudit.agent.server import AgentServer

    if len(token) < LEAST_TOKEN or not token.isascii():
        where = "standard input" if parsed.stdin else f"the environment variable {TOKEN}"
        raise DeviceError(f"the token from {where} must be {LEAST_TOKEN} ASCII characters or more")
    options = _options(parsed.options)
    models = open_artifacts(parsed.runtime, options, _folders(parsed.artifacts))
    try:
        return AgentServer(Routes(parsed.runtime, models, options), token, parsed.port, parsed.max_body)
    except (OSError, OverflowError) as exc:
        raise DeviceError(f"the port {parsed.port} cannot be used: {exc}") from exc


def _options(text: str) -> dict[str, object]:
    try:
        options = json.loads(text)
    except ValueError as exc:
        raise ArtifactError(f"--options is not JSON: {exc}") from exc
    if not isinstance(options, dict):
        raise ArtifactError('--options must be a JSON object, as in {"batch": 1}')
    return options


def _folders(texts: Sequence[str]) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        path = Path(folder if equals else text)
        name = name if equals else path.resolve().name
        if name in folders:
            raise ArtifactError(f"two artifacts are named '{name}'; rename them: NAME=FOLDER")
        folders[name] = path
    return folders


def _announcements() -> TextIO:
    """Reserve standard output for the announcement: all other writes to it now go to standard error."""
    sys.stdout.flush()
    announcements = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return announcements


def _attempt(announcements: TextIO, do: Callable[[], T]) -> T | None:
    """The result of the call; None if it failed, and the error is announced."""
    try:
        return do()
    except EdgeAuditError as exc:
        _announce(announcements, {"error": str(exc), "type": type(exc).__name__})
    except ModuleNotFoundError as exc:
        error = f"the agent needs {exc.name}, which this Python does not have"
        _announce(announcements, {"error": error, "type": MissingToolchain.__name__})
    return None


def _announce(announcements: TextIO, message: AgentFacts | Serving | Failure) -> None:
    announcements.write(json.dumps(message) + "\n")
    announcements.flush()


def _end_with_standard_input() -> None:
    """Exit when the process that started the agent exits: the operating system then closes the pipe."""
    while sys.stdin.read(1 << 12):
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
