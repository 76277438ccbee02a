"""Runtimes: what they answer, what they refuse, and that they do without torch."""

from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeaudit.artifact import Artifact, Manifest, TensorSpec
from edgeaudit.errors import ArtifactError, MissingToolchain
from edgeaudit.runtimes.base import Runtime, RuntimeSpec
from edgeaudit.runtimes.registry import find_runtime, runtime_specs
from tests.runtimes.served import WEIGHTS, linear, onnx_artifact, passed, seal, tflite_artifact

RECORDS = np.array([[1, 0], [0, 1], [0.5, -0.5], [-1, 1], [0.25, 1]], np.float32)
EXPECTED = np.array([[10, 0], [0, -1], [5, 0.5], [-10, -1], [2.5, -1]], np.float32)


def test_all_runtimes_are_registered() -> None:
    assert [spec.name for spec in runtime_specs()] == ["litert", "onnxruntime", "torch"]


@pytest.mark.parametrize("spec", runtime_specs(), ids=lambda spec: spec.name)
def test_a_spec_says_everything(spec: RuntimeSpec) -> None:
    assert spec.summary
    assert spec.defaults["batch"] == 64
    assert list(spec.versions()) == list(spec.packages)
    assert find_runtime(spec.name).spec is spec


def test_an_unknown_runtime_names_the_known_ones() -> None:
    with pytest.raises(ArtifactError, match="no runtime 'tvm'; there are: litert, onnxruntime, torch"):
        find_runtime("tvm")


class Doubling(Runtime):
    """Answers twice the record, and remembers the batches it was asked."""

    spec = RuntimeSpec("doubling", "onnx", ("numpy",), "onnx", "a fake", {"batch": 2})

    def _open(self) -> None:
        self.asked: list[npt.NDArray[Any]] = []

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self.asked.append(block)
        return block * 2


def test_other_peoples_runtimes_come_by_entry_point(offered: Any) -> None:
    offered(Doubling)
    assert find_runtime("doubling") is Doubling


@pytest.mark.parametrize(
    ("targets", "message"),
    [((Doubling, Doubling), "a runtime called 'doubling' already"), ((print,), "'theirs' .* is no Runtime class")],
)
def test_entry_points_that_do_not_fit(offered: Any, targets: tuple[Any, ...], message: str) -> None:
    offered(*targets)
    with pytest.raises(ArtifactError, match=message):
        runtime_specs()


def manifest(source: TensorSpec, answer: TensorSpec) -> Manifest:
    return Manifest("onnx", "nothing.onnx", "0", 0, source, answer, False)


FLAT = manifest(TensorSpec("in", (-1, 2), "float32"), TensorSpec("out", (-1, 2), "float32"))


def test_the_last_batch_is_padded_and_its_padding_dropped() -> None:
    runtime = Doubling(Artifact(Path(), FLAT))
    np.testing.assert_array_equal(runtime.query(RECORDS), RECORDS * 2)
    assert [block.shape for block in runtime.asked] == [(2, 2)] * 3
    np.testing.assert_array_equal(runtime.asked[-1], RECORDS[[-1, -1]])


def test_no_records() -> None:
    assert Doubling(Artifact(Path(), FLAT)).query(np.empty((0, 2), np.float32)).shape == (0, 2)


def test_integer_tensors_are_scaled_on_the_way_in_and_out() -> None:
    """scale 0.5, zero point 3: 1 -> 5, 0 -> 3, 0.3 -> 3.6 -> 4, -100 -> -197 -> clipped to -128.

    Out, after doubling int8 (5 -> 10 ...), scale 2, zero point 1: 10 -> 18, 6 -> 10.
    """
    source = TensorSpec("in", (-1, 2), "int8", "flat", 0.5, 3)
    runtime = Doubling(Artifact(Path(), manifest(source, TensorSpec("out", (-1, 2), "int8", "flat", 2.0, 1))))
    answers = runtime.query(np.array([[1, 0], [0.3, -100]], np.float32))
    np.testing.assert_array_equal(runtime.asked[0], np.array([[5, 3], [4, -128]], np.int8))
    assert runtime.asked[0].dtype == np.int8
    np.testing.assert_array_equal(answers[0], [18, 10])
    assert answers.dtype == np.float32


