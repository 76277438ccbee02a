"""Jobs of the attack stages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from edgeaudit.attacks.registry import find_attack
from edgeaudit.graph.job import Context, Cost, Job, JobContext, canonical, unkeyed
from edgeaudit.stages.artifacts import ArtifactJob
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query
from edgeaudit.stages.traces import TraceJob
from edgeaudit.stages.view import View


@dataclass(frozen=True)
class FolderResult:
    """Files that a stage wrote into its entry."""

    folder: Path
    name: ClassVar[str] = ""

    def save(self, folder: Path) -> None:
        """They are written."""

    @classmethod
    def load(cls, folder: Path) -> Any:
        """See above."""
        return cls(folder)

    @cached_property
    def found(self) -> dict[str, Any]:
        """The JSON."""
        found: dict[str, Any] = json.loads((self.folder / self.name).read_text(encoding="utf-8"))
        return found


class MeasureResult(FolderResult):
    """measurement.json and scores*.npz."""

    name = "measurement.json"


class WeakenResult(FolderResult):
    """exposure.json and scores*.npz."""

    name = "exposure.json"


class CompareResult(FolderResult):
    """comparisons.json."""

    name = "comparisons.json"


class ColludeResult(FolderResult):
    """together.json."""

    name = "together.json"


@dataclass(frozen=True, eq=False, kw_only=True)
class Measure(Job[MeasureResult]):
    """Run every attack on one format's responses."""

    kind: ClassVar[str] = "measure"
    result: ClassVar[type[MeasureResult]] = MeasureResult

    population: DrawPopulation
    targets: tuple[tuple[str, Query], ...]
    nulls: tuple[tuple[str, Query], ...]
    shadows: tuple[Query, ...]
    shadow_roles: tuple[str, ...]
    seed: int
    exposure: str
    mode: str
    members_drawn: bool
    floor: float
    format: str
    device: str
    shadow_match: str
    views: tuple[tuple[str, tuple[tuple[Query, View], ...]], ...]
    traces: tuple[tuple[str, tuple[tuple[Query, TraceJob], ...]], ...]
    attacks: tuple[str, ...]
    cm_mia: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]
    local: bool = unkeyed(default=True)

    @property
    def label(self) -> str:
        """See `Job`."""
        where = "" if self.local else f" on {self.device}"
        return f"measure {self.format}{where} ({self.shadow_match} shadows)"

    def code(self) -> tuple[str, ...]:
        """The attacks."""
        return tuple(find_attack(name).__module__ for name in self.attacks)

    def cost(self) -> Cost:
        """By shadows."""
        return Cost((self.population.key, len(self.shadows)))

    def inputs(self) -> dict[str, Any]:
        """As JSON."""
        found: dict[str, Any] = canonical({one.name: getattr(self, one.name) for one in fields(self)})
        for name in ("views", "traces"):
            found[name] = [[one, [[q[1], ref] for q, ref in pairs]] for one, pairs in found[name]]
        return found

    def run(self, context: Context) -> MeasureResult:
        """See the class."""
        from edgeaudit.stages.measure import measure

        measure(JobContext(self.inputs(), context.store, context.draft))
        return MeasureResult(context.draft)


@dataclass(frozen=True, eq=False, kw_only=True)
class Weaken(Job[WeakenResult]):
    """What is left of a measurement at a weaker level."""

    kind: ClassVar[str] = "weaken"
    result: ClassVar[type[WeakenResult]] = WeakenResult

    measure: Measure
    level: str

    def reads(self) -> tuple[Job[Any], ...]:
        """What the measurement reads; the measurement itself is not read."""
        return self.measure.needs

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"{self.level} of {self.measure.format}"

    def code(self) -> tuple[str, ...]:
        """The attacks."""
        return self.measure.code()

    def cost(self) -> Cost:
        """By shadows and level."""
        return Cost((self.measure.population.key, len(self.measure.shadows), self.level))

    def run(self, context: Context) -> WeakenResult:
        """See the class."""
        from edgeaudit.stages.weaken import expose

        expose(JobContext({**self.measure.inputs(), "level": self.level}, context.store, context.draft))
        return WeakenResult(context.draft)


@dataclass(frozen=True)
class Head:
    """What a measurement is of. level: of a weaker exposure."""

    format: str
    device: str
    shadow_match: str
    level: str | None = None


@dataclass(frozen=True)
class Answered:
    """A query of the first target."""

    format: str
    device: str
    artifact: ArtifactJob
    query: Query


@dataclass(frozen=True, eq=False, kw_only=True)
class Compare(Job[CompareResult]):
    """Compare the measurements that could be made."""

    kind: ClassVar[str] = "compare"
    result: ClassVar[type[CompareResult]] = CompareResult

    measures: tuple[tuple[Head, Measure], ...]
    exposures: tuple[tuple[Head, Weaken], ...]
    answers: tuple[Answered, ...]
    exposure: str
    targets: tuple[str, ...]
    headlines: tuple[str, ...]
    seed: int

    @property
    def label(self) -> str:
        """See `Job`."""
        return "compare formats, devices and attacks"

    def inputs(self) -> dict[str, Any]:
        """As JSON."""
        found: dict[str, Any] = canonical({one.name: getattr(self, one.name) for one in fields(self)})
        for name in ("measures",):
            found[name] = [[{k: v for k, v in head.items() if k != "level"}, ref] for head, ref in found[name]]
        found["answers"] = [
            [{"format": one["format"], "device": one["device"], "artifact": one["artifact"]}, one["query"]]
            for one in found["answers"]
        ]
        return found

    def run(self, context: Context) -> CompareResult:
        """See the class."""
        from edgeaudit.stages.compare import compare_measurements

        compare_measurements(JobContext(self.inputs(), context.store, context.draft))
        return CompareResult(context.draft)


@dataclass(frozen=True)
class HeldSet:
    """A set of formats that audit.yaml names: what it asked for, what of it was measured, and a note on the rest."""

    asked: tuple[str, ...]
    formats: tuple[str, ...]
    note: str | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Collude(Job[ColludeResult]):
    """Attack formats held together."""

    kind: ClassVar[str] = "collude"
    result: ClassVar[type[ColludeResult]] = ColludeResult

    measures: tuple[tuple[str, Measure], ...]
    sets: tuple[HeldSet, ...]
    targets: tuple[str, ...]
    headlines: tuple[str, ...]
    seed: int
    mode: str
    device: str
    shadow_match: str

    @property
    def label(self) -> str:
        """See `Job`."""
        return "attack formats held together"

    def packages(self) -> tuple[str, ...]:
        """CompLeak's network."""
        return ("torch",)

    def run(self, context: Context) -> ColludeResult:
        """See the class."""
        from edgeaudit.stages.collude import collude

        inputs = canonical({one.name: getattr(self, one.name) for one in fields(self)})
        inputs["measure_inputs"] = {name: one.inputs() for name, one in self.measures}
        collude(JobContext(inputs, context.store, context.draft))
        return ColludeResult(context.draft)
