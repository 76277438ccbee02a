"""artifact + runtime + records -> responses, refused where the artifact does not agree with its trained model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.agreement import Agreement, agreement, comparable, require_agreement
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.job import Context, Cost, Job, unkeyed
from edgeaudit.population.base import Population
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.artifacts import ArtifactJob
from edgeaudit.stages.check_answers import read_check
from edgeaudit.stages.population import DrawPopulation

__all__ = ["RESPONSES", "DeviceFacts", "Query", "QueryResult", "described"]

FloatArray = npt.NDArray[np.float32]

RESPONSES, _FACTS = "responses.npy", "query.json"
_BLOCK = 4096
"""Records of one query, so that a large population is never in memory as float32 at once."""


@dataclass(frozen=True)
class DeviceFacts:
    """What a device reports of itself and of how it was queried.

    engaged: delegates or execution providers that compute. engines: files that were compiled there. queried: records
    that it answered in this job. restored: how often the connection was restored. resumed: records that an earlier
    try had answers for.
    """

    fingerprint: Mapping[str, Any]
    engaged: tuple[str, ...]
    engines: tuple[Mapping[str, Any], ...]
    queried: int
    restored: int
    resumed: int = 0


@dataclass(frozen=True)
class QueryResult:
    """responses: float32 [records, outputs] in the order of `Population.queried`, memory-mapped where it was read.

    agreement: with the trained model on `check_records` records; None for a file that was made elsewhere. options: of
    the runtime, as it had them after opening the file. queries: records that were asked about. stood_in: this machine's
    responses stand in for a device's.
    """

    responses: FloatArray
    agreement: Agreement | None
    options: Mapping[str, Any]
    queries: int
    check_records: int
    device: DeviceFacts | None = None
    stood_in: bool = False
    file: Path | None = field(default=None, compare=False)

    def save(self, folder: Path) -> None:
        """Write the array, or link it where it is a file of the store already, and the rest as JSON."""
        target = folder / RESPONSES
        if self.file is None:
            np.save(target, self.responses)
        else:
            try:
                os.link(self.file, target)
            except OSError:  # a file system without hard links
                shutil.copyfile(self.file, target)
        told = {name: getattr(self, name) for name in ("options", "queries", "check_records", "stood_in")}
        told |= {name: None if one is None else asdict(one) for name, one in self._parts()}
        (folder / _FACTS).write_text(json.dumps(told, allow_nan=False), encoding="utf-8")

    def _parts(self) -> tuple[tuple[str, Agreement | DeviceFacts | None], ...]:
        return ("agreement", self.agreement), ("device", self.device)

    @classmethod
    def load(cls, folder: Path) -> QueryResult:
        """Read what `save` wrote."""
        told = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        agreed, device = told.pop("agreement"), told.pop("device")
        if device is not None:
            device = DeviceFacts(**{**device, "engaged": tuple(device["engaged"]), "engines": tuple(device["engines"])})
        responses = np.load(folder / RESPONSES, mmap_mode="r")
        agreed = None if agreed is None else Agreement(**agreed)
        return cls(responses, agreed, device=device, file=folder / RESPONSES, **told)


class Asker(Protocol):
    """Queries records in blocks."""

    def __call__(self, name: str, ids: npt.NDArray[np.int64]) -> FloatArray:
        """float32 [ids, outputs]. name: of the question, among those of this job."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Query(Job[QueryResult]):
    """Query an artifact about every record in a runtime of this machine.

    source: what makes the artifact. role: of its model. options: of the runtime, all of them. tolerance,
    range_tolerance: how far the answers may be from the trained model's; None: as far as they are. versions: of the
    runtime. machine: the CPU's fingerprint, on which answers depend. format: for people, since formats share queries.
    """

    kind: ClassVar[str] = "query"
    result: ClassVar[type[QueryResult]] = QueryResult

    population: DrawPopulation
    source: ArtifactJob
    role: str
    runtime: str
    options: Mapping[str, Any]
    tolerance: float | None
    range_tolerance: float | None
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    format: str = unkeyed("")

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"query {self.format} {self.role}"

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return find_runtime(self.runtime).spec.isolation

    def code(self) -> tuple[str, ...]:
        """The runtime, and what it runs without an import."""
        runtime = find_runtime(self.runtime)
        return (runtime.__module__, *runtime.spec.code)

    def packages(self) -> tuple[str, ...]:
        """The runtime's."""
        return find_runtime(self.runtime).spec.installed_packages()

    def cost(self) -> Cost:
        """By runtime, options and format."""
        return Cost((self.population.key, self.runtime, dict(self.options), self.format), 0.15, 0.04)

    def answered_by(self, context: Context) -> Query:
        """The job whose runtime gave the answers: another one where this machine stood in for a device."""
        del context
        return self

    @contextmanager
    def serve(
        self, context: Context, artifact: Artifact, options: Mapping[str, Any] | None = None
    ) -> Iterator[Runtime]:
        """The artifact in this job's runtime. options: others than the job's own."""
        del context
        runtime = find_runtime(self.runtime)(artifact, self.options if options is None else options)
        try:
            yield runtime
        finally:
            runtime.close()

    def run(self, context: Context) -> QueryResult:
        """See the class."""
        artifact, population = context.read(self.source).artifact, context.read(self.population)
        with self.serve(context, artifact) as runtime:
            ask = self._asker(context, runtime, population)
            agreed, checked = self._agreement(artifact, ask)
            responses = ask("responses", population.queried)
            device, options = self._device_facts(runtime, ask), runtime.options
        if not np.isfinite(responses).all():
            bad = int(population.queried[~np.isfinite(responses).all(axis=1)][0])
            raise ArtifactError(
                f"{described(artifact, self.role)} answered record {bad} with a value that is not finite"
            )
        return QueryResult(responses, agreed, options, len(responses) + checked, checked, device)

    def _asker(self, context: Context, runtime: Runtime, population: Population) -> Asker:
        del context
        step = max(1, _BLOCK // runtime.batch) * runtime.batch

        def ask(name: str, ids: npt.NDArray[np.int64]) -> FloatArray:
            del name
            return np.concatenate(
                [runtime.query(population.take(ids[start : start + step])) for start in range(0, len(ids), step)]
            )

        return ask

    def _device_facts(self, runtime: Runtime, ask: Asker) -> DeviceFacts | None:
        """What a device reports; None for a runtime in this process."""
        del runtime, ask
        return None

    def _agreement(self, artifact: Artifact, ask: Asker) -> tuple[Agreement | None, int]:
        """How far the answers are from the torch model's, and on how many records; raises where it is too far.

        Without a tolerance it is measured and never too far: what a device answers is what is audited, and that the
        file is right was seen where it was queried on this machine.
        """
        if artifact.manifest.foreign:
            return None, 0
        ids, logits = read_check(artifact.folder, artifact.manifest.calibration_policy)
        expected = comparable(logits, softmax_inside=artifact.manifest.softmax_inside)
        answers = ask("check", ids)
        if self.tolerance is None or self.range_tolerance is None:
            return agreement(expected, answers), len(ids)
        found = require_agreement(
            expected,
            answers,
            what=described(artifact, self.role),
            tolerance=self.tolerance,
            range_tolerance=self.range_tolerance,
        )
        return found, len(ids)


def described(artifact: Artifact, role: str) -> str:
    """What was queried, for messages: `onnx.export + ort.static-int8 (target)`; several formats may share it."""
    if artifact.manifest.foreign:
        return f"{artifact.manifest.file} ({role})"
    return f"{' + '.join(step.name for step in artifact.manifest.passes) or artifact.manifest.kind} ({role})"
