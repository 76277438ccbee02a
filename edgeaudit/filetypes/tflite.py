"""TFLite files, parsed as flatbuffers; no interpreter is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.base import (
    Array,
    Contract,
    FileType,
    FileTypeSpec,
    Head,
    Range,
    WeightTensor,
    held_range,
    stored_zero,
)
from edgeaudit.filetypes.traits import Traits, has_integers, most_of
from edgeaudit.host.tensorflow import tensorflow

__all__ = ["Tflite", "UnmatchedBias", "unmatched_bias"]

_WEIGHT_DTYPES: Mapping[str, Any] = {
    "FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16,
}  # fmt: skip
_PACKED = ("INT4", "INT2")
_COMPUTING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_3D", "TRANSPOSE_CONV", "BATCH_MATMUL",
              "UNIDIRECTIONAL_SEQUENCE_LSTM", "LSTM", "SVDF")  # fmt: skip
"""Operators with weights, whose first input are activations and whose second are weights."""
_HEADS: Mapping[str, Head] = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}
_TRANSPARENT = ("QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")
"""Operators that do not change the meaning of the output."""
_VERSION = re.compile(rb"\d+\.\d+\.\d+")


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
        names = _aliases(model)
        entries = _places(graph.InputsAsNumpy())
        return Contract(
            tuple(_named(_tensor(graph.Tensors(i)), i, names) for i in entries),
            tuple(
                replace(_named(_tensor(graph.Tensors(i)), i, names), rounded=_rounded(model, graph, i))
                for i in _places(graph.OutputsAsNumpy())
            ),
            tuple(_range(model, graph, i) for i in entries),
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

    def _head(self, path: Path, output: int) -> Head:
        return _head(_model(path), output)

    def _operators(self, path: Path) -> Iterator[str]:
        model = _model(path)
        return (_op_name(model, op) for graph in _graphs(model) for op in _ops(graph))

    def _state(self, path: Path) -> Iterator[str]:
        """Resource variables, as of stateful Keras layers, and variable tensors, as of fused recurrent operators."""
        schema = _schema()
        model = _model(path)
        for op in (op for graph in _graphs(model) for op in _ops(graph)):
            if _op_name(model, op) == "VAR_HANDLE":
                options = schema.VarHandleOptions()
                table = op.BuiltinOptions()
                options.Init(table.Bytes, table.Pos)
                yield (options.SharedName() or b"variable").decode(errors="replace")
        for graph in _graphs(model):
            yield from (_name(t) for i in range(graph.TensorsLength()) if (t := graph.Tensors(i)).IsVariable())

    def _traits(self, path: Path, output: int) -> Traits:
        content = path.read_bytes()
        model = _model(path, content)
        weights = [
            (_kind(tensor), int(np.prod([tensor.Shape(i) for i in range(tensor.ShapeLength())])), tensor)
            for graph in _graphs(model)
            for i in range(graph.TensorsLength())
            if _is_weight(model, content, tensor := graph.Tensors(i))
        ]
        kind = most_of((name, count) for name, count, _ in weights)
        scales = [
            tensor.Quantization().ScaleLength() for name, _, tensor in weights if name == kind and _scaled(tensor)
        ]
        activations = _activations(model)
        return Traits(
            producer=_producer(model),
            weights=kind,
            activations=activations,
            scales="" if not scales else "per channel" if max(scales) > 1 else "per tensor",
            arrangement="",
            head=_head(model, output),
            quantised=activations != "float32" or has_integers((name, count) for name, count, _ in weights),
        )


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


def _head(model: Any, output: int) -> Head:
    graph = model.Subgraphs(0)
    makers = _makers(graph)
    tensor = graph.Outputs(output)
    while tensor in makers:
        name = _op_name(model, makers[tensor])
        if name not in _TRANSPARENT:
            return _HEADS.get(name, "other")
        tensor = makers[tensor].Inputs(0)
    return "other"


def _rounded(model: Any, graph: Any, output: int) -> float | None:
    """The step of a float output that the file dequantises; output: index of the tensor."""
    makers = _makers(graph)
    while output in makers and _op_name(model, makers[output]) in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
        output = makers[output].Inputs(0)
    if output not in makers or _op_name(model, makers[output]) != "DEQUANTIZE":
        return None
    source = graph.Tensors(makers[output].Inputs(0))
    return (
        float(source.Quantization().Scale(0)) if _scaled(source) and source.Quantization().ScaleLength() == 1 else None
    )


def _range(model: Any, graph: Any, entry: int) -> Range | None:
    """What a quantised input, or a float one that the file quantises at once, can hold; entry: index of the tensor."""
    tensors = [graph.Tensors(entry)]
    tensors += [
        graph.Tensors(op.Outputs(0))
        for op in _ops(graph)
        if _op_name(model, op) == "QUANTIZE" and op.Inputs(0) == entry
    ]
    for tensor in tensors:
        spec = _tensor(tensor)
        if spec.scale is not None:
            return held_range(spec.dtype, spec.scale, spec.zero_point or 0)
    return None


def _makers(graph: Any) -> dict[int, Any]:
    """Index of a tensor -> the operator that writes it."""
    return {op.Outputs(i): op for op in _ops(graph) for i in range(op.OutputsLength())}


def _aliases(model: Any) -> dict[int, str]:
    """Index of a tensor -> its name in the first signature, which users of the file's maker know."""
    if not model.SignatureDefsLength():
        return {}
    signature = model.SignatureDefs(0)
    maps = [signature.Inputs(i) for i in range(signature.InputsLength())]
    maps += [signature.Outputs(i) for i in range(signature.OutputsLength())]
    return {one.TensorIndex(): (one.Name() or b"").decode(errors="replace") for one in maps}


