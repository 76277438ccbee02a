"""Labels of any usual form -> classes 0 to K-1, in one place for every source, with what was done in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import DataError

__all__ = ["MOST_CLASSES", "Labels", "numbered_labels", "same_kind"]

IntArray = npt.NDArray[np.int64]
AnyArray = npt.NDArray[Any]

MOST_CLASSES = 65_536
"""Classes that labels may ask for: every model has an output for each, and every answer a number."""
_SHOWN = 6
"""Classes that a note lists."""
_LONGEST = 60
"""Characters of a class name that a note shows."""


@dataclass(frozen=True)
class Labels:
    """numbers: int64 [n], 0 to count - 1. names: of the classes, in that order; () where the numbers are the names.

    count: number of classes, of which some may not occur. note: how labels were read, in words; None if as they are.
    """

    numbers: IntArray
    names: tuple[str, ...]
    count: int
    note: str | None = None


def numbered_labels(
    y: AnyArray, declared: int | Sequence[str | int] | None = None, names: Sequence[str] = ()
) -> Labels:
    """Classes of labels that a source gave.

    Taken are integers, whole numbers as floats, truth values, texts, bytes, one column (n, 1), and one-hot rows (n, K).
    Integers that begin at 0 and of which at most half are missing are classes as they are. All others are numbered in
    sorted order, texts by their code points, as torchvision's ImageFolder and scikit-learn number them.

    Args:
        y: [n], [n, 1] or [n, K].
        declared: `data.classes`: the number of classes (labels are then 0 to K-1), or the labels in the order of the
            model's outputs; None to find out.
        names: of the labels 0, 1, ... that the source has, where labels are such numbers.

    Raises:
        DataError: a record without a label or with several, real numbers, labels that are not among the declared ones,
            and so many that they cannot be classes.
    """
    one, hot = _one_each(y)
    if hot:
        count = y.shape[1]
        if isinstance(declared, int) and declared != count:
            raise DataError(f"data.classes: {declared} classes, but the one-hot labels have {count} columns")
        listed = None if declared is None or isinstance(declared, int) else tuple(map(str, declared))
        if listed is not None and len(listed) != count:
            raise DataError(f"data.classes: {len(listed)} classes, but the one-hot labels have {count} columns")
        return Labels(one.astype(np.int64), listed or _fitting(names, count), count, "labels were one-hot rows")
    values = _plain(one)
    if isinstance(declared, int):
        return _counted(values, declared, names)
    if declared is not None:
        return _listed(values, tuple(map(str, declared)), names)
    kinds, index = np.unique(values, return_inverse=True)
    if names and values.dtype.kind == "i" and kinds[0] >= 0 and kinds[-1] < len(names):
        return Labels(values, tuple(names), len(names))
    _require_few(kinds, len(values))
    if values.dtype.kind == "i" and _from_zero(kinds):
        count = int(kinds[-1]) + 1
        missing = count - len(kinds)
        return Labels(values, (), count, f"{missing} of {count} classes never occur" if missing else None)
    known = tuple(str(kind) for kind in kinds.tolist())
    return Labels(index.astype(np.int64), known, len(known), _numbered(known))


def same_kind(parts: Sequence[AnyArray]) -> AnyArray:
    """The labels of several files, one after the other. Raises `DataError` where they are of different kinds."""
    kinds = {("text" if part.dtype.kind in "USO" else "numbers", part.shape[1:]) for part in parts}
    if len(kinds) > 1:
        forms = " and ".join(sorted(f"{kind} of shape (n{''.join(f', {n}' for n in shape)})" for kind, shape in kinds))
        raise DataError(f"data: the sides have labels of different kinds ({forms}); write them in one form")
    return np.concatenate(parts)


def _one_each(y: AnyArray) -> tuple[AnyArray, bool]:
    """One label a record, [n], and whether they were one-hot rows."""
    if y.ndim == 0:
        raise DataError(f"data: labels must be one for each record; got {y.dtype} of shape ()")
    if y.dtype == object and y.ndim == 1 and any(_is_row(value) for value in y[:100]):
        raise DataError(_several(f"record {next(i for i, value in enumerate(y) if _is_row(value))} has a list of them"))
    if y.ndim == 1:
        return y, False
    if y.shape[0] == y.size:
        return y.reshape(-1), False
    shape = f"labels have shape {y.shape}"
    if y.ndim > 2 or y.dtype.kind not in "biuf":
        raise DataError(_several(shape))
    if not np.isin(y, (0, 1)).all():
        off = np.abs(y.sum(axis=1) - 1).max() if y.dtype.kind == "f" else 1.0
        if off < 1e-3 and y.min() >= 0:
            raise DataError(f"data: {shape}: probabilities of classes; give the class itself, as y.argmax(axis=1)")
        raise DataError(_several(shape))
    on = y.sum(axis=1, dtype=np.int64)
    if (on != 1).any():
        record = int(np.flatnonzero(on != 1)[0])
        raise DataError(_several(f"{shape}, and record {record} has {on[record]} of them"))
    return y.argmax(axis=1), True


def _is_row(value: object) -> bool:
    return isinstance(value, list | tuple | set) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _several(what: str) -> str:
    return (
        f"data: several labels a record: {what}. This task takes one label a record; audit one of them at a time, as "
        "y[:, 0], or number each combination of labels as a class of its own"
    )


def _plain(y: AnyArray) -> AnyArray:
    """Labels as int64 or texts, [n]."""
    if y.dtype == object:
        y = _of_objects(y)
    if y.dtype.kind == "U":
        return y
    if y.dtype.kind == "S":
        return _decoded(y)
    if y.dtype.kind == "b":
        return y.astype(np.int64)
    if y.dtype.kind == "f":
        return _whole(y)
    if y.dtype.kind not in "iu":
        raise DataError(f"data: labels of dtype {y.dtype} are no classes; give integers or texts")
    if y.dtype.kind == "u" and len(y) and y.max() > np.iinfo(np.int64).max:
        raise DataError(f"data: label {y.max()} is too large; number the classes from 0")
    return y.astype(np.int64)


def _of_objects(y: AnyArray) -> AnyArray:
    for i, value in enumerate(y):
        # NaN, NaT and pandas.NA are not equal to themselves, or not comparable at all.
        if value is None or type(value).__name__ in {"NAType", "NaTType"} or value != value:  # noqa: PLR0124
            raise DataError(f"data: record {i} has no label; drop such records")
    if all(isinstance(value, bytes) for value in y):
        return _decoded(y)
    if all(isinstance(value, str) for value in y):
        return y.astype(np.str_)
    if all(isinstance(value, bool | np.bool_ | int | np.integer | float | np.floating) for value in y):
        return np.array(y.tolist())
    kinds = sorted({type(value).__name__ for value in y})
    raise DataError(f"data: labels of the types {', '.join(kinds)}; give integers or texts")


def _decoded(y: AnyArray) -> AnyArray:
    found = []
    for i, value in enumerate(y.tolist()):
        try:
            found.append(value.decode("utf-8"))
        except UnicodeDecodeError:
            raise DataError(f"data: the label of record {i}, {value[:20]!r}, is no UTF-8 text") from None
    return np.array(found, np.str_)


def _whole(y: AnyArray) -> AnyArray:
    bad = ~np.isfinite(y)
    if bad.any():
        raise DataError(f"data: record {int(np.flatnonzero(bad)[0])} has no label ({y[bad][0]}); drop such records")
    broken = y != np.floor(y)
    if broken.any():
        raise DataError(
            f"data: labels are real numbers, such as {y[broken][0]:.6g}: that is a regression, and this task takes "
            "classes; give one integer or text a record"
        )
    if np.abs(y).max(initial=0.0) > 2**53:
        raise DataError(f"data: label {np.abs(y).max():.6g} is too large; number the classes from 0")
    return y.astype(np.int64)


def _counted(values: AnyArray, count: int, names: Sequence[str]) -> Labels:
    """Labels that `data.classes` says are 0 to count - 1."""
    if values.dtype.kind != "i":
        raise DataError(
            f"data.classes: {count} says that labels are 0 to {count - 1}, but they are texts, such as "
            f"'{_short(str(values[0]))}'; list the texts in the order of the model's outputs"
        )
    outside = (values < 0) | (values >= count)
    if outside.any():
        record = int(np.flatnonzero(outside)[0])
        raise DataError(
            f"data.classes: {count} says that labels are 0 to {count - 1}, but record {record} has {values[record]}"
        )
    return Labels(values, _fitting(names, count), count)


def _listed(values: AnyArray, order: tuple[str, ...], names: Sequence[str]) -> Labels:
    """Labels that `data.classes` lists in the order of the model's outputs."""
    kinds, index = np.unique(values, return_inverse=True)
    texts = [str(kind) for kind in kinds.tolist()]
    if names and values.dtype.kind == "i" and kinds[0] >= 0 and kinds[-1] < len(names):
        texts = [names[kind] for kind in kinds.tolist()]
    place = {name: i for i, name in enumerate(order)}
    for number, text in enumerate(texts):
        if text not in place:
            record = int(np.flatnonzero(index == number)[0])
            raise DataError(f"data.classes: the label '{_short(text)}' of record {record} is not in the list")
    numbers = np.array([place[text] for text in texts], np.int64)[index]
    return Labels(numbers, order, len(order), _numbered(order))


def _from_zero(kinds: AnyArray) -> bool:
    """Whether different integers, sorted, are classes as they are: from 0, and at most half of them missing."""
    return bool(kinds[0] == 0 and int(kinds[-1]) + 1 <= 2 * len(kinds))


def _require_few(kinds: AnyArray, records: int) -> None:
    """Raise `DataError` where labels tell records apart, not classes."""
    if len(kinds) > max(2, records // 2):
        raise DataError(
            f"data: {records:,} records have {len(kinds):,} different labels, such as {_short(str(kinds[0]))} and "
            f"{_short(str(kinds[-1]))}; are they class labels?"
        )
    if len(kinds) > MOST_CLASSES:
        raise DataError(f"data: {len(kinds):,} classes; a model may have {MOST_CLASSES:,}")


def _numbered(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"{_short(name)} is {i}" for i, name in enumerate(names[:_SHOWN]))
    more = f", and so on to {_short(names[-1])}, {len(names) - 1}" if len(names) > _SHOWN else ""
    return f"labels were numbered: {shown}{more}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _fitting(names: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(names) if len(names) == count else ()
