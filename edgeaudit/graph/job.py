"""A job: one unit of work, a frozen dataclass whose fields are everything its output depends on.

A stage is a subclass, in a file of its own under edgeaudit/stages/::

    @dataclass(frozen=True, eq=False, kw_only=True)
    class Query(Job[QueryResult]):
        kind: ClassVar[str] = "query"
        result: ClassVar[type[QueryResult]] = QueryResult
        artifact: ArtifactJob          # a field that is a job is an input; its key is part of this key
        runtime: RuntimeUse
        format: str = unkeyed("")      # for display; not part of the key

        def run(self, context: Context) -> QueryResult: ...

The key is SHA-256 over canonical JSON of the fields, the digest of the source closure of the code that runs
(`edgeaudit.graph.closure`) and the versions of the packages that this code imports. No module is listed by
hand, and a changed setting, file, toolchain or line of code never reuses an old result.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypedDict, TypeVar

from pydantic import BaseModel

from edgeaudit.errors import EdgeAuditError
from edgeaudit.graph.closure import Closure, current_closure
from edgeaudit.graph.distributions import distribution_versions, installed_state, with_dependencies

if TYPE_CHECKING:
    from edgeaudit.graph.store import Store

__all__ = ["Context", "Cost", "Job", "KeyContents", "Outcome", "Ref", "Result", "canonical", "content_key", "unkeyed"]

_LAYOUT = 3
"""Version of entries and keys; increased when the engine changes their layout."""

_UNKEYED = "unkeyed"


class Ref(NamedTuple):
    """A job's identity in the store."""

    kind: str
    key: str


class Result(Protocol):
    """A job's output. Only this type knows the files that it is stored in."""

    def save(self, folder: Path) -> None:
        """Write the result into the entry's folder, which may already contain files that `run` wrote."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a result. Large arrays are memory-mapped."""


R = TypeVar("R", bound=Result)
R_co = TypeVar("R_co", bound=Result, covariant=True)


def unkeyed(default: Any = MISSING) -> Any:
    """A field that is not part of the key: a label, or a path whose content another field identifies."""
    return field(default=default, metadata={_UNKEYED: True})


@dataclass(frozen=True)
class Cost:
    """The expected duration of a job, for the estimate of `edgeaudit plan`.

    group: jobs of one group take the same time, so that finished ones predict the others. JSON values.
    seconds: a first guess, used until a job of the group has run. trainings: plus the time of this many trainings.
    """

    group: tuple[Any, ...] = ()
    seconds: float = 5.0
    trainings: float = 0.0


class KeyContents(TypedDict):
    """The contents of a job's key, as JSON values.

    inputs: field -> value, another job by its kind and key. code: digest of the source closure. versions: package ->
    version, null if it is not installed.
    """

    inputs: dict[str, object]
    code: str
    versions: dict[str, str | None]


