"""From a data spec to a stored population."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from edgeaudit.config.canaries import CanariesSpec
from edgeaudit.config.data import LISTS, DataSpec, SideSpec
from edgeaudit.config.shadows import ShadowsSpec
from edgeaudit.errors import DataError, SplitError, reason_of, unquoted
from edgeaudit.population.base import (
    Declared,
    Records,
    scale_only,
    standardised,
    stream,
    write_population,
)
from edgeaudit.population.canaries import make_canaries
from edgeaudit.population.collapse import require_variation
from edgeaudit.population.groups import COPIES, EXACT, Groups, copies, joined, numbered_values, text_values
from edgeaudit.population.labels import Labels, numbered_labels, same_kind
from edgeaudit.population.layout import Prepared, in_order, prepare_records
from edgeaudit.population.preprocessing import Affine, affine
from edgeaudit.population.raw import Raw, Table, joined_records
from edgeaudit.population.sources import Source, column_values, find_source, read_array
from edgeaudit.population.split import Split, draw_split, in_groups, listed_split
from edgeaudit.population.tables import encoded
from edgeaudit.population.truth import truth_of
from edgeaudit.tasks import TaskName

__all__ = ["PopulationContent", "build_population", "population_content"]

IntArray = npt.NDArray[np.int64]
_UNKEYED = {"calibration", "path", "members", "nonmembers", "calibrated"}
"""Keys that are hashed by content, or do not affect the population."""
_LONGEST_ID = 18
"""Digits. A longer line may be a record of the wrong file, and is not quoted."""


class PopulationContent(TypedDict):
    """Everything a population depends on except the seed, by content.

    source: fingerprint of the source, or of each side's. spec: the keys of `data` that matter. sides: key -> its
    records, listed or counted. canaries: that section. given: records of each given shadow; only where there are any.
    """

    source: str | list[str]
    spec: dict[str, object]
    sides: dict[str, object]
    canaries: dict[str, object] | None
    given: NotRequired[list[list[int]]]


def population_content(
    spec: DataSpec, canaries: CanariesSpec | None = None, shadows: ShadowsSpec | None = None
) -> PopulationContent | None:
    """Everything a population depends on except the seed, by content; None if the source has no fingerprint."""
    told = [source.fingerprint() for source in _sources(spec).values()]
    fingerprints = [fingerprint for fingerprint in told if fingerprint is not None]
    if len(fingerprints) < len(told):
        return None
    lists: dict[str, Any] = {
        key: [int(i) for i in _read_ids(value, f"data.{key}")]
        for key in ("members", "nonmembers", "calibrated")
        if isinstance(value := getattr(spec, key), Path)
    }
    for key, side in spec.sides.items():
        # What the array of an .npz says, its file's fingerprint covers.
        seen = side.calibrated
        if seen is not None and Path(seen).suffix in LISTS:
            seen = [int(i) for i in _read_ids(Path(seen), f"data.{key}.calibrated")]  # type: ignore[assignment]
        lists[key] = {**side.model_dump(mode="json", exclude={"path", "calibrated"}), "calibrated": seen}
    sides = {key: value for key in ("members", "nonmembers") if isinstance(value := getattr(spec, key), int)}
    content: PopulationContent = {
        "source": fingerprints[0] if len(fingerprints) == 1 else fingerprints,
        "spec": spec.model_dump(mode="json", exclude=_UNKEYED | ({"reference"} & set(spec.sides))),
        "sides": {**sides, **lists},
        "canaries": None if canaries is None else canaries.model_dump(mode="json"),
    }
    if shadows is not None:
        content["given"] = [
            [int(i) for i in _read_ids(path, f"shadows.members[{k}]")] for k, path in enumerate(shadows.members)
        ]
    return content


def build_population(
    spec: DataSpec,
    seed: int,
    folder: Path,
    planted: CanariesSpec | None = None,
    task: TaskName = "classification",
    shadows: ShadowsSpec | None = None,
) -> None:
    """Read the source, find duplicates, draw the split, make canaries and write everything into `folder`."""
    sources = _sources(spec, task)
    parts = {key: source.read() for key, source in sources.items()}
    _require_axes(parts)
    raw = _joined(parts, spec)
    table = encoded(raw.x) if isinstance(raw.x, Table) else None
    columns = () if table is None else table.names
    prepared = prepare_records(raw.x if table is None else table.x, len(raw.y), spec.layout)  # type: ignore[arg-type]
    prepared = in_order(prepared, spec.channels)
    x = prepared.x
    truth = truth_of(raw.y, task)
    labels = numbered_labels(raw.y, spec.classes, raw.classes) if task == "classification" else _no_classes(len(raw.y))
    y = labels.numbers
    related = _groups(spec, sources, raw, x, y)
    groups = related.numbers
    rng = stream(seed, "split")
    if spec.sides:
        starts = dict(zip(parts, np.cumsum([0, *(len(part.y) for part in parts.values())]).tolist(), strict=False))
        split, calibrated = _split_sides(spec, parts, starts, groups, rng)
        files = {key: (side.path.name, int(starts[key])) for key, side in spec.sides.items()}
        shadow_records = spec.shadow_records or min(len(split.members), len(split.reference) // 2) or None
    else:
        split, files, shadow_records = _split(spec, groups, rng), {}, spec.shadow_records
        calibrated = _within(_read_ids(spec.calibrated, "data.calibrated"), len(y)) if spec.calibrated else _none()
    if len(split.members) < 2:
        raise SplitError("data.members: at least 2 records are needed")
    if task == "classification":
        _require_classes(labels, declared=spec.classes is not None)
    slices = {
        key: text_values(column_values(column, sources, raw, f"data.slices.{key}"), len(x), f"data.slices.{key}")
        for key, column in spec.slices.items()
    }
    canaries = None
    if planted is not None:
        canaries, split = make_canaries(planted, x, y, labels.count, groups, split, stream(seed, "make canaries"))
    repeats = 1 if planted is None else planted.repeats
    numbers = _affine(spec, prepared, split)
    require_variation(x, numbers, prepared.axis, columns)
    given = () if shadows is None else tuple(_given(k, path, len(y)) for k, path in enumerate(shadows.members))
    declared = Declared(numbers, calibrated, files, shadow_records, related, slices, canaries, repeats, given)
    name = " + ".join(dict.fromkeys(source.name for source in sources.values()))
    notes = (*raw.notes, *(() if table is None else table.notes), *((prepared.note,) if prepared.note else ()))
    write_population(folder, name, Records(x, prepared.axis, labels, raw.names, notes, truth), split, declared, task)


def _given(number: int, path: Path, n: int) -> IntArray:
    """Ids of the records that a given shadow trained on, int64 ascending."""
    key = f"shadows.members[{number}]"
    ids = np.unique(_read_ids(path, key))
    if not len(ids):
        raise SplitError(f"{key}: {path} is empty; list the ids of the records that the model trained on")
    if ids[0] < 0 or ids[-1] >= n:
        raise SplitError(
            f"{key}: record {ids[0] if ids[0] < 0 else ids[-1]} does not exist; the source has {n} records"
        )
    return ids


def _no_classes(n: int) -> Labels:
    return Labels(np.zeros(n, np.int64), (), 1)


def _groups(spec: DataSpec, sources: Mapping[str, Source], raw: Raw, x: npt.NDArray[Any], y: IntArray) -> Groups:
    """Groups of related records: of copies, and of what the user's column or function says."""
    found = copies(x, y, near=spec.groups == COPIES)
    if spec.groups in (COPIES, EXACT):
        return found
    numbers = numbered_values(column_values(spec.groups, sources, raw, "data.groups"), len(x), "data.groups")
    return replace(found, numbers=joined(found.numbers, numbers), by=f"'{spec.groups}', and exact copies")


