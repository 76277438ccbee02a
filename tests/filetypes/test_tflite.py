"""TFLite: the flatbuffer states what the interpreter does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.filetypes.tflite import unmatched_bias
from tests.filetypes.samples import IMAGES, sparse_module, with_softmax
from tests.runtimes.served import converted

pytestmark = pytest.mark.toolchain
TFLITE = find_filetype("tflite")
PASSES = [
    ["litert.export"],
    ["litert.export", "aeq.fp16"],
    ["litert.export", "aeq.dynamic-int8"],
    ["litert.export", "aeq.static-int8"],
    ["litert.export", "aeq.static-int16x8"],
    ["litert.pt2e-int8"],
]
every_pass = pytest.mark.parametrize("passes", PASSES, ids="+".join)


def opened(path: Path) -> Any:
    """An interpreter without delegates, which would hide the operators that they take."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_path=str(path), experimental_op_resolver_type=kernels)


@every_pass
def test_contract_and_operators_are_the_interpreters(tmp_path: Path, passes: list[str]) -> None:
    path = converted(tmp_path, passes, sparse_module, IMAGES).path
    interpreter = opened(path)

    def known(detail: dict[str, Any]) -> TensorSpec:
        scales, points = (detail["quantization_parameters"][key] for key in ("scales", "zero_points"))
        return TensorSpec(
            detail["name"],
            (-1, *(int(size) for size in detail["shape_signature"][1:])),
            np.dtype(detail["dtype"]).name,
            scale=float(scales[0]) if len(scales) == 1 else None,
            zero_point=int(points[0]) if len(scales) == 1 else None,
        )

    contract = TFLITE.contract(path)
    # The interpreter's details have no names of a signature (`alias`).
    stated = [[replace(spec, alias="") for spec in specs] for specs in (contract.inputs, contract.outputs)]
    asked = (interpreter.get_input_details(), interpreter.get_output_details())
    assert stated == [[known(detail) for detail in details] for details in asked]
    names = [node["op_name"] for node in interpreter._get_ops_details()]
    assert TFLITE.operators(path) == {name: names.count(name) for name in sorted(names)}


@every_pass
def test_a_softmax_at_the_end_is_seen(tmp_path: Path, passes: list[str]) -> None:
    (tmp_path / "logits").mkdir()
    assert TFLITE.ends_in_softmax(converted(tmp_path, passes, with_softmax, IMAGES).path)
    assert not TFLITE.ends_in_softmax(converted(tmp_path / "logits", passes, sparse_module, IMAGES).path)


def test_biases_of_a_sound_file_have_the_scales_of_their_products(tmp_path: Path) -> None:
    assert unmatched_bias(converted(tmp_path, ["litert.pt2e-int8"], sparse_module, IMAGES).path) is None


@pytest.mark.parametrize("missing", [1, 100])
def test_a_file_that_ends_before_its_last_buffer_is_named(tmp_path: Path, missing: int) -> None:
    content = converted(tmp_path, ["litert.export"], sparse_module, IMAGES).path.read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[:-missing])
    for read in (TFLITE.weights, TFLITE.contract, TFLITE.operators):
        with pytest.raises(ArtifactError, match=r"cannot read .*cut\.tflite as TFLite: it is truncated"):
            read(path)
