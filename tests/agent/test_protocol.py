"""What the agent answers over the Open Inference Protocol v2, byte for byte where the protocol says so."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeaudit.filetypes.artifact import TensorSpec
from tests.agent.serving import FLOATS, Agent, Response, serving, tensor


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    codes = replace(
        FLOATS,
        input=TensorSpec("in", (-1, 2), "int8", "flat", 0.5, 3),
        output=TensorSpec("out", (-1, 2), "int8", "flat", 1, 0),
    )
    with serving(double=FLOATS, codes=codes) as found:
        yield found


def test_health_and_metadata(agent: Agent) -> None:
    assert agent.ask("GET", "/v2/health/live").json == {"live": True}
    assert agent.ask("GET", "/v2/health/ready").json == {"ready": True}
    server = agent.ask("GET", "/v2").json
    assert server["name"] == "edgeaudit-agent"
    assert "binary_tensor_data" in server["extensions"]
    assert agent.ask("GET", "/v2/models/double/ready").json == {"name": "double", "ready": True}
    for path in ("/v2/models/codes", "/v2/models/codes/versions/1"):
        assert agent.ask("GET", path).json == {
            "name": "codes",
            "versions": ["1"],
            "platform": "doubling_onnx",
            "inputs": [{"name": "in", "datatype": "INT8", "shape": [-1, 2]}],
            "outputs": [{"name": "out", "datatype": "INT8", "shape": [-1, 2]}],
        }


def test_facts_of_one_artifact(agent: Agent) -> None:
    assert agent.ask("GET", "/v2/edgeaudit/models/double").json == {
        "file": "nothing.onnx", "kind": "onnx", "sha256": "ab" * 32, "bytes": 7, "options": {"batch": 2}, "engaged": [],
        "engines": [],
        "answered": 0,
    }  # fmt: skip


@pytest.mark.parametrize("data", [[1, 2, 0.5, -3, 4, 5], [[1, 2], [0.5, -3], [4, 5]]], ids=["flat", "nested"])
def test_json_tensors(agent: Agent, data: Any) -> None:
    answer = agent.infer({"id": "seven", "inputs": [{"name": "in", "datatype": "FP32", "shape": [3, 2], "data": data}]})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "model_name": "double",
        "model_version": "1",
        "id": "seven",
        "outputs": [{"name": "out", "datatype": "FP32", "shape": [3, 2], "data": [2, 4, 1, -6, 8, 10]}],
    }


def test_every_float_round_trips(agent: Agent) -> None:
    """Also as JSON: a float32 has a shortest text that reads as itself."""
    values = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)
    answer = agent.infer({"inputs": [tensor(values.astype(float).tolist())]})
    found = np.array(answer.json["outputs"][0]["data"], np.float32).reshape(50, 2)
    np.testing.assert_array_equal(found, values * 2)


BINARY = struct.pack("<4f", 1, 2, -0.5, 3)
DOUBLED = struct.pack("<4f", 2, 4, -1, 6)


def binary_request(**more: Any) -> tuple[bytes, dict[str, str]]:
    entry = {"name": "in", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": [entry], **more}).encode()
    return head + BINARY, {"Inference-Header-Content-Length": str(len(head))}


@pytest.mark.parametrize(
    "more",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "out", "parameters": {"binary_data": True}}]},
        {
            "outputs": [{"name": "out", "parameters": {"binary_data": True}}],
            "parameters": {"binary_data_output": False},
        },
    ],
    ids=["all", "by name", "by name over all"],
)
def test_binary_tensors(agent: Agent, more: dict[str, Any]) -> None:
    body, headers = binary_request(**more)
    answer = agent.ask("POST", "/v2/models/double/infer", body, headers)
    assert answer.status == 200
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert int(answer.headers["Content-Length"]) == length + 16 == len(answer.body)
    (output,) = json.loads(answer.body[:length])["outputs"]
    assert output == {"name": "out", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}
    assert answer.body[length:] == DOUBLED


def test_binary_in_and_json_out(agent: Agent) -> None:
    body, headers = binary_request()
    answer = agent.ask("POST", "/v2/models/double/infer", body, headers)
    assert "Inference-Header-Content-Length" not in answer.headers
    assert answer.json["outputs"][0]["data"] == [2, 4, -1, 6]


def test_integer_tensors_keep_their_type(agent: Agent) -> None:
    """The client scales: the agent gives a file's own tensors, -100 * 2 wrapping to 56 as int8 does."""
    answer = agent.ask("POST", "/v2/models/codes/infer", {"inputs": [tensor([[5, -100]], "INT8")]})
    assert answer.json["outputs"] == [{"name": "out", "datatype": "INT8", "shape": [1, 2], "data": [10, 56]}]


