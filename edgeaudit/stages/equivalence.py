"""responses here and on a device -> whether they are bit-identical, so that this machine may stand in for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import DeviceError
from edgeaudit.graph.job import Context, Cost, Job, unkeyed
from edgeaudit.leakage.differing import Differing, differing
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query

__all__ = ["Equivalence", "EquivalenceResult", "ShadowProbe"]

_FILE = "equivalence.json"


@dataclass(frozen=True)
class EquivalenceResult:
    """compared: role of a model -> how its answers on both machines differ."""

    compared: Mapping[str, Differing]

    @property
    def identical(self) -> bool:
        """Whether all answers are identical."""
        return all(difference.rows == 0 for difference in self.compared.values())

    def save(self, folder: Path) -> None:
        """As JSON."""
        text = json.dumps({role: asdict(difference) for role, difference in self.compared.items()}, allow_nan=False)
        (folder / _FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> EquivalenceResult:
        """Read what `save` wrote."""
        rows = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return cls({role: Differing(**row) for role, row in rows.items()})


@dataclass(frozen=True)
class ShadowProbe:
    """A shadow that is queried about `records` records on both machines."""

    native: Query
    device: Query
    records: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Equivalence(Job[EquivalenceResult]):
    """Compare the first target's answers here and on the device, and a shadow's if it can be deployed there.

    The target was queried about every record on both machines. A shadow has other weights, whose sums may overflow or
    round differently, so one shadow is queried about some records, evenly spaced, on both machines, too.

    required: reject a device with other answers. format, device: for display.
    """

    kind: ClassVar[str] = "equivalence"
    result: ClassVar[type[EquivalenceResult]] = EquivalenceResult

    population: DrawPopulation
    native: Query
    device_query: Query
    shadow: ShadowProbe | None
    required: bool
    format: str = unkeyed("")
    device: str = unkeyed("")

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"compare {self.device} with this machine: {self.format}"

    def reads(self) -> tuple[Job[Any], ...]:
        """The inputs; the artifacts are among them, the probe's queries run within this job."""
        artifacts = () if self.shadow is None else (self.shadow.native.source,)
        artifacts = (self.native.source, *artifacts)
        return (self.population, self.native, self.device_query, *artifacts)

    def cost(self) -> Cost:
        """Starting an agent under emulation, and some hundred records of a small model."""
        return Cost((), 10.0)

    def run(self, context: Context) -> EquivalenceResult:
        """See the class."""
        here, there = (context.read(query).responses for query in (self.native, self.device_query))
        inside = context.read(self.native.source).artifact.manifest.softmax_inside
        decide = partial(context.read(self.population).task.decisions, inside=inside)
        compared: dict[str, Differing] = {"target": differing(here, there, decide)}
        if self.shadow is not None:
            compared[self.shadow.native.role] = self._probe(context, self.shadow)
        result = EquivalenceResult(compared)
        if self.required and not result.identical:
            target = compared["target"]
            raise DeviceError(
                f"devices.{self.device}: its answers for {target.rows:,} of {target.records:,} records differ from "
                f"this machine's (by at most {target.max_abs:.3g}, another top class for {target.top1:,}), and a "
                "server cannot run shadows; `shadows: native` uses this machine's answers for shadows anyway"
            )
        return result

    def _probe(self, context: Context, shadow: ShadowProbe) -> Differing:
        population, artifact = context.read(self.population), context.read(shadow.native.source).artifact
        count = min(shadow.records, len(population.queried))
        ids = population.queried[np.unique(np.linspace(0, len(population.queried) - 1, count).astype(np.int64))]
        answers: list[npt.NDArray[np.float32]] = []
        for query in (shadow.native, shadow.device):
            with query.serve(context, artifact) as runtime:
                answers.append(runtime.query(population.take(ids)))
        decide = partial(population.task.decisions, inside=artifact.manifest.softmax_inside)
        return differing(answers[0], answers[1], decide)
