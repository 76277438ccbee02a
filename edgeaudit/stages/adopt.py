"""A file that was made elsewhere -> an artifact: its contract is read from it, and what cannot be read is found out.

Nothing is assumed: where layout, softmax or batch are, the file's own answers decide, and what audit.yaml declares
(preprocessing, order of labels, accuracy) is held against them before anything is measured.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import scipy

from edgeaudit.errors import ArtifactError, DataError
from edgeaudit.filetypes.artifact import Artifact, Layout, Manifest, TensorSpec, file_sha256
from edgeaudit.filetypes.base import Contract
from edgeaudit.filetypes.registry import filetype_module, find_filetype
from edgeaudit.graph.job import Context, Job
from edgeaudit.leakage.intervals import clopper_pearson
from edgeaudit.population.base import Population
from edgeaudit.population.preprocessing import NAMED, affine
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.artifacts import StoredArtifact
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.train import SourceFile

__all__ = ["Adopt"]

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_ASKED = 1024
"""Nonmembers that are asked about to find out what a file does; as many members are told apart from them."""
_LEVEL = 1e-3
"""Of the tests that refuse a file: one that is fine is refused once in a thousand audits."""
_BETTER = 0.05
"""How much more accurate another preprocessing must be, beyond significance, for the declared one to be wrong."""
_STATED = 0.02
"""What an accuracy that is stated by the maker may be off beyond chance: other records, another runtime."""
_LAYOUTS: Mapping[int, tuple[Layout, ...]] = {4: ("NCHW", "NHWC"), 3: ("HW",), 2: ("flat",)}


@dataclass(frozen=True)
class _Sample:
    """Records to find things out on: ids and labels."""

    ids: IntArray
    labels: IntArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Adopt(Job[StoredArtifact]):
    """Copy a file that was made elsewhere, write its manifest; say what was read and found out (`found`).

    options: of the runtime, all of them. batch_given: whether audit.yaml sets its batch. softmax, outputs, accuracy: as
    `target` in audit.yaml declares them. versions: of the runtime. machine: the CPU's fingerprint, on which answers
    depend. format: for people.
    """

    kind: ClassVar[str] = "adopt"
    result: ClassVar[type[StoredArtifact]] = StoredArtifact

    population: DrawPopulation
    file: SourceFile
    runtime: str
    options: Mapping[str, Any]
    batch_given: bool
    softmax: str
    outputs: tuple[int, ...] | None
    accuracy: float | None
    versions: Mapping[str, str]
    machine: Mapping[str, Any]

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"read {self.file.path.name}"

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return find_runtime(self.runtime).spec.isolation

    def code(self) -> tuple[str, ...]:
        """The runtime, and the reader of such files."""
        runtime = find_runtime(self.runtime)
        return (runtime.__module__, *runtime.spec.code, filetype_module(runtime.spec.serves))

    def packages(self) -> tuple[str, ...]:
        """The runtime's."""
        return find_runtime(self.runtime).spec.packages

    def run(self, context: Context) -> StoredArtifact:
        """See the class."""
        population, given, folder = context.read(self.population), self.file.path, context.draft
        runtime = find_runtime(self.runtime)
        contract = find_filetype(runtime.spec.serves).contract(given)
        entry, exit_ = _only(contract, given.name)
        entry, layout_said = _laid_out(entry, population.input_shape, given.name)
        outputs = _require_classes(exit_, self.outputs, population.n_classes, given.name)
        companions = _copied(self.file, folder)
        manifest = Manifest(
            kind=runtime.spec.serves,
            file=given.name,
            sha256=file_sha256(folder / given.name),
            bytes=sum((folder / name).stat().st_size for name in (given.name, *companions)),
            input=entry,
            output=exit_,
            softmax_inside=False,
            calibration_policy="declared" if len(population.calibrated) else None,
            calibration_ids=tuple(int(i) for i in population.calibrated),
            companions=companions,
            outputs=outputs,
            foreign=True,
        )
        sample = _sample(population, population.split.nonmembers)
        records = population.take(sample.ids)
        manifest, batch_said = _batched(manifest, runtime, self, folder, records)
        opened = runtime(Artifact(folder, manifest), self.options)
        answers = _finite(opened.query(records), sample, given.name)
        # Accuracy first: with values that a file does not take, its answers say nothing of its softmax.
        accuracy_said = _require_accuracy(opened, population, sample, answers, self.accuracy)
        inside, softmax_said = _softmax(answers, exit_, self.softmax, given.name)
        manifest = replace(manifest, softmax_inside=inside)
        said = (_told("input", entry), layout_said, _told("output", exit_), softmax_said, batch_said, accuracy_said)
        return StoredArtifact(Artifact(folder, manifest), tuple(sentence for sentence in said if sentence))


