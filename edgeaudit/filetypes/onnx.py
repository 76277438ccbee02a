"""ONNX files, and the files with their external data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

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

__all__ = ["Onnx"]

_TRANSPARENT = {
    "Identity", "Cast", "QuantizeLinear", "DequantizeLinear", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "ZipMap",
}  # fmt: skip
"""Operators that do not change the meaning of the output."""
_HEADS: Mapping[str, Head] = {
    "Softmax": "softmax", "QLinearSoftmax": "softmax", "Sigmoid": "sigmoid", "QLinearSigmoid": "sigmoid",
}  # fmt: skip
_SCALE_OF_WEIGHTS: Mapping[str, tuple[int, int]] = {
    "DequantizeLinear": (0, 1), "QLinearConv": (3, 4), "QLinearMatMul": (3, 4), "QGemm": (3, 4),
    "MatMulIntegerToFloat": (1, 3), "DynamicQuantizeMatMul": (1, 2),
    "MatMulInteger": (1, 3), "ConvInteger": (1, 3),
}  # fmt: skip
"""Positions of integer weights and of their scales among an operator's inputs; of zero points, as many as scales, where
scales are applied later."""
_ONNX_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class _Operand:
    """Positions of an integer tensor and its zero point among an operator's inputs, and the zero point's axis."""

    tensor: int
    zero: int
    axis: int | None


_OPERANDS: Mapping[str, tuple[_Operand, ...]] = {
    "DequantizeLinear": (_Operand(0, 2, None),),  # its axis is an attribute
    "QLinearConv": (_Operand(3, 5, 0),),
    "QLinearMatMul": (_Operand(0, 2, -2), _Operand(3, 5, -1)),
    "ConvInteger": (_Operand(1, 3, 0),),
    "MatMulInteger": (_Operand(0, 2, -2), _Operand(1, 3, -1)),
    "DynamicQuantizeMatMul": (_Operand(1, 3, -1),),
    "MatMulIntegerToFloat": (_Operand(0, 4, -2), _Operand(1, 5, -1)),
    "QGemm": (_Operand(0, 2, None), _Operand(3, 5, 0)),  # its second zero point is per column of the product
}


class Onnx(FileType):
    """An ONNX model. Operators of other domains are named with their domain."""

    spec = FileTypeSpec(
        name="onnx",
        title="ONNX",
        suffixes=(".onnx",),
        extra="onnx",
        packages=("onnx",),
    )

    def _companions(self, path: Path) -> Iterator[str]:
        """The files of external data: tensors of initializers, of attributes and of subgraphs."""
        from onnx import external_data_helper

        model = _model(path, whole=False)
        tensors = (*_stored_tensors(model.graph), *(t for f in model.functions for t in _node_tensors(f.node)))
        external = (tensor for tensor in tensors if external_data_helper.uses_external_data(tensor))
        yield from dict.fromkeys(external_data_helper.ExternalDataInfo(tensor).location for tensor in external)

    def _contract(self, path: Path) -> Contract:
        model = _model(path, whole=False)
        constants = {tensor.name for tensor in model.graph.initializer}
        if any(_open_sizes(value) for value in model.graph.output):
            # Exporters leave sizes dynamic that follow from the graph.
            model = _with_shapes(model)
        return Contract(
            # Before IR version 4 an initializer had to be among the inputs.
            tuple(_tensor(value) for value in model.graph.input if value.name not in constants),
            tuple(_output(value, model.graph) for value in model.graph.output),
            tuple(_range(value, model.graph) for value in model.graph.input if value.name not in constants),
        )

    def _weights(self, path: Path) -> Iterator[WeightTensor]:
        """Initializers and the values of Constant nodes; zero points from the operators that take them."""
        graph = _model(path).graph
        constants = _constants(graph)
        zeros: dict[str, Array] = {}
        for node in graph.node:
            for operand in _OPERANDS.get(node.op_type, ()):
                names = [node.input[i] if i < len(node.input) else "" for i in (operand.tensor, operand.zero)]
                if all(name in constants for name in names):
                    values = constants[names[0]]
                    zeros.setdefault(names[0], stored_zero(values, constants[names[1]], _axis(node, operand, values)))
        for name, values in constants.items():
            yield WeightTensor(name, values, zeros.get(name, stored_zero(values)))

    def _head(self, path: Path, output: int) -> Head:
        return _head(_model(path, whole=False).graph, output)

    def _state(self, path: Path) -> Iterator[str]:  # noqa: ARG002  what is kept goes in and out as tensors
        return iter(())

    def _traits(self, path: Path, output: int) -> Traits:
        model = _model(path)
        graph, constants = model.graph, _constants(model.graph)
        rounded = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
        weights = []
        for name, values in constants.items():
            if WeightTensor(name, values, stored_zero(values)).is_weight:
                step = rounded.get(name)  # a trained rounding keeps its weights as floats, behind a quantiser
                kind = values.dtype.name if step is None else _zero_dtype(step, constants)
                weights.append((kind, int(values.size)))
        activations = _activations(graph, constants)
        return Traits(
            producer=" ".join(word for word in (model.producer_name, model.producer_version) if word),
            weights=most_of(weights),
            activations=activations,
            scales=_scales(graph, constants),
            arrangement=_arrangement(graph),
            head=_head(graph, output),
            quantised=activations != "float32" or has_integers(weights),
        )

    def _operators(self, path: Path) -> Iterator[str]:
        for node in _nodes(_model(path, whole=False).graph.node):
            yield node.op_type if node.domain in _ONNX_DOMAINS else f"{node.domain}.{node.op_type}"


def _model(path: Path, *, whole: bool = True) -> Any:
    """whole: load the external data, too."""
    import onnx

    model = onnx.load(path, load_external_data=whole)
    if not model.graph.output:  # most files are a protobuf message of some kind, an empty one of any
        raise ValueError("it has no graph with an output")
    return model


def _with_shapes(model: Any) -> Any:
    from onnx import shape_inference

    try:
        return shape_inference.infer_shapes(model)
    except Exception:  # noqa: BLE001  # it raises its own classes; the file's declared shapes remain valid
        return model


def _open_sizes(value: Any) -> bool:
    """Whether an output has no shape, or a dynamic size apart from the batch."""
    tensor = value.type.tensor_type
    return value.type.HasField("tensor_type") and (
        not tensor.HasField("shape") or any(not size.HasField("dim_value") for size in tensor.shape.dim[1:])
    )


def _tensor(value: Any) -> TensorSpec:
    from onnx import TensorProto, helper

    if not value.type.HasField("tensor_type"):
        return TensorSpec(value.name, (), str(value.type.WhichOneof("value")).removesuffix("_type"))
    tensor = value.type.tensor_type
    shape = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in tensor.shape.dim)
    strings = tensor.elem_type == TensorProto.STRING
    dtype = "string" if strings else helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorSpec(value.name, shape, dtype)


def _output(value: Any, graph: Any) -> TensorSpec:
    """An output; one of scikit-learn's classes (ZipMap: a mapping a record) as the scores that it is made of."""
    makers = {name: node for node in graph.node for name in node.output}
    maker = makers.get(value.name)
    if maker is not None and maker.op_type == "ZipMap":
        classes = max(len(attribute.ints) + len(attribute.strings) for attribute in maker.attribute)
        return TensorSpec(value.name, (-1, classes), "float32")
    found = _tensor(value)
    while maker is not None and maker.op_type in {"Identity", "Cast", "Reshape", "Flatten", "Squeeze"}:
        maker = makers.get(maker.input[0])
    if maker is None or maker.op_type != "DequantizeLinear":
        return found
    scale = _constant(graph, maker.input[1])
    return replace(found, rounded=float(scale.reshape(-1)[0])) if scale is not None and scale.size == 1 else found