def _sources(spec: DataSpec, task: TaskName = "classification") -> dict[str, Source]:
    """By side where sides have files of their own; else one."""
    if not spec.sides:
        return {"all": find_source(spec.source, spec.path, spec.options, task=task)}
    return {
        key: find_source(spec.source, side.path, {**spec.options, **side.options}, f"data.{key}.path", task)
        for key, side in spec.sides.items()
    }


def _require_axes(parts: Mapping[str, Raw]) -> None:
    """Raise `DataError` for records or labels that are one value, as a scalar in an .npz is."""
    for key, part in parts.items():
        for name, value in (("records", part.x), ("labels", part.y)):
            if not isinstance(value, Table) and value.ndim == 0:
                where = "data" if key == "all" else f"data.{key}"
                raise DataError(f"{where}: the {name} are a single value of shape (), and need one a record")


def _joined(parts: Mapping[str, Raw], spec: DataSpec) -> Raw:
    """The sides' records, one after the other."""
    (first, one), *others = parts.items()
    if not others:
        return one
    x, y = joined_records({key: part.x for key, part in parts.items()}), same_kind([part.y for part in parts.values()])
    for key, other in others:
        if other.classes and one.classes and other.classes != one.classes:
            raise DataError(
                f"data.{key}: its classes differ from those of {first}, so labels would have different meanings"
            )
        _require_known(one.y, other.y, key, first, spec)
    shared = [name for name in one.columns if all(name in part.columns for part in parts.values())]
    everyone = list(parts.values())
    named = all(part.names for part in everyone)
    notes = dict.fromkeys(note for part in everyone for note in part.notes)
    return Raw(
        x,
        y,
        one.classes,
        tuple(name for part in everyone for name in part.names) if named else (),
        {name: np.concatenate([part.columns[name] for part in everyone]) for name in shared},
        tuple(notes),
    )


