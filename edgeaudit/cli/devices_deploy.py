"""The verb `devices deploy`."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeaudit.agent import LONGEST_LEASE
from edgeaudit.cli import completion
from edgeaudit.cli.console import Console
from edgeaudit.cli.options import RunStoreOption
from edgeaudit.devices.folders import cache_root
from edgeaudit.devices.ssh.link import require_address
from edgeaudit.errors import ArtifactError, DeviceError, DeviceLost, RunError, did_you_mean, store_errors
from edgeaudit.runtimes.registry import default_runtime
from edgeaudit.scratch import scratch

if TYPE_CHECKING:
    from edgeaudit.devices.ssh.transport import SshSession
    from edgeaudit.endpoint import Endpoint
    from edgeaudit.filetypes.artifact import Kind

__all__ = ["deploy"]

_TOKEN = "EDGEAUDIT_TOKEN"  # noqa: S105  the name of the variable in the lines that are printed
_LOOK_SECONDS = 20.0
_LONGEST_WAIT = 30.0
_NEAR_PORT = 8000


@dataclass(frozen=True)
class _Load:
    """What is served: model name -> folder, with one runtime."""

    runtime: str
    options: Mapping[str, object]
    artifacts: Mapping[str, Path]


def deploy(  # noqa: PLR0913  typer reads the options of a command from its arguments
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]FOLDER... | RUN",
            help="Folders of artifacts (with a manifest.json), or the folder of a finished run.",
        ),
    ] = None,
    *,
    to: Annotated[str, typer.Option("--to", metavar="ssh://[USER@]HOST[:PORT]", help="The device.")],
    runtime: Annotated[
        str | None,
        typer.Option(
            help="The runtime; default: the run's, or the default for such files.",
            autocompletion=completion.agent_runtimes,
        ),
    ] = None,
    options: Annotated[
        str, typer.Option(metavar="JSON", help="Options of the runtime; default: the run's, or the runtime's own.")
    ] = "",
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="A format of the run; may be repeated.",
            autocompletion=completion.formats_of_run,
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="The device's profile, for the pins in messages.", autocompletion=completion.profiles),
    ] = None,
    python: Annotated[str, typer.Option(help="The Python interpreter there.")] = "python3",
    keep: Annotated[bool, typer.Option("--keep", help="Exit and keep serving; with --stop: keep the files.")] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop agents that were left serving there, and remove their files.")
    ] = False,
    store: RunStoreOption = None,
) -> None:
    """Copy the agent and artifacts to a device, serve them there until Ctrl-C, and remove them.

    With --keep this command exits at once and the device keeps serving; it stops by itself after 30 days without
    queries.
    """
    from edgeaudit.endpoint import Endpoint

    require_address(to)
    console = Console(highlight=False, soft_wrap=True)
    if stop:
        _stop(console, Endpoint(to, profile, python), keep=keep)
        return
    if not what:
        raise DeviceError("name the folder of an artifact or of a run, or use --stop")
    load = _load(what, runtime, options, formats or [], store)
    if keep:
        _leave(console, Endpoint(to, profile, python, keep=True), load)
    else:
        _hold(console, Endpoint(to, profile, python), load)


def _load(what: Sequence[str], runtime: str | None, options: str, formats: Sequence[str], store: Path | None) -> _Load:
    if len(what) == 1 and (Path(what[0]) / "audit.json").is_file():
        found = _of_run(Path(what[0]), formats, store)
    elif formats:
        raise RunError("--format is for the folder of a run, which has an audit.json")
    else:
        found = _of_folders(what, runtime)
    given = json_object(options) if options else found.options
    return _Load(runtime or found.runtime, given, found.artifacts)


def _of_folders(texts: Sequence[str], runtime: str | None) -> _Load:
    from edgeaudit.filetypes.artifact import Artifact

    artifacts: dict[str, Path] = {}
    kinds: dict[str, Kind] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        path = Path(folder if equals else text)
        name = name if equals else path.resolve().name
        if name in artifacts:
            raise ArtifactError(f"two artifacts are called '{name}'; name them: NAME=FOLDER")
        try:
            kinds[name] = Artifact.load(path).manifest.kind
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ArtifactError(f"{path} is not an artifact: its manifest.json cannot be read: {exc}") from exc
        artifacts[name] = path
    if runtime is None and len(set(kinds.values())) > 1:
        raise ArtifactError("an agent serves with one runtime, and these are " + ", ".join(sorted(set(kinds.values()))))
    return _Load(runtime or default_runtime(next(iter(kinds.values()))).spec.name, {}, artifacts)


def _of_run(run: Path, formats: Sequence[str], store: Path | None) -> _Load:
    from edgeaudit.cli.progress import ProgressView
    from edgeaudit.pipeline.audit import prepare
    from edgeaudit.pipeline.engine import engine
    from edgeaudit.pipeline.recorded import read_recorded, require_records

    recorded = read_recorded(run)
    here = recorded.store if store is None else store
    with engine(recorded.origin.folder, here, 1) as running, ProgressView(Console(stderr=True), 1) as view:
        require_records(recorded, running.store, run)
        plan = prepare(recorded.spec, running.store, running.executor, view, recorded.origin).plan
    known = {planned.use.id: planned for planned in plan.formats}
    for name in formats:
        if name not in known:
            raise RunError(f"{run} has no format '{name}'; it has: {', '.join(known)}.{did_you_mean(name, known)}")
    chosen = {name: known[name] for name in formats or known}
    served = {json.dumps([p.format.runtime, dict(p.format.runtime_options)], sort_keys=True) for p in chosen.values()}
    if len(served) != 1:
        each = ", ".join(f"{name} ({planned.format.runtime})" for name, planned in chosen.items())
        raise RunError(f"an agent serves with one runtime and its options; choose with --format among: {each}")
    runtime, options = json.loads(served.pop())
    return _Load(runtime, options, {name: running.store.entry(*p.artifact.ref).folder for name, p in chosen.items()})


def json_object(text: str) -> dict[str, object]:
    """The JSON object in an option; `ArtifactError` for anything else."""
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise ArtifactError(f"--options is not JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise ArtifactError("--options is a JSON object, as in '{\"batch\": 1}'")
    return found


def _hold(console: Console, endpoint: Endpoint, load: _Load) -> None:
    """Serve until Ctrl-C or SIGTERM, through cuts of the connection."""
    from edgeaudit.devices.ssh.transport import SshTransport

    with _ended_by_signals():
        session = SshTransport(endpoint).serve(load.runtime, load.artifacts, load.options)
        try:
            with scratch() as folder:
                token = _write_token(folder / "token", session.token)
                console.print(f"{endpoint.via} serves {_names(load)}; stop with Ctrl-C")
                _print_use(console, session.client.url, token, load)
                _watch(console, session, token)
        except KeyboardInterrupt:
            console.print("stopping; removing the copied files")
        finally:
            session.close()


def _watch(console: Console, session: SshSession, token: Path) -> None:
    """Keep the lease alive, and the tunnel there."""
    while True:
        time.sleep(_LOOK_SECONDS)
        try:
            session.client.live()
        except DeviceLost as exc:
            console.print(f"{exc}; retrying")
            _restore(session)
            _write_token(token, session.token)
            console.print(f"connected again, at {session.client.url}")


def _restore(session: SshSession) -> None:
    wait = 1.0
    while True:
        try:
            session.restore()
        except DeviceLost:
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        else:
            return


def _leave(console: Console, endpoint: Endpoint, load: _Load) -> None:
    """Start it and go."""
    from edgeaudit.devices.ssh.transport import SshDevice

    token = secrets.token_urlsafe(32)
    device = SshDevice(endpoint)
    folders: list[str] = []
    try:
        more = ["--stdin", "--remove", "--lease", str(LONGEST_LEASE), "--options", json.dumps(dict(load.options))]
        told = device.start(more, load.runtime, load.artifacts, token, folders)
    except BaseException:
        if folders:  # it may have started, and only its announcement have been lost
            with suppress(DeviceError):
                device.stop(folders)
        raise
    finally:
        device.disconnect()
    port = int(told["url"].rpartition(":")[2])
    path = _write_token(_tokens() / f"{_slug(endpoint.via)}-{port}", token)
    console.print(f"{endpoint.via} serves {_names(load)} until there are no queries for 30 days")
    console.print(f"  ssh -N -L {_NEAR_PORT}:127.0.0.1:{port} {endpoint.via}")
    _print_use(console, f"http://127.0.0.1:{_NEAR_PORT}", path, load)
    console.print(f"  edgeaudit devices deploy --stop --to {endpoint.via}")


def _stop(console: Console, endpoint: Endpoint, *, keep: bool) -> None:
    from edgeaudit.devices.ssh.transport import SshDevice

    device = SshDevice(endpoint)
    try:
        stopped = device.stop(None, forget=not keep)
    finally:
        device.disconnect()
    for path in _tokens().glob(f"{_slug(endpoint.via)}-*"):
        path.unlink(missing_ok=True)
    ended = f"ended {len(stopped)} agent{'s' if len(stopped) != 1 else ''} on {endpoint.via}"
    console.print(f"{ended}; what was copied {'stays' if keep else 'is removed'}")


def _print_use(console: Console, url: str, token: Path, load: _Load) -> None:
    """Lines that can be copied."""
    name = next(iter(load.artifacts))
    console.print(f"  export {_TOKEN}=$(cat {token})")
    console.print(f'  curl -H "Authorization: Bearer ${_TOKEN}" {url}/v2/models/{name}')


def _names(load: _Load) -> str:
    return f"{', '.join(load.artifacts)} with {load.runtime}"


def _tokens() -> Path:
    return cache_root("EDGEAUDIT_TOKENS", "tokens")


def _slug(address: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.@-]", "_", address.removeprefix("ssh://").rstrip("/"))


def _write_token(path: Path, token: str) -> Path:
    """In a file that nobody else can read, in a folder that nobody else can enter."""
    with store_errors(f"the folder of tokens {path.parent}"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(token + "\n")
    return path


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM is as Ctrl-C, so that nothing is left on the device."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
