"""The agent's command line.

It prints one line of JSON on standard output: {"url", "pid"} once it serves, or {"error", "type"} where it cannot.
Whatever else is said, by C++ libraries too, goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from edgeaudit.agent import LEAST_TOKEN, MAX_BODY, RUNTIMES
from edgeaudit.errors import ArtifactError, DeviceError, EdgeAuditError

__all__ = ["TOKEN", "main"]

TOKEN = "EDGEAUDIT_AGENT_TOKEN"  # noqa: S105  the name of the variable
"""The environment variable with the token."""

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TFLITE_NUM_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until ended. Exit code 0, or 2 where nothing can be served."""
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")  # read once, when numpy is imported
    given = _parser().parse_args(arguments)
    with _announcements() as say:
        try:
            server = _server(given)
        except EdgeAuditError as exc:
            _tell(say, {"error": str(exc), "type": type(exc).__name__})
            return 2
        except ModuleNotFoundError as exc:
            _tell(say, {"error": f"this Python has no {exc.name}, which the agent needs", "type": "DeviceError"})
            return 2
        _tell(say, {"url": server.url, "pid": os.getpid()})
    if given.stdin:
        threading.Thread(target=_end_with_standard_input, daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
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
        "--stdin", action="store_true", help="read the token from standard input, and end when that is closed"
    )
    return parser


def _server(given: argparse.Namespace) -> Any:
    from edgeaudit.agent.routes import Routes
    from edgeaudit.agent.served import open_artifacts
    from edgeaudit.agent.server import AgentServer

    token = sys.stdin.readline().strip() if given.stdin else os.environ.pop(TOKEN, "")
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