def _require_known(first: npt.NDArray[Any], other: npt.NDArray[Any], key: str, side: str, spec: DataSpec) -> None:
    """Raise `DataError` where a side has a class by name that the members lack: it would shift the others' numbers."""
    if spec.classes is not None or other.dtype.kind != "U" or other.ndim != 1:
        return
    unknown = np.setdiff1d(other, first)
    if len(unknown):
        raise DataError(
            f"data.{key}: its classes differ from those of {side}, which has no '{unknown[0]}', so labels would have "
            "different meanings; list the classes in the order of the model's outputs in data.classes"
        )


def _split_sides(
    spec: DataSpec,
    parts: Mapping[str, Raw],
    starts: Mapping[str, int],
    groups: IntArray,
    rng: np.random.Generator,
) -> tuple[Split, IntArray]:
    """The split, and the ids that the target's quantiser saw.

    All records of the members' file are taken as members, whether they are audited or not, so none is a reference.
    """
    drawn, calibrated = {}, [_none()]
    for key, side in spec.sides.items():
        n, start = len(parts[key].y), starts[key]
        if side.records is not None and side.records > n:
            raise SplitError(f"data.{key}: {side.records} records requested, but {side.path.name} has {n}")
        shuffled = None if side.records is None else in_groups(groups[start : start + n], rng)[0]
        ids = np.arange(n) if shuffled is None else shuffled[: side.records]
        drawn[key] = np.sort(ids) + start
        calibrated.append(_calibrated(side, key, n) + start)
    everyone = np.arange(len(parts["members"].y)) + starts["members"]
    count = spec.reference if isinstance(spec.reference, int) else None
    split = listed_split(groups, drawn["members"], drawn["nonmembers"], count, rng, everyone)
    if "reference" in drawn:
        reference = np.setdiff1d(drawn["reference"], _repeating(groups, split, everyone))
        split = Split(split.members, split.nonmembers, reference, split.moved)
    return split, np.concatenate(calibrated)


def _repeating(groups: IntArray, split: Split, everyone: IntArray) -> IntArray:
    """Ids of all records that are an audited or training record, or related to one."""
    return np.flatnonzero(np.isin(groups, groups[np.concatenate([everyone, split.nonmembers])]))


