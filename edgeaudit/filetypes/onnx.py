"""ONNX files, and the files with their external data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.base import Array, Contract, FileType, FileTypeSpec, WeightTensor, stored_zero

__all__ = ["Onnx"]

_TRANSPARENT = {"Identity", "Cast", "QuantizeLinear", "DequantizeLinear"}
"""Operators that do not change the meaning of the output."""
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
            tuple(_tensor(value) for value in model.graph.output),
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

    def _ends_in_softmax(self, path: Path) -> bool:
        graph = _model(path, whole=False).graph
        makers = {name: node for node in graph.node for name in node.output}
        node = makers.get(graph.output[0].name)
        while node is not None and node.op_type in _TRANSPARENT:
            node = makers.get(node.input[0])
        return node is not None and node.op_type in {"Softmax", "QLinearSoftmax"}

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
