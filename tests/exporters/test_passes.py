"""The declared side of passes, and what they say when they cannot be applied."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeaudit.config.entries import PassEntry
from edgeaudit.errors import MissingToolchain, ToolchainError
from edgeaudit.exporters import ExportJob, Pass, PassResult, PassSpec, find_pass, pass_specs
from edgeaudit.formats.presets import FORMATS
from edgeaudit.settings import Settings
from tests.exporters.toys import Toy, artifact, pushed, toy

NAMES = [
    "aeq.dynamic-int8", "aeq.fp16", "aeq.static-int16x8", "aeq.static-int8", "aeq.weight-only-int8", "distil",
    "executorch.dynamic-int8", "executorch.export", "executorch.static-int8", "finetune", "litert.export",
    "litert.pt2e-int8", "nncf.prune", "nncf.ptq-onnx", "nncf.ptq-openvino", "nncf.qat", "onnx.export",
    "openvino.export", "ort.dynamic-int8", "ort.fp16", "ort.static-int8", "skl2onnx.export", "tflite.convert",
    "torch-pruning.structured",
]  # fmt: skip


def test_all_passes_are_registered() -> None:
    assert [spec.name for spec in pass_specs()] == NAMES


@pytest.mark.parametrize("spec", pass_specs(), ids=lambda spec: spec.name)
def test_specs_are_complete(spec: PassSpec) -> None:
    assert spec.summary
    assert 0 < spec.typical_seconds < 10
    assert list(spec.versions()) == list(spec.packages)
    extras = metadata.metadata("edgeaudit").get_all("Provides-Extra") or []
    assert spec.extra in extras
    assert find_pass(spec.name).spec is spec


def test_listing_imports_no_toolchain() -> None:
    code = (
        "import sys; from edgeaudit.exporters import pass_specs; from edgeaudit.runtimes.registry import runtime_specs;"
        "from edgeaudit.formats.presets import FORMATS; pass_specs(); runtime_specs();"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'litert_torch', 'ai_edge_quantizer', 'ai_edge_litert', 'nncf'};"
        "heavy |= {'openvino', 'executorch', 'torchao', 'torch_pruning', 'tensorflow', 'keras'};"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_pass_lists_known_ones() -> None:
    with pytest.raises(ToolchainError, match=r"no pass 'onnx\.int4'\..* There are: onnx\.export, .*tflite\.convert"):
        find_pass("onnx.int4")


def test_an_unknown_parameter_lists_known_ones() -> None:
    with pytest.raises(ToolchainError, match=r"'nncf\.prune' has no parameter 'share'; it has: epochs, ratio"):
        find_pass("nncf.prune").parameters({"share": 0.5})
    with pytest.raises(ToolchainError, match=r"no parameter 'epoch'; .* Did you mean 'epochs'\?"):
        find_pass("nncf.prune").parameters({"epoch": 3})


def test_integers_are_accepted_for_float_parameters() -> None:
    params = find_pass("nncf.prune").parameters({"ratio": 1, "epochs": 2})
    assert [(name, value, type(value)) for name, value in params.items()] == [("ratio", 1.0, float), ("epochs", 2, int)]


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("nncf.prune", {"ratio": "most"}, "'ratio' is 'most'; it must be a number"),
        ("nncf.prune", {"ratio": True}, "'ratio' is True; it must be a number"),
        ("nncf.prune", {"epochs": 2.5}, r"'epochs' is 2\.5; it must be a whole number"),
        ("nncf.prune", {"epochs": None}, "'epochs' is None; it must be a whole number"),
        ("ort.static-int8", {"per_channel": 1}, "'per_channel' is 1; it must be true or false"),
        ("ort.static-int8", {"per_channel": "no"}, "'per_channel' is 'no'; it must be true or false"),
    ],
)
def test_a_value_of_another_type(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolchainError, match=message):
        find_pass(name).parameters(params)


@pytest.mark.parametrize("spec", pass_specs(), ids=lambda spec: spec.name)
def test_a_default_is_one_of_its_choices(spec: PassSpec) -> None:
    assert all(spec.defaults[name] in allowed for name, allowed in spec.choices.items())


class Copy(Pass):
    spec = PassSpec("other.copy", "onnx", ("numpy",), "onnx", "onnx", "a copy")

    def _apply(self, job: ExportJob) -> PassResult:
        return PassResult(f"nothing{job.source.suffix}.onnx")


def test_other_peoples_passes_come_by_entry_point(offered: Any) -> None:
    offered(("theirs", Copy))
    assert isinstance(find_pass("other.copy"), Copy)
    assert "other.copy" in [spec.name for spec in pass_specs()]


def job(subject: Toy, use: PassEntry, folder: Path, source: Path, **changes: Any) -> ExportJob:
    step = find_pass(use.name)
    return replace(
        ExportJob(
            source=source,
            workdir=folder,
            params=step.parameters(use.params),
            input_shape=subject.recipe.shape,
            n_classes=10,
            seed=0,
            calibration=subject.calibration,
            module=lambda: subject.module(subject.state),
            recipe=subject.recipe.whole,
        ),
        **changes,
    )


def test_a_pass_that_writes_nothing(tmp_path: Path) -> None:
    subject = toy("mlp")
    empty = ExportJob(subject.state, tmp_path, Settings({}), (64,), 10, 0)
    with pytest.raises(ToolchainError, match=r"'other\.copy' ended without writing nothing\.safetensors\.onnx"):
        Copy().apply(empty)


def test_a_missing_toolchain_names_the_pip_command(tmp_path: Path) -> None:
    class Absent(Copy):
        spec = replace(Copy.spec, packages=("no-such-package",))

    with pytest.raises(MissingToolchain, match=r"no-such-package.* pip install 'edgeaudit\[onnx\]'"):
        Absent().apply(ExportJob(tmp_path / "x", tmp_path, Settings({}), (64,), 10, 0))


@pytest.mark.toolchain
@pytest.mark.parametrize(
    "use",
    [PassEntry(s.name) for s in pass_specs() if s.calibrates and s.consumes != "keras"],  # not in a process with torch
    ids=lambda use: use.name,
)
@pytest.mark.parametrize(
    ("records", "message"),
    [
        (None, "the job has no calibration records"),
        (np.zeros((0, 64), np.float32), "the job has no calibration records"),
        (np.zeros((4, 8, 8), np.float32), r"calibration records have shape \(8, 8\), but the model takes \(64,\)"),
    ],
    ids=["none", "empty", "other-shape"],
)
def test_calibration_records_of_another_shape(tmp_path: Path, use: PassEntry, records: Any, message: str) -> None:
    subject, consumes = toy("mlp"), find_pass(use.name).spec.consumes
    exports = {"onnx": ["onnx.export"], "tflite": ["litert.export"], "openvino": ["openvino.export"], "torch": []}
    source, _ = pushed(subject, [PassEntry(export) for export in exports[consumes]])
    with pytest.raises(ToolchainError, match=message):
        find_pass(use.name).apply(job(subject, use, tmp_path, source, calibration=records))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (PassEntry("onnx.export", {"softmax": "yes"}), "'softmax' is 'yes'; it can be: outside, inside"),
        (PassEntry("openvino.export", {"weights": "fp16"}), "'weights' is 'fp16'; it can be: float32, float16"),
        (PassEntry("litert.export", {"softmax": 1}), "'softmax' is 1; it can be: outside, inside"),
        (PassEntry("ort.static-int8", {"calibration": "entropy"}), "'calibration' is 'entropy'; it can be: min-max"),
        (PassEntry("ort.static-int8", {"quant_format": "qdq"}), "'quant_format' is 'qdq'; it can be: QDQ, QOperator"),
        (PassEntry("ort.dynamic-int8", {"weight_type": "s4"}), "'weight_type' is 's4'; it can be: u8, s8"),
        (PassEntry("nncf.ptq-onnx", {"calibration": "mean"}), "it can be: min-max, nncf-default"),
        (PassEntry("nncf.ptq-openvino", {"preset": "MIXED"}), "'preset' is 'MIXED'; it can be: mixed, performance"),
        (PassEntry("nncf.ptq-openvino", {"bias_correction": True}), "it can be: none, fast"),
        (PassEntry("aeq.static-int8", {"calibration": "max"}), "it can be: min-max, moving-average"),
        (PassEntry("aeq.static-int8", {"interface": "int"}), "'interface' is 'int'; it can be: integer, float"),
        (PassEntry("executorch.static-int8", {"calibration": "max"}), "it can be: min-max, histogram"),
        (PassEntry("executorch.export", {"softmax": "yes"}), "'softmax' is 'yes'; it can be: outside, inside"),
    ],
    ids=str,
)
def test_invalid_parameters(use: PassEntry, message: str) -> None:
    with pytest.raises(ToolchainError, match=message):
        find_pass(use.name).parameters(use.params)


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            PassEntry("litert.pt2e-int8", {"activations": "dynamic"}),
            "dynamic per-tensor ones answer garbage that differs",
        ),
        (PassEntry("litert.pt2e-int8", {"per_channel": False}), "Leave 'activations' static and 'per_channel' true"),
        (PassEntry("torch-pruning.structured", {"ratio": 1}), r"'ratio' is 1\.0; it must be between 0 and 1"),
        (PassEntry("torch-pruning.structured", {"round_to": 0}), "'round_to' is 0; it must be 1 or more"),
        (PassEntry("distil", {"temperature": 0}), r"'temperature' is 0\.0; it must be above 0"),
        (PassEntry("distil", {"alpha": 1.5}), r"'alpha' is 1\.5; it must be from 0 to 1"),
    ],
    ids=str,
)
def test_values_that_a_pass_refuses(tmp_path: Path, use: PassEntry, message: str) -> None:
    subject = toy("mlp")
    with pytest.raises(ToolchainError, match=message):
        find_pass(use.name).apply(job(subject, use, tmp_path, subject.state))


@pytest.mark.toolchain
@pytest.mark.parametrize("name", ["onnx.export", "litert.export", "openvino.export", "executorch.export"])
def test_a_model_with_other_outputs(tmp_path: Path, name: str) -> None:
    subject = toy("mlp")
    with pytest.raises(ToolchainError, match=r"returns shape \(-1, 10\), not \[n, 7\]"):
        find_pass(name).apply(job(subject, PassEntry(name), tmp_path, subject.state, n_classes=7))


class Branching(nn.Module):
    """Legal torch that no tracing exporter can follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"first line\nsecond line {len(x)}")


