"""artifact + runtime -> milliseconds per call, on this machine while no other job runs, or on a device."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.job import Context, Cost, Job, unkeyed
from edgeaudit.host.quiet import quiet
from edgeaudit.quality.latency import Timed, summarised, take_times, undisturbed
from edgeaudit.runtimes.base import Runtime
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query

__all__ = ["BatchTime", "Latency", "Timings"]

_FILE = "latency.json"
_THREADS = 1
"""Threads of every runtime; workers are started with the same number."""
_SECONDS = 0.4
"""Seconds per batch size; with warm-up and loading, a format of a small model takes about a second."""


@dataclass(frozen=True)
class BatchTime:
    """One batch size: the time of a call, or why it cannot be measured."""

    batch: int
    timed: Timed | None
    note: str | None = None


@dataclass(frozen=True)
class Timings:
    """threads: of the runtime."""

    threads: int
    batches: tuple[BatchTime, ...]

    def save(self, folder: Path) -> None:
        """As JSON."""
        (folder / _FILE).write_text(json.dumps(asdict(self), allow_nan=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Timings:
        """Read what `save` wrote."""
        fields = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        rows = (
            {**batch, "timed": None if batch["timed"] is None else Timed(**batch["timed"])}
            for batch in fields["batches"]
        )
        return cls(fields["threads"], tuple(BatchTime(**row) for row in rows))


@dataclass(frozen=True, eq=False, kw_only=True)
class Latency(Job[Timings]):
    """Time the runtime's own call for each batch size; a batch that the format cannot take has a note.

    query: its artifact, runtime and options are timed. machine: fingerprint of the CPU, or the device's name.
    fixed_batch: the largest that the format takes. repetitions: calls, at most. alone: on this machine, where no
    other job may run; a separate device is not disturbed by jobs here.
    """

    kind: ClassVar[str] = "latency"
    result: ClassVar[type[Timings]] = Timings

    population: DrawPopulation
    query: Query
    machine: Mapping[str, object]
    batches: tuple[int, ...]
    fixed_batch: int | None
    repetitions: int
    alone: bool = unkeyed(default=True)
    device: str = unkeyed("")

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"latency {self.query.format}" + (f" on {self.device}" if self.device else "")

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return self.query.isolation

    @property
    def confined(self) -> bool:
        """See `Job`."""
        return self.query.confined

    @property
    def exclusive(self) -> bool:
        """See `Job`."""
        return self.alone

    def cost(self) -> Cost:
        """The time of a few batch sizes."""
        return Cost((), 1.2)

    def run(self, context: Context) -> Timings:
        """See the class."""
        artifact = context.read(self.query.source).artifact
        return Timings(_THREADS, tuple(self._timed(context, artifact, batch) for batch in self.batches))

    def _timed(self, context: Context, artifact: Artifact, batch: int) -> BatchTime:
        population = context.read(self.population)
        if self.fixed_batch is not None and batch > self.fixed_batch:
            return BatchTime(batch, None, f"the format takes {self.fixed_batch} at a time")
        records = population.take(population.queried[:batch])
        try:
            with self.query.serve(context, artifact, {**self.query.options, "batch": batch}) as runtime:
                if runtime.batch != batch:
                    return BatchTime(batch, None, f"the file takes {runtime.batch} at a time")
                timed = undisturbed(lambda: summarised(*_times(runtime, records, self.repetitions)))
        except ArtifactError as exc:
            if batch == 1:
                raise
            return BatchTime(batch, None, str(exc))  # exported for fewer
        return BatchTime(batch, timed)


def _times(runtime: Runtime, records: npt.NDArray[np.float32], repetitions: int) -> tuple[list[float], float]:
    """Milliseconds of calls, and their CPU share."""
    if (times := runtime.remote_times(records, repetitions, _SECONDS)) is not None:
        return times
    with quiet():
        return take_times(runtime.native_call(records), repetitions, _SECONDS)
