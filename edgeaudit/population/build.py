"""From a data spec to a stored population."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import DataError, SplitError
from edgeaudit.population.base import prepare_records, stream, write_population
from edgeaudit.population.sources import Raw, find_source
from edgeaudit.population.split import Split, content_groups, draw_split, listed_split
from edgeaudit.recipes.base import source_digest
from edgeaudit.spec import DataSpec

__all__ = ["build_population", "population_inputs"]


def population_inputs(spec: DataSpec, seed: int) -> dict[str, Any] | None:
    """What a population depends on, for its key; None where only reading the source can tell."""
    fingerprint = find_source(spec.source, spec.path, spec.options).fingerprint()
    if fingerprint is None:
        return None
    lists = {
        key: [int(i) for i in _read_ids(value, key)]
        for key in ("members", "nonmembers")
        if isinstance(value := getattr(spec, key), Path)
    }
    return {
        "source": fingerprint,
        "spec": spec.model_dump(mode="json", exclude={"calibration", "path", "members", "nonmembers"}),
        "sides": lists or {"members": spec.members, "nonmembers": spec.nonmembers},
        "seed": seed,
        "code": source_digest("edgeaudit.population"),
    }


def build_population(spec: DataSpec, seed: int, folder: Path) -> None:
    """Read the source, find duplicates, draw the split and write everything into `folder`."""
    source = find_source(spec.source, spec.path, spec.options)
    raw = source.read()
    x = prepare_records(raw, spec.layout)
    groups, duplicates = content_groups(x, raw.y)
    split = _split(spec, groups, seed)
    _require_classes(raw, split)
    write_population(folder, source.name, raw, x, split, duplicates, standardise=spec.standardise)


def _split(spec: DataSpec, groups: npt.NDArray[np.int64], seed: int) -> Split:
    reference = None if spec.reference == "rest" else spec.reference
    rng = stream(seed, "split")
    if isinstance(spec.members, int) and isinstance(spec.nonmembers, int):
        return draw_split(groups, spec.members, spec.nonmembers, reference, rng)
    members, nonmembers = (_read_ids(Path(str(getattr(spec, k))), k) for k in ("members", "nonmembers"))
    return listed_split(groups, members, nonmembers, reference, rng)


def _read_ids(path: Path, key: str) -> npt.NDArray[np.int64]:
    """Record ids from .npy (integers) or a text file (one a line; # starts a comment)."""
    try:
        if path.suffix == ".npy":
            ids = np.load(path, allow_pickle=False)
            if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
                raise SplitError(f"data.{key}: {path} must hold a list of integers; it holds {ids.dtype} {ids.shape}")
            listed: npt.NDArray[np.int64] = ids.astype(np.int64)
            return listed
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as exc:
        raise SplitError(f"data.{key}: {path} cannot be read: {exc}") from exc
    numbers = []
    for line_number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text and not text.isdecimal():
            raise SplitError(f"data.{key}: {path}, line {line_number}: '{text}' is not a record id")
        if text:
            numbers.append(int(text))
    return np.array(numbers, np.int64)


def _require_classes(raw: Raw, split: Split) -> None:
    n_classes = int(raw.y.max()) + 1
    if n_classes < 2:
        raise DataError("data: the source has one class; a classifier needs at least two")
    missing = np.setdiff1d(np.arange(n_classes), raw.y)
    if len(missing) > n_classes // 2:
        raise DataError(
            f"data: labels run to {n_classes - 1} and {len(missing)} of them never occur; are they class labels?"
        )
    if len(split.members) < 2:
        raise SplitError("data.members: at least 2 records are needed")
