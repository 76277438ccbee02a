"""foreign model file -> artifact: the contract is read from the file; what the file does not state is detected.

Nothing is assumed: the file's own answers determine layout, softmax and batch, and the declarations in audit.yaml
(preprocessing, order of labels, accuracy) are checked against them before anything is measured.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import Artifact, Layout, Manifest, TensorSpec, file_sha256
from edgeaudit.filetypes.base import Contract
from edgeaudit.filetypes.registry import filetype_module, find_filetype
from edgeaudit.graph.job import Context, Job
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.settings import Settings
from edgeaudit.stages.artifacts import StoredArtifact
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.target_check import Door, Examined, Stated, in_unit_range, is_probability, require_steady
from edgeaudit.stages.train import SourceFile

__all__ = ["Adopt"]

FloatArray = npt.NDArray[np.float32]

_BATCHED = 64
"""Nonmembers that are queried singly and together."""
_LAYOUTS: Mapping[int, tuple[Layout, ...]] = {4: ("NCHW", "NHWC"), 3: ("HW", "flat"), 2: ("flat",)}


@dataclass(frozen=True, eq=False, kw_only=True)
class Adopt(Job[StoredArtifact]):
    """Copy a foreign model file and write its manifest; the result's `found` lists what was read and detected.

    options: all options of the runtime. batch_given: whether audit.yaml sets its batch. softmax, outputs, accuracy,
    train_accuracy (on members): as declared by `target` in audit.yaml. versions: of the runtime. machine: the CPU's
    fingerprint, on which answers depend.
    """

    kind: ClassVar[str] = "adopt"
    result: ClassVar[type[StoredArtifact]] = StoredArtifact

    population: DrawPopulation
    file: SourceFile
    runtime: str
    options: Settings
    batch_given: bool
    softmax: str
    outputs: tuple[int, ...] | None
    accuracy: float | None
    train_accuracy: float | None
    versions: Mapping[str, str]
    machine: Mapping[str, object]

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"read {self.file.path.name}"

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return find_runtime(self.runtime).spec.isolation

    def code(self) -> tuple[str, ...]:
        """The runtime and the file type."""
        runtime = find_runtime(self.runtime)
        return (runtime.__module__, *runtime.spec.code, filetype_module(runtime.spec.serves))

    def packages(self) -> tuple[str, ...]:
        """Packages of the runtime."""
        return find_runtime(self.runtime).spec.packages

    def run(self, context: Context) -> StoredArtifact:
        """See the class."""
        population, source, folder = context.read(self.population), self.file.path, context.draft
        runtime = find_runtime(self.runtime)
        contract = find_filetype(runtime.spec.serves).contract(source)
        input_, output = _only(contract, source.name)
        input_, layout_note = _with_layout(input_, population.input_shape, source.name)
        outputs = _require_classes(output, self.outputs, population.n_classes, source.name)
        companions = _copied(self.file, folder)
        manifest = Manifest(
            kind=runtime.spec.serves,
            file=source.name,
            sha256=file_sha256(folder / source.name),
            bytes=sum((folder / name).stat().st_size for name in (source.name, *companions)),
            input=input_,
            output=output,
            softmax_inside=False,
            calibration_policy="declared" if len(population.calibrated) else None,
            calibration_ids=tuple(int(i) for i in population.calibrated),
            companions=companions,
            outputs=outputs,
            foreign=True,
        )
        records = population.take(population.split.nonmembers[:_BATCHED])
        manifest, independent, batch_note = _batched(manifest, runtime, self, folder, records)
        opened = runtime(Artifact(folder, manifest), self.options)
        require_steady(opened.query, opened.query if independent else None, records, source.name)
        door = Door(
            what=source.name,
            stated=Stated("target.accuracy", self.train_accuracy, self.accuracy),
            outputs=outputs or tuple(range(population.n_classes)),
        )
        examined = Examined(opened.query, population, door)
        answers = examined.nonmembers
        # Inputs first: with wrongly scaled ones, the answers say nothing about the softmax.
        fitting_note = examined.require_fitting(inside=is_probability(answers, output.scale or 0.0))
        inside, softmax_note = _softmax(answers, output, self.softmax, source.name)
        manifest = replace(manifest, softmax_inside=inside)
        notes = (
            _tensor_note("input", input_),
            layout_note,
            _tensor_note("output", output),
            softmax_note,
            batch_note,
            fitting_note,
        )
        return StoredArtifact(Artifact(folder, manifest), tuple(sentence for sentence in notes if sentence))


def _only(contract: Contract, name: str) -> tuple[TensorSpec, TensorSpec]:
    """The single input and the single output."""
    for what, tensors in (("input", contract.inputs), ("output", contract.outputs)):
        if len(tensors) != 1:
            listed = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in tensors) or "none"
            remedy = "export the class scores alone" if what == "output" else "export a file that takes records alone"
            raise ArtifactError(f"target.artifact: {name} has {len(tensors)} {what}s ({listed}), not one; {remedy}")
    return contract.inputs[0], contract.outputs[0]


def _with_layout(input_: TensorSpec, record: tuple[int, ...], name: str) -> tuple[TensorSpec, str]:
    """The input with the layout in which records fit, and the reason."""
    fitting = [layout for layout in _LAYOUTS.get(len(input_.shape), ()) if _fits(input_.shape[1:], record, layout)]
    if not fitting:
        raise ArtifactError(
            f"target.artifact: {name} takes records of shape {list(input_.shape[1:])}, but the data's records have "
            f"{list(record)} (channels first). Resize or crop the data to that shape, or set data.layout"
        )
    layout = fitting[0]
    shape = (input_.shape[0], *_native(record, layout))
    if len(fitting) == 1:
        return replace(input_, shape=shape, layout=layout), f"layout {layout}: the only one in which the records fit"
    raise ArtifactError(
        f"target.artifact: records of shape {list(record)} fit {name} with channels first and with channels last; "
        "export it for another size, or set data.layout: flat"
    )


def _native(record: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    if layout == "NHWC":
        return (*record[1:], record[0])
    return record[1:] if layout == "HW" else record


def _fits(sizes: tuple[int, ...], record: tuple[int, ...], layout: Layout) -> bool:
    """Whether the sizes in the file (-1: any) match a record in that layout."""
    native = _native(record, layout)
    if (len(record) == 3) == (layout == "flat") or (layout == "HW" and record[0] != 1) or len(native) != len(sizes):
        return False
    return all(size in (-1, expected) for size, expected in zip(sizes, native, strict=True))


def _require_classes(
    output: TensorSpec, requested: Sequence[int] | None, labels: int, name: str
) -> tuple[int, ...] | None:
    """The outputs that hold the labels' scores; None if these are all outputs, in order."""
    if len(output.shape) != 2 or output.shape[1] < 2:
        single = len(output.shape) == 1 or output.shape[1:] == (1,)
        what = "one value per record, like a regression or a single sigmoid" if single else f"{list(output.shape)}"
        raise ArtifactError(
            f"target.artifact: {name} returns {what}; an audit needs a score per class, [records, 2 or more]"
        )
    classes = output.shape[1]
    if requested is None:
        if classes == labels:
            return None
        raise ArtifactError(
            f"target.artifact: {name} returns {classes} scores, but the data has {labels} labels. If the labels are "
            f"some of the outputs, list them: target.outputs: [{labels} indices from 0 to {classes - 1}]; a classifier "
            "of other data cannot be audited with this data"
        )
    if len(requested) != labels or len(set(requested)) != labels or max(requested) >= classes:
        raise ArtifactError(
            f"target.outputs: {labels} different indices from 0 to {classes - 1} are needed, one for each label of the "
            f"data; got {list(requested)}"
        )
    return None if tuple(requested) == tuple(range(classes)) else tuple(requested)


