"""OpenVINO's intermediate representation (IR): the graph in an .xml, its weights in a .bin beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.base import Array, Contract, FileType, FileTypeSpec, Head, Range, WeightTensor, stored_zero
from edgeaudit.filetypes.traits import Traits, has_integers, most_of

__all__ = ["OpenVino"]

_WEIGHT_TYPES = ("f16", "f32", "f64", "bf16", "i4", "u4", "i8", "u8", "i16", "u16")
_TRANSPARENT = {"Convert", "FakeQuantize", "Reshape", "Squeeze", "Unsqueeze"}
"""Operators that do not change the meaning of the output."""
_HEADS: Mapping[str, Head] = {"Softmax": "softmax", "SoftMax": "softmax", "Sigmoid": "sigmoid"}
_LEVELS = {256: "int8", 255: "int8", 65536: "int16", 16: "int4"}
_TYPES = {"f16": "float16", "f32": "float32", "f64": "float64", "bf16": "bfloat16", "i8": "int8", "u8": "uint8",
          "i4": "int4", "u4": "uint4", "i16": "int16", "u16": "uint16"}  # fmt: skip
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

    @property
    def states_companions(self) -> bool:
        """No: the file's own name says it."""
        return False

    def _companions(self, path: Path) -> tuple[str, ...]:
        return (path.with_suffix(".bin").name,)

    def _contract(self, path: Path) -> Contract:
        model = _model(path)
        return Contract(
            tuple(_tensor(port, number) for number, port in enumerate(model.inputs)),
            tuple(replace(_tensor(port, n), rounded=_rounded(port)) for n, port in enumerate(model.outputs)),
            tuple(_range(port.get_node()) for port in model.inputs),
        )

    def _weights(self, path: Path) -> Iterator[WeightTensor]:
        """The Constants. A zero point is what is subtracted from the weights: Convert -> Subtract."""
        for node in _model(path).get_ops():
            if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() in _WEIGHT_TYPES:
                values = _values(node)
                yield WeightTensor(node.get_friendly_name(), values, stored_zero(values, _zero_point(node)))

    def _head(self, path: Path, output: int) -> Head:
        return _head(_model(path).outputs[output])

    def _state(self, path: Path) -> Iterator[str]:
        return (node.get_friendly_name() for node in _model(path).get_ops() if node.get_type_name() == "ReadValue")

    def _traits(self, path: Path, output: int) -> Traits:
        model = _model(path)
        nodes = list(model.get_ops())
        weights = []
        for node in nodes:
            name = node.get_element_type().get_type_name() if node.get_type_name() == "Constant" else ""
            shape = tuple(node.get_output_shape(0)) if name in _WEIGHT_TYPES else ()
            if sum(size > 1 for size in shape) > 1:
                weights.append((_TYPES[name], int(np.prod(shape))))
        inner = [node for node in nodes if node.get_type_name() == "FakeQuantize" and not _is_constant(node)]
        kind = most_of(weights)
        activations = most_of((_LEVELS.get(node.get_attributes()["levels"], "int8"), 1) for node in inner)
        return Traits(
            producer=_producer(model),
            weights=kind,
            activations=activations or "float32",
            scales=_scales(nodes) if kind.startswith(("int", "uint")) else "",
            arrangement="",
            head=_head(model.outputs[output]),
            quantised=bool(activations) or has_integers(weights),
        )

    def _operators(self, path: Path) -> Iterator[str]:
        return (str(node.get_type_name()) for node in _model(path).get_ops() if node.get_type_name() not in _ENDS)


def _head(port: Any) -> Head:
    node = port.get_node().input_value(0).get_node()
    while node.get_type_name() in _TRANSPARENT:
        node = node.input_value(0).get_node()
    return _HEADS.get(node.get_type_name(), "other")


def _rounded(port: Any) -> float | None:
    """The step of an output that comes out of a FakeQuantize with one range."""
    node = port.get_node().input_value(0).get_node()
    if node.get_type_name() != "FakeQuantize":
        return None
    ends = [node.input_value(place).get_node() for place in (3, 4)]
    if any(end.get_type_name() != "Constant" for end in ends):
        return None
    low, high = (_values(end).reshape(-1) for end in ends)
    levels = int(node.get_attributes()["levels"])
    return float(high[0] - low[0]) / (levels - 1) if low.size == high.size == 1 else None


def _range(entry: Any) -> Range | None:
    """What an input that a FakeQuantize takes, with one range, can hold."""
    for node in _consumers(entry, "FakeQuantize"):
        ends = [node.input_value(place).get_node() for place in (1, 2)]
        if all(end.get_type_name() == "Constant" for end in ends):
            low, high = (_values(end).reshape(-1) for end in ends)
            if low.size == high.size == 1:
                return float(low[0]), float(high[0])
    return None


def _is_constant(node: Any) -> bool:
    return bool(node.input_value(0).get_node().get_type_name() in {"Constant", "Convert"})


def _scales(nodes: list[Any]) -> str:
    """Of integer weights: Constant -> Convert (-> Subtract) -> Multiply with the scales."""
    found = ""
    for node in nodes:
        if node.get_type_name() != "Constant" or node.get_element_type().get_type_name() not in (
            "i8",
            "u8",
            "i4",
            "u4",
        ):
            continue
        for convert in _consumers(node, "Convert"):
            steps = [*_consumers(convert, "Multiply")]
            steps += [m for subtract in _consumers(convert, "Subtract") for m in _consumers(subtract, "Multiply")]
            for step in steps:
                if int(np.prod(tuple(step.input_value(1).get_shape()))) > 1:
                    return "per channel"
                found = "per tensor"
    return found


def _producer(model: Any) -> str:
    for section in ("Runtime_version", "MO_version"):
        if model.has_rt_info([section]):
            return f"OpenVINO {model.get_rt_info([section]).astype(str)}"
    return ""


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