def _only(contract: Contract, name: str) -> tuple[TensorSpec, TensorSpec]:
    """The one input and the one output."""
    for what, tensors in (("input", contract.inputs), ("output", contract.outputs)):
        if len(tensors) != 1:
            listed = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in tensors) or "none"
            remedy = "export the class scores alone" if what == "output" else "export a file that takes records alone"
            raise ArtifactError(f"target.artifact: {name} has {len(tensors)} {what}s ({listed}) and not one; {remedy}")
    return contract.inputs[0], contract.outputs[0]


def _laid_out(entry: TensorSpec, record: tuple[int, ...], name: str) -> tuple[TensorSpec, str]:
    """The input with the layout in which records fit, and why that one."""
    fitting = [layout for layout in _LAYOUTS.get(len(entry.shape), ()) if _fits(entry.shape[1:], record, layout)]
    if not fitting:
        raise ArtifactError(
            f"target.artifact: {name} takes records of shape {list(entry.shape[1:])}, and those of the data have "
            f"{list(record)} (channels first). Resize or crop the data to what the file takes, or set data.layout"
        )
    layout = fitting[0]
    shape = (entry.shape[0], *_native(record, layout))
    if len(fitting) == 1:
        return replace(entry, shape=shape, layout=layout), f"layout {layout}: the only one in which the records fit"
    raise ArtifactError(
        f"target.artifact: records of shape {list(record)} fit {name} with channels first and with channels last; "
        "export it for another size, or set data.layout: flat"
    )


