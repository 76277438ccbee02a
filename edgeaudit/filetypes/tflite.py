"""TFLite files, parsed as flatbuffers; no interpreter is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.base import Array, Contract, FileType, FileTypeSpec, WeightTensor, stored_zero
from edgeaudit.host.tensorflow import tensorflow

__all__ = ["Tflite", "UnmatchedBias", "unmatched_bias"]

_WEIGHT_DTYPES: Mapping[str, Any] = {
    "FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16,
}  # fmt: skip
_PACKED = ("INT4", "INT2")


class Tflite(FileType):
    """A TFLite model. Interpreters can resize it to any batch, so the batch is -1."""

    spec = FileTypeSpec(
        name="tflite",
        title="TFLite",
        suffixes=(".tflite",),
        extra="litert",
        packages=("ai-edge-litert",),
        builds={"ai-edge-litert": ("tensorflow-cpu",)},
        layouts=("NHWC", "NCHW", "HW", "flat"),
    )

    def _contract(self, path: Path) -> Contract:
        model = _model(path)
        graph = model.Subgraphs(0)
        return Contract(
            tuple(_tensor(graph.Tensors(graph.Inputs(i))) for i in range(graph.InputsLength())),
            tuple(_tensor(graph.Tensors(graph.Outputs(i))) for i in range(graph.OutputsLength())),
        )

    def _weights(self, path: Path) -> Iterator[WeightTensor]:
        """Tensors with a buffer of their own, a shared buffer once."""
        content = path.read_bytes()
        model = _model(path, content)
        seen: set[int] = set()
        for tensor in (graph.Tensors(t) for graph in _graphs(model) for t in range(graph.TensorsLength())):
            raw = _buffer(model.Buffers(tensor.Buffer()), content)
            kind = _type_name(tensor)
            if not raw.size or tensor.Buffer() in seen or kind not in (*_WEIGHT_DTYPES, *_PACKED):
                continue
            seen.add(tensor.Buffer())
            name = _name(tensor)
            if tensor.Sparsity() is not None:
                raise ArtifactError(f"{path}: the tensor '{name}' is stored sparsely, which is not supported")
            values = _unpacked(raw, kind, tuple(tensor.Shape(i) for i in range(tensor.ShapeLength())))
            details = tensor.Quantization()
            points = details.ZeroPointAsNumpy() if details is not None and details.ZeroPointLength() else None
            axis = details.QuantizedDimension() if details is not None else None
            yield WeightTensor(name, values, stored_zero(values, points, axis))

    def _ends_in_softmax(self, path: Path) -> bool:
        codes = _schema().BuiltinOperator
        model = _model(path)
        graph = model.Subgraphs(0)
        makers = {op.Outputs(i): op for op in _ops(graph) for i in range(op.OutputsLength())}
        tensor = graph.Outputs(0)
        while tensor in makers:
            code = _code(model, makers[tensor])
            if code not in {codes.QUANTIZE, codes.DEQUANTIZE, codes.CAST}:
                return bool(code == codes.SOFTMAX)
            tensor = makers[tensor].Inputs(0)
        return False

    def _operators(self, path: Path) -> Iterator[str]:
        codes = _schema().BuiltinOperator
        names = {code: name for name, code in vars(codes).items() if not name.startswith("_")}
        model = _model(path)
        for op in (op for graph in _graphs(model) for op in _ops(graph)):
            code = _code(model, op)
            custom = model.OperatorCodes(op.OpcodeIndex()).CustomCode()
            yield custom.decode() if code == codes.CUSTOM and custom else names.get(code, f"operator {code}")


@dataclass(frozen=True)
class UnmatchedBias:
    """A bias of an int8 layer, its scale, and that of the products (input times weight) which it is added to."""

    name: str
    scale: float
    products: float


def unmatched_bias(path: Path) -> UnmatchedBias | None:
    """The first bias whose scale is not that of its products (within 1%), None if all of them match.

    Kernels add the integers, so another scale gives wrong outputs.
    """
    schema = _schema()
    codes = schema.BuiltinOperator
    model = _model(path)
    graph = model.Subgraphs(0)
    for op in _ops(graph):
        with_bias = op.InputsLength() > 2 and op.Inputs(2) >= 0
        layers = {codes.CONV_2D, codes.DEPTHWISE_CONV_2D, codes.FULLY_CONNECTED}
        if _code(model, op) not in layers or not with_bias:
            continue
        source, weight, bias = (graph.Tensors(op.Inputs(i)) for i in range(3))
        if bias.Type() != schema.TensorType.INT32:
            continue
        actual, required = _scales(bias), _scales(source) * _scales(weight)
        if not np.allclose(actual, required, rtol=0.01):
            return UnmatchedBias(_name(bias), float(actual.ravel()[0]), float(required.ravel()[0]))
    return None


def _schema() -> ModuleType:
    """The classes of the flatbuffer, from either package that has them."""
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ModuleNotFoundError:
        tensorflow()
        from tensorflow.lite.python import schema_py_generated as schema
    module: ModuleType = schema
    return module


def _model(path: Path, content: bytes | None = None) -> Any:
    """The root of the flatbuffer; raises if the file is truncated within a buffer."""
    schema = _schema()
    content = path.read_bytes() if content is None else content
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise ArtifactError(f"cannot read {path} as TFLite: it does not start like a TFLite file")
    model = schema.Model.GetRootAs(content, 0)
    for i in range(model.BuffersLength()):
        _buffer(model.Buffers(i), content)
    return model


def _graphs(model: Any) -> Iterator[Any]:
    return (model.Subgraphs(g) for g in range(model.SubgraphsLength()))


def _ops(graph: Any) -> Iterator[Any]:
    return (graph.Operators(i) for i in range(graph.OperatorsLength()))


def _code(model: Any, op: Any) -> int:
    """The built-in operator's code; before schema version 3a it was an int8 in a field of its own."""
    code = model.OperatorCodes(op.OpcodeIndex())
    return max(int(code.BuiltinCode()), int(code.DeprecatedBuiltinCode()))


