"""Messages of the Open Inference Protocol v2: a JSON header with tensors in it, or as bytes after it.

Used by the agent, which reads inputs and writes outputs, and by the client, which does the reverse. Tensors are parsed
with numpy's `frombuffer` and `array`; nothing is unpickled. Reference: the protocol's specification and its binary
tensor data extension (little endian, row major, no padding).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ProtocolError

__all__ = ["DATATYPES", "Head", "datatype_of", "join", "read_tensors", "split", "written"]

Head = dict[str, object]
"""A JSON object as it was received: what its fields are is checked where they are read."""

DATATYPES: Mapping[str, str] = {
    "BOOL": "bool",
    "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
"""The protocol's datatypes -> numpy's. BYTES (strings) is not supported."""

_DATATYPE = {dtype: name for name, dtype in DATATYPES.items()}
_MOST_AXES = 8


def datatype_of(dtype: npt.DTypeLike) -> str:
    """The protocol's name of a numpy dtype; `ProtocolError` if it has none."""
    name = np.dtype(dtype).name
    if name not in _DATATYPE:
        raise ProtocolError(f"the protocol has no datatype for {name}")
    return _DATATYPE[name]


def split(body: bytes, head_bytes: int | None) -> tuple[Head, memoryview]:
    """Split a message into its JSON header and the bytes after it.

    head_bytes: from Inference-Header-Content-Length; None if the whole body is JSON.
    """
    if head_bytes is None:
        head_bytes = len(body)
    if not 0 <= head_bytes <= len(body):
        raise ProtocolError(f"Inference-Header-Content-Length is {head_bytes}, but the body has {len(body)} bytes")
    try:
        head = json.loads(body[:head_bytes].decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:  # UnicodeDecodeError is a ValueError
        raise ProtocolError(f"the body is not JSON: {str(exc) or type(exc).__name__}") from exc
    if not isinstance(head, dict):
        raise ProtocolError("the body is JSON, but not an object")
    return head, memoryview(body)[head_bytes:]


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def join(head: Mapping[str, object], blobs: Sequence[bytes]) -> tuple[bytes, int | None]:
    """Build a message; returns it and the length of its header if bytes follow. ValueError for NaN or infinity."""
    text = json.dumps(head, allow_nan=False, separators=(",", ":")).encode()
    return b"".join((text, *blobs)), len(text) if blobs else None


def written(name: str, values: npt.NDArray[Any], *, binary: bool) -> tuple[Head, bytes | None]:
    """A tensor as an entry of `inputs` or `outputs`, and its bytes if binary."""
    entry: Head = {"name": name, "datatype": datatype_of(values.dtype), "shape": list(values.shape)}
    if not binary:
        return {**entry, "data": values.ravel().tolist()}, None
    blob = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    return {**entry, "parameters": {"binary_data_size": len(blob)}}, blob


def read_tensors(entries: object, tail: memoryview) -> dict[str, npt.NDArray[Any]]:
    """Name -> values of every entry of `inputs` or `outputs`.

    tail: the bytes after the header; all of them must belong to a tensor.
    """
    if not isinstance(entries, list) or not entries:
        raise ProtocolError("the message has no tensors")
    tensors: dict[str, npt.NDArray[Any]] = {}
    offset = 0
    for entry in entries:
        name, dtype, shape = _described(entry)
        if name in tensors:
            raise ProtocolError(f"the tensor '{name}' is duplicated")
        size = _parameters(entry, name).get("binary_data_size")
        if size is None:
            tensors[name] = _from_json(name, dtype, shape, entry.get("data"))
            continue
        tensors[name] = _from_bytes(name, dtype, shape, tail[offset:], size)
        offset += tensors[name].nbytes
    if offset != len(tail):
        raise ProtocolError(f"{len(tail) - offset} bytes after the JSON belong to no tensor")
    return tensors


def _described(entry: Any) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ProtocolError("a tensor must be an object with a name, a datatype and a shape")
    name, datatype, shape = entry["name"], entry.get("datatype"), entry.get("shape")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise ProtocolError(f"the tensor '{name}' has the unknown datatype {datatype!r}; known: {', '.join(DATATYPES)}")
    if not isinstance(shape, list) or len(shape) > _MOST_AXES or not all(map(_is_length, shape)):
        raise ProtocolError(f"the tensor '{name}' has the invalid shape {shape!r}")
    return name, np.dtype(DATATYPES[datatype]), tuple(shape)


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40


def _parameters(entry: Head, name: str) -> Head:
    parameters = entry.get("parameters", {})
    if not isinstance(parameters, dict):
        raise ProtocolError(f"the parameters of the tensor '{name}' must be an object")
    if unknown := [key for key in parameters if key.startswith("shared_memory")]:
        raise ProtocolError(f"the tensor '{name}' has the parameter '{unknown[0]}'; shared memory is not supported")
    return parameters


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:  # Python integers do not overflow
        count *= length
    return count


def _from_bytes(
    name: str, dtype: np.dtype[Any], shape: tuple[int, ...], tail: memoryview, size: object
) -> npt.NDArray[Any]:
    if not isinstance(size, int) or not _is_length(size) or size > len(tail):
        raise ProtocolError(f"the tensor '{name}' has binary_data_size {size!r}, but {len(tail)} bytes are left")
    if size != _count(shape) * dtype.itemsize:
        raise ProtocolError(
            f"the tensor '{name}' of {dtype.name} {list(shape)} needs {_count(shape) * dtype.itemsize} bytes, not "
            f"{size}"
        )
    stored = dtype.newbyteorder("<")
    values = np.frombuffer(tail[:size], stored).reshape(shape)
    if dtype.kind == "b" and size and bytes(tail[:size]).strip(b"\0\1"):
        raise ProtocolError(f"the tensor '{name}' of BOOL has a byte that is neither 0 nor 1")
    return values.astype(dtype, copy=False)


def _from_json(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], data: Any) -> npt.NDArray[Any]:
    if not isinstance(data, list):
        raise ProtocolError(f"the tensor '{name}' has neither a list 'data' nor a binary_data_size")
    if not data:
        array: npt.NDArray[Any] = np.empty(0, dtype)
    else:
        try:
            array = np.array(data)
        except (ValueError, OverflowError, RecursionError) as exc:
            raise ProtocolError(f"the data of the tensor '{name}' are not an array: {exc}") from exc
    if dtype.kind == "f" and array.dtype.kind == "O":
        array = _from_long_numbers(name, array)
    kinds = {"b": "b", "f": "iuf"}.get(dtype.kind, "iu")
    if array.dtype.kind not in kinds and array.size:
        raise ProtocolError(f"the data of the tensor '{name}' are {array.dtype.name}, not {dtype.name}")
    if array.size != _count(shape):
        raise ProtocolError(f"the tensor '{name}' of shape {list(shape)} has {array.size} values")
    with np.errstate(over="ignore"):
        values = array.astype(dtype).reshape(shape)
    if dtype.kind in "iu" and (values != array.reshape(shape)).any():
        raise ProtocolError(f"the data of the tensor '{name}' exceed the range of {dtype.name}")
    if dtype.kind == "f" and not np.isfinite(values).all():
        raise ProtocolError(f"the data of the tensor '{name}' exceed the range of {dtype.name}")
    return values


def _from_long_numbers(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert numbers that exceed numpy's integers: some servers write 1e20 with all its zeros."""
    values = array.ravel().tolist()
    if any(value is None for value in values):
        raise ProtocolError(
            f"the data of the tensor '{name}' have null instead of a number: a NaN, infinite or missing value"
        )
    if not all(type(value) in (int, float) for value in values):
        return array
    try:
        return np.array([float(value) for value in values], np.float64)
    except OverflowError as exc:
        raise ProtocolError(f"the data of the tensor '{name}' exceed the range of float64") from exc