def _range(value: Any, graph: Any) -> Range | None:
    """What an input that the file quantises at once, with one scale, can hold."""
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == value.name and len(node.input) > 2:
            scale, zero = _constant(graph, node.input[1]), _constant(graph, node.input[2])
            if scale is not None and zero is not None and scale.size == zero.size == 1:
                return held_range(zero.dtype.name, float(scale.reshape(())), int(zero.reshape(())))
    return None


def _head(graph: Any, output: int) -> Head:
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(graph.output[output].name)
    while node is not None and node.op_type in _TRANSPARENT:
        node = makers.get(node.input[0])
    if node is None:
        return "other"
    if node.op_type.startswith("TreeEnsemble") or node.op_type.startswith("Linear"):
        ways = [attribute.s for attribute in node.attribute if attribute.name == "post_transform"]
        return {b"SOFTMAX": "softmax", b"LOGISTIC": "sigmoid"}.get(ways[0] if ways else b"", "other")  # type: ignore[return-value]
    return _HEADS.get(node.op_type, "other")


def _zero_dtype(node: Any, constants: Mapping[str, Array]) -> str:
    """The dtype that a QuantizeLinear writes: that of its zero point, or uint8."""
    zero = constants.get(node.input[2]) if len(node.input) > 2 else None
    return "uint8" if zero is None else zero.dtype.name


