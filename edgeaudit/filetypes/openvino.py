"""OpenVINO's intermediate representation (IR): the graph in an .xml, its weights in a .bin beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.base import Array, Contract, FileType, FileTypeSpec, WeightTensor, stored_zero

__all__ = ["OpenVino"]

_WEIGHT_TYPES = ("f16", "f32", "f64", "bf16", "i4", "u4", "i8", "u8", "i16", "u16")
_TRANSPARENT = {"Convert", "FakeQuantize"}
"""Operators that do not change the meaning of the output."""
_ENDS = {"Parameter", "Constant", "Result"}


class OpenVino(FileType):
    """An IR. Runtimes can reshape it to any batch, so the batch is -1."""

    spec = FileTypeSpec(
        name="openvino",
        title="OpenVINO IR",
        suffixes=(".xml",),
        extra="openvino",
        packages=("openvino",),
    )

    def _companions(self, path: Path) -> tuple[str, ...]:
        return (path.with_suffix(".bin").name,)

    def _contract(self, path: Path) -> Contract:
        model = _model(path)
        return Contract(
            tuple(_tensor(port, number) for number, port in enumerate(model.inputs)),
            tuple(_tensor(port, number) for number, port in enumerate(model.outputs)),
        )

    def _weights(self, path: Path) -> Iterator[WeightTensor]:
        """The Constants. A zero point is what is subtracted from the weights: Convert -> Subtract."""
        for node in _model(path).get_ops():
            if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() in _WEIGHT_TYPES:
                values = _values(node)
                yield WeightTensor(node.get_friendly_name(), values, stored_zero(values, _zero_point(node)))

    def _ends_in_softmax(self, path: Path) -> bool:
        node = _model(path).outputs[0].get_node().input_value(0).get_node()
        while node.get_type_name() in _TRANSPARENT:
            node = node.input_value(0).get_node()
        return bool(node.get_type_name() == "Softmax")

    def _operators(self, path: Path) -> Iterator[str]:
        return (str(node.get_type_name()) for node in _model(path).get_ops() if node.get_type_name() not in _ENDS)


def _model(path: Path) -> Any:
    import openvino

    return openvino.Core().read_model(path)


def _tensor(port: Any, number: int) -> TensorSpec:
    names = port.get_names()
    sizes = [size.get_length() if size.is_static else -1 for size in port.get_partial_shape()]
    dtype = np.dtype(port.get_element_type().to_dtype()).name
    return TensorSpec(min(names) if names else str(number), (-1, *sizes[1:]), dtype)


def _values(constant: Any) -> Array:
    """As float32, which holds all of `_WEIGHT_TYPES`."""
    # `data` (openvino 2026.4) has packed bytes for 4 bits, and interprets bfloat16 as float16.
    return np.array(constant.get_data(dtype=np.float32))


def _zero_point(constant: Any) -> Array | None:
    for convert in _consumers(constant, "Convert"):
        for subtract in _consumers(convert, "Subtract"):
            if subtract.input_value(0).get_node() == convert:
                point = subtract.input_value(1).get_node()
                while point.get_type_name() == "Convert":
                    point = point.input_value(0).get_node()
                if point.get_type_name() == "Constant":
                    return _values(point)
    return None


def _consumers(node: Any, kind: str) -> Iterable[Any]:
    """The nodes of a type that read any output of `node`."""
    nodes = (entry.get_node() for output in node.outputs() for entry in output.get_target_inputs())
    return (consumer for consumer in nodes if consumer.get_type_name() == kind)