def _native(record: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    if layout == "NHWC":
        return (*record[1:], record[0])
    return record[1:] if layout == "HW" else record


def _fits(sizes: tuple[int, ...], record: tuple[int, ...], layout: Layout) -> bool:
    """Whether the sizes that the file gives (-1: any) are those of a record in that layout."""
    if len(record) != (1 if layout == "flat" else 3) or (layout == "HW" and record[0] != 1):
        return False
    return all(size in (-1, own) for size, own in zip(sizes, _native(record, layout), strict=True))


def _require_classes(exit_: TensorSpec, wish: Sequence[int] | None, labels: int, name: str) -> tuple[int, ...] | None:
    """The places of the labels' scores, where they are not all outputs in their order."""
    if len(exit_.shape) != 2 or exit_.shape[1] < 2:
        one = len(exit_.shape) == 1 or exit_.shape[1:] == (1,)
        what = "one value a record, as a regression or a single sigmoid does" if one else f"{list(exit_.shape)}"
        raise ArtifactError(
            f"target.artifact: {name} answers {what}; an audit needs a score for each class, [records, 2 or more]"
        )
    classes = exit_.shape[1]
    if wish is None:
        if classes == labels:
            return None
        raise ArtifactError(
            f"target.artifact: {name} answers {classes} scores, and the data has {labels} labels. If only some of them "
            f"are meant, list their places: target.outputs: [{labels} places from 0 to {classes - 1}]; if it is no "
            "classifier of this data, it cannot be audited with it"
        )
    if len(wish) != labels or len(set(wish)) != labels or max(wish) >= classes:
        raise ArtifactError(
            f"target.outputs: {labels} different places from 0 to {classes - 1} are needed, one for each label of the "
            f"data; it is {list(wish)}"
        )
    return None if tuple(wish) == tuple(range(classes)) else tuple(wish)


def _copied(file: SourceFile, folder: Path) -> dict[str, str]:
    """Copy the file and what ships beside it; name -> SHA-256 of the latter."""
    given = file.path
    for name, digest in (("", file.sha256), *file.companions.items()):
        source = given.parent / name if name else given
        target = folder / (name or given.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, target)
        except OSError as exc:
            raise ArtifactError(f"target.artifact: {source} cannot be read: {exc.strerror}") from exc
        if file_sha256(target) != digest:
            raise ArtifactError(f"target.artifact: {source} was changed while the audit ran; run again")
    return dict(file.companions)


def _sample(population: Population, ids: IntArray) -> _Sample:
    """Evenly spaced records of one side."""
    chosen = ids[np.linspace(0, len(ids) - 1, min(len(ids), _ASKED)).astype(np.int64)]
    return _Sample(chosen, population.labels[chosen])


def _batched(
    manifest: Manifest, runtime: type[Runtime], job: Adopt, folder: Path, records: FloatArray
) -> tuple[Manifest, str]:
    """The manifest with the batch that the file is asked in, and why."""
    fixed = manifest.input.shape[0]
    if fixed > 0:
        return manifest, f"asked {fixed} at a time, the batch that the file is made for"
    one = replace(manifest, input=replace(manifest.input, shape=(1, *manifest.input.shape[1:])))
    options, artifact = job.options, Artifact(folder, manifest)
    some = records[: min(len(records), 64)]
    try:
        together = runtime(artifact, options).query(some)
        alone = runtime(artifact, {**options, "batch": 1}).query(some)
    except ArtifactError:
        return one, "asked one at a time: it cannot be asked for more"
    off, spread = float(np.abs(together - alone).max()), float(together.std())
    if off <= 1e-3 * spread:
        return manifest, "its answers do not depend on the batch"
    if job.batch_given:
        said = f"its answers depend on the batch (by up to {off:.3g}); asked {options['batch']} at a time, as declared"
        return manifest, said
    return one, f"asked one at a time: its answers depend on the batch (by up to {off:.3g})"


def _finite(answers: FloatArray, sample: _Sample, name: str) -> FloatArray:
    bad = np.asarray(~np.isfinite(answers).all(axis=1))
    if bad.any():
        raise ArtifactError(
            f"target.artifact: {name} answers {int(bad.sum())} of {len(answers)} records with values that are not "
            f"finite, record {int(sample.ids[bad][0])} first; does data.preprocessing fit it?"
        )
    return answers


def _softmax(answers: FloatArray, exit_: TensorSpec, wish: str, name: str) -> tuple[bool, str]:
    """Whether the answers are probabilities, and how that is known."""
    sums = answers.astype(np.float64).sum(axis=1)
    # Each of n values is rounded to the output's step.
    allowed = 1e-3 + answers.shape[1] * (exit_.scale or 0.0) / 2
    bounded = bool((answers >= 0).all() and (answers <= 1 + allowed).all())
    off = float(np.abs(sums - 1).max())
    inside, where = bounded and off <= allowed, f"{len(answers):,} answers"
    if wish == "inside" and not inside:
        raise ArtifactError(
            f"target.softmax is inside, and {name} does not answer with probabilities: of {where} the sums run from "
            f"{sums.min():.3g} to {sums.max():.3g}; set it to outside or leave it out"
        )
    if wish == "outside" and inside:
        raise ArtifactError(
            f"target.softmax is outside, and {name} answers with probabilities: {where} lie in [0, 1] and sum to 1 "
            "within {off:.2g}; leave it out"
        )
    if inside:
        return True, f"softmax inside: {where} lie in [0, 1] and sum to 1 within {off:.2g}"
    if bounded and wish == "detect":
        raise ArtifactError(
            f"target.artifact: {name} answers values in [0, 1] that sum to {sums.min():.3g} to {sums.max():.3g}, which "
            "are neither probabilities of a softmax nor logits (one sigmoid a class?). target.softmax: outside takes "
            "them as scores"
        )
    return False, f"softmax outside: the sums of {where} run from {sums.min():.3g} to {sums.max():.3g}"


def _require_accuracy(
    runtime: Runtime, population: Population, sample: _Sample, answers: FloatArray, stated: float | None
) -> str:
    """Whether the file does what it is said to do, on records as audit.yaml prepares them."""
    name, n = runtime.artifact.manifest.file, len(sample.labels)
    right = answers.argmax(axis=1) == sample.labels
    accuracy = float(right.mean())
    best, better = _best_preprocessing(runtime, population, sample)
    gained = int((better & ~right).sum()), int((right & ~better).sum())
    if better.mean() - accuracy > _BETTER and scipy.stats.binomtest(gained[0], sum(gained), 0.5).pvalue < _LEVEL:
        raise ArtifactError(
            f"data.preprocessing does not fit {name}: it answers {accuracy:.1%} of {n:,} nonmembers right as they are "
            f"given to it now, and {better.mean():.1%} with data.preprocessing: {best}. Set it to what the model was "
            "trained with"
        )
    common = int(np.bincount(sample.labels).max())
    if scipy.stats.binomtest(int(right.sum()), n, min(common / n, 1.0), alternative="greater").pvalue > _LEVEL:
        raise ArtifactError(_by_chance(name, answers, sample, accuracy, common / n))
    if stated is not None:
        low, high = clopper_pearson(int(right.sum()), n, 1 - _LEVEL)
        if not low - _STATED <= stated <= high + _STATED:
            raise ArtifactError(
                f"target.accuracy is {stated:.1%}, and {name} answers {accuracy:.1%} [{low:.1%}, {high:.1%}] of {n:,} "
                "nonmembers right: is it that file, and are data.preprocessing, the labels and the nonmembers those "
                "that its maker measured?"
            )
    return f"right on {accuracy:.1%} of {n:,} nonmembers, and no other usual preprocessing does better"


def _best_preprocessing(runtime: Runtime, population: Population, sample: _Sample) -> tuple[str, npt.NDArray[np.bool_]]:
    """The usual preprocessing with which the file is right most often, and on which records."""
    found: dict[str, npt.NDArray[np.bool_]] = {}
    for name in NAMED:
        try:
            records = population.take(sample.ids, affine(name, population.input_shape[0]))
        except DataError:  # figures for another number of channels
            continue
        found[name] = runtime.query(records).argmax(axis=1) == sample.labels
    best = max(found, key=lambda name: float(found[name].mean()))
    return best, found[best]


def _by_chance(name: str, answers: FloatArray, sample: _Sample, accuracy: float, common: float) -> str:
    said = (
        f"target.artifact: {name} answers {accuracy:.1%} of {len(sample.labels):,} nonmembers right, no more than the "
        f"most frequent label gives ({common:.1%})"
    )
    classes = answers.shape[1]
    pairs = np.zeros((classes, classes))
    np.add.at(pairs, (sample.labels, answers.argmax(axis=1)), 1)
    labels, places = scipy.optimize.linear_sum_assignment(-pairs)
    reached = float(pairs[labels, places].sum() / len(sample.labels))
    # A permutation that is fitted to noise reaches little more than chance; this is far beyond it.
    if reached > max(0.5, 2 * common) and reached > 2 * accuracy:
        return (
            f"{said}, and {reached:.1%} if its outputs are the labels in another order. If so, set target.outputs: "
            f"{places.tolist()}"
        )
    return f"{said}. Check data.preprocessing, the labels, and that it is a classifier of this data"


def _told(what: str, tensor: TensorSpec) -> str:
    shape = ", ".join("any" if size < 0 else str(size) for size in tensor.shape)
    point = tensor.zero_point or 0
    offset = "q" if point == 0 else f"(q {'-' if point > 0 else '+'} {abs(point)})"
    scale = f", value = {tensor.scale:.6g} * {offset}" if tensor.scale is not None else ""
    return f"{what} '{tensor.name}': {tensor.dtype} [{shape}]{scale}"