def test_channels_last() -> None:
    source = TensorSpec("in", (-1, 1, 2, 3), "float32", "NHWC")

    class First(Doubling):
        def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
            super()._answer(block)
            return block.reshape(len(block), -1)

    runtime = First(Artifact(Path(), manifest(source, TensorSpec("out", (-1, 6), "float32"))))
    record = np.arange(6, dtype=np.float32).reshape(1, 3, 1, 2)  # channels 0 1, 2 3, 4 5
    np.testing.assert_array_equal(runtime.query(record), [[0, 2, 4, 1, 3, 5]])
    with pytest.raises(ArtifactError, match=r"takes records of shape \(3, 1, 2\), not \(1, 2, 3\)"):
        runtime.query(record.transpose(0, 2, 3, 1))


def test_an_answer_of_another_shape() -> None:
    runtime = Doubling(Artifact(Path(), replace(FLAT, output=TensorSpec("out", (-1, 3), "float32"))))
    with pytest.raises(ArtifactError, match=r"answered shape \(5, 2\), not \[records, 3\]"):
        runtime.query(RECORDS)


@pytest.mark.parametrize("batch", [0, -1, 1.5, "64", None])
def test_a_batch_that_cannot_be_meant(batch: Any) -> None:
    with pytest.raises(ArtifactError, match="'batch' of 'doubling' is a whole number from 1"):
        Doubling(Artifact(Path(), FLAT), {"batch": batch})


def test_an_unknown_option_names_the_known_ones() -> None:
    with pytest.raises(ArtifactError, match="'litert' has no option 'threads'; it has: batch, xnnpack"):
        find_runtime("litert")(Artifact(Path(), FLAT), {"threads": 2})


def test_a_file_of_another_kind() -> None:
    with pytest.raises(ArtifactError, match=r"'litert' serves tflite files, and nothing\.onnx is onnx"):
        find_runtime("litert")(Artifact(Path(), FLAT))


def test_a_missing_runtime_says_how_to_install_it() -> None:
    class Absent(Doubling):
        spec = replace(Doubling.spec, packages=("no-such-package",))

    with pytest.raises(MissingToolchain, match=r"no-such-package.* pip install 'edgeaudit\[onnx\]'"):
        Absent(Artifact(Path(), FLAT))


def test_what_a_runtime_raises_is_told_with_its_name() -> None:
    class Failing(Doubling):
        def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
            raise RuntimeError(f"no room for {len(block)}")

    with pytest.raises(ArtifactError, match=r"doubling failed on nothing\.onnx: no room for 2"):
        Failing(Artifact(Path(), FLAT)).query(RECORDS)


@pytest.mark.toolchain
@pytest.mark.parametrize("layout", ["flat", "NCHW", "NHWC"])
def test_onnxruntime(tmp_path: Path, layout: str) -> None:
    runtime = find_runtime("onnxruntime")(onnx_artifact(tmp_path, layout=layout), {"batch": 2})
    records = RECORDS if layout == "flat" else RECORDS.reshape(-1, 2, 1, 1)
    np.testing.assert_array_equal(runtime.query(records), EXPECTED)


@pytest.mark.toolchain
def test_onnxruntime_does_not_saturate_on_any_cpu(tmp_path: Path) -> None:
    """64 times 255 x 127 in units of (1/255) x (1/127) is 64.

    Two such products are 64,770, which 16 bits cut to 32,767: AVX2 without VNNI would answer 32.4.
    """
    ones = np.ones((64, 2), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["input", "weights"], ["logits"])],
        "by hand",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(ones, "weights")],
    )
    source = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), source)
    path, _ = passed("ort.static-int8", source, tmp_path, np.stack([0 * ones[:, 0], ones[:, 0]]))
    answer = TensorSpec("logits", (-1, 2), "float32")
    artifact = seal(path, "onnx", TensorSpec("input", (-1, 64), "float32"), answer)
    runtime: Any = find_runtime("onnxruntime")(artifact)
    assert runtime.query(ones.T)[0, 0] == pytest.approx(64, rel=0.01)
    entry = runtime._session.get_session_options().get_session_config_entry("session.x64quantprecision")
    assert entry == "1"  # on a CPU with VNNI the answer alone would not tell


