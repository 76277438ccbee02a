"""Zeros that are known by hand, in every kind of file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.host.quiet import NO_TELEMETRY, quiet
from tests.filetypes.samples import IMAGES, sparse_module
from tests.runtimes.served import converted

pytestmark = pytest.mark.toolchain


def counted(path: Path, kind: str) -> tuple[int, int]:
    """How many weights a file has, and how many of them are zero."""
    tensors = find_filetype(kind).weights(path)
    return sum(tensor.values.size for tensor in tensors), sum(tensor.zeros for tensor in tensors)


@pytest.mark.parametrize(
    "passes",
    [
        ["onnx.export"],
        ["onnx.export", "ort.fp16"],
        ["onnx.export", "ort.static-int8"],
        ["onnx.export", "ort.dynamic-int8"],
        ["litert.export"],
        ["litert.export", "aeq.fp16"],
        ["litert.export", "aeq.static-int8"],
        ["litert.export", "aeq.dynamic-int8"],
        ["openvino.export"],
        ["openvino.export", "nncf.ptq-openvino"],
    ],
    ids="+".join,
)
def test_zeros_survive_every_toolchain(tmp_path: Path, passes: list[str]) -> None:
    # 27 + 96 weights, 5 + 40 of them zero: in each file, however it stores them.
    artifact = converted(tmp_path, passes, sparse_module, IMAGES)
    assert counted(artifact.path, artifact.manifest.kind) == (123, 45)


def test_a_state_dict_is_counted_without_its_vectors(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))  # BatchNorm's bias and mean are zero
    with torch.no_grad():
        module[0].weight.fill_(1)[0].fill_(0)  # type: ignore[operator]
    save_file({**module.state_dict(), "half": torch.zeros(2, 2, dtype=torch.bfloat16)}, tmp_path / "m.safetensors")
    # 27 weights, of which one kernel of 9 is zero, and 4 zeros in bfloat16.
    assert counted(tmp_path / "m.safetensors", "torch") == (31, 13)


def onnx_file(folder: Path, nodes: list[onnx.NodeProto], constants: Mapping[str, object]) -> Path:
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "by hand", [], [value], tensors)
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_zero_means_the_zero_point_of_each_channel(tmp_path: Path) -> None:
    codes = np.array([[7, 0, 7], [0, 9, 9]], np.uint8)
    node = helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["y"], axis=0)
    found = onnx_file(
        tmp_path, [node], {"w": codes, "scale": np.ones(2, np.float32), "zero": np.array([7, 9], np.uint8)}
    )
    # Row 0 means (0, -7, 0), row 1 (-9, 0, 0).
    assert counted(found, "onnx") == (6, 4)


@pytest.mark.parametrize(
    ("op", "inputs", "zeros"),
    [
        ("MatMulInteger", ["x", "w", "", "zero"], 2),  # by column: 7 and 9 are zero -> w[0, 0] and w[1, 1]
        ("QLinearMatMul", ["x", "one", "none", "w", "one", "zero", "one", "none"], 2),
        ("ConvInteger", ["x", "w", "", "zero"], 3),  # by row: 7 in row 0 twice, 9 in row 1 once
        ("QLinearConv", ["x", "one", "none", "w", "one", "zero", "one", "none"], 3),
    ],
)
def test_integer_operators_have_zero_points_too(tmp_path: Path, op: str, inputs: list[str], zeros: int) -> None:
    codes = np.array([[7, 7], [0, 9]], np.uint8)
    constants = {"w": codes, "one": np.float32(1), "none": np.uint8(0), "zero": np.array([7, 9], np.uint8)}
    assert counted(onnx_file(tmp_path, [helper.make_node(op, inputs, ["y"])], constants), "onnx") == (4, zeros)


def test_shapes_and_scales_are_no_weights(tmp_path: Path) -> None:
    constants = {
        "pads": np.zeros((4, 2), np.int64), "scale": np.zeros((16, 1, 1, 1), np.float32),
        "bias": np.zeros(8, np.float32), "mask": np.zeros((2, 2), bool), "w": np.array([[0, 1], [2, 3]], np.float32),
    }  # fmt: skip
    inner = helper.make_node("Constant", [], ["inner"], value=numpy_helper.from_array(np.eye(2, dtype=np.float32)))
    # w has one zero of 4, the identity two of 4.
    assert counted(onnx_file(tmp_path, [inner], constants), "onnx") == (8, 3)


def test_an_openvino_zero_point_is_subtracted_from_the_weights(tmp_path: Path) -> None:
    with quiet(NO_TELEMETRY):
        import openvino
        from openvino import opset13 as ops

    codes = np.array([[128, 5], [128, 130], [0, 128]], np.uint8)
    entry = ops.parameter([-1, 2], np.float32, name="input")
    points = ops.convert(ops.constant(np.full((3, 1), 128, np.uint8)), "f32")
    weights = ops.multiply(ops.subtract(ops.convert(ops.constant(codes), "f32"), points), np.float32(0.1))
    model = openvino.Model([ops.matmul(entry, weights, False, True)], [entry], "zero points")
    openvino.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    assert counted(tmp_path / "m.xml", "openvino") == (6, 3)


def test_packed_integers_of_four_bits_are_unpacked(tmp_path: Path) -> None:
    with quiet(NO_TELEMETRY):
        import openvino
        from openvino import opset13 as ops

    codes = np.array([[0, -8, 7], [3, 0, -1]], np.int8)
    entry = ops.parameter([-1, 3], np.float32, name="input")
    constant = openvino.op.Constant(openvino.Type.i4, openvino.Shape([2, 3]), codes.ravel().tolist())
    weights = ops.multiply(ops.convert(constant, "f32"), np.float32(0.1))
    model = openvino.Model([ops.matmul(entry, weights, False, True)], [entry], "four bits")
    openvino.save_model(model, tmp_path / "m.xml", compress_to_fp16=False)
    (tensor,) = find_filetype("openvino").weights(tmp_path / "m.xml")
    assert tensor.values.tolist() == codes.tolist()
    assert counted(tmp_path / "m.xml", "openvino") == (6, 2)