def entry(**changes: Any) -> dict[str, Any]:
    return {**tensor([[1, 2]]), **changes}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([entry(datatype="FP64")], "is FP32, not FP64"),
        ([entry(datatype="INT32")], "is FP32, not INT32"),
        ([entry(datatype="BYTES")], "has the unknown datatype 'BYTES'"),
        ([entry(datatype=["FP32"])], "has the unknown datatype"),
        ([entry(shape=[2, 1])], r"has the shape \[-1, 2\].*not \[2, 1\]"),
        ([entry(shape=[2])], r"not \[2\]"),
        ([entry(shape=[1, 3])], "has 2 values"),
        ([entry(shape=[0, 2], data=[])], r"where -1 is any length from 1, not \[0, 2\]"),
        ([entry(shape=[-1, 2])], "invalid shape"),
        ([entry(shape=[True, 2])], "invalid shape"),
        ([entry(shape=[1 << 39, 1 << 39])], "has 2 values"),
        ([entry(shape="1,2")], "invalid shape"),
        ([entry(data=[1, "2"])], "are .*, not float32"),
        ([entry(data=[[1], [2, 3]])], "not an array"),
        ([entry(data=[1, None])], "have null instead of a number"),
        ([entry(data=[1, 1e300])], "exceed the range of float32"),
        ([entry(data={"0": 1})], "neither a list 'data' nor"),
        ([entry(name="other")], r"takes the tensor 'in', not \['other'\]"),
        ([entry(name=1)], "an object with a name"),
        ([entry(), entry()], "is duplicated"),
        ([entry(parameters={"shared_memory_region": "a"})], "shared memory is not supported"),
        ([entry(parameters={"binary_data_size": 8})], "but 0 bytes are left"),
        ([entry(parameters=[])], "must be an object"),
        ([], "no tensors"),
        (None, "no tensors"),
        (["in"], "an object with a name"),
    ],
)
def test_invalid_inputs(agent: Agent, inputs: Any, message: str) -> None:
    answer = agent.infer({"inputs": inputs})
    assert answer.status == 400
    assert set(answer.json) == {"error"}
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(answer.json["error"])
    assert agent.serves()


@pytest.mark.parametrize(
    ("values", "message"),
    [([1, 200], "exceed the range of int8"), ([1.5, 2], "are float64, not int8"), ([True, False], "are bool")],
)
def test_invalid_integers(agent: Agent, values: list[Any], message: str) -> None:
    body = {"inputs": [{"name": "in", "datatype": "INT8", "shape": [1, 2], "data": values}]}
    answer = agent.ask("POST", "/v2/models/codes/infer", body)
    assert answer.status == 400
    assert message in answer.json["error"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": [{"name": "logits"}]}, "has only the output 'out'"),
        ({"outputs": [{"name": "out", "parameters": {"classification": 3}}]}, "'classification' .* is not supported"),
        ({"outputs": {"name": "out"}}, "must be a list"),
        ({"parameters": 3}, "must be an object"),
        ({"id": 3}, "must be a string"),
    ],
)
def test_unsupported_outputs(agent: Agent, changes: dict[str, Any], message: str) -> None:
    answer = agent.infer({"inputs": [entry()], **changes})
    assert answer.status == 400
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(answer.json["error"])


@pytest.mark.parametrize(
    ("size", "cut", "length", "message"),
    [
        (16, 4, None, "but 12 bytes are left"),
        (8, 8, None, "needs 16 bytes, not 8"),
        (16, 0, "7", "not JSON"),
        (16, 0, "99999", "but the body has"),
        (16, 0, "-1", "not a number of bytes"),
        (16, 0, "x", "not a number of bytes"),
        (12, 0, None, "needs 16 bytes, not 12"),
        ("16", 0, None, "binary_data_size '16'"),
    ],
)
def test_byte_counts_that_do_not_match(agent: Agent, size: Any, cut: int, length: str | None, message: str) -> None:
    given = {"name": "in", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [given]}).encode()
    headers = {"Inference-Header-Content-Length": length or str(len(head))}
    answer = agent.ask("POST", "/v2/models/double/infer", head + BINARY[: 16 - cut], headers)
    assert answer.status == 400
    assert message in answer.json["error"]
    assert agent.serves()


def test_bytes_that_belong_to_no_tensor(agent: Agent) -> None:
    body, headers = binary_request()
    answer = agent.ask("POST", "/v2/models/double/infer", body + b"more", headers)
    assert (answer.status, answer.json) == (400, {"error": "4 bytes after the JSON belong to no tensor"})


def test_outputs_that_json_cannot_represent_need_bytes(agent: Agent) -> None:
    """Twice 3e38 is infinite in float32."""
    values = np.array([[3e38, 1]], "<f4")
    given = {"name": "in", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}

    def asked(**more: Any) -> Response:
        text = json.dumps({"inputs": [given], **more}).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))}
        return agent.ask("POST", "/v2/models/double/infer", text + values.tobytes(), headers)

    refused = asked()
    assert refused.status == 400
    assert "request binary_data" in refused.json["error"]
    assert asked(parameters={"binary_data_output": True}).body[-8:] == np.array([np.inf, 2], "<f4").tobytes()


def test_an_error_of_the_runtime_is_a_server_error(agent: Agent) -> None:
    answer = agent.infer({"inputs": [tensor([[-1, 0]])]})
    assert answer.status == 500
    assert answer.json == {"error": "doubling failed on nothing.onnx: the first value is -1"}
    assert agent.serves()
