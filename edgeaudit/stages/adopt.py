"""foreign model file -> artifact: the contract is read from the file; what the file does not state is detected.

Nothing is assumed: the file's own answers determine layout, softmax and batch, and the declarations in audit.yaml
(preprocessing, order of labels, accuracy) are checked against them before anything is measured.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from edgeaudit.digests import file_sha256
from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.filetypes.base import FileType
from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.filetypes.traits import is_integer
from edgeaudit.graph.job import Context, unkeyed
from edgeaudit.population.base import TARGET
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.settings import Settings
from edgeaudit.stages.artifacts import ADOPTED, StoredArtifact
from edgeaudit.stages.file_contract import require_labels
from edgeaudit.stages.file_head import HeadFound, find_head, is_inside
from edgeaudit.stages.file_job import FileJob
from edgeaudit.stages.file_opening import Opened, Wish, open_file, state_note, tensor_note
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.target_check import Door, Examined, Stated, clipped_share, evenly, require_steady, sides_of_given
from edgeaudit.stages.train import SourceFile

__all__ = ["Adopt"]

_LOST = 0.5
"""Share of the records' variance that clipping may take. The ranges of honest files cut off tails."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Adopt(FileJob[StoredArtifact]):
    """Copy a foreign model file and write its manifest; the result's `found` lists what was read and detected.

    options: all options of the runtime. batch_given: whether audit.yaml sets its batch. output, softmax, outputs,
    accuracy, train_accuracy (on members): as declared by `target` in audit.yaml. precision: of the weights in the
    format that the file is said to have; None where none is stated. versions: of the runtime. machine: the CPU's
    fingerprint, on which answers depend. role: which model. format: its name, for messages. where:
    the key of audit.yaml that names the file.
    """

    kind: ClassVar[str] = ADOPTED
    result: ClassVar[type[StoredArtifact]] = StoredArtifact

    population: DrawPopulation
    options: Settings
    batch_given: bool
    softmax: str
    outputs: tuple[int, ...] | None
    accuracy: float | None
    train_accuracy: float | None
    versions: Mapping[str, str]
    machine: Mapping[str, object]
    output: str | None = None
    precision: str | None = None
    role: str = TARGET
    format: str = unkeyed("")
    where: str = unkeyed("target.artifact")

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"read {self.file.path.name}"

    def run(self, context: Context) -> StoredArtifact:
        """See the class."""
        population, source, folder = context.read(self.population), self.file.path, context.draft
        runtime = find_runtime(self.runtime)
        filetype, labels = find_filetype(runtime.spec.serves), population.outputs
        wish = Wish(self.output, self.outputs, self.options, batch_given=self.batch_given)
        self._require_precision(filetype, source)
        companions = _copied(self.file, folder, self.where)
        calibrated = population.calibrated if self.role == TARGET else population.calibrated[:0]
        opened = open_file(folder / source.name, companions, runtime, wish, population)
        manifest = replace(
            opened.manifest,
            sha256=file_sha256(folder / source.name),
            bytes=sum((folder / name).stat().st_size for name in (source.name, *companions)),
            calibration_policy="declared" if len(calibrated) else None,
            calibration_ids=tuple(int(i) for i in calibrated),
        )
        _require_held(opened, source.name)
        task = population.task
        if task.has_classes:
            outputs, single = require_labels(opened.values, self.outputs, labels, source.name)
        elif (problem := task.width_problem(opened.values, labels)) is None:
            outputs, single = None, False
        else:
            raise ArtifactError(
                f"{self.where}: {source.name} returns {opened.values} numbers a record; task: {task.name}: {problem}"
            )
        whole, graph = opened.whole, opened.graph
        seen = whole.query(population.take(evenly(population.split.nonmembers)))
        inside = is_inside(seen, manifest.output, graph)
        if single:
            manifest = replace(manifest, single="probability" if inside and self.softmax != "outside" else "logit")
        manifest = replace(manifest, outputs=outputs)
        served = runtime(Artifact(folder, manifest), self.options)
        require_steady(served.query, served.query if opened.independent else None, opened.records, source.name)
        door = Door(
            what=source.name,
            stated=Stated("target.accuracy", self.train_accuracy, self.accuracy),
            outputs=outputs or tuple(range(labels)),
            sides=sides_of_given(population, self.role, source.name),
        )
        # Inputs first: with wrongly scaled ones, the answers say nothing about the softmax.
        examined = Examined(served.query, population, door)
        if task.has_classes:
            fitting_note = examined.require_fitting(inside=inside)
            head = find_head(seen, manifest.output, graph, self.softmax, source.name)
        else:
            inside = self.softmax in {"inside", "sigmoid"} or (
                self.softmax == "detect" and examined.reads_as_probability()
            )
            fitting_note = examined.require_fitting(inside=inside and task.has_probabilities)
            head = HeadFound(inside and task.has_probabilities, None, "")
        manifest = replace(manifest, softmax_inside=head.inside, single=head.single)
        notes = (
            tensor_note("input", manifest.input),
            opened.layout_note,
            tensor_note("output", manifest.output),
            head.note,
            opened.batch_note,
            fitting_note,
            opened.output_note,
            state_note(opened.kept),
        )
        return StoredArtifact(Artifact(folder, manifest), tuple(sentence for sentence in notes if sentence))

    def _require_precision(self, filetype: FileType, source: Path) -> None:
        """Raise `ArtifactError` where floats are declared as integers, or the reverse: shadows would be others."""
        if self.precision is None or "traits" in filetype.spec.unreadable:
            return
        try:
            found = filetype.traits(source)
        except ArtifactError:  # a file may work in its runtime although our reader cannot parse its weights
            return
        if is_integer(self.precision) and found.weights and not found.quantised:
            raise ArtifactError(
                f"formats: '{self.format}' is {self.precision}, but {source.name} has {found.weights} weights and no "
                "quantised operators, so that its shadows would be quantised and it is not; name the format that the "
                "file has (`edgeaudit formats` lists them), or audit the quantised file"
            )
        if not is_integer(self.precision) and is_integer(found.weights):
            raise ArtifactError(
                f"formats: '{self.format}' is {self.precision}, but {source.name} has {found.weights} weights, so that "
                "it is quantised and its shadows would not be; name the format that the file has (`edgeaudit formats` "
                "lists them), or audit the float file"
            )


def _require_held(opened: Opened, name: str) -> None:
    """Raise `ArtifactError` where most of what records differ in is beyond what the quantised input can hold."""
    if opened.held is None or (lost := clipped_share(opened.records, opened.held)) < _LOST:
        return
    low, high = opened.held
    raise ArtifactError(
        f"data.preprocessing does not fit {name}: its quantised input holds values from {low:.4g} to {high:.4g}, and "
        f"{lost:.0%} of the records' variance lies beyond; `edgeaudit inspect` finds the preprocessing that fits"
    )


def _copied(file: SourceFile, folder: Path, where: str) -> dict[str, str]:
    """Copy the file and its companions; returns companion name -> SHA-256."""
    path = file.path
    for name, digest in (("", file.sha256), *file.companions.items()):
        source = path.parent / name if name else path
        target = folder / (name or path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, target)
        except OSError as exc:
            raise ArtifactError(f"{where}: {source} cannot be read: {exc.strerror}") from exc
        if file_sha256(target) != digest:
            raise ArtifactError(f"{where}: {source} changed while the audit was running; run again")
    return dict(file.companions)
