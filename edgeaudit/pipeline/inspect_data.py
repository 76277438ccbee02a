"""The records that `edgeaudit inspect --data` names: from paths to a section `data` of audit.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from edgeaudit.config.audit import load_spec
from edgeaudit.digests import files_below
from edgeaudit.errors import DataError
from edgeaudit.population.images import IMAGE_SUFFIXES
from edgeaudit.population.registry import SOURCES

__all__ = ["Given", "given_data"]

_TRAIN, _TEST = ("train", "training"), ("test", "val", "valid", "validation", "testing")
_RECORDS, _LABELS = ("x", "data", "images", "features", "inputs"), ("y", "labels", "label", "targets", "target")
_BY_SUFFIX: Mapping[str, str] = {".npz": "npz", ".csv": "csv", ".parquet": "parquet"}
_MOST = 4096
"""Records that are asked where it is not known which of them the file was trained on."""


@dataclass(frozen=True)
class Given:
    """data: the keys of the section. sides_known: whether its members are the records that the file was trained on."""

    data: Mapping[str, Any]
    sides_known: bool


def given_data(paths: Sequence[Path]) -> Given:
    """The section `data` that reads the records at one or two paths.

    paths: the records that the file was trained on, and others; or one path that has both (an audit.yaml, a folder with
    train/ and test/, an .npz with x_train, y_train, x_test and y_test), or labelled records of which that is not known.

    Raises `DataError` where a path does not exist or does not say how to read it.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"--data: {path} does not exist")
    if len(paths) > 2:
        raise DataError("--data: give one or two: the records that the file was trained on, and others")
    if len(paths) == 2:
        return _two(*(path.resolve() for path in paths))
    path = paths[0].resolve()
    if path.suffix in (".yaml", ".yml"):
        data = load_spec(path).data.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        counted = not isinstance(data.get("members"), str | Mapping)
        return Given({**data, "source": data.get("source", "digits")}, sides_known=not counted)
    if path.is_dir():
        return _folder(path)
    return _one(path)


def _two(members: Path, nonmembers: Path) -> Given:
    source = _source(members)
    if _source(nonmembers) != source:
        raise DataError(f"--data: {members.name} and {nonmembers.name} are of two sources; give both in one form")
    sides = {
        key: {"path": str(path), **_options(path, source)}
        for key, path in (("members", members), ("nonmembers", nonmembers))
    }
    return Given({"source": source, **sides}, sides_known=True)


def _folder(path: Path) -> Given:
    named = {child.name.lower(): child for child in path.iterdir() if child.is_dir()}
    train = next((named[name] for name in _TRAIN if name in named), None)
    test = next((named[name] for name in _TEST if name in named), None)
    if train is not None and test is not None:
        return _two(train, test)
    count = sum(file.suffix.lower() in IMAGE_SUFFIXES for file in files_below(path, hidden=False))
    return _counted({"source": "folder", "path": str(path)}, count)


def _one(path: Path) -> Given:
    source = _source(path)
    if source != "npz":
        raise DataError(
            f"--data: it is not known which records of {path.name} the file was trained on; give two files (--data "
            "train --data test), or an audit.yaml with the section data"
        )
    shapes = _arrays(path)
    lower = {name.lower(): name for name in shapes}
    pairs = {}
    for side, words in (("members", _TRAIN), ("nonmembers", _TEST)):
        pair = _pair(lower, [f"_{word}" for word in words], [f"{word}_" for word in words])
        if pair is not None:
            pairs[side] = {"path": str(path), "options": {"x": pair[0], "y": pair[1]}}
    if len(pairs) == 2:
        return Given({"source": "npz", **pairs}, sides_known=True)
    options = _options(path, source).get("options", {})
    count = shapes[options.get("y", "y")][0]
    return _counted({"source": "npz", "path": str(path), **({"options": options} if options else {})}, count)


def _counted(data: dict[str, Any], count: int) -> Given:
    half = min(count, _MOST) // 2
    if half < 2:
        raise DataError(f"--data: {data['path']} has {count} records; four are needed at least")
    return Given({**data, "members": half, "nonmembers": half, "reference": 0}, sides_known=False)


def _source(path: Path) -> str:
    if path.is_dir():
        return "folder"
    source = _BY_SUFFIX.get(path.suffix.lower())
    if source is None or source not in SOURCES.names():
        raise DataError(
            f"--data: how to read {path.name} is not known; give an .npz, a folder with images, or an audit.yaml with "
            "the section data"
        )
    return source


def _options(path: Path, source: str) -> dict[str, Any]:
    """The names of an .npz's arrays, where they are not x and y."""
    if source != "npz":
        return {}
    shapes = _arrays(path)
    if {"x", "y"} <= set(shapes):
        return {}
    pair = _pair({name.lower(): name for name in shapes}, [""], [""])
    if pair is None:
        raise DataError(
            f"--data: {path} has the arrays {', '.join(shapes)}; of which are the records? Write an audit.yaml with "
            "data.options: {x: ..., y: ...}, and give that"
        )
    return {"options": {"x": pair[0], "y": pair[1]}}


def _pair(names: Mapping[str, str], after: Sequence[str], before: Sequence[str]) -> tuple[str, str] | None:
    """The names of records and labels: a usual word with something after or before it."""
    found = []
    for words in (_RECORDS, _LABELS):
        ways = [word + end for end in after for word in words] + [start + word for start in before for word in words]
        found.append(next((names[way] for way in ways if way in names), None))
    return (found[0], found[1]) if found[0] is not None and found[1] is not None else None


def _arrays(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the arrays of an .npz."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name].shape for name in arrays.files}
    except (OSError, ValueError, EOFError, BadZipFile) as exc:
        raise DataError(f"--data: {path} cannot be read as .npz: {exc}") from exc