def _activations(graph: Any, constants: Mapping[str, Array]) -> str:
    types = {node.op_type for node in graph.node}
    if types & {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}:
        return "dynamic"
    inner = [
        _zero_dtype(node, constants)
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in constants
    ]
    return most_of((name, 1) for name in inner) or "float32"


def _scales(graph: Any, constants: Mapping[str, Array]) -> str:
    """How many scales the weights have: one for each channel where any has."""
    found = False
    for node in graph.node:
        places = _SCALE_OF_WEIGHTS.get(node.op_type)
        if places is None or len(node.input) <= max(places) or node.input[places[0]] not in constants:
            continue
        values, scale = constants[node.input[places[0]]], constants.get(node.input[places[1]])
        if values.ndim < 2 or values.dtype.itemsize > 2 or scale is None:
            continue
        if scale.size > 1:
            return "per channel"
        found = True
    return "per tensor" if found else ""


def _arrangement(graph: Any) -> str:
    types = {node.op_type for node in graph.node}
    if any(name.startswith("QLinear") or name == "QGemm" for name in types):
        return "QOperator"
    return "QDQ" if "DequantizeLinear" in types else ""


def _constant(graph: Any, name: str) -> Array | None:
    """The values of one small constant; None where there is none, or it lies in another file."""
    from onnx import external_data_helper, numpy_helper

    stored = [tensor for tensor in graph.initializer if tensor.name == name]
    stored += [a.t for node in graph.node if node.op_type == "Constant" and name in node.output for a in node.attribute]
    if not stored or external_data_helper.uses_external_data(stored[0]):
        return None
    return np.asarray(numpy_helper.to_array(stored[0]))


def _constants(graph: Any) -> dict[str, Array]:
    """Name -> values of initializers and of Constant nodes."""
    from onnx import numpy_helper

    constants: dict[str, Array] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            values = {attribute.name: attribute for attribute in node.attribute}
            if "value" in values:
                constants[node.output[0]] = numpy_helper.to_array(values["value"].t)
    return constants


def _axis(node: Any, operand: _Operand, values: Array) -> int | None:
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "DequantizeLinear":
        return int(attributes.get("axis", 1)) if values.ndim > 1 else None
    if node.op_type == "QGemm" and operand.tensor == 3:
        return 0 if attributes.get("transB") else 1
    return operand.axis


def _nodes(nodes: Any) -> Iterator[Any]:
    """Nodes and those of the subgraphs in their attributes."""
    for node in nodes:
        yield node
        for graph in _subgraphs(node):
            yield from _nodes(graph.node)


def _subgraphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _stored_tensors(graph: Any) -> Iterator[Any]:
    """Every tensor that a graph stores."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[Any]:
    """Every tensor in the attributes of nodes, and in their subgraphs."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for graph in _subgraphs(node):
            yield from _stored_tensors(graph)
