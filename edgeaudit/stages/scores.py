"""The scores of a measurement as files: one .npz per target, which other stages read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.spec import Scores
from edgeaudit.leakage.rows import Series
from edgeaudit.leakage.series_names import compared, is_judged_beside
from edgeaudit.population.base import TARGET

__all__ = [
    "StoredScores",
    "TargetScores",
    "named_half_p_values",
    "named_p_values",
    "named_scores",
    "read_scores",
    "save_scores",
]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_FILE = "scores"
_MEMBERS, _RECORDS, _CALIBRATED, _GROUPS = "members", "records", "calibrated", "groups"
_KINDS = ("p_value", "nominal")
_HALVES = ("half-0", "half-1")


@dataclass(frozen=True)
class TargetScores:
    """The scores of one target. All arrays are over the audited records.

    members: which side of the audit a record is on. scores: `attack/variant` -> float64; for an attack that scored only
    some records `attack.variant` -> with NaN elsewhere. A headline series has another one, `... at common floor`, where
    the probability floor at which formats are compared ranks records unlike the format's own. p_values: (`p_value`
    or `nominal`).attack.variant -> float64; (`half-0` or `half-1`).attack.variant -> p-values by a half of the shadows,
    of the test behind claims on records. records: ids. calibrated: the quantiser saw it. subsets: name -> which records
    are in it. A full measurement has these three; they are None or empty elsewhere. groups: of related records; None
    where each has one record.
    """

    members: BoolArray
    scores: Mapping[str, FloatArray]
    p_values: Mapping[str, FloatArray]
    records: IntArray | None = None
    calibrated: BoolArray | None = None
    subsets: Mapping[str, BoolArray] | None = None
    groups: IntArray | None = None

    def compared(self, series: str) -> FloatArray:
        """The scores of a series with which formats are compared."""
        return compared(self.scores, series)

    @property
    def series(self) -> list[str]:
        """The `attack/variant` that scored every record, in the order of the report; none that is judged beside."""
        return [name for name in self.scores if "/" in name and not is_judged_beside(name)]

    def p_value(self, test: str) -> FloatArray | None:
        """Conformal p-values of `attack/variant`, [n]; None where it has none."""
        return self.p_values.get(f"{_KINDS[0]}.{test.replace('/', '.')}")

    def half_p_values(self, test: str) -> tuple[FloatArray, ...]:
        """P-values of `attack/variant` by each half of the shadows, two of [n]; empty where there are none."""
        names = [f"{half}.{test.replace('/', '.')}" for half in _HALVES]
        return tuple(self.p_values[name] for name in names) if all(name in self.p_values for name in names) else ()


def named_scores(series: Series, scores: Scores, scored: BoolArray) -> dict[str, FloatArray]:
    """The entry of `TargetScores.scores`. scored: bool [audited], the records of `scores`."""
    if scored.all():
        return {series.name: scores.score}
    partial = np.full(len(scored), np.nan)
    partial[scored] = scores.score
    return {f"{series.attack}.{series.variant}": partial}


def named_p_values(series: Series, scores: Scores, scored: BoolArray) -> dict[str, FloatArray]:
    """The entries of `TargetScores.p_values`: of variants that scored every record."""
    if not scored.all():
        return {}
    pairs = zip(_KINDS, (scores.p_value, scores.nominal), strict=True)
    return {f"{kind}.{series.attack}.{series.variant}": values for kind, values in pairs if values is not None}


def named_half_p_values(test: str, halves: Sequence[FloatArray]) -> dict[str, FloatArray]:
    """The entries of `TargetScores.p_values` by each half of the shadows. test: `attack/variant`."""
    name = test.replace("/", ".")
    return {f"{half}.{name}": p_value for half, p_value in zip(_HALVES, halves, strict=False)}


def save_scores(folder: Path, targets: Mapping[str, TargetScores]) -> None:
    """Write scores.npz of the first target, and scores-<role>.npz of the others."""
    for role, target in targets.items():
        arrays: dict[str, npt.NDArray[np.generic]] = {_MEMBERS: target.members}
        if target.records is not None and target.calibrated is not None:
            arrays |= {_RECORDS: target.records, _CALIBRATED: target.calibrated}
        if target.groups is not None:
            arrays[_GROUPS] = target.groups
        arrays |= dict(target.subsets or {})
        arrays |= {**target.scores, **target.p_values}
        np.savez_compressed(_path(folder, role), **arrays)  # type: ignore[arg-type]


class StoredScores(Mapping[str, TargetScores]):
    """Scores written by `save_scores`, by role; each target is read once, on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, TargetScores] = {}

    def __getitem__(self, role: str) -> TargetScores:
        if role not in self._read:
            path = _path(self._folder, role)
            if not path.is_file():
                raise KeyError(role)
            self._read[role] = read_scores(path)
        return self._read[role]

    def __iter__(self) -> Iterator[str]:
        names = sorted(path.stem for path in self._folder.glob(f"{_FILE}*.npz"))
        return iter([TARGET if name == _FILE else name.removeprefix(f"{_FILE}-") for name in names])

    def __len__(self) -> int:
        return len(list(iter(self)))


def _path(folder: Path, role: str) -> Path:
    return folder / (f"{_FILE}.npz" if role == TARGET else f"{_FILE}-{role}.npz")


def read_scores(path: Path) -> TargetScores:
    """Read a file that `save_scores` wrote, also a copy of it. Raises KeyError for a file of another form."""
    # Opened here, since numpy leaves a damaged file open.
    with path.open("rb") as opened, np.load(opened) as file:
        arrays = {name: file[name] for name in file.files}
    members, records = arrays.pop(_MEMBERS), arrays.pop(_RECORDS, None)
    calibrated, groups = arrays.pop(_CALIBRATED, None), arrays.pop(_GROUPS, None)
    p_values = {name: a for name, a in arrays.items() if name.split(".")[0] in (*_KINDS, *_HALVES)}
    subsets = {name: a for name, a in arrays.items() if a.dtype == np.bool_}
    scores = {name: a for name, a in arrays.items() if name not in p_values and name not in subsets}
    return TargetScores(members, scores, p_values, records, calibrated, subsets, groups)
