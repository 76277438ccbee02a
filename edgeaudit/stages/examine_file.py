"""foreign model file, and records -> what it is, and how it is fed and read best: what `edgeaudit inspect` says."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.controls.best_way import Reading, best_readings, settled
from edgeaudit.controls.target_check import Sample
from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.base import FileType
from edgeaudit.filetypes.registry import filetype_module, find_filetype
from edgeaudit.filetypes.traits import Traits
from edgeaudit.graph.job import Context
from edgeaudit.population.base import Population
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.file_head import find_head, is_inside
from edgeaudit.stages.file_job import FileJob, ReadJob, memory_for
from edgeaudit.stages.file_opening import Opened, Wish, open_file, state_note
from edgeaudit.stages.json_files import read_json, write_json
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.target_check import Way, clipped_share, every_input, fed, require_steady
from edgeaudit.stages.train import SourceFile

__all__ = ["ExamineFile", "FileFacts", "Fitted", "ReadFile"]

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_TRIED = (64, 384)
"""Records of a side that are asked in every way, and then in the best ones."""
_KEPT = 6
_LOST, _USED = 0.5, 0.1
"""Share of the variance that a quantised input may cut off, and of its range that records must use."""


@dataclass(frozen=True)
class FileFacts:
    """What a file says of itself, without being run.

    traits: None where such files do not say, and `note` gives the reason. state: what it keeps between calls. heads: of
    each output; empty where such files do not say. operators: type -> how many.
    """

    kind: str
    title: str
    bytes: int
    companions: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    heads: tuple[str, ...]
    state: tuple[str, ...]
    operators: Mapping[str, int]
    traits: Traits | None
    note: str | None

    def save(self, folder: Path) -> None:
        """As JSON."""
        write_json(folder / "facts.json", self)

    @classmethod
    def load(cls, folder: Path) -> FileFacts:
        """Read what `save` wrote."""
        return read_json(folder / "facts.json", cls)


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadFile(ReadJob[FileFacts]):
    """Read a model file; nothing is run. filetype: its name."""

    kind: ClassVar[str] = "facts"
    result: ClassVar[type[FileFacts]] = FileFacts

    filetype: str

    def memory(self) -> int:
        """See `Job`."""
        return memory_for(self.filetype)

    def code(self) -> tuple[str, ...]:
        """The file type."""
        return (filetype_module(self.filetype),)

    def run(self, context: Context) -> FileFacts:
        """See the class."""
        del context
        path, filetype = self.file.path, find_filetype(self.filetype)
        contract, unreadable = filetype.contract(path), filetype.spec.unreadable
        heads = () if "softmax" in unreadable else _heads(filetype, path, len(contract.outputs))
        traits, note = None, unreadable.get("traits")
        if note is None:
            try:
                traits = filetype.traits(path)
            except ArtifactError as exc:  # it may work in its runtime although our reader cannot parse its weights
                note = str(exc)
        return FileFacts(
            kind=filetype.spec.name,
            title=filetype.spec.title,
            bytes=filetype.size(path),
            companions=filetype.companions(path),
            inputs=contract.inputs,
            outputs=contract.outputs,
            heads=heads,
            state=() if "state" in unreadable else filetype.state(path),
            operators={} if "operators" in unreadable else filetype.operators(path),
            traits=traits,
            note=note,
        )


def _heads(filetype: FileType, path: Path, outputs: int) -> tuple[str, ...]:
    return tuple(filetype.head(path, place) for place in range(outputs))


@dataclass(frozen=True)
class Tried:
    """One way to feed the file, read at its best offset; see `Reading`. members, others: None for an empty side."""

    inputs: str
    offset: int
    accuracy: float
    members: float | None
    others: float | None
    loss: float


@dataclass(frozen=True)
class Fitted:
    """How a file is fed and read best, by records.

    preprocessing, reversed_channels: of the best inputs. outputs: the output of each label; None for all of them in
    order. output: the name for `target.output`; None where it need not be named. softmax: the declaration that
    audit.yaml needs; None where it is detected. notes: sentences. tried: the best way first. by_chance: even that is no
    better than chance. records: asked in each way.
    """

    preprocessing: str
    reversed_channels: bool
    outputs: tuple[int, ...] | None
    output: str | None
    softmax: str | None
    notes: tuple[str, ...]
    tried: tuple[Tried, ...]
    by_chance: bool
    records: int

    def save(self, folder: Path) -> None:
        """As JSON."""
        write_json(folder / "fitted.json", self)

    @classmethod
    def load(cls, folder: Path) -> Fitted:
        """Read what `save` wrote."""
        return read_json(folder / "fitted.json", cls)


@dataclass(frozen=True, eq=False, kw_only=True)
class ExamineFile(FileJob[Fitted]):
    """Ask a file in every usual way.

    runtime: its name. output: of the file, as `target.output`; None to find it. sides_known: whether the population's
    members are those of the file; else its sides mean nothing.
    """

    kind: ClassVar[str] = "fitted"
    result: ClassVar[type[Fitted]] = Fitted

    population: DrawPopulation
    output: str | None = None
    sides_known: bool = True

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"ask {self.file.path.name} in every way"

    def run(self, context: Context) -> Fitted:
        """See the class."""
        population, runtime = context.read(self.population), find_runtime(self.runtime)
        path = _copied(self.file, context.draft)
        opened = self._open(path, runtime, population)
        ways = every_input(population)
        ways = {name: way for name, way in ways.items() if _held(opened, population, way)} or ways
        answers, sample = _asked(opened, population, ways)
        if not self.sides_known:
            sample = Sample(sample.labels, np.zeros_like(sample.members))
        labels, output = population.n_classes, opened.manifest.output
        inside = any(is_inside(given, output, opened.graph) for given in answers.values())
        if opened.values == 1:
            answers = {name: _two(given, inside=inside) for name, given in answers.items()}
        ranked = best_readings(answers, sample, labels, inside=inside)
        best = settled(ranked[0], answers, sample, inside=inside, as_declared=frozenset(answers))
        way = ways[best.inputs]
        seen = opened.whole.query(fed(population, population.split.nonmembers[: _TRIED[0]], way))
        softmax, notes = _declaration(seen, opened, path.name)
        values = 2 if opened.values == 1 else opened.values
        return Fitted(
            preprocessing=way.preprocessing,
            reversed_channels=way.reversed,
            outputs=None if best.outputs == tuple(range(values)) else best.outputs,
            output=self.output or (opened.manifest.output.name if opened.output_note else None),
            softmax=softmax,
            notes=tuple(note for note in (*notes, *_steadiness(opened, path.name)) if note),
            tried=tuple(_tried(reading) for reading in [best, *(r for r in ranked if r.inputs != best.inputs)]),
            by_chance=best.by_chance,
            records=len(sample.labels),
        )

    def _open(self, path: Path, runtime: type[Runtime], population: Population) -> Opened:
        """With one score per label, or else with more scores than labels."""
        options = runtime.spec.options({})
        try:
            return open_file(path, self.file.companions, runtime, Wish(self.output, None, options), population)
        except ArtifactError:
            more = (population.n_classes - 1,)
            return open_file(path, self.file.companions, runtime, Wish(self.output, more, options), population)


def _copied(file: SourceFile, folder: Path) -> Path:
    for name in (file.path.name, *file.companions):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.path.parent / name, folder / name)
    return folder / file.path.name


def _asked(opened: Opened, population: Population, ways: Mapping[str, Way]) -> tuple[dict[str, FloatArray], Sample]:
    """Answers in every way to a few records; where there are many ways, to more records in those that look best."""
    names, found, sample = list(ways), {}, Sample(np.empty(0, np.int64), np.empty(0, np.bool_))
    for count in _TRIED:
        members, others = (_some(side, count) for side in (population.split.members, population.split.nonmembers))
        ids = np.concatenate([members, others])
        sample = Sample(population.labels[ids], np.arange(len(ids)) < len(members))
        found = {name: opened.whole.query(fed(population, ids, ways[name])) for name in names}
        found = {name: answers for name, answers in found.items() if np.isfinite(answers).all()}
        if not found:
            raise ArtifactError(f"{opened.manifest.file} returns NaN or infinity, however its records are prepared")
        names = sorted(found, key=lambda name: -_matched(found[name], sample.labels))[:_KEPT]
        names = [name for name in ways if name in names]  # the usual ones first
        found = {name: found[name] for name in names}
    return found, sample


def _held(opened: Opened, population: Population, way: Way) -> bool:
    """Whether a quantised input can hold these values, and they are not so small that it rounds them all to one."""
    if opened.held is None:
        return True
    records = fed(population, population.split.nonmembers[: _TRIED[0]], way)
    low, high = np.percentile(records, [1, 99])
    room = opened.held[1] - opened.held[0]
    return clipped_share(records, opened.held) < _LOST and float(high - low) > _USED * room


def _matched(answers: FloatArray, labels: IntArray) -> float:
    """How well the most frequent answer to each label tells labels apart: accuracy under the best mapping."""
    if answers.shape[1] == 1:
        return abs(float(np.corrcoef(answers[:, 0], labels)[0, 1])) if float(answers.std()) > 0 else 0.0
    top = answers.argmax(axis=1)
    counts = np.zeros((int(labels.max()) + 1, answers.shape[1]))
    np.add.at(counts, (labels, top), 1)
    return float(counts.max(axis=0).sum() / len(labels))


def _some(ids: IntArray, count: int) -> IntArray:
    return ids[np.linspace(0, len(ids) - 1, min(len(ids), count)).astype(np.int64)]


def _two(answers: FloatArray, *, inside: bool) -> FloatArray:
    return np.concatenate([1 - answers if inside else np.zeros_like(answers), answers], axis=1)


def _declaration(seen: FloatArray, opened: Opened, name: str) -> tuple[str | None, tuple[str, ...]]:
    """What audit.yaml has to declare of the softmax, and what is known of it."""
    try:
        return None, (find_head(seen, opened.manifest.output, opened.graph, "detect", name).note,)
    except ArtifactError:
        note = find_head(seen, opened.manifest.output, opened.graph, "sigmoid", name).note
        return "sigmoid", (note, "the file does not say whether it ends in a sigmoid: check target.softmax")


def _steadiness(opened: Opened, name: str) -> tuple[str, ...]:
    notes = [opened.layout_note, opened.batch_note, opened.output_note, state_note(opened.kept)]
    try:
        require_steady(opened.whole.query, None, opened.records, name)
    except ArtifactError as exc:
        notes.append(str(exc))
    return tuple(notes)


def _tried(reading: Reading) -> Tried:
    sides = [None if np.isnan(share) else share for share in (reading.members, reading.others)]
    return Tried(reading.inputs, min(reading.outputs), reading.accuracy, sides[0], sides[1], reading.loss)
