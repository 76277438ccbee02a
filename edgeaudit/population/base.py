"""The population: records, labels and their split, stored once and read through memory maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import SplitError
from edgeaudit.population.balanced import balanced_draw
from edgeaudit.population.canaries import Canaries, planted_half
from edgeaudit.population.groups import Groups, related
from edgeaudit.population.labels import Labels
from edgeaudit.population.split import Split, in_groups, partition
from edgeaudit.randomness import stream
from edgeaudit.tasks import AuditedTask, TaskName, find_task
from edgeaudit.tasks.audited import Scale

__all__ = [
    "GIVEN",
    "HALF",
    "NULL",
    "SHADOW",
    "TARGET",
    "Declared",
    "Population",
    "PopulationFacts",
    "Records",
    "Role",
    "along",
    "given_number",
    "is_given",
    "numbered",
    "scale_only",
    "scaled",
    "standardised",
    "stream",
    "write_population",
]  # fmt: skip

IntArray = npt.NDArray[np.int64]
GIVEN, HALF, NULL, SHADOW, TARGET = "given", "half", "null-target", "shadow", "target"
Role = str
"""Which model: `target`, `target-<i>` (i from 1: other members), `null-target`, `null-target-<j>`, `shadow-<k>` (the
adversary's), `half-<k>` (the auditor's), or `given-<k>` (a shadow that the user has)."""


_FULL = 0.9
"""Share of its records that a shadow must get where they are drawn in whole groups."""


def numbered(kind: str, count: int) -> list[Role]:
    """The roles of `count` targets or null targets; the first of a kind has no number."""
    return [kind if i == 0 else f"{kind}-{i}" for i in range(count)]


def given_number(role: Role) -> int | None:
    """Which of the shadows that the user has, trained elsewhere, a role is; None if it is none of them."""
    kind, number = _kind(role)
    return number if kind == GIVEN else None


def is_given(role: Role) -> bool:
    """Whether a role is a shadow that the user has, trained elsewhere."""
    return given_number(role) is not None


def _kind(role: Role) -> tuple[str, int]:
    """A role's kind and number."""
    kind, _, number = role.rpartition("-")
    return (kind, int(number)) if number.isdecimal() else (role, 0)


@dataclass(frozen=True)
class Records:
    """Everything that was read.

    x: [n, C, H, W], [n, T, C], [n, C, T] or [n, d], in the source's dtype. axis: of x, from 1; each index along it has
    a mean and a deviation of its own. labels: of the records. names: of the records, such as file names; () for none.
    notes: what was changed or left out while they were read, in words. truth: see `edgeaudit.population.truth`.
    """

    x: npt.NDArray[Any]
    axis: int
    labels: Labels
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    truth: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Declared:
    """Settings of the records in audit.yaml.

    affine: mean and deviation of the preprocessing; None for the reference pool's own. calibrated: ids that the
    target's quantiser saw. files: side -> its own file and the id of its first record. shadow_records:
    training records of a shadow; None for as many as the target's. groups: of related records. slices: name -> a text
    for each record. canaries: None if there are none; repeats: how often a planted one is in the training records.
    given: ids of the records that each given shadow trained on.
    """

    affine: tuple[list[float], list[float]] | None
    calibrated: IntArray
    files: Mapping[str, tuple[str, int]]
    shadow_records: int | None
    groups: Groups
    slices: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)
    canaries: Canaries | None = None
    repeats: int = 1
    given: tuple[IntArray, ...] = ()


class PopulationFacts(TypedDict):
    """The counts, shapes and digests of a population, as about.json has them and audit.json reports them.

    source: name in reports. sha256: of records, labels and preprocessing, in hex. records: all; members, nonmembers,
    reference: of each side. moved: listed nonmembers that were copies of members, and were removed. classes: number of
    classes, of which some may not occur. task: of audit.yaml. outputs: classes, labels or values of a model that fits.
    class_names: in label order; empty if the source has none. notes: what was
    changed or left out while reading. input_shape: of one record. axis: of a batch, from 1, that mean and deviation are
    along. duplicates: records that are exact copies of another. conflicting_labels: groups of copies with different
    labels. grouped_by: what makes records related; groups_note: what was not searched. groups, largest_group: number of
    groups among the audited records, and records of the largest. mean, deviation: of the preprocessing, a value for
    each channel, sensor or column. files: side -> its own file and the id of its first record. shadow_records: training
    records of a shadow. drawn: SHA-256 of the sides, groups and slices. canaries, decoys: their numbers, which
    `records` does not count; repeats: of a planted one.
    """

    source: str
    sha256: str
    records: int
    members: int
    nonmembers: int
    reference: int
    moved: int
    task: TaskName
    classes: int
    outputs: int
    class_names: list[str]
    notes: list[str]
    input_shape: list[int]
    axis: int
    duplicates: int
    conflicting_labels: int
    grouped_by: str
    groups_note: str | None
    groups: int
    largest_group: int
    mean: list[float]
    deviation: list[float]
    files: Mapping[str, Sequence[str | int]]
    shadow_records: int
    drawn: str
    canaries: int
    decoys: int
    repeats: int