@pytest.mark.toolchain
@pytest.mark.parametrize("xnnpack", [True, False])
def test_litert(tmp_path: Path, xnnpack: bool) -> None:
    runtime = find_runtime("litert")(tflite_artifact(tmp_path), {"batch": 2, "xnnpack": xnnpack})
    np.testing.assert_allclose(runtime.query(RECORDS), EXPECTED, rtol=1e-6)


@pytest.mark.toolchain
def test_litert_full_integer(tmp_path: Path) -> None:
    """Answers run from -10 to 10 in 255 steps, so one step is about 0.08."""
    served = tflite_artifact(tmp_path, int8=True)
    assert served.manifest.input.dtype == served.manifest.output.dtype == "int8"
    assert served.manifest.output.scale == pytest.approx(20 / 255, rel=0.01)
    runtime = find_runtime("litert")(served)
    np.testing.assert_allclose(runtime.query(RECORDS), EXPECTED, atol=0.16)
    lying = replace(served.manifest, input=replace(served.manifest.input, dtype="uint8"))
    with pytest.raises(ArtifactError, match=r"has a int8 tensor .* where its manifest says uint8"):
        find_runtime("litert")(Artifact(served.folder, lying))


@pytest.mark.toolchain
@pytest.mark.parametrize(("name", "kind"), [("onnxruntime", "onnx"), ("litert", "tflite")])
def test_a_file_that_is_none(tmp_path: Path, name: str, kind: Any) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"not a model")
    served = seal(path, kind, FLAT.input, FLAT.output)
    with pytest.raises(ArtifactError, match=f"{name} cannot load .*model: "):
        find_runtime(name)(served)
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{name} cannot load .*model: "):
        find_runtime(name)(served)


@pytest.mark.toolchain
def test_torch_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked = []

    def module_from_manifest(recipe: dict[str, Any], state: Path) -> Any:
        asked.append((recipe, state))
        return linear().train()

    fake = types.SimpleNamespace(module_from_manifest=module_from_manifest)
    monkeypatch.setitem(sys.modules, "edgeaudit.recipes.base", fake)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    served = seal(path, "torch", FLAT.input, FLAT.output, recipe={"name": "linear"})
    threads = torch.get_num_threads()
    runtime = find_runtime("torch")(served, {"batch": 3})
    np.testing.assert_array_equal(runtime.query(RECORDS), EXPECTED)
    np.testing.assert_array_equal(runtime.query(RECORDS), RECORDS @ WEIGHTS)
    assert asked == [({"name": "linear"}, path)]
    assert torch.get_num_threads() == threads


@pytest.mark.toolchain
def test_the_device_side_never_imports_torch_and_says_nothing(tmp_path: Path) -> None:
    """In a process of its own: load and query an ONNX and a TFLite artifact, then look at what was imported."""
    for folder in ("onnx", "tflite"):
        (tmp_path / folder).mkdir()
    folders = [str(onnx_artifact(tmp_path / "onnx").folder), str(tflite_artifact(tmp_path / "tflite").folder)]
    code = """
import sys
from pathlib import Path
import numpy as np
from edgeaudit.artifact import Artifact
from edgeaudit.runtimes.registry import find_runtime
for name, folder in zip(("onnxruntime", "litert"), sys.argv[1:]):
    answers = find_runtime(name)(Artifact.load(Path(folder))).query(np.array([[1, 1]], np.float32))
    assert np.allclose(answers, [[10, -1]]), answers
heavy = {"torch", "onnx", "tensorflow", "litert_torch", "ai_edge_quantizer", "nncf"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code, *folders], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
