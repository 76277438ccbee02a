"""Files with several outputs answer with the one that the manifest names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.host.quiet import NO_TELEMETRY, quiet
from edgeaudit.runtimes.registry import find_runtime
from tests.runtimes.served import seal

RECORDS = np.array([[1, 0], [0, 1], [0.5, -0.5]], np.float32)
ENTRY = TensorSpec("input", (-1, 2), "float32")


def test_openvino(tmp_path: Path) -> None:
    with quiet(NO_TELEMETRY):
        import openvino
        from openvino import opset13 as ops

        entry = ops.parameter([-1, 2], np.float32, name="input")
        twice = ops.multiply(entry, np.float32(2))
        thrice = ops.multiply(entry, np.float32(3))
        openvino.save_model(openvino.Model([twice, thrice], [entry], "by hand"), tmp_path / "model.xml")
    for place, factor in enumerate((2, 3)):
        exit_ = find_filetype("openvino").contract(tmp_path / "model.xml").outputs[place]
        served = seal(tmp_path / "model.xml", "openvino", ENTRY, exit_, place=place)
        np.testing.assert_allclose(find_runtime("openvino")(served).query(RECORDS), factor * RECORDS)


def _two_outputs(path: Path) -> None:
    """A TFLite file with the outputs 2 x and 3 x: two additions of its input."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    graph.tensors = []
    for name in ("input", "twice", "thrice"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), [1, 2], schema.TensorType.FLOAT32, 0
        graph.tensors.append(tensor)
    graph.operators = []
    for inputs, output in (([0, 0], 1), ([0, 1], 2)):
        op = schema.OperatorT()
        op.inputs, op.outputs = inputs, [output]
        op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
        graph.operators.append(op)
    graph.inputs, graph.outputs = [0], [1, 2]
    model.subgraphs, model.operatorCodes, model.version, model.buffers = [graph], [code], 3, [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


@pytest.mark.parametrize(("place", "factor"), [(0, 2), (1, 3)])
def test_litert(tmp_path: Path, place: int, factor: int) -> None:
    _two_outputs(tmp_path / "model.tflite")
    contract = find_filetype("tflite").contract(tmp_path / "model.tflite")
    assert [tensor.name for tensor in contract.outputs] == ["twice", "thrice"]
    served = seal(tmp_path / "model.tflite", "tflite", contract.inputs[0], contract.outputs[place], place=place)
    np.testing.assert_allclose(find_runtime("litert")(served).query(RECORDS), factor * RECORDS)


def test_scikit_learns_mappings_are_scores_in_the_order_of_the_classes(tmp_path: Path) -> None:
    zipped = helper.make_node(
        "ZipMap", ["input"], ["probabilities"], domain="ai.onnx.ml", classlabels_strings=["a", "b"]
    )
    exit_ = helper.make_value_info(
        "probabilities",
        helper.make_sequence_type_proto(
            helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        ),
    )
    graph = helper.make_graph(
        [zipped], "zipped", [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 2])], [exit_]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "model.onnx")
    contract = find_filetype("onnx").contract(tmp_path / "model.onnx")
    assert contract.outputs[0].shape == (-1, 2)
    served = seal(tmp_path / "model.onnx", "onnx", contract.inputs[0], contract.outputs[0])
    np.testing.assert_allclose(find_runtime("onnxruntime")(served).query(RECORDS), RECORDS)