@dataclass(frozen=True)
class Population:
    """A stored population: a folder with x.npy, y.npy, split.npz, slices.npz, names.npy and about.json.

    truth.npy beside them has labels or values where records have no classes.

    Canaries and then decoys are the last records; they are on no side.
    """

    folder: Path

    def save(self, folder: Path) -> None:
        """Nothing to do: `write_population` has written the arrays."""

    @classmethod
    def load(cls, folder: Path) -> Population:
        """The population in a folder; arrays are read on use."""
        return cls(folder)

    @cached_property
    def about(self) -> PopulationFacts:
        """Counts, shapes and digests, as audit.json reports them."""
        found: PopulationFacts = json.loads((self.folder / "about.json").read_text(encoding="utf-8"))
        return found

    @cached_property
    def labels(self) -> IntArray:
        """int64 [all records]."""
        y: IntArray = np.load(self.folder / "y.npy")
        return y

    @property
    def task(self) -> AuditedTask:
        """What the model is for."""
        return find_task(self.about["task"])

    @property
    def outputs(self) -> int:
        """How many outputs a model has: classes, labels, or values."""
        return int(self.about["outputs"])

    @cached_property
    def _values(self) -> npt.NDArray[np.float32]:
        values: npt.NDArray[np.float32] = np.load(self.folder / "truth.npy", mmap_mode="r")
        return values

    def truth(self, ids: IntArray) -> npt.NDArray[Any]:
        """What answers are compared with, as models are trained on it.

        int64 [ids], classes; float32 [ids, outputs], labels (0 or 1) or values; or the records as models see them,
        flattened.
        """
        if self.task.has_classes:
            return self.labels[ids]
        if self.task.name == "reconstruction":
            return self.take(ids).reshape(len(ids), -1)
        return np.asarray(self._values[ids])

    @cached_property
    def truth_scale(self) -> Scale:
        """The scale of the truth, over the reference pool, which reveals no membership."""
        pool = self.split.reference if len(self.split.reference) else self.split.nonmembers
        return self.task.scale(self.truth(pool))

    @cached_property
    def split(self) -> Split:
        """Record ids of each side."""
        with np.load(self.folder / "split.npz") as arrays:
            return Split(arrays["members"], arrays["nonmembers"], arrays["reference"], int(arrays["moved"]))

    @cached_property
    def groups(self) -> IntArray:
        """Groups of related records, int64 [all records]; none is on two sides of any draw."""
        with np.load(self.folder / "split.npz") as arrays:
            return np.asarray(arrays["groups"], np.int64)

    @cached_property
    def slices(self) -> dict[str, npt.NDArray[np.str_]]:
        """Columns of `data.slices`, name -> texts [all records]."""
        with np.load(self.folder / "slices.npz") as arrays:
            return {name: arrays[name] for name in arrays.files}

    @cached_property
    def audited_groups(self) -> IntArray | None:
        """Groups of the audited records, int64 [audited]; None where each has one record."""
        return related(self.groups[self.audited])

    @cached_property
    def _records(self) -> npt.NDArray[Any]:
        x: npt.NDArray[Any] = np.load(self.folder / "x.npy", mmap_mode="r")
        return x

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one record, (C, H, W), (T, C), (C, T) or (d,)."""
        return tuple(self.about["input_shape"])

    @property
    def axis(self) -> int:
        """The axis of a batch, from 1, along which each index has a mean and a deviation of its own."""
        return int(self.about["axis"])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the records, such as file names, [all records but canaries]; () if they have none."""
        return tuple(np.load(self.folder / "names.npy").tolist())

    @property
    def n_classes(self) -> int:
        """Number of classes, of which some may not occur."""
        return int(self.about["classes"])

    @cached_property
    def canaries(self) -> IntArray:
        """Ids of the canaries, ascending."""
        first = len(self.labels) - self.about["canaries"] - self.about["decoys"]
        return np.arange(first, first + self.about["canaries"])

    def planted(self, role: Role, seed: int) -> IntArray:
        """Ids of the canaries that a model trains on: half of them for a target, and for a shadow of the auditor's.

        Two shadows in a row have different halves. An adversary's shadow, and a null target, train on the decoys, which
        are as many and made like canaries: without them they would be unlike the target.
        """
        kind, number = _kind(role)
        if kind == GIVEN:
            return self.canaries[:0]
        if kind == TARGET:
            return self.canaries[planted_half(len(self.canaries), stream(seed, "canaries", role))]
        if kind == HALF:
            rng = stream(seed, "canaries", "halves", number // 2)
            return self.canaries[planted_half(len(self.canaries), rng, number % 2)]
        return np.arange(len(self.labels) - self.about["decoys"], len(self.labels))

    @cached_property
    def calibrated(self) -> IntArray:
        """Ids of the records declared as seen by the target's quantiser."""
        with np.load(self.folder / "split.npz") as arrays:
            return np.asarray(arrays["calibrated"], np.int64)

    def take(self, ids: IntArray, affine: tuple[list[float], list[float]] | None = None) -> npt.NDArray[np.float32]:
        """Records as every model sees them: float32 [n, *input_shape], (x - mean) / deviation.

        affine: another mean and deviation than the population's.
        """
        return scaled(self._records[ids], *(affine or (self.about["mean"], self.about["deviation"])), self.axis)

    def as_stored(self, ids: IntArray) -> npt.NDArray[Any]:
        """Records as they are stored, [n, *input_shape] in the source's dtype, without preprocessing."""
        return np.asarray(self._records[ids])

    def standardising(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of `data.preprocessing: standardise`, whatever these records have."""
        return standardised(self._records, self.split, self.axis)

    @cached_property
    def queried(self) -> IntArray:
        """Ids of every queried record: members, nonmembers, then reference."""
        return np.concatenate([self.split.members, self.split.nonmembers, self.split.reference])

    def training_ids(self, role: Role, seed: int) -> IntArray:
        """What a model trains on: its `own_ids`, and its canaries as often as they are repeated. Ascending."""
        planted = np.repeat(self.planted(role, seed), self.about["repeats"])
        return np.concatenate([self.own_ids(role, seed), planted])

    def own_ids(self, role: Role, seed: int) -> IntArray:
        """The records that a model trains on: the target its members, shadow k records of the reference pool.

        They are as many as the members unless data.shadow-records says otherwise. Groups of related records are drawn
        whole, so that no record that a model did not train on is related to one that it did.

        A further target is another audit's target: as many members, drawn anew from the audited records. A null target
        is drawn as a shadow is, so it is exchangeable with them and every test must find nothing.
        A `half-<k>` trains on as many audited records as the target, whatever data.shadow-records says: of equal sides
        on a random half, and the next one on the other half. No two records differ by more than one in the number of
        shadows that trained on them. A given shadow trained on what its list says, and on what is related to that.
        """
        kind, number = _kind(role)
        if kind == TARGET:
            return self._members(number, seed)
        if kind == GIVEN:
            return self.given_ids(number)
        if kind == HALF:
            return self._half(number, seed)
        n, pool = int(self.about["shadow_records"]), self.split.reference
        if n >= len(pool):
            made = self.about["canaries"] + self.about["decoys"]
            taken = f" after {made} were taken for canaries" if made else ""
            raise SplitError(
                f"data.reference: a shadow trains on {n} records of the reference pool, which has {len(pool)}{taken}: "
                f"at least {n + 1 - len(pool)} more are needed, or fewer data.shadow-records"
            )
        rng = stream(seed, "training", role)
        groups = related(self.groups[pool])
        if groups is None:
            return np.sort(rng.choice(pool, n, replace=False))
        drawn = pool[partition(groups, n, rng)]
        if len(drawn) < _FULL * n:
            raise SplitError(
                f"data.reference: {n} records of the pool cannot be drawn for a shadow without splitting groups of "
                f"related records ({n - len(drawn)} missing); use other data.shadow-records or more reference records"
            )
        return np.sort(drawn)

    @property
    def audited(self) -> IntArray:
        """Ids of members, then nonmembers."""
        return np.concatenate([self.split.members, self.split.nonmembers])

    def _members(self, number: int, seed: int) -> IntArray:
        if number == 0:
            return self.split.members
        count = len(self.split.members)
        drawn = partition(self.groups[self.audited], count, stream(seed, "members", number, 0))
        if len(drawn) < count:
            raise SplitError(
                f"targets: {count} members for target {number} cannot be drawn from the audited records without "
                "splitting groups of related records; use other counts or fewer targets"
            )
        return np.sort(self.audited[drawn])

    def given_ids(self, number: int) -> IntArray:
        """Ids of the records that a given shadow trained on, and of those that are related to them, int64 ascending."""
        with np.load(self.folder / "split.npz") as arrays:
            listed = arrays[f"given-{number}"]
        return np.flatnonzero(np.isin(self.groups, self.groups[listed]))

    def _half(self, index: int, seed: int) -> IntArray:
        # Of equal sides: one half, then the other half.
        n, size = len(self.audited), len(self.split.members)
        groups = self.groups[self.audited]
        if 2 * size != n or self.audited_groups is None:
            # Related records move together: units are groups, and sizes near the target's.
            _, units = np.unique(groups, return_inverse=True)
            count = int(units.max()) + 1
            drawn = balanced_draw(
                count,
                round(size / n * count),
                index,
                lambda block: stream(seed, "halves", block).permutation(count),
            )
            return np.sort(self.audited[np.isin(units, drawn)])
        order, ends = in_groups(groups, stream(seed, "halves", index // 2))
        shuffled = self.audited[order]
        # The end of a group that is nearest to the middle, and below it where two are.
        cut = int(ends[np.argmin(np.abs(ends - len(shuffled) // 2))])
        return np.sort(shuffled[:cut] if index % 2 == 0 else shuffled[cut:])

    def calibration_ids(self, role: Role, seed: int, policy: str, count: int, *, at_most: bool = False) -> IntArray:
        """What a quantiser sees while it makes this model's file; with `at_most`, fewer where there are not so many.

        disjoint: reference records that the model did not train on and that are not audited.
        members: records that the model trained on. nonmembers: audited records it did not train on; for an adversary's
        shadow, and a given one, whose nonmembers are the reference records it did not train on, the same as disjoint.
        """
        trained = self.own_ids(role, seed)
        if policy == "members":
            pool, source = trained, "data.members"
        elif policy == "nonmembers" and _kind(role)[0] in (TARGET, HALF):
            pool, source = np.setdiff1d(self.audited, trained), "data.nonmembers"
        else:
            pool, source = np.setdiff1d(self.split.reference, trained), "data.reference"
        if count > len(pool) and not at_most:
            raise SplitError(
                f"data.calibration: {count} records requested, but the policy '{policy}' leaves {len(pool)} "
                f"for {role}: {count - len(pool)} are missing; lower data.calibration.records, or raise {source}"
            )
        # A prefix of one shuffle, so that a smaller selection is a subset of a larger one. Only its last group of
        # related records can have others that the quantiser does not see.
        order, _ = in_groups(self.groups[pool], stream(seed, "calibration", role, policy))
        return np.sort(pool[order][:count])


def write_population(
    folder: Path,
    source: str,
    records: Records,
    split: Split,
    declared: Declared,
    task: TaskName = "classification",
) -> None:
    """Write a population's files."""
    x, y = records.x, records.labels.numbers
    mean, deviation = declared.affine or standardised(x, split, records.axis)
    groups, canaries = declared.groups, declared.canaries
    sizes = np.unique(groups.numbers[np.concatenate([split.members, split.nonmembers])], return_counts=True)[1]
    drawn = hashlib.sha256()
    lists = (split.members, split.nonmembers, split.reference, declared.calibrated, groups.numbers, *declared.given)
    for ids in lists:
        drawn.update(f"{len(ids)} ".encode() + np.ascontiguousarray(ids).tobytes())
    for slice_name, values in sorted(declared.slices.items()):
        drawn.update(json.dumps([slice_name, values.tolist()]).encode())
    if canaries is not None:
        for array in (canaries.x, canaries.y, canaries.base):
            drawn.update(f"{len(array)} ".encode() + np.ascontiguousarray(array).tobytes())
    digest = hashlib.sha256(np.ascontiguousarray(x).data)
    digest.update(np.ascontiguousarray(y).data)
    if records.truth is not None:
        digest.update(np.ascontiguousarray(records.truth).data)
    digest.update(json.dumps([str(x.dtype), x.shape, records.axis, mean, deviation]).encode())
    outputs = records.labels.count if records.truth is None else records.truth.shape[1]
    about: PopulationFacts = {
        "source": source,
        "sha256": digest.hexdigest(),
        "records": len(x),
        "members": len(split.members),
        "nonmembers": len(split.nonmembers),
        "reference": len(split.reference),
        "moved": split.moved,
        "task": task,
        "classes": records.labels.count,
        "outputs": int(np.prod(x.shape[1:])) if task == "reconstruction" else outputs,
        "class_names": list(records.labels.names),
        "notes": [*records.notes, *([records.labels.note] if records.labels.note else [])],
        "input_shape": list(x.shape[1:]),
        "axis": records.axis,
        "duplicates": groups.duplicates.copies,
        "conflicting_labels": groups.duplicates.conflicting,
        "grouped_by": groups.by,
        "groups_note": groups.note,
        "groups": len(sizes),
        "largest_group": int(sizes.max()),
        "mean": mean,
        "deviation": deviation,
        "files": dict(declared.files),
        "shadow_records": declared.shadow_records or len(split.members),
        "drawn": drawn.hexdigest(),
        "canaries": 0 if canaries is None else len(canaries.y) - canaries.decoys,
        "decoys": 0 if canaries is None else canaries.decoys,
        "repeats": declared.repeats,
    }
    slices, numbers = dict(declared.slices), groups.numbers
    if canaries is not None:
        x, y = np.concatenate([x, canaries.x]), np.concatenate([y, canaries.y])
        numbers = np.concatenate([numbers, numbers[canaries.base]])
        slices = {key: np.concatenate([values, values[canaries.base]]) for key, values in slices.items()}
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    np.save(folder / "names.npy", np.array(records.names, np.str_))
    if records.truth is not None:
        np.save(folder / "truth.npy", records.truth)
    np.savez(
        folder / "split.npz",
        members=split.members,
        nonmembers=split.nonmembers,
        reference=split.reference,
        moved=np.int64(split.moved),
        calibrated=declared.calibrated,
        groups=numbers,
        **{f"{GIVEN}-{k}": ids for k, ids in enumerate(declared.given)},  # type: ignore[arg-type]
    )
    np.savez(folder / "slices.npz", **slices)  # type: ignore[arg-type]
    (folder / "about.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def scaled(x: npt.NDArray[Any], mean: list[float], deviation: list[float], axis: int = 1) -> npt.NDArray[np.float32]:
    """Records [n, ...] as models see them: float32, (x - mean) / deviation. axis: of x, that these are along.

    In float64 where float32 cannot hold the values (float64, wide integers): columns far from 0, like seconds since
    1970, would lose what they differ in before the mean is subtracted.
    """
    wide = np.promote_types(x.dtype, np.float32)
    shape = along(x.ndim, axis)
    moved = np.asarray(x, wide) - np.array(mean, wide).reshape(shape)
    return np.asarray(moved / np.array(deviation, wide).reshape(shape), np.float32)


def along(ndim: int, axis: int) -> tuple[int, ...]:
    """The shape in which values along one axis of `ndim` axes broadcast."""
    return tuple(-1 if i == axis else 1 for i in range(ndim))


def standardised(x: npt.NDArray[Any], split: Split, axis: int = 1) -> tuple[list[float], list[float]]:
    """Mean and deviation of the reference pool, which reveal no membership. axis: of x, that they are along."""
    return _statistics(x[split.reference if len(split.reference) else split.nonmembers], axis)


def _statistics(x: npt.NDArray[Any], axis: int) -> tuple[list[float], list[float]]:
    """Mean and deviation a channel (images), sensor (windows) or column (tables); a constant one gets deviation 1."""
    axes = tuple(i for i in range(x.ndim) if i != axis)
    mean = x.mean(axis=axes, dtype=np.float64)
    deviation = x.std(axis=axes, dtype=np.float64)
    return mean.tolist(), np.where(deviation > 0, deviation, 1.0).tolist()


def scale_only(x: npt.NDArray[Any], axis: int = 1) -> tuple[list[float], list[float]]:
    """Mean 0, and the largest value of a byte where records are bytes."""
    top = float(np.iinfo(x.dtype).max) if x.dtype == np.uint8 else 1.0
    return [0.0] * x.shape[axis], [top] * x.shape[axis]