def _copied(file: SourceFile, folder: Path) -> dict[str, str]:
    """Copy the file and its companions; returns companion name -> SHA-256."""
    path = file.path
    for name, digest in (("", file.sha256), *file.companions.items()):
        source = path.parent / name if name else path
        target = folder / (name or path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, target)
        except OSError as exc:
            raise ArtifactError(f"target.artifact: {source} cannot be read: {exc.strerror}") from exc
        if file_sha256(target) != digest:
            raise ArtifactError(f"target.artifact: {source} changed while the audit was running; run again")
    return dict(file.companions)


def _batched(
    manifest: Manifest, runtime: type[Runtime], job: Adopt, folder: Path, records: FloatArray
) -> tuple[Manifest, bool, str]:
    """The manifest with the batch for queries, whether answers must not depend on it, and the reason."""
    fixed = manifest.input.shape[0]
    if fixed > 0:
        return manifest, fixed == 1, f"queried {fixed} at a time, the batch size fixed in the file"
    single = replace(manifest, input=replace(manifest.input, shape=(1, *manifest.input.shape[1:])))
    options, artifact = job.options, Artifact(folder, manifest)
    try:
        together = runtime(artifact, options).query(records)
        alone = runtime(artifact, {**options, "batch": 1}).query(records)
    except ArtifactError:
        return single, True, "queried one at a time: larger batches fail"
    off, spread = float(np.abs(together - alone).max()), float(together.std())
    if off <= 1e-3 * spread:
        return manifest, True, "answers do not depend on the batch"
    if job.batch_given:
        note = f"answers depend on the batch (by up to {off:.3g}); queried {options['batch']} at a time, as declared"
        return manifest, False, note
    return single, True, f"queried one at a time: answers depend on the batch (by up to {off:.3g})"


def _softmax(answers: FloatArray, output: TensorSpec, declared: str, name: str) -> tuple[bool, str]:
    """Whether the answers are probabilities, and the evidence."""
    sums = answers.astype(np.float64).sum(axis=1)
    off, where = float(np.abs(sums - 1).max()), f"{len(answers):,} answers"
    inside = is_probability(answers, output.scale or 0.0)
    if declared == "inside" and not inside:
        raise ArtifactError(
            f"target.softmax is inside, but {name} does not return probabilities: the sums of {where} range from "
            f"{sums.min():.3g} to {sums.max():.3g}; set it to outside or remove it"
        )
    if declared == "outside" and inside:
        raise ArtifactError(
            f"target.softmax is outside, but {name} returns probabilities: {where} are in [0, 1] and sum to 1 "
            f"within {off:.2g}; remove it"
        )
    if inside:
        return True, f"softmax inside: {where} are in [0, 1] and sum to 1 within {off:.2g}"
    if declared == "detect" and in_unit_range(answers, output.scale or 0.0):
        raise ArtifactError(
            f"target.artifact: {name} returns values in [0, 1] with sums from {sums.min():.3g} to {sums.max():.3g}; "
            "they are neither probabilities of a softmax nor logits (perhaps one sigmoid per class). target.softmax: "
            "outside treats them as scores"
        )
    return False, f"softmax outside: the sums of {where} range from {sums.min():.3g} to {sums.max():.3g}"


def _tensor_note(what: str, tensor: TensorSpec) -> str:
    shape = ", ".join("any" if size < 0 else str(size) for size in tensor.shape)
    point = tensor.zero_point or 0
    offset = "q" if point == 0 else f"(q {'-' if point > 0 else '+'} {abs(point)})"
    scale = f", value = {tensor.scale:.6g} * {offset}" if tensor.scale is not None else ""
    return f"{what} '{tensor.name}': {tensor.dtype} [{shape}]{scale}"
