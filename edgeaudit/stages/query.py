"""artifact + runtime + records -> responses; rejects artifacts that do not agree with their trained model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.agreement import Agreement, agreement, comparable, require_agreement
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.job import Context, Cost, Job, unkeyed
from edgeaudit.population.base import TARGET, Population
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.settings import Settings
from edgeaudit.stages.artifacts import ArtifactJob, is_of_others
from edgeaudit.stages.check_answers import read_check
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.target_check import require_model
from edgeaudit.tasks import AuditedTask

if TYPE_CHECKING:
    from edgeaudit.agent.messages import Fingerprint
    from edgeaudit.runtimes.execution_providers import EngineFile

__all__ = ["RESPONSES", "DeviceFacts", "Query", "QueryResult", "described"]

FloatArray = npt.NDArray[np.float32]

RESPONSES, _FACTS = "responses.npy", "query.json"
_PLAIN = ("options", "queries", "check_records", "stood_in", "at_chance")
_BLOCK = 4096
"""Records per query, so that a large population is never in memory as float32 at once."""


@dataclass(frozen=True)
class DeviceFacts:
    """Facts reported by a device, and how it was queried.

    engaged: active delegates or execution providers. engines: files that were compiled there. queried: records that it
    answered in this job. restored: how often the connection was restored. resumed: records with stored answers of an
    earlier attempt.
    """

    fingerprint: Fingerprint
    engaged: tuple[str, ...]
    engines: tuple[EngineFile, ...]
    queried: int
    restored: int
    resumed: int = 0


@dataclass(frozen=True)
class QueryResult:
    """responses: float32 [records, outputs] in the order of `Population.queried`, memory-mapped if read from disk.

    agreement: with the trained model on `check_records` records; None for a foreign file. options: of the runtime,
    after opening the file. queries: number of queried records. stood_in: this machine's responses stand in for a
    device's. at_chance: the answers of a target are no better than chance.
    """

    responses: FloatArray
    agreement: Agreement | None
    options: Settings
    queries: int
    check_records: int
    device: DeviceFacts | None = None
    stood_in: bool = False
    at_chance: bool = False
    file: Path | None = field(default=None, compare=False)

    def save(self, folder: Path) -> None:
        """Write the array, or link it if it is a file of the store already, and the rest as JSON."""
        target = folder / RESPONSES
        if self.file is None:
            np.save(target, self.responses)
        else:
            try:
                os.link(self.file, target)
            except OSError:  # a file system without hard links
                shutil.copyfile(self.file, target)
        fields = {name: getattr(self, name) for name in _PLAIN}
        fields |= {name: None if part is None else asdict(part) for name, part in self._parts()}
        (folder / _FACTS).write_text(json.dumps(fields, allow_nan=False), encoding="utf-8")

    def _parts(self) -> tuple[tuple[str, Agreement | DeviceFacts | None], ...]:
        return ("agreement", self.agreement), ("device", self.device)

    @classmethod
    def load(cls, folder: Path) -> QueryResult:
        """Read what `save` wrote."""
        fields = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        agreed, device = fields.pop("agreement"), fields.pop("device")
        if device is not None:
            device = DeviceFacts(**{**device, "engaged": tuple(device["engaged"]), "engines": tuple(device["engines"])})
        responses = np.load(folder / RESPONSES, mmap_mode="r")
        agreed = None if agreed is None else Agreement(**agreed)
        return cls(responses, agreed, device=device, file=folder / RESPONSES, **fields)


class BlockQuery(Protocol):
    """Queries records in blocks."""

    def __call__(self, name: str, ids: npt.NDArray[np.int64]) -> FloatArray:
        """float32 [ids, outputs]. name: identifies the query within this job."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Query(Job[QueryResult]):
    """Query an artifact about every record in a runtime of this machine.

    source: the job that creates the artifact. role: of its model. options: all options of the runtime. tolerance,
    range_tolerance: allowed differences from the trained model's answers; None for no limit. versions: of the runtime.
    may_be_at_chance: whether a target's answers may be no better than chance, since the built-in loop trained it.
    machine: the CPU's fingerprint, on which answers depend. format: for display, since formats share queries.
    """

    kind: ClassVar[str] = "query"
    result: ClassVar[type[QueryResult]] = QueryResult

    population: DrawPopulation
    source: ArtifactJob
    role: str
    runtime: str
    options: Settings
    tolerance: float | None
    range_tolerance: float | None
    versions: Mapping[str, str]
    machine: Mapping[str, object]
    may_be_at_chance: bool = False
    format: str = unkeyed("")

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"query {self.format} {self.role}"

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return find_runtime(self.runtime).spec.isolation

    @property
    def confined(self) -> bool:
        """See `Job`."""
        return is_of_others(self.source)

    def code(self) -> tuple[str, ...]:
        """Modules of the runtime, including those that it runs without importing them."""
        runtime = find_runtime(self.runtime)
        return (runtime.__module__, *runtime.spec.code)

    def packages(self) -> tuple[str, ...]:
        """Packages of the runtime."""
        return find_runtime(self.runtime).spec.installed_packages()

    def cost(self) -> Cost:
        """Grouped by runtime, options and format."""
        return Cost((self.population.key, self.runtime, dict(self.options), self.format), 0.15, 0.04)

    def answered_by(self, context: Context) -> Query:
        """The job whose runtime gave the answers: another one if this machine stood in for a device."""
        del context
        return self

    @contextmanager
    def serve(
        self, context: Context, artifact: Artifact, options: Mapping[str, object] | None = None
    ) -> Iterator[Runtime]:
        """The artifact opened in this job's runtime. options: instead of the job's own."""
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
            ask = self._query_in_blocks(context, runtime, population)
            agreed, checked = self._agreement(artifact, population.task, ask)
            responses = ask("responses", population.queried)
            device, options = self._device_facts(runtime, ask), runtime.options
        if not np.isfinite(responses).all():
            bad = int(population.queried[~np.isfinite(responses).all(axis=1)][0])
            raise ArtifactError(f"{described(artifact, self.role)} returned NaN or infinity for record {bad}")
        at_chance = self.role == TARGET and require_model(
            population,
            responses,
            described(artifact, self.role),
            inside=artifact.manifest.softmax_inside,
            refuse=not self.may_be_at_chance,
        )
        asked = len(responses) + checked
        return QueryResult(responses, agreed, options, asked, checked, device, at_chance=at_chance)

    def _query_in_blocks(self, context: Context, runtime: Runtime, population: Population) -> BlockQuery:
        del context
        step = max(1, _BLOCK // runtime.batch) * runtime.batch

        def ask(name: str, ids: npt.NDArray[np.int64]) -> FloatArray:
            del name
            return np.concatenate(
                [runtime.query(population.take(ids[start : start + step])) for start in range(0, len(ids), step)]
            )

        return ask

    def _device_facts(self, runtime: Runtime, ask: BlockQuery) -> DeviceFacts | None:
        """What a device reports; None for a runtime in this process."""
        del runtime, ask
        return None

    def _agreement(self, artifact: Artifact, task: AuditedTask, ask: BlockQuery) -> tuple[Agreement | None, int]:
        """The agreement with the torch model's answers, and on how many records; raises if they differ too much.

        Without a tolerance it is only measured: a device's answers are what is audited, and the file itself was
        checked when it was queried on this machine.
        """
        if artifact.manifest.foreign:
            return None, 0
        ids, logits = read_check(
            artifact.folder, artifact.manifest.calibration_policy, artifact.manifest.calibration_ids or ()
        )
        inside = artifact.manifest.softmax_inside
        expected = comparable(logits, softmax_inside=inside, sigmoid=task.name == "multi-label")
        decide = partial(task.decisions, inside=inside)
        answers = ask("check", ids)
        if self.tolerance is None or self.range_tolerance is None:
            return agreement(expected, answers, decide), len(ids)
        result = require_agreement(
            expected,
            answers,
            what=described(artifact, self.role),
            tolerance=self.tolerance,
            range_tolerance=self.range_tolerance,
            decide=decide,
        )
        return result, len(ids)


def described(artifact: Artifact, role: str) -> str:
    """The queried artifact, for messages: `onnx.export + ort.static-int8 (target)`; several formats may share it."""
    if artifact.manifest.foreign:
        return f"{artifact.manifest.file} ({role})"
    return f"{' + '.join(step.name for step in artifact.manifest.passes) or artifact.manifest.kind} ({role})"
