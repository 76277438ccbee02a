"""What a user's function returns -> records and labels: arrays, tensors, frames, data sets and loaders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import DataError
from edgeaudit.population.raw import Raw, Table
from edgeaudit.population.tables import table_of_frame

__all__ = ["GROUPS", "as_array", "raw_of_columns", "raw_of_result"]

AnyArray = npt.NDArray[Any]

GROUPS = "groups"
"""The column that is the third value of (x, y, groups)."""
_LABELS = ("y", "label", "labels", "target", "class")
_RECORDS = ("x", "image", "img", "input", "inputs", "features", "data", "pixel_values", "audio")
_PLAIN = ("string", "large_string", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")
"""Types of further columns that groups and slices may be."""
_FORMS = "(x, y), (x, y, groups), {'x': x, 'y': y}, a torch Dataset or DataLoader, or a Hugging Face data set"


def raw_of_result(result: Any, where: str) -> Raw:
    """Records and labels of what a function returned.

    Taken are (x, y) as a tuple or list, with groups of related records as a third value; a mapping with x, y and
    further columns; a torch Dataset or DataLoader (read once, in the data set's order); a Hugging Face data set. x and
    y are arrays, tensors (on any device, also bfloat16 and such that require a gradient), frames, sparse matrices or
    lists of them.

    where: the function, for messages.

    Raises:
        DataError: another type, records of different shapes, several inputs, or a data set that answers differently
            when it is read again.
    """
    if isinstance(result, Mapping):
        return _of_mapping(result, where)
    if isinstance(result, tuple | list):
        if len(result) not in {2, 3}:
            raise DataError(f"{where} must return {_FORMS}; it returned {len(result)} values")
        columns = {GROUPS: as_array(result[2], where)} if len(result) == 3 else {}
        return _of_pair(result[0], result[1], columns, where)
    if hasattr(result, "features") and hasattr(result, "column_names"):
        return raw_of_columns(result, where)
    data = _without_loader(result)
    if hasattr(data, "shape") or not (isinstance(data, Iterable) or hasattr(data, "__getitem__")):
        raise DataError(f"{where} must return {_FORMS}; it returned {type(result).__name__}")
    return (
        _of_items(data, where) if hasattr(data, "__len__") and hasattr(data, "__getitem__") else _of_stream(data, where)
    )


def _without_loader(result: Any) -> Any:
    """The data set of a loader, whose order does not depend on shuffling; an iterable one as the loader batches it."""
    if not any(base.__name__ == "DataLoader" for base in type(result).__mro__):
        return result
    inner = getattr(result, "dataset", None)
    return inner if hasattr(inner, "__getitem__") and hasattr(inner, "__len__") else result


def _of_stream(data: Any, where: str) -> Raw:
    """An iterable data set, record by record, or a loader of one, batch by batch."""
    pairs = [_pair(item, where) for item in data]
    if not pairs:
        raise DataError(f"{where} returned a data set without records")
    if any(base.__name__ == "DataLoader" for base in type(data).__mro__) and getattr(data, "batch_size", 1) is not None:
        batches = [(as_array(x, where), as_array(y, where)) for x, y in pairs]
        return _of_pair(np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches]), {}, where)
    return _of_pair([as_array(x, where) for x, _ in pairs], [_scalar(y, where) for _, y in pairs], {}, where)


def as_array(value: Any, where: str) -> AnyArray:
    """An array of what holds numbers or texts. Raises `DataError` for entries of different shapes."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a torch tensor
        tensor = value.detach().cpu()
        tensor = tensor.to_dense() if "strided" not in str(tensor.layout) else tensor
        # numpy has no bfloat16, and float32 holds every value of it.
        return np.asarray(tensor.float().numpy() if str(tensor.dtype) == "torch.bfloat16" else tensor.numpy())
    if hasattr(value, "toarray"):  # a scipy.sparse matrix
        return np.asarray(value.toarray())
    if hasattr(value, "to_numpy"):  # a pandas series or index
        return np.asarray(value.to_numpy())
    listed = isinstance(value, Sequence) and not isinstance(value, str | bytes) and len(value) > 0
    if listed and (hasattr(value[0], "detach") or _is_image(value[0])):
        value = [as_array(one, where) for one in value]
    if not hasattr(value, "__array__") and isinstance(value, Sequence) and _ragged(value):
        shapes = sorted({np.shape(one) for one in value})
        raise DataError(
            f"{where}: all records must have the same shape; they have {len(shapes)} shapes, {shapes[0]} to "
            f"{shapes[-1]}"
        )
    try:
        return np.asarray(value)
    except ValueError as exc:
        raise DataError(f"{where}: all records must have the same shape: {exc}") from exc


def _is_image(value: Any) -> bool:
    return hasattr(value, "getbands")


def _ragged(value: Sequence[Any]) -> bool:
    try:
        return len({np.shape(one) for one in value}) > 1
    except ValueError:
        return False  # numpy says what is wrong


def _of_mapping(result: Mapping[Any, Any], where: str) -> Raw:
    x, y = _named(result, _RECORDS), _named(result, _LABELS)
    if x is None or y is None:
        names = ", ".join(map(str, result))
        raise DataError(f"{where} must return {_FORMS}; it returned a mapping with {names or 'nothing'}")
    columns = {str(name): as_array(value, where) for name, value in result.items() if name not in {x, y}}
    return _of_pair(result[x], result[y], columns, where)


def _named(names: Iterable[Any], wanted: Sequence[str]) -> Any:
    return next((name for want in wanted for name in names if str(name).lower() == want), None)


def _of_pair(x: Any, y: Any, columns: Mapping[str, AnyArray], where: str) -> Raw:
    labels = as_array(y, where)
    if hasattr(x, "columns") and hasattr(x, "dtypes"):
        return Raw(_frame(x), labels, columns=columns)
    if isinstance(x, Mapping | tuple | list):
        _require_one_input(x, len(labels) if labels.ndim else 0, where)
    return Raw(as_array(x, where), labels, columns=columns)


def _frame(x: Any) -> AnyArray | Table:
    """A frame of numbers as an array of its own dtype; one with texts or missing values as a table."""
    if all(getattr(dtype, "kind", "O") in "biuf" for dtype in x.dtypes):
        values = np.asarray(x.to_numpy())
        if values.dtype.kind != "f" or np.isfinite(values).all():
            return values
    return table_of_frame(x)


def _require_one_input(x: Any, labels: int, where: str) -> None:
    """Raise `DataError` where x is several arrays of records, one for each input of a model."""
    if not isinstance(x, Mapping) and len(x) == labels:
        return
    parts = _arrays_of(x)
    if len(parts) > 1 and all(part.shape[:1] == (labels,) for part in parts):
        raise DataError(_several_inputs([tuple(part.shape[1:]) for part in parts], where))


def _arrays_of(x: Any) -> list[Any]:
    """The arrays or tensors that a mapping or a sequence consists of; none where it has something else, too."""
    parts = list(x.values()) if isinstance(x, Mapping) else list(x) if isinstance(x, tuple | list) else []
    return parts if all(hasattr(part, "shape") and len(part.shape) for part in parts) else []


def _several_inputs(shapes: Sequence[tuple[int, ...]], where: str) -> str:
    return (
        f"{where} returned records for {len(shapes)} inputs (of shape {' and '.join(map(str, shapes))}), and a model "
        "may have one input. Join them in one array, and let the model take it apart: x = numpy.concatenate("
        "[a.reshape(len(a), -1), b.reshape(len(b), -1)], axis=1)"
    )


def _of_items(data: Any, where: str) -> Raw:
    """A map-style data set, record by record."""
    count = len(data)
    pairs = [_pair(data[i], where) for i in range(count)]
    if not pairs:
        raise DataError(f"{where} returned a data set without records")
    parts = _arrays_of(pairs[0][0]) if isinstance(pairs[0][0], tuple | Mapping) else []
    if len(parts) > 1:
        raise DataError(_several_inputs([tuple(part.shape) for part in parts], where))
    for i in {0, count // 2, count - 1}:
        again, _ = _pair(data[i], where)
        if not np.array_equal(as_array(pairs[i][0], where), as_array(again, where)):
            raise DataError(
                f"{where}: record {i} of the data set is another one when it is read again: remove random transforms, "
                "which models that are asked about a record must not see (augmentation: model.augment)"
            )
    names = getattr(data, "classes", ())
    named = tuple(map(str, names)) if isinstance(names, list | tuple) else ()
    raw = _of_pair([as_array(x, where) for x, _ in pairs], [_scalar(y, where) for _, y in pairs], {}, where)
    return Raw(raw.x, raw.y, named)


def _scalar(y: Any, where: str) -> Any:
    array = as_array(y, where)
    return array.item() if array.ndim == 0 else array


def _pair(item: Any, where: str) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        x, y = _named(item, _RECORDS), _named(item, _LABELS)
        if x is not None and y is not None:
            return item[x], item[y]
        raise DataError(f"{where}: a record of the data set has {', '.join(map(str, item))}; it needs x and y")
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    what = f"{len(item)} values" if isinstance(item, tuple | list) else f"a {type(item).__name__}"
    raise DataError(f"{where}: a record of the data set is {what}; it needs a record and a label")


def raw_of_columns(data: Any, where: str, x: str | None = None, y: str | None = None) -> Raw:
    """A Hugging Face data set: one column of records or a table of the others, and a column of labels.

    x, y: their names; None to find them by the usual ones. where: the data set, for messages.

    Raises:
        DataError: there is no such column.
    """
    names = list(data.column_names)
    for key, name in (("x", x), ("y", y)):
        if name is not None and name not in names:
            raise DataError(f"{where}: there is no column '{name}' ({key}); there are {', '.join(names)}")
    y = y or _named(names, _LABELS)
    if y is None:
        raise DataError(
            f"{where}: none of the columns {', '.join(names)} is called {' or '.join(_LABELS)}; rename the column "
            "of labels, or name it"
        )
    x = x or _named(names, _RECORDS)
    known = getattr(data.features.get(y), "names", None)
    classes = tuple(map(str, known)) if known else ()
    labels = as_array(list(data[y]), where)
    if x is not None:
        plain = [name for name in names if name not in {x, y} and getattr(data.features[name], "dtype", "") in _PLAIN]
        columns = {name: as_array(list(data[name]), where) for name in plain}
        return Raw(as_array(list(_records(data, x)), where), labels, classes, columns=columns)
    return Raw(table_of_frame(data.to_pandas().drop(columns=y)), labels, classes)


def _records(data: Any, x: str) -> Iterator[Any]:
    for one in data[x]:
        if isinstance(one, Mapping) and "array" in one:  # decoded audio
            yield one["array"]
        else:
            yield as_array(one, x) if _is_image(one) else one
