"""A job: a node of the graph, plain data, keyed by the hash of all that its output depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from edgeaudit.errors import EdgeAuditError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.store import Store, content_key
from edgeaudit.population import Population

__all__ = ["Job", "JobContext", "JobKind", "JobRef", "Outcome"]

JobKind = Literal[
    "population", "control", "probe", "train", "compress", "adopt", "query", "view", "boundary", "trajectory",
    "equivalence", "measure", "exposure", "compare", "together", "inspect", "latency",
]  # fmt: skip
JobRef = tuple[str, str]
"""(kind, key)."""


@dataclass(frozen=True, eq=False)
class Job:
    """One piece of work.

    inputs: canonical JSON; everything that the output depends on, and all that the worker is told.
    needs: jobs whose outputs this one reads; their keys are inputs, too.
    label: for people. hints: for people and schedulers; never part of the key. `house`: of the worker; `exclusive`: it
        runs when nothing else does, and after all that can.
    """

    kind: JobKind
    inputs: Mapping[str, Any]
    needs: tuple[JobRef, ...] = ()
    label: str = ""
    hints: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """The store's key."""
        return content_key(self.kind, self.inputs)

    @property
    def ref(self) -> JobRef:
        """(kind, key)."""
        return self.kind, self.key

    @property
    def exclusive(self) -> bool:
        """Whether no other job may run beside this one: it measures the machine."""
        return bool(self.hints.get("exclusive", False))


@dataclass(frozen=True)
class Outcome:
    """What became of a job. error is None where it succeeded. rss: the worker's peak resident bytes so far."""

    ref: JobRef
    seconds: float
    error: EdgeAuditError | None = None
    rss: int = 0


@dataclass(frozen=True)
class JobContext:
    """What a running job has: inputs, key and hints of its own, the store to read from, an empty folder to fill."""

    inputs: Mapping[str, Any]
    store: Store
    draft: Path
    key: str = ""
    hints: Mapping[str, Any] = field(default_factory=dict)

    def population(self) -> Population:
        """The population that the job's inputs name."""
        return Population(self.store.entry("population", self.inputs["population"]).folder)

    def artifact(self) -> Artifact:
        """The artifact that the job's inputs name as `source`."""
        kind, key = self.inputs["source"]
        return Artifact.load(self.store.entry(kind, key).folder)