def _name(tensor: Any) -> str:
    return (tensor.Name() or b"").decode(errors="replace")


def _type_name(tensor: Any) -> str:
    """FLOAT32, INT8, ..."""
    types = vars(_schema().TensorType)
    return next((name for name, code in types.items() if not name.startswith("_") and code == tensor.Type()), "")


def _tensor(tensor: Any) -> TensorSpec:
    """Sizes that the file leaves open are -1 in its shape signature; a scale is there where it is the only one."""
    signature = tensor.ShapeSignatureLength() > 0
    shape = tensor.ShapeSignatureAsNumpy() if signature else [tensor.Shape(i) for i in range(tensor.ShapeLength())]
    details = tensor.Quantization()
    scaled = details is not None and details.ScaleLength() == 1
    return TensorSpec(
        _name(tensor),
        (-1, *(int(size) for size in shape[1:])),
        _type_name(tensor).lower(),
        scale=float(details.Scale(0)) if scaled else None,
        zero_point=(int(details.ZeroPoint(0)) if details.ZeroPointLength() else 0) if scaled else None,
    )


def _scales(tensor: Any) -> npt.NDArray[np.float64]:
    return np.asarray(tensor.Quantization().ScaleAsNumpy(), np.float64)


def _buffer(buffer: Any, content: bytes) -> npt.NDArray[np.uint8]:
    """A buffer's bytes; in files beyond 2 GB they follow the flatbuffer."""
    if buffer.Offset() > 1:
        return np.frombuffer(content, np.uint8, buffer.Size(), buffer.Offset())
    return np.asarray(buffer.DataAsNumpy() if buffer.DataLength() else [], np.uint8)


def _unpacked(raw: npt.NDArray[np.uint8], kind: str, shape: tuple[int, ...]) -> Array:
    if kind in _WEIGHT_DTYPES:
        whole: Array = raw.view(_WEIGHT_DTYPES[kind]).reshape(shape)
        return whole
    bits = int(kind.removeprefix("INT"))
    # The first value lies in the lowest bits; the last byte is filled up.
    codes = np.stack([(raw >> shift) & (2**bits - 1) for shift in range(0, 8, bits)], axis=1).reshape(-1)
    signed = codes.astype(np.int8) - np.where(codes >= 2 ** (bits - 1), 2**bits, 0).astype(np.int8)
    return signed[: int(np.prod(shape))].reshape(shape)
