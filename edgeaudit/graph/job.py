"""A job: one piece of work, a frozen dataclass whose fields are all that its output depends on.

A stage is a subclass, in a file of its own under edgeaudit/stages/::

    @dataclass(frozen=True, eq=False, kw_only=True)
    class Query(Job[QueryResult]):
        kind: ClassVar[str] = "query"
        result: ClassVar[type[QueryResult]] = QueryResult
        artifact: ArtifactJob          # a job as a field is an input; its key enters this one's
        runtime: RuntimeUse
        format: str = unkeyed("")      # for people; no part of the key

        def run(self, context: Context) -> QueryResult: ...

The key is SHA-256 over canonical JSON of the fields, the digest of the source closure of the code that runs
(`edgeaudit.graph.closure`) and the versions of the packages that this code imports. So nothing has to be listed by
hand, and a changed setting, file, toolchain or line of code never meets an old result.
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
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

from pydantic import BaseModel

from edgeaudit.errors import EdgeAuditError
from edgeaudit.graph.closure import Closure, current_closure, distribution_versions, installed_state

if TYPE_CHECKING:
    from edgeaudit.graph.store import Store

__all__ = ["Context", "Cost", "Job", "Outcome", "Ref", "Result", "canonical", "content_key", "unkeyed"]

_LAYOUT = 2
"""Of entries and keys; raised where the engine writes or names them otherwise."""

_UNKEYED = "unkeyed"


class Ref(NamedTuple):
    """What a job is called in the store."""

    kind: str
    key: str


class Result(Protocol):
    """What a job makes: it alone knows which files it is kept in."""

    def save(self, folder: Path) -> None:
        """Write it into the entry's folder. What `run` wrote there already may stay as it is."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read it back. Large arrays are memory-mapped."""


R = TypeVar("R", bound=Result)
R_co = TypeVar("R_co", bound=Result, covariant=True)


def unkeyed(default: Any = MISSING) -> Any:
    """A field that no output depends on: a label, a path whose content another field tells. No part of the key."""
    return field(default=default, metadata={_UNKEYED: True})


@dataclass(frozen=True)
class Cost:
    """How long a job takes, for the estimate of `edgeaudit plan`.

    group: jobs of one group take the same time, so that those that ran tell about the others. JSON values.
    seconds: a first guess, where none of the group ran. trainings: beside that, so many trainings of the recipe.
    """

    group: tuple[Any, ...] = ()
    seconds: float = 5.0
    trainings: float = 0.0


class Job(ABC, Generic[R_co]):
    """See the module. Subclasses are `@dataclass(frozen=True, eq=False, kw_only=True)`: a job is known by its key."""

    kind: ClassVar[str]
    result: ClassVar[type[Any]]

    @abstractmethod
    def run(self, context: Context) -> R_co:
        """Do the work in a worker process; files may be written into `context.draft`."""

    @property
    def label(self) -> str:
        """For people."""
        return self.kind

    @property
    def isolation(self) -> str:
        """The isolation group of the worker process (`edgeaudit.host.isolation`)."""
        return "torch"

    @property
    def exclusive(self) -> bool:
        """Whether no other job may run beside this one, since it measures the machine; it runs after all others."""
        return False

    def code(self) -> tuple[str, ...]:
        """Modules of the plugins that this job runs, ours and others', beside the stage's own module."""
        return ()

    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions decide the output, beside those that the code imports by name."""
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

    def about(self) -> dict[str, Any]:
        """What the key is made of: inputs, code and versions, as JSON has them."""
        found = self.closure()
        return {
            "inputs": canonical({one.name: getattr(self, one.name) for one in _keyed(self)}),
            "code": found.digest,
            "versions": _versions(found.packages, tuple(sorted(set(self.packages()))), installed_state()),
        }

    def closure(self) -> Closure:
        """The source closure of the code that does the work."""
        return current_closure((type(self).__module__, *self.code()))

    def reads(self) -> Iterable[Job[Any]]:
        """The jobs that have to be done before this one: those among the fields, wherever in a field they are."""
        return (job for one in fields(self) for job in _jobs_in(getattr(self, one.name)))  # type: ignore[arg-type]

    @cached_property
    def needs(self) -> tuple[Job[Any], ...]:
        """What `reads` gives, each once."""
        return tuple({job.ref: job for job in self.reads()}.values())


@dataclass(frozen=True)
class Outcome:
    """What became of a job. error is None where it succeeded. rss: the worker's peak resident bytes so far."""

    ref: Ref
    seconds: float
    error: EdgeAuditError | None = None
    rss: int = 0


@dataclass(frozen=True)
class Context:
    """What a running job has: the store to read from, an empty folder to fill, its own key."""

    store: Store
    draft: Path
    key: str = ""

    def read(self, job: Job[R]) -> R:
        """What another job made; its files are checked against their digests."""
        return self.store.read(job)


def content_key(kind: str, about: Mapping[str, Any]) -> str:
    """40 hex digits of SHA-256 over canonical JSON. Raises TypeError for what JSON cannot say exactly."""
    text = json.dumps(
        {"layout": _LAYOUT, "kind": kind, **about}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def canonical(value: Any) -> Any:
    """A value as JSON has it, the same for equal values.

    A job stands for its reference, a dataclass for its keyed fields, a tuple for a list, a path for its text. Raises
    TypeError for any other type, and for numbers that are not finite.
    """
    if isinstance(value, Job):
        return list(value.ref)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: canonical(getattr(value, one.name)) for one in _keyed(value)}
    if isinstance(value, Mapping):
        return {_name(name): canonical(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(one) for one in value]
    return _scalar(value)


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"names in a key are text, not {name!r}")
    return name


def _scalar(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{value} is no JSON number")
    if value is None or isinstance(value, bool | int | str | float):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a key cannot be made of a {type(value).__name__}")


def _keyed(instance: Any) -> Iterator[Any]:
    return (one for one in fields(instance) if not one.metadata.get(_UNKEYED))


def _jobs_in(value: Any) -> Iterator[Job[Any]]:
    if isinstance(value, Job):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _jobs_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _jobs_in(one)
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
