"""population -> controls: objections to an audit that are known before any model is trained."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeaudit.controls.base import Control as Checked  # the job below has the name Control
from edgeaudit.controls.duplicates import copies, near_copies
from edgeaudit.controls.overlap import overlapping
from edgeaudit.controls.shift import Sides, sampled_ids, shift
from edgeaudit.graph.job import Context, Job
from edgeaudit.population.base import Population, stream
from edgeaudit.population.groups import related
from edgeaudit.stages.population import DrawPopulation

__all__ = ["Control", "ControlResult"]

_FILE = "controls.json"

_QUERIES = 2000
"""Maximum number of nonmembers whose nearest member is searched."""


@dataclass(frozen=True)
class ControlResult:
    """Controls of the records, before any model is trained."""

    controls: tuple[Checked, ...]

    def save(self, folder: Path) -> None:
        """As JSON."""
        text = json.dumps([asdict(control) for control in self.controls], allow_nan=False)
        (folder / _FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ControlResult:
        """Read what `save` wrote."""
        rows = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return cls(tuple(Checked(**row) for row in rows))


@dataclass(frozen=True, eq=False, kw_only=True)
class Control(Job[ControlResult]):
    """Compare members with nonmembers as records."""

    kind: ClassVar[str] = "control"
    result: ClassVar[type[ControlResult]] = ControlResult

    population: DrawPopulation
    seed: int

    @property
    def label(self) -> str:
        """See `Job`."""
        return "compare members with nonmembers"

    def run(self, context: Context) -> ControlResult:
        """See the class."""
        population, seed = context.read(self.population), self.seed
        controls = [*shift(_sides(population, seed), stream(seed, "control", "shift")), *_duplicates(population, seed)]
        return ControlResult(tuple(controls))


def _records(population: Population) -> Any:
    """Records in the source's scale and dtype, which preserve traces of a codec; memory-mapped."""
    return np.load(population.folder / "x.npy", mmap_mode="r")


def _sides(population: Population, seed: int) -> Sides:
    rng = stream(seed, "control", "records")
    split = population.split
    members, nonmembers = (sampled_ids(side, population.input_shape, rng) for side in (split.members, split.nonmembers))
    ids = np.concatenate([members, nonmembers])
    records = np.asarray(_records(population)[ids])
    if records.dtype == np.float16:
        records = records.astype(np.float32)
    groups = related(population.groups[ids])
    return Sides(records, population.labels[ids], np.arange(len(ids)) < len(members), groups)


def _duplicates(population: Population, seed: int) -> list[Checked]:
    split, records = population.split, _records(population)
    few = split.nonmembers
    if len(few) > _QUERIES:
        few = np.sort(stream(seed, "control", "near duplicates").choice(few, _QUERIES, replace=False))
    return [
        copies(records[split.members], records[split.nonmembers], population.about),
        near_copies(
            population.take(split.members),
            population.take(few),
            overlapping(records[split.members], records[few], population.axis),
        ),
    ]
