"""ONNX: external data, and what exporters leave out of a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.registry import find_filetype
from tests.filetypes.samples import IMAGES, sparse_module, with_softmax
from tests.runtimes.served import converted

ONNX = find_filetype("onnx")
WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4)  # one of 12 is zero


def saved(path: Path, graph: onnx.GraphProto, **options: Any) -> Path:
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path, **options)
    return path


def product(*, shape: list[int | str] | None = None, more_inputs: tuple[str, ...] = ()) -> onnx.GraphProto:
    """records [n, 3] @ WEIGHTS; shape: of the output, as the file states it."""
    return helper.make_graph(
        [helper.make_node("MatMul", ["input", "weights"], ["logits"])],
        "by hand",
        [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3]),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, WEIGHTS.shape) for name in more_inputs),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )


def outside(folder: Path, location: str) -> Path:
    """`product` with its weights in another file."""
    graph = product(shape=["n", 4])
    return saved(folder / "model.onnx", graph, save_as_external_data=True, location=location, size_threshold=0)


def test_external_data_are_companions(tmp_path: Path) -> None:
    path = outside(tmp_path, "model.onnx.data")
    assert ONNX.companions(path) == ("model.onnx.data",)
    assert ONNX.size(path) == path.stat().st_size + WEIGHTS.nbytes
    (tensor,) = ONNX.weights(path)
    np.testing.assert_array_equal(tensor.values, WEIGHTS)


def test_companions_of_one_file_each_and_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["inner"], value=numpy_helper.from_array(WEIGHTS, "in a branch"))],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, WEIGHTS.shape)],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)],
        "by hand",
        [helper.make_tensor_value_info("yes", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, WEIGHTS.shape)],
        [numpy_helper.from_array(WEIGHTS, "unused")],
    )
    branches = [attribute.g.node[0].attribute[0].t for attribute in graph.node[0].attribute]
    for tensor, location in zip([graph.initializer[0], *branches], ["a", "data/b", "data/b"], strict=True):
        onnx.external_data_helper.set_external_data(tensor, location)
        (tmp_path / location).write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
    path = tmp_path / "model.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()
    )
    assert ONNX.companions(path) == ("a", "data/b")
    assert ONNX.operators(path) == {"Constant": 2, "If": 1}


@pytest.mark.parametrize("others", [(), ("Relu",)])
def test_an_operator_whose_name_is_no_text_is_refused(tmp_path: Path, others: tuple[str, ...]) -> None:
    """protobuf gives bytes for a name that is not UTF-8, which cannot be sorted among texts."""
    nodes = [helper.make_node(name, ["x"], ["y"]) for name in (*others, "Damaged")]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph(nodes, "by hand", [value], [value]))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString().replace(b"Damaged", b"Dam\xffged"))
    with pytest.raises(ArtifactError, match=r"cannot read .*model\.onnx as ONNX"):
        ONNX.operators(path)


def test_a_tensor_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("damaged", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["damaged"], ["damaged"])], "by hand", [value], [value])
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString().replace(b"damaged", b"dam\xffged"))
    with pytest.raises(ArtifactError, match=r"cannot read .*model\.onnx as ONNX"):
        ONNX.contract(path)


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    path = outside(tmp_path, "model.onnx.data")
    (tmp_path / "model.onnx.data").unlink()
    for read in (ONNX.companions, ONNX.contract, ONNX.weights):
        with pytest.raises(ArtifactError, match=r"model\.onnx keeps weights in model\.onnx\.data, which is missing"):
            read(path)


@pytest.mark.parametrize(
    "location",
    ["../elsewhere.bin", "../../etc/passwd", "/etc/hostname", "a/../../b", "..\\b", "*/_ORT_MEM_ADDR_/*"],
)
def test_external_data_outside_of_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = outside(folder, "data.bin")
    model = onnx.load(path, load_external_data=False)
    (entry,) = [entry for entry in model.graph.initializer[0].external_data if entry.key == "location"]
    entry.value = location
    path.write_bytes(model.SerializeToString())
    (tmp_path / "elsewhere.bin").write_bytes(WEIGHTS.tobytes())
    for read in (ONNX.companions, ONNX.weights):
        with pytest.raises(ArtifactError, match="outside of its folder; save it again with its weights in its folder"):
            read(path)


def test_external_data_are_read_without_a_hang_or_a_way_out(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = outside(folder, "data.bin")
    (folder / "data.bin").rename(tmp_path / "data.bin")
    (folder / "data.bin").symlink_to(tmp_path / "data.bin")
    for read in (ONNX.companions, ONNX.weights):
        with pytest.raises(
            ArtifactError, match=r"keeps weights in data\.bin, a link that leads out of its folder; put the"
        ):
            read(path)
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "model.onnx").symlink_to(path)
    (tmp_path / "hub" / "data.bin").symlink_to(folder / "data.bin")
    (folder / "data.bin").unlink()
    (tmp_path / "data.bin").rename(folder / "data.bin")
    assert ONNX.companions(tmp_path / "hub" / "model.onnx") == ("data.bin",)
    (folder / "data.bin").unlink()
    for make in (os.mkfifo, lambda place: place.symlink_to("/dev/zero"), lambda place: place.symlink_to(place)):
        make(folder / "data.bin")
        with pytest.raises(ArtifactError, match=r"keeps weights in data\.bin, which is missing"):
            ONNX.companions(path)
        (folder / "data.bin").unlink()


def test_truncated_external_data_give_a_one_line_error(tmp_path: Path) -> None:
    path = outside(tmp_path, "model.onnx.data")
    (tmp_path / "model.onnx.data").write_bytes(b"\0" * 7)
    with pytest.raises(ArtifactError, match=r"^cannot read .*model\.onnx as ONNX: .*$"):
        ONNX.weights(path)


@pytest.mark.parametrize("shape", [None, ["n", "classes"], ["n", None], ["n", 4]])
def test_dynamic_sizes_are_inferred_from_the_graph(tmp_path: Path, shape: list[int | str] | None) -> None:
    contract = ONNX.contract(saved(tmp_path / "m.onnx", product(shape=shape)))
    assert [tensor.shape for tensor in contract.outputs] == [(-1, 4)]


def test_weights_among_the_inputs_are_not_inputs(tmp_path: Path) -> None:
    contract = ONNX.contract(saved(tmp_path / "m.onnx", product(shape=["n", 4], more_inputs=("weights",))))
    assert [tensor.name for tensor in contract.inputs] == ["input"]


def test_an_output_that_is_not_a_tensor_keeps_its_position(tmp_path: Path) -> None:
    graph = product(shape=["n", 4])
    graph.node.append(helper.make_node("SequenceConstruct", ["logits"], ["both"]))
    graph.output.append(helper.make_tensor_sequence_value_info("both", TensorProto.FLOAT, None))
    contract = ONNX.contract(saved(tmp_path / "m.onnx", graph))
    assert [(tensor.name, tensor.dtype) for tensor in contract.outputs] == [
        ("logits", "float32"),
        ("both", "sequence"),
    ]


@pytest.mark.toolchain
@pytest.mark.parametrize(
    "passes",
    [
        ["onnx.export"],
        ["onnx.export", "ort.fp16"],
        ["onnx.export", "ort.static-int8"],
        ["onnx.export", "ort.dynamic-int8"],
    ],
    ids="+".join,
)
def test_the_contract_agrees_with_onnx_runtime(tmp_path: Path, passes: list[str]) -> None:
    import onnxruntime

    artifact = converted(tmp_path, passes, sparse_module, IMAGES)
    session = onnxruntime.InferenceSession(str(artifact.path), providers=["CPUExecutionProvider"])
    contract = ONNX.contract(artifact.path)
    for tensors, served in ((contract.inputs, session.get_inputs()), (contract.outputs, session.get_outputs())):
        (tensor,), (known,) = tensors, served
        sizes = tuple(size if isinstance(size, int) else -1 for size in known.shape)
        assert (tensor.name, tensor.shape, tensor.dtype, known.type) == (known.name, sizes, "float32", "tensor(float)")


@pytest.mark.toolchain
@pytest.mark.parametrize("passes", [["onnx.export"], ["onnx.export", "ort.static-int8"]], ids="+".join)
def test_a_softmax_at_the_end_is_seen(tmp_path: Path, passes: list[str]) -> None:
    assert ONNX.ends_in_softmax(converted(tmp_path, passes, with_softmax, IMAGES).path)


def test_operators_of_other_domains_have_their_domain(tmp_path: Path) -> None:
    graph = product(shape=["n", 4])
    graph.node.append(helper.make_node("Gelu", ["logits"], ["more"], domain="com.microsoft"))
    assert ONNX.operators(saved(tmp_path / "m.onnx", graph)) == {"MatMul": 1, "com.microsoft.Gelu": 1}
