"""Files that keep a state between calls: an answer is that from a fresh state, whatever was asked before."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.host.quiet import NO_TELEMETRY, quiet
from edgeaudit.runtimes.registry import find_runtime
from tests.keras_process import in_tensorflow, stateful_tflite
from tests.runtimes.served import seal

RECORDS = np.array([[1, 0], [0, 1], [0.5, -0.5], [-1, 1]], np.float32)


@pytest.mark.toolchain
@pytest.mark.parametrize("xnnpack", [True, False])
def test_resource_variables_of_litert(tmp_path: Path, xnnpack: bool) -> None:
    """From a fresh state the answer is the record. The state has one row, so that larger batches are not asked."""
    in_tensorflow(stateful_tflite, tmp_path)
    contract = find_filetype("tflite").contract(tmp_path / "model.tflite")
    artifact = seal(tmp_path / "model.tflite", "tflite", contract.inputs[0], contract.outputs[0])
    runtime = find_runtime("litert")(artifact, {"batch": 64, "xnnpack": xnnpack})
    assert runtime.batch == runtime.options["batch"] == 1
    for _ in range(2):
        np.testing.assert_array_equal(runtime.query(RECORDS), RECORDS)


@pytest.mark.toolchain
def test_buffers_of_executorch(tmp_path: Path) -> None:
    class Cell(torch.nn.Module):
        state: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("state", torch.zeros(1, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            answer = x + 0.5 * self.state
            self.state.copy_(answer)
            return answer.clone()

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(Cell().eval(), (torch.zeros(1, 2),))
        (tmp_path / "model.pte").write_bytes(to_edge_transform_and_lower(exported).to_executorch().buffer)
    filetype = find_filetype("executorch")
    assert len(filetype.state(tmp_path / "model.pte")) == 1
    contract = filetype.contract(tmp_path / "model.pte")
    artifact = seal(tmp_path / "model.pte", "executorch", contract.inputs[0], contract.outputs[0], stateful=True)
    runtime = find_runtime("executorch")(artifact, {"batch": 1})
    for _ in range(2):
        np.testing.assert_array_equal(runtime.query(RECORDS), RECORDS)


@pytest.mark.toolchain
def test_the_state_of_a_file_is_named(tmp_path: Path) -> None:
    in_tensorflow(stateful_tflite, tmp_path)
    (name,) = find_filetype("tflite").state(tmp_path / "model.tflite")
    assert name


def test_variables_of_openvino(tmp_path: Path) -> None:
    with quiet(NO_TELEMETRY):
        import openvino
        from openvino import opset13 as ops

        entry = ops.parameter([-1, 2], np.float32, name="input")
        start = ops.multiply(entry, np.float32(0))
        state = ops.read_value(start, "state", openvino.Type.f32, openvino.PartialShape([-1, 2]))
        answer = ops.add(entry, state, name="logits")
        model = openvino.Model([ops.result(answer)], [ops.assign(answer, "state")], [entry], "by hand")
        openvino.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    shapes = TensorSpec("input", (-1, 2), "float32"), TensorSpec("logits", (-1, 2), "float32")
    runtime = find_runtime("openvino")(seal(tmp_path / "model.xml", "openvino", *shapes), {"batch": 2})
    for _ in range(2):
        np.testing.assert_allclose(runtime.query(RECORDS), RECORDS)