def _calibrated(side: SideSpec, key: str, n: int) -> IntArray:
    """Indices into the side's file, int64."""
    if side.calibrated is None:
        return _none()
    where = f"data.{key}.calibrated"
    if Path(side.calibrated).suffix in LISTS:
        return _within(_read_ids(Path(side.calibrated), where), n)
    found = read_array(side.path, side.calibrated, where)
    if found.dtype == np.bool_ and found.shape == (n,):
        return np.flatnonzero(found)
    if found.ndim == 1 and np.issubdtype(found.dtype, np.integer):
        return _within(found.astype(np.int64), n)
    raise DataError(
        f"{where}: the array '{side.calibrated}' of {side.path} is {found.dtype} {found.shape}; it must have a boolean "
        f"for each of its {n} records, or list indices"
    )


def _within(ids: IntArray, n: int) -> IntArray:
    if len(ids) and (ids.min() < 0 or ids.max() >= n):
        raise SplitError(f"data: calibrated record {ids[(ids < 0) | (ids >= n)][0]} does not exist; there are {n}")
    return np.unique(ids)


def _none() -> IntArray:
    return np.empty(0, np.int64)


def _affine(spec: DataSpec, records: Prepared, split: Split) -> Affine:
    wish, x, axis = spec.preprocessing, records.x, records.axis
    if wish == "standardise" or (wish is None and spec.standardise):
        return standardised(x, split, axis)
    return scale_only(x, axis) if wish is None else affine(wish, x.shape[axis])


def _split(spec: DataSpec, groups: IntArray, rng: np.random.Generator) -> Split:
    reference = spec.reference if isinstance(spec.reference, int) else None
    if isinstance(spec.members, int) and isinstance(spec.nonmembers, int):
        return draw_split(groups, spec.members, spec.nonmembers, reference, rng)
    members, nonmembers = (_read_ids(Path(str(getattr(spec, k))), f"data.{k}") for k in ("members", "nonmembers"))
    return listed_split(groups, members, nonmembers, reference, rng)


def _mapped(path: Path) -> npt.NDArray[Any]:
    """The array of an .npy; mapped, so that it cannot ask for more than it holds. Raises OSError or ValueError."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as exc:  # numpy 2.4 ends in any way at a damaged header, and quotes it
        raise ValueError(f"it is no .npy file ({unquoted(exc)}); write it with numpy.save") from exc


def _read_ids(path: Path, key: str) -> IntArray:
    """Record ids from .npy (integers) or a text file (one a line; # starts a comment)."""
    try:
        if path.suffix == ".npy":
            ids = _mapped(path)
            if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
                raise SplitError(f"{key}: {path} must hold a list of integers; it holds {ids.dtype} {ids.shape}")
            listed: IntArray = ids.astype(np.int64)
            return listed
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as exc:
        hint = f" (records themselves: {key}: {{path: {path.name}}})" if path.suffix == ".npz" else ""
        raise SplitError(f"{key}: {path} cannot be read: {reason_of(exc)}{hint}") from exc
    numbers = []
    for line_number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text and not (text.isdecimal() and len(text) <= _LONGEST_ID):
            shown = f"'{text}'" if len(text) <= _LONGEST_ID else f"a text of {len(text)} characters"
            raise SplitError(f"{key}: {path}, line {line_number}: {shown} is not a record id")
        if text:
            numbers.append(int(text))
    return np.array(numbers, np.int64)


def _require_classes(labels: Labels, *, declared: bool) -> None:
    if labels.count < 2:
        raise DataError("data: the source has one class; a classifier needs at least two")
    missing = np.setdiff1d(np.arange(labels.count), labels.numbers)
    if len(missing) > labels.count // 2 and not declared:
        raise DataError(
            f"data: {labels.count} classes, but {len(missing)} of them never occur; are they class labels? If so, set "
            f"data.classes: {labels.count}"
        )
