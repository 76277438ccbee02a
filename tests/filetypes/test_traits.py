"""How a file was made: real files of the toolchains state what is known of their passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.filetypes.traits import Traits
from tests.filetypes.samples import IMAGES, sparse_module, with_softmax
from tests.runtimes.served import converted

pytestmark = pytest.mark.toolchain


def _traits(folder: Path, *passes: str, softmax: bool = False) -> Traits:
    made = converted(folder, passes, with_softmax if softmax else sparse_module, IMAGES)
    return find_filetype(made.manifest.kind).traits(made.path)


@pytest.mark.parametrize(
    ("passes", "weights", "activations", "scales", "arrangement"),
    [
        (("onnx.export",), "float32", "float32", "", ""),
        (("onnx.export", "ort.fp16"), "float16", "float32", "", ""),
        (("onnx.export", "ort.static-int8"), "int8", "uint8", "per channel", "QDQ"),
        (("onnx.export", "ort.dynamic-int8"), "uint8", "dynamic", "per tensor", ""),
        (("litert.export",), "float32", "float32", "", ""),
        (("litert.export", "aeq.fp16"), "float16", "float32", "", ""),
        (("litert.export", "aeq.static-int8"), "int8", "int8", "per channel", ""),
        (("litert.export", "aeq.dynamic-int8"), "int8", "dynamic", "per channel", ""),
        (("openvino.export",), "float32", "float32", "", ""),
        (("openvino.export", "nncf.ptq-openvino"), "int8", "int8", "per channel", ""),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
def test_precision_and_scheme(
    tmp_path: Path, passes: tuple[str, ...], weights: str, activations: str, scales: str, arrangement: str
) -> None:
    if "nncf.ptq-openvino" in passes:
        pytest.importorskip("nncf")
    found = _traits(tmp_path, *passes)
    assert (found.weights, found.activations, found.scales, found.arrangement) == (
        weights, activations, scales, arrangement,
    )  # fmt: skip
    assert found.head == "other"
    assert found.quantised == weights.startswith(("int", "uint"))


@pytest.mark.parametrize("passes", [("onnx.export",), ("litert.export",), ("openvino.export",)])
def test_softmax_and_producer(tmp_path: Path, passes: tuple[str, ...]) -> None:
    found = _traits(tmp_path, *passes, softmax=True)
    assert found.head == "softmax"
    if passes == ("onnx.export",):
        assert found.producer.startswith("pytorch ")


def test_what_a_quantised_input_holds(tmp_path: Path) -> None:
    made = converted(tmp_path, ("litert.export", "aeq.static-int8"), sparse_module, IMAGES)
    low, high = find_filetype("tflite").contract(made.path).range or (0.0, 0.0)
    assert low == pytest.approx(IMAGES.min(), rel=0.05)
    assert high == pytest.approx(IMAGES.max(), rel=0.05)
