"""Artifacts small enough to know their answers by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgeaudit.artifact import Artifact, Kind, Manifest, TensorSpec, file_sha256
from edgeaudit.exporters import ExportJob, Product, find_pass

# answer = 10 * first value, -1 * second value
WEIGHTS = np.array([[10, 0], [0, -1]], np.float32)


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


def linear() -> nn.Module:
    module = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(WEIGHTS.T))
    return module.eval()


def passed(
    name: str, source: Path, folder: Path, calibration: npt.NDArray[np.float32] | None = None
) -> tuple[Path, Product]:
    """A pass applied to a file; calibrated on values from -1 to 1 of two columns unless told otherwise."""
    workdir = folder / name
    workdir.mkdir()
    step = find_pass(name)
    ramp = np.linspace(-1, 1, 32, dtype=np.float32)
    shown = np.stack([ramp, -ramp], axis=1) if calibration is None else calibration
    product = step.apply(ExportJob(source, workdir, step.parameters({}), shown.shape[1:], 2, 0, shown, linear))
    return workdir / product.file, product


def tflite_artifact(folder: Path, *, int8: bool = False) -> Artifact:
    """records @ WEIGHTS, converted; int8 is calibrated on values from -1 to 1."""
    source, product = passed("litert.export", folder, folder)
    if int8:
        source, product = passed("aeq.static-int8", source, folder)
    assert product.input is not None
    assert product.output is not None
    return seal(source, "tflite", product.input, product.output)