def _named(tensor: TensorSpec, index: int, aliases: Mapping[int, str]) -> TensorSpec:
    alias = aliases.get(index, "")
    return tensor if alias == tensor.name else replace(tensor, alias=alias)


def _places(indices: Any) -> list[int]:
    return [] if isinstance(indices, int) else [int(index) for index in indices]  # flatbuffers: 0 for none


def _op_name(model: Any, op: Any) -> str:
    """The operator's type; a custom one's own name."""
    code, codes = _code(model, op), _schema().BuiltinOperator
    custom = model.OperatorCodes(op.OpcodeIndex()).CustomCode()
    if code == codes.CUSTOM and custom:
        return str(custom.decode(errors="replace"))
    return next((name for name, value in _codes() if value == code), f"operator {code}")


def _codes() -> list[tuple[str, int]]:
    return [(name, code) for name, code in vars(_schema().BuiltinOperator).items() if not name.startswith("_")]


def _is_weight(model: Any, content: bytes, tensor: Any) -> bool:
    if not _buffer(model.Buffers(tensor.Buffer()), content).size:
        return False
    sizes = [tensor.Shape(i) for i in range(tensor.ShapeLength())]
    return _type_name(tensor) in (*_WEIGHT_DTYPES, *_PACKED) and sum(size > 1 for size in sizes) > 1


def _kind(tensor: Any) -> str:
    return _type_name(tensor).lower()


def _scaled(tensor: Any) -> bool:
    return tensor.Quantization() is not None and tensor.Quantization().ScaleLength() > 0


def _activations(model: Any) -> str:
    """What most operators with weights take; floats with integer weights are quantised at each inference."""
    found = []
    for graph in _graphs(model):
        for op in _ops(graph):
            if _op_name(model, op) in _COMPUTING and op.InputsLength() > 1 and op.Inputs(1) >= 0:
                source, weight = _kind(graph.Tensors(op.Inputs(0))), _kind(graph.Tensors(op.Inputs(1)))
                found.append(("dynamic" if source == "float32" and weight.startswith(("int", "uint")) else source, 1))
    return most_of(one for one in found if one[0] != "float32") or "float32"


def _producer(model: Any) -> str:
    """The converter and the version of TensorFlow in its metadata, where it wrote them."""
    said = (model.Description() or b"").decode(errors="replace").strip(" .")
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == b"CONVERSION_METADATA":
            version = _VERSION.search(bytes(_buffer(model.Buffers(entry.Buffer()), b"")))
            return f"TensorFlow Lite Converter {version.group().decode()}" if version else "TensorFlow Lite Converter"
    return said


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
