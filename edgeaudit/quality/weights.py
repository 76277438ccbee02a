"""The weights in a file as it ships, and how many of them are zero.

A weight is an entry of a constant of floats or of integers up to 16 bits in which more than one dimension is longer
than 1: kernels of convolutions, matrices. Biases, scales and zero points are not (OpenVINO has them as [c, 1, 1, 1]),
nor are shapes and paddings (32 and 64 bits). Where a weight is an integer with a zero point, that integer is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import Artifact, Kind

__all__ = ["Sparsity", "WeightTensor", "sparsity", "weight_tensors"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class WeightTensor:
    """One constant of a file: its values as stored, and the stored value that means zero, broadcastable to them."""

    name: str
    values: Array
    zero: Array

    @property
    def zeros(self) -> int:
        """How many entries are zero."""
        # int4 and bfloat16 have dtypes of ml_dtypes, which compare with their own kind only.
        return int(np.count_nonzero(self.values.astype(np.float32) == self.zero.astype(np.float32)))


@dataclass(frozen=True)
class Sparsity:
    """zeros of weights; both None where the file's weights cannot be read, and `note` says why."""

    weights: int | None
    zeros: int | None
    note: str | None = None


def sparsity(artifact: Artifact) -> Sparsity:
    """Count the weights in an artifact's files and the zeros among them.

    A kind of file that has no reader gives none and the reason. Raises `ArtifactError` where a file cannot be read.
    """
    if artifact.manifest.kind not in _READERS:
        return Sparsity(None, None, _UNREADABLE.get(artifact.manifest.kind, "no reader of such files"))
    found = weight_tensors(artifact)
    return Sparsity(sum(t.values.size for t in found), sum(t.zeros for t in found))


def weight_tensors(artifact: Artifact) -> list[WeightTensor]:
    """The weights in an artifact's files. Raises `ArtifactError` where there is no reader or a file cannot be read."""
    reader = _READERS.get(artifact.manifest.kind)
    if reader is None:
        raise ArtifactError(f"{artifact.path}: the weights of {artifact.manifest.kind} files cannot be read")
    return [tensor for tensor in reader(artifact.path) if _is_weight(tensor.values)]


def _is_weight(values: Array) -> bool:
    if sum(length > 1 for length in values.shape) < 2:
        return False
    if values.dtype.kind in "iu":
        return values.dtype.itemsize <= 2
    return values.dtype != np.bool_ and values.dtype.kind in "fV"  # V: bfloat16 and int4 of ml_dtypes


def _zero(values: Array, zero: Array | None = None, axis: int | None = None) -> Array:
    """The stored zero, shaped so that it broadcasts: a scalar, or one entry for each index along `axis`."""
    if zero is None or zero.size == 0:
        return np.zeros((), np.float32)
    if zero.size == 1 or axis is None:
        return zero.reshape(()) if zero.size == 1 else zero
    shape = [1] * values.ndim
    shape[axis] = zero.size
    return zero.reshape(shape)


def _torch(path: Path) -> Iterator[WeightTensor]:
    """A state dict in safetensors: BatchNorm's vectors and counters are no weights."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as tensors:
            # By torch, since numpy has no bfloat16.
            for name in tensors.keys():  # noqa: SIM118  it is no mapping
                tensor = tensors.get_tensor(name)
                values = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
                yield WeightTensor(name, values, _zero(values))
    except (OSError, SafetensorError) as exc:
        raise ArtifactError(f"{path} cannot be read: {exc}") from exc


@dataclass(frozen=True)
class _Operand:
    """Where an ONNX operator takes an integer tensor and its zero point, and along which axis that has entries."""

    tensor: int
    zero: int
    axis: int | None


_ONNX_OPERANDS: Mapping[str, tuple[_Operand, ...]] = {
    "DequantizeLinear": (_Operand(0, 2, None),),  # its axis is an attribute
    "QLinearConv": (_Operand(3, 5, 0),),
    "QLinearMatMul": (_Operand(0, 2, -2), _Operand(3, 5, -1)),
    "ConvInteger": (_Operand(1, 3, 0),),
    "MatMulInteger": (_Operand(0, 2, -2), _Operand(1, 3, -1)),
    "DynamicQuantizeMatMul": (_Operand(1, 3, -1),),
    "MatMulIntegerToFloat": (_Operand(0, 4, -2), _Operand(1, 5, -1)),
    "QGemm": (_Operand(0, 2, None), _Operand(3, 5, 0)),  # its second zero point is by column of the product
}


def _onnx(path: Path) -> Iterator[WeightTensor]:
    """Initializers and the values of Constant nodes; zero points from the operators that take them."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load(path).graph
    except (OSError, DecodeError) as exc:
        raise ArtifactError(f"{path} cannot be read: {exc}") from exc
    constants: dict[str, Array] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            given = {a.name: a for a in node.attribute}
            if "value" in given:
                constants[node.output[0]] = numpy_helper.to_array(given["value"].t)
    zeros: dict[str, Array] = {}
    for node in graph.node:
        for operand in _ONNX_OPERANDS.get(node.op_type, ()):
            names = [node.input[i] if i < len(node.input) else "" for i in (operand.tensor, operand.zero)]
            if all(name in constants for name in names):
                values = constants[names[0]]
                zeros.setdefault(names[0], _zero(values, constants[names[1]], _onnx_axis(node, operand, values)))
    for name, values in constants.items():
        yield WeightTensor(name, values, zeros.get(name, _zero(values)))


