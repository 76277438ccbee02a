"""The probes: their files, and that each kind of kernel is told by its answers."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.agent import probes
from edgeaudit.agent.probes import FOLDER, PROBES, _float, _int8, run_probes
from edgeaudit.host.fingerprint import int8_sums_saturate, onednn_sums_saturate
from edgeaudit.runtimes.base import Runtime, RuntimeSpec
from tests.agent.probe_files import MAKERS, make

pytestmark = pytest.mark.isa

COMMITTED = Path(str(resources.files("edgeaudit"))) / "agent" / FOLDER


@pytest.mark.parametrize(
    ("answer", "kernels"),
    [
        (259_080, "exact"),
        (259_079.97, "exact"),
        (131_068, "saturating"),
        (0, "wrong"),
        (300_000, "wrong"),
        (float("inf"), "overflow"),
    ],
)
def test_int8_kernels(answer: float, kernels: str) -> None:
    assert _int8([answer]) == kernels


@pytest.mark.parametrize(
    ("answers", "kernels"),
    [([2049, 257], "float32"), ([2048, 257], "float16"), ([2048, 256], "bfloat16"), ([2047, 257], "wrong")],
)
def test_float_kernels(answers: list[float], kernels: str) -> None:
    """2049 has 12 significant bits and 257 has 9: float16 keeps 11, bfloat16 8; halves are rounded to even."""
    assert _float(answers) == kernels


def test_every_probe_is_there() -> None:
    kinds = {"onnx", "tflite", "openvino", "executorch"}
    assert {path.name for path in COMMITTED.iterdir()} == {f"{kind}-{name}" for kind in kinds for name in PROBES}
    assert set(MAKERS) == {path.name for path in COMMITTED.iterdir()}


@pytest.mark.toolchain
@pytest.mark.parametrize("name", ["onnx-int8", "onnx-float", "tflite-int8", "tflite-float"])
def test_the_probe_files_are_reproducible(name: str, tmp_path: Path) -> None:
    make(name, tmp_path / name)
    for path in (tmp_path / name).iterdir():
        assert path.read_bytes() == (COMMITTED / name / path.name).read_bytes(), path.name


@pytest.mark.toolchain
@pytest.mark.parametrize("runtime", ["onnxruntime", "litert", "openvino", "executorch"])
def test_this_machine(runtime: str) -> None:
    found = run_probes(runtime, {"batch": 64})
    assert found["float"] == {"answers": [2049, 257], "kernels": "float32"}
    assert found["int8"]["kernels"] == "exact"


@pytest.mark.toolchain
def test_saturating_kernels_are_detected() -> None:
    """ONNX Runtime without the entry that this project sets, and OpenVINO's integers."""
    onnx, openvino = ("saturating" if cut else "exact" for cut in (int8_sums_saturate(), onednn_sums_saturate()))
    assert run_probes("onnxruntime", {"batch": 1, "session": {}})["int8"]["kernels"] == onnx
    assert run_probes("openvino", {"batch": 1, "integer_kernels": True})["int8"]["kernels"] == openvino


@pytest.mark.toolchain
@pytest.mark.parametrize(("precision", "kernels"), [("bf16", "bfloat16"), ("f16", "float16")])
def test_openvinos_half_precision_is_detected(precision: str, kernels: str) -> None:
    found = run_probes("openvino", {"batch": 1, "precision": precision})["float"]
    assert "error" in found or found["kernels"] == kernels


def test_infinity_can_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO answers it in float16, as on a Raspberry Pi 5: 259,080 is beyond 65,504. JSON has no word for it."""

    class Overflowing(Runtime):
        spec = RuntimeSpec("onnxruntime", "onnx", ("numpy",), "onnx", "a fake", {"batch": 1})

        def _open(self) -> None:
            return

        def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
            with np.errstate(over="ignore"):
                sums = (block.sum(1, keepdims=True) * 127).astype(np.float16)
            return np.repeat(sums.astype(np.float32), self.artifact.manifest.output.shape[-1], 1)

    monkeypatch.setattr(probes, "runtime_class", lambda _: Overflowing)
    found = run_probes("onnxruntime", {})
    assert found["int8"] == {"answers": ["inf"], "kernels": "overflow"}
    json.dumps(found, allow_nan=False)
