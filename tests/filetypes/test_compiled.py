"""Files that were compiled for one vendor's hardware are refused by its name."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.compiled import accelerator_of
from edgeaudit.filetypes.registry import find_filetype


def _with_custom(path: Path, name: str) -> None:
    """A TFLite file with one custom operator, from [1, 2] to [1, 2]."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph, op, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.customCode = schema.BuiltinOperator.CUSTOM, 32, name.encode()
    graph.tensors = []
    for label in ("in", "out"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = label.encode(), [1, 2], schema.TensorType.FLOAT32, 0
        graph.tensors.append(tensor)
    graph.inputs, graph.outputs, op.inputs, op.outputs = [0], [1], [0], [1]
    graph.operators, model.subgraphs, model.operatorCodes = [op], [graph], [code]
    model.version, model.buffers = 3, [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        (
            "edgetpu-custom-op",
            r"compiled for the Edge TPU \(Coral\) by edgetpu_compiler \(operator edgetpu-custom-op\)",
        ),
        ("ethos-u", r"compiled for an Ethos-U NPU by Vela \(operator ethos-u\)"),
        ("NeutronGraph", "compiled for NXP's eIQ Neutron NPU"),
    ],
)
def test_tflite(tmp_path: Path, operator: str, said: str) -> None:
    _with_custom(tmp_path / "model.tflite", operator)
    with pytest.raises(ArtifactError, match=said + r".*audit the .tflite file that it was compiled from"):
        find_filetype("tflite").contract(tmp_path / "model.tflite")
    assert find_filetype("tflite").operators(tmp_path / "model.tflite") == {operator: 1}


def test_a_custom_operator_that_no_vendor_is_known_for_is_left_to_the_runtime(tmp_path: Path) -> None:
    _with_custom(tmp_path / "model.tflite", "my-op")
    assert find_filetype("tflite").contract(tmp_path / "model.tflite").outputs[0].shape == (-1, 2)


def test_onnx(tmp_path: Path) -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph([node], "compiled", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match="compiled for one execution provider by ONNX Runtime's EPContext"):
        find_filetype("onnx").contract(tmp_path / "model.onnx")


def test_delegates_of_executorch_are_named_as_operators() -> None:
    found = accelerator_of({"XnnpackBackend": 1, "EthosUBackend": 2})
    assert found is not None
    assert found[1].name == "an Ethos-U NPU"
    assert accelerator_of({"XnnpackBackend": 1, "aten::add": 2}) is None