def _onnx_axis(node: Any, operand: _Operand, values: Array) -> int | None:
    attributes = {a.name: a.i for a in node.attribute}
    if node.op_type == "DequantizeLinear":
        return int(attributes.get("axis", 1)) if values.ndim > 1 else None
    if node.op_type == "QGemm" and operand.tensor == 3:
        return 0 if attributes.get("transB") else 1
    return operand.axis


_TFLITE_DTYPES: Mapping[str, Any] = {
    "FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16,
}  # fmt: skip
_SMALL = ("INT4", "INT2")


def _tflite(path: Path) -> Iterator[WeightTensor]:
    """Tensors with a buffer of their own, a shared buffer once."""
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise ArtifactError(f"{path} is no TFLite file")
    model = schema.Model.GetRootAs(content, 0)
    names = {code: name for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
    seen: set[int] = set()
    graphs = [model.Subgraphs(g) for g in range(model.SubgraphsLength())]
    for tensor in (graph.Tensors(t) for graph in graphs for t in range(graph.TensorsLength())):
        raw = _tflite_buffer(model.Buffers(tensor.Buffer()), content)
        kind = names.get(tensor.Type(), "")
        if not raw.size or tensor.Buffer() in seen or kind not in (*_TFLITE_DTYPES, *_SMALL):
            continue
        seen.add(tensor.Buffer())
        name = (tensor.Name() or b"").decode(errors="replace")
        if tensor.Sparsity() is not None:
            raise ArtifactError(f"{path}: the tensor '{name}' is stored sparsely, which is not read here")
        values = _unpacked(raw, kind, tuple(tensor.Shape(i) for i in range(tensor.ShapeLength())))
        about = tensor.Quantization()
        points = about.ZeroPointAsNumpy() if about is not None and about.ZeroPointLength() else None
        yield WeightTensor(name, values, _zero(values, points, about.QuantizedDimension() if about else None))


def _tflite_buffer(buffer: Any, content: bytes) -> npt.NDArray[np.uint8]:
    """A buffer's bytes; those of files beyond 2 GB lie behind the flatbuffer."""
    if buffer.Offset() > 1:
        return np.frombuffer(content, np.uint8, buffer.Size(), buffer.Offset())
    return np.asarray(buffer.DataAsNumpy() if buffer.DataLength() else [], np.uint8)


def _unpacked(raw: npt.NDArray[np.uint8], kind: str, shape: tuple[int, ...]) -> Array:
    if kind in _TFLITE_DTYPES:
        whole: Array = raw.view(_TFLITE_DTYPES[kind]).reshape(shape)
        return whole
    bits = int(kind.removeprefix("INT"))
    # The first value lies in the lowest bits; the last byte is filled up.
    codes = np.stack([(raw >> shift) & (2**bits - 1) for shift in range(0, 8, bits)], axis=1).reshape(-1)
    signed = codes.astype(np.int8) - np.where(codes >= 2 ** (bits - 1), 2**bits, 0).astype(np.int8)
    return signed[: int(np.prod(shape))].reshape(shape)


_OPENVINO_TYPES = ("f16", "f32", "f64", "bf16", "i4", "u4", "i8", "u8", "i16", "u16")


def _openvino(path: Path) -> Iterator[WeightTensor]:
    """The Constants of an IR. A zero point is what the weights' Convert is lessened by: Convert -> Subtract."""
    import openvino

    try:
        model = openvino.Core().read_model(path)
    except RuntimeError as exc:
        raise ArtifactError(f"{path} cannot be read: {exc}") from exc
    for node in model.get_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() in _OPENVINO_TYPES:
            values = _openvino_values(node)
            yield WeightTensor(node.get_friendly_name(), values, _zero(values, _openvino_zero(node)))


def _openvino_values(constant: Any) -> Array:
    """As float32, which holds all of `_OPENVINO_TYPES`."""
    # `data` (openvino 2026.4) has packed bytes for 4 bits, and takes the bits of a bfloat16 for a float16's.
    return np.array(constant.get_data(dtype=np.float32))


def _openvino_zero(constant: Any) -> Array | None:
    for convert in _takers(constant, "Convert"):
        for subtract in _takers(convert, "Subtract"):
            if subtract.input_value(0).get_node() == convert:
                point = subtract.input_value(1).get_node()
                while point.get_type_name() == "Convert":
                    point = point.input_value(0).get_node()
                if point.get_type_name() == "Constant":
                    return _openvino_values(point)
    return None


def _takers(node: Any, kind: str) -> Iterable[Any]:
    found = (entry.get_node() for output in node.outputs() for entry in output.get_target_inputs())
    return (taker for taker in found if taker.get_type_name() == kind)


_READERS: Mapping[Kind, Callable[[Path], Iterator[WeightTensor]]] = {
    "torch": _torch, "onnx": _onnx, "tflite": _tflite, "openvino": _openvino,
}  # fmt: skip
_UNREADABLE: Mapping[Kind, str] = {
    "executorch": "the weights of a .pte file lie packed in its XNNPACK delegate, whose layout has no public reader"
}
