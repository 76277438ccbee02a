"""The messages between edgeaudit, the agent and the receiver, and the facts in them, as plain JSON.

These are types alone: what is written here is what `json.dumps` writes. A field of a type with `total=False` may be
missing, either because not every device has it, or because an agent of another version does not report it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict, Union, final

if TYPE_CHECKING:
    from edgeaudit.runtimes.execution_providers import EngineFile

__all__ = [
    "AgentFacts", "Failure", "Fingerprint", "Machine", "ModelMetadata", "Place", "ProbeResult", "Request", "RunRequest",
    "RuntimeVersions", "ServedFacts", "ServerMetadata", "Serving", "Status", "StatusFile", "StatusRequest",
    "StopRequest", "Stopped", "TensorMetadata",
]  # fmt: skip


class Machine(TypedDict, total=False):
    """A machine, as far as it needs no runtime; a field is null or missing if it is not known.

    machine: as in `uname -m`. cpu: its name. isa: the flags of `host.fingerprint.KERNEL_FLAGS` that it has. os: name
    and release of the kernel. libc: name and version. python: version.
    """

    machine: str | None
    cpu: str | None
    isa: list[str] | None
    os: str | None
    libc: str | None
    python: str | None


class AgentFacts(Machine):
    """The announcement of `--facts`. agent: its version. versions: package -> version, null if it is missing."""

    agent: str
    versions: dict[str, str | None]


class ServerMetadata(TypedDict):
    """The protocol's description of a server. version: empty if it reports none. extensions: of the protocol."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(TypedDict):
    """The protocol's description of an input or output. datatype: the protocol's name. shape: -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(TypedDict):
    """The protocol's description of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class RuntimeVersions(TypedDict):
    """A runtime's name, and package -> version."""

    name: str
    versions: dict[str, str]


class ServedFacts(TypedDict, total=False):
    """The properties of a served artifact that decide its outputs.

    file, kind, sha256 (hex), bytes: of its manifest; sha256 is null if the server does not report it. options: of the
    runtime, after it opened the file. engaged: delegates or execution providers in use. answered: records passed to
    the runtime so far. server, model, platform: of a server that runs independently of the audit.
    """

    file: str
    kind: str
    sha256: str | None
    bytes: int
    options: dict[str, object]
    engaged: list[str]
    engines: list[EngineFile]
    answered: int
    server: ServerMetadata
    model: str
    platform: object


class ProbeResult(TypedDict, total=False):
    """answers: first output of each record; NaN and infinity as text. kernels: what these say. error: if it failed."""

    answers: list[float | str]
    kernels: str
    error: str


class Fingerprint(Machine, total=False):
    """Everything that distinguishes devices whose outputs differ; empty if a server does not report it.

    agent, numpy: versions. cores: available to the agent. threads: that a runtime uses. models: name -> artifact.
    probes: name -> result.
    """

    agent: str
    numpy: str
    cores: int | None
    threads: int
    runtime: RuntimeVersions
    models: dict[str, ServedFacts]
    probes: dict[str, ProbeResult]


@final
class Serving(TypedDict):
    """The announcement of an agent that serves. url: on its loopback interface. pid: its process ID."""

    url: str
    pid: int


@final
class Failure(TypedDict):
    """The announcement of an agent, or the reply of a receiver, that failed. type: the name of the class of error."""

    error: str
    type: str


class StatusFile(TypedDict, total=False):
    """The lock file of a background agent: empty, then its process ID, then all of it. models: names of artifacts."""

    pid: int
    url: str
    models: list[str]


class RunRequest(TypedDict):
    """Receive files and run the agent.

    files: [SHA-256 in hex, bytes, paths in the agent's folder] of each. agent: its path among them. arguments: of the
    agent. serve: [name, path in the folder] of the artifacts. keep: keep the files, and do not transfer existing ones
    again. stays: the agent keeps running after a successful start. instead: folders of agents that this one replaces.
    """

    do: Literal["run"]
    files: list[tuple[str, int, list[str]]]
    agent: str
    arguments: list[str]
    serve: list[tuple[str, str]]
    keep: bool
    stays: bool
    instead: list[str]


class StatusRequest(TypedDict):
    """Report whether an agent runs in a folder."""

    do: Literal["status"]
    folder: str


class StopRequest(TypedDict):
    """Stop the agents in folders; null: all that were left running. forget: also remove kept files."""

    do: Literal["stop"]
    folders: list[str] | None
    forget: bool


Request = Union[RunRequest, StatusRequest, StopRequest]  # noqa: UP007  Python 3.9 evaluates it
"""The receiver's requests."""


class Place(TypedDict):
    """The receiver's first reply to a `RunRequest`.

    folder: of the agent. missing: SHA-256 of the files that are to be sent. python: version.
    """

    folder: str
    missing: list[str]
    python: str


class Status(TypedDict):
    """The reply to a `StatusRequest`. about: the agent's status file; empty if none runs."""

    running: bool
    about: StatusFile


class Stopped(TypedDict):
    """The reply to a `StopRequest`: the folders in which an agent was running."""

    stopped: list[str]