@pytest.mark.toolchain
@pytest.mark.parametrize(
    "name",
    ["onnx.export", "litert.export", "nncf.prune", "openvino.export", "executorch.export", "torch-pruning.structured"],
)
def test_errors_of_a_toolchain_name_the_pass(tmp_path: Path, name: str) -> None:
    subject = toy("mlp")
    broken = job(subject, PassEntry(name), tmp_path, subject.state, module=Branching, finetune=subject.finetune)
    with pytest.raises(ToolchainError, match=f"the pass '{name}' failed: "):
        find_pass(name).apply(broken)


@pytest.mark.toolchain
@pytest.mark.parametrize(
    "params",
    [
        {"activation_type": "s8"},
        {"weight_type": "u8", "per_channel": False},
        {"quant_format": "QOperator"},
        {"quant_format": "QOperator", "per_channel": False},
    ],
    ids=str,
)
def test_variants_of_static_int8_give_different_files(params: dict[str, Any]) -> None:
    subject = toy("cnn-8x8x1")
    usual = artifact(subject, FORMATS["onnx-int8-static"].passes).manifest
    variant = artifact(subject, [PassEntry("onnx.export"), PassEntry("ort.static-int8", params)]).manifest
    assert variant.sha256 != usual.sha256


@pytest.mark.toolchain
@pytest.mark.parametrize("name", ["executorch.static-int8", "litert.pt2e-int8"])
def test_calibration_decides_the_ranges_of_pt2e(name: str) -> None:
    subject = toy("mlp")
    ranges, squares = (
        artifact(subject, [PassEntry(name, {"calibration": how})]).manifest for how in ("min-max", "histogram")
    )
    assert ranges.sha256 != squares.sha256
    assert ranges.bytes == squares.bytes