class Job(ABC, Generic[R_co]):
    """See the module. Subclasses are `@dataclass(frozen=True, eq=False, kw_only=True)`; the key identifies a job.

    essential: whether an audit ends if the job fails; the others cost one format. most_seconds: wall time after which
    it is stopped where audit.yaml sets no limit; None for none.
    """

    kind: ClassVar[str]
    result: ClassVar[type[Any]]
    essential: ClassVar[bool] = False
    most_seconds: ClassVar[float | None] = None

    @abstractmethod
    def run(self, context: Context) -> R_co:
        """Do the work in a worker process; files may be written into `context.draft`."""

    @property
    def label(self) -> str:
        """For progress displays and messages."""
        return self.kind

    @property
    def isolation(self) -> str:
        """The isolation group of the worker process (`edgeaudit.host.isolation`)."""
        return "torch"

    @property
    def confined(self) -> bool:
        """Whether the job opens a file of others, which must not reach the network (`edgeaudit.graph.confinement`).

        Never true of a job that runs a module of the user's, which may need it. Not part of the key.
        """
        return False

    def opens(self) -> Iterable[Path]:
        """Files and folders of others that a confined job opens outside of the store; their size bounds its memory."""
        return ()

    def memory(self) -> int | None:
        """Bytes that a confined job needs beyond ten times what it opens, libraries included; None if not known."""
        return None

    @property
    def exclusive(self) -> bool:
        """Whether the job must run alone, since it measures the machine. Exclusive jobs run after all others."""
        return False

    def code(self) -> tuple[str, ...]:
        """Modules of the plugins that this job runs, in addition to the stage's own module."""
        return ()

    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions affect the output, in addition to those that the code imports by name."""
        return ()

    def cost(self) -> Cost:
        """See `Cost`."""
        return Cost()

    @cached_property
    def ref(self) -> Ref:
        """Kind and key."""
        return Ref(self.kind, self.key)

    @cached_property
    def key(self) -> str:
        """40 hex digits of SHA-256; see the module."""
        return content_key(self.kind, self.about())

    def about(self) -> KeyContents:
        """The contents of the key."""
        closure = self.closure()
        return {
            "inputs": canonical({field_.name: getattr(self, field_.name) for field_ in _keyed(self)}),
            "code": closure.digest,
            "versions": _versions(
                closure.packages,
                tuple(sorted({*with_dependencies(closure.roots), *self.packages()})),
                installed_state(),
            ),
        }

    def closure(self) -> Closure:
        """The source closure of the code that runs."""
        return current_closure((type(self).__module__, *self.code()))

    def reads(self) -> Iterable[Job[Any]]:
        """The jobs that must finish before this one: all jobs in the fields, nested ones included."""
        return (job for field_ in fields(self) for job in _jobs_in(getattr(self, field_.name)))  # type: ignore[arg-type]

    @cached_property
    def needs(self) -> tuple[Job[Any], ...]:
        """The jobs of `reads`, without duplicates."""
        return tuple({job.ref: job for job in self.reads()}.values())

    def upstream(self) -> Iterator[Job[Any]]:
        """All direct and indirect dependencies, nearest first."""
        queue, seen = list(self.needs), set[Ref]()
        while queue:
            need = queue.pop(0)
            if need.ref not in seen:
                seen.add(need.ref)
                yield need
                queue += need.needs


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job. error: None if it succeeded. rss: the worker's peak resident bytes so far."""

    ref: Ref
    seconds: float
    error: EdgeAuditError | None = None
    rss: int = 0


@dataclass(frozen=True)
class Context:
    """Passed to a running job: the store to read from, an empty folder to fill, and the job's key."""

    store: Store
    draft: Path
    key: str = ""

    def read(self, job: Job[R]) -> R:
        """The result of another job; its files are checked against their digests."""
        return self.store.read(job)


def content_key(kind: str, about: Mapping[str, object]) -> str:
    """40 hex digits of SHA-256 over canonical JSON. Raises TypeError for values that JSON cannot represent exactly."""
    text = json.dumps(
        {"layout": _LAYOUT, "kind": kind, **about}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def canonical(value: Any) -> Any:
    """Convert a value to JSON values, identical for equal values.

    A job becomes its reference, a dataclass its keyed fields, a tuple a list, a path its text. Raises
    TypeError for any other type, and for numbers that are not finite.
    """
    if isinstance(value, Job):
        return list(value.ref)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: canonical(getattr(value, item.name)) for item in _keyed(value)}
    if isinstance(value, Mapping):
        return {_name(name): canonical(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return _scalar(value)


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"names in a key must be strings, not {name!r}")
    return name


def _scalar(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{value} is not a JSON number")
    if value is None or isinstance(value, bool | int | str | float):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a key cannot contain a {type(value).__name__}")


def _keyed(instance: Any) -> Iterator[Any]:
    return (field_ for field_ in fields(instance) if not field_.metadata.get(_UNKEYED))


def _jobs_in(value: Any) -> Iterator[Job[Any]]:
    if isinstance(value, Job):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _jobs_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _jobs_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from _jobs_in(getattr(value, part.name))


@cache
def _versions(
    packages: tuple[str, ...],
    more: tuple[str, ...],
    installed: tuple[int, ...],  # noqa: ARG001  see `installed_state`
) -> dict[str, str | None]:
    return distribution_versions(packages) | distribution_versions(more)
