"""Artifacts small enough to know their answers by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgeaudit.digests import file_sha256
from edgeaudit.exporters import ExportJob, PassResult, find_pass
from edgeaudit.filetypes.artifact import Artifact, Kind, Manifest, TensorSpec
from edgeaudit.host.quiet import NO_TELEMETRY, quiet

# answer = 10 * first value, -1 * second value
WEIGHTS = np.array([[10, 0], [0, -1]], np.float32)
# Records of 0 and of 255 throughout.
STEEP_RECORDS = np.repeat(np.array([[0], [255]], np.float32), 8, axis=1)
# Records with values from -1 to 1.
RAMP = np.stack([np.linspace(-1, 1, 32, dtype=np.float32), np.linspace(1, -1, 32, dtype=np.float32)], axis=1)


def seal(path: Path, kind: Kind, source: TensorSpec, answer: TensorSpec, **more: Any) -> Artifact:
    manifest = Manifest(kind, path.name, file_sha256(path), path.stat().st_size, source, answer, False, **more)
    served = Artifact(path.parent, manifest)
    served.save()
    return served


def onnx_artifact(folder: Path, *, layout: str = "flat") -> Artifact:
    """records @ WEIGHTS, made by hand; with an image layout the record [2, 1, 1] is flattened first."""
    shape = {"flat": [2], "NCHW": [2, 1, 1], "NHWC": [1, 1, 2]}[layout]
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node("MatMul", ["flat", "weights"], ["logits"])],
        "by hand",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    source = TensorSpec("input", (-1, *shape), "float32", layout)  # type: ignore[arg-type]
    return seal(path, "onnx", source, TensorSpec("logits", (-1, 2), "float32"))


def steep_int8_artifact(folder: Path) -> Artifact:
    """Two equal answers: the sum of 8 whole numbers from 0 to 255, times 127, in steps of 1,295.4; u8 times s8."""
    constants = {
        "one": np.float32(1), "zero": np.uint8(0), "weights": np.full((8, 2), 127, np.int8), "weights zero": np.int8(0),
        "step": np.float32(259_080 / 200),
    }  # fmt: skip
    product = ["codes", "one", "zero", "weights", "one", "weights zero", "step", "zero"]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["input", "one", "zero"], ["codes"]),
            helper.make_node("QLinearMatMul", product, ["sums"]),
            helper.make_node("DequantizeLinear", ["sums", "step", "zero"], ["logits"]),
        ],
        "steep",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    path = folder / "steep.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return seal(path, "onnx", TensorSpec("input", (-1, 8), "float32", "flat"), TensorSpec("logits", (-1, 2), "float32"))


def steep_openvino_artifact(folder: Path, *, signed: bool) -> Artifact:
    """Two equal answers: the sum of 8 whole numbers times 127. They are 8 bits, unsigned or signed; weights signed."""
    with quiet(NO_TELEMETRY):
        import openvino
        from openvino import opset13 as ops

    low, high = (np.float32(-128), np.float32(127)) if signed else (np.float32(0), np.float32(255))
    entry = ops.parameter([-1, 8], np.float32, name="input")
    codes = ops.fake_quantize(entry, low, high, low, high, 256)
    weights = ops.multiply(ops.convert(ops.constant(np.full((2, 8), 127, np.int8)), "f32"), np.float32(1))
    model = openvino.Model([ops.matmul(codes, weights, False, True)], [entry], "steep")
    path = folder / "steep.xml"
    openvino.save_model(model, path, compress_to_fp16=False)
    source, answer = TensorSpec("input", (-1, 8), "float32", "flat"), TensorSpec("logits", (-1, 2), "float32")
    return seal(path, "openvino", source, answer, companions={"steep.bin": file_sha256(path.with_suffix(".bin"))})


def linear() -> nn.Module:
    module = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(WEIGHTS.T))
    return module.eval()


def steep() -> nn.Module:
    """Two equal answers: 127 times the sum of 8 values."""
    module = nn.Linear(8, 2, bias=False)
    with torch.no_grad():
        module.weight.fill_(127)
    return module.eval()


def adding() -> nn.Module:
    """Two equal answers: the sum of 2 values."""
    module = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.fill_(1)
    return module.eval()


def converted(
    folder: Path,
    passes: Sequence[str],
    module: Callable[[], nn.Module] = linear,
    calibration: npt.NDArray[np.float32] = RAMP,
) -> Artifact:
    """The module's answers to records shaped like those of `calibration`, through passes that start at torch."""
    source, product = folder, PassResult("")
    shape = calibration.shape[1:]
    for name in passes:
        workdir = folder / name
        workdir.mkdir()
        step = find_pass(name)
        product = step.apply(ExportJob(source, workdir, step.parameters({}), shape, 2, 0, calibration, module))
        source = workdir / product.file
    assert product.input is not None
    assert product.output is not None
    companions = {name: file_sha256(source.parent / name) for name in product.companions}
    return seal(source, find_pass(passes[-1]).spec.produces, product.input, product.output, companions=companions)


def openvino_artifact(folder: Path) -> Artifact:
    """records @ WEIGHTS, converted."""
    return converted(folder, ["openvino.export"])


def tflite_artifact(folder: Path, *, int8: bool = False) -> Artifact:
    """records @ WEIGHTS, converted; int8 is calibrated on values from -1 to 1."""
    return converted(folder, ["litert.export", *(["aeq.static-int8"] if int8 else [])])


def steep_artifact(folder: Path, passes: Sequence[str]) -> Artifact:
    """`steep`, calibrated on `STEEP_RECORDS`."""
    return converted(folder, passes, steep, STEEP_RECORDS)
