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
import pytest

from edgeaudit.devices.environment_runtimes import EnvironmentSpec
from edgeaudit.errors import ArtifactError, MissingToolchain
from edgeaudit.filetypes.artifact import Artifact, Manifest, TensorSpec
from edgeaudit.host.fingerprint import onednn_flags, onednn_sums_saturate
from edgeaudit.host.quiet import NO_TELEMETRY, quiet
from edgeaudit.runtimes.base import Runtime, RuntimeSpec
from edgeaudit.runtimes.registry import find_runtime, runtime_specs
from tests.runtimes.served import (
    WEIGHTS,
    adding,
    converted,
    linear,
    onnx_artifact,
    openvino_artifact,
    seal,
    steep_artifact,
    steep_int8_artifact,
    steep_openvino_artifact,
    tflite_artifact,
)

pytestmark = pytest.mark.isa

RECORDS = np.array([[1, 0], [0, 1], [0.5, -0.5], [-1, 1], [0.25, 1]], np.float32)
EXPECTED = np.array([[10, 0], [0, -1], [5, 0.5], [-10, -1], [2.5, -1]], np.float32)


def test_all_runtimes_are_registered() -> None:
    names = [
        "executorch",
        "keras",
        "litert",
        "onnxruntime",
        "openvino",
        "sklearn",
        "tf-lite",
        "tflite-runtime",
        "torch",
    ]
    assert [spec.name for spec in runtime_specs()] == names


@pytest.mark.parametrize("spec", runtime_specs(), ids=lambda spec: spec.name)
def test_specs_are_complete(spec: RuntimeSpec) -> None:
    assert spec.summary
    assert spec.defaults["batch"] == 64
    if isinstance(spec, EnvironmentSpec) and not spec.home.prepared:
        pytest.skip(f"{spec.remedy} was not run")
    assert list(spec.versions()) == list(spec.packages)
    assert find_runtime(spec.name).spec is spec


def test_an_unknown_runtime_lists_known_ones() -> None:
    with pytest.raises(
        ArtifactError,
        match=r"no runtime 'tvm'\. There are: onnxruntime, litert, openvino, executorch, torch, keras, sklearn, "
        "tf-lite, tflite-runtime",
    ):
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
    offered(("twice", Doubling))
    assert find_runtime("doubling") is Doubling


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


def test_integer_tensors_are_quantised_and_dequantised() -> None:
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
    with pytest.raises(ArtifactError, match=r"returned shape \(5, 2\), not \[records, 3\]"):
        runtime.query(RECORDS)


@pytest.mark.parametrize("batch", [0, -1, 1.5, "64", None])
def test_invalid_batch_sizes(batch: Any) -> None:
    with pytest.raises(ArtifactError, match="'batch' of 'doubling' must be an integer from 1"):
        Doubling(Artifact(Path(), FLAT), {"batch": batch})


def test_an_unknown_option_lists_known_ones() -> None:
    with pytest.raises(ArtifactError, match="'litert' has no option 'threads'; it has: batch, xnnpack"):
        find_runtime("litert")(Artifact(Path(), FLAT), {"threads": 2})


def test_a_file_of_another_kind() -> None:
    with pytest.raises(ArtifactError, match=r"'litert' serves tflite files, but nothing\.onnx is onnx"):
        find_runtime("litert")(Artifact(Path(), FLAT))


def test_a_missing_runtime_names_the_pip_command() -> None:
    class Absent(Doubling):
        spec = replace(Doubling.spec, packages=("no-such-package",))

    with pytest.raises(MissingToolchain, match=r"no-such-package.* pip install 'edgeaudit\[onnx\]'"):
        Absent(Artifact(Path(), FLAT))


def test_errors_of_a_runtime_name_it() -> None:
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
def test_int8_products_do_not_saturate(tmp_path: Path) -> None:
    # 8 products of 255 and 127 are 259,080: 200 steps of 1,295.4. Added in pairs in 16 bits, as x86 without VNNI does
    # unless told not to, each pair is 32,767 instead of 64,770, and the answer 101 steps.
    runtime = find_runtime("onnxruntime")(steep_int8_artifact(tmp_path), {})
    answer = runtime.query(np.full((1, 8), 255, np.float32))
    np.testing.assert_allclose(answer, np.full((1, 2), 259_080), rtol=1e-6)


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("saturates", "given", "settled"),
    [
        (True, None, {"session.x64quantprecision": "1"}),
        (False, None, {}),
        (True, {}, {}),
        (False, {"session.x64quantprecision": "1"}, {"session.x64quantprecision": "1"}),
    ],
)
def test_kernels_for_exact_sums_are_asked_for_where_the_others_saturate(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    saturates: bool,
    given: dict[str, str] | None,
    settled: dict[str, str],
) -> None:
    monkeypatch.setattr("edgeaudit.runtimes.onnxruntime.int8_sums_saturate", lambda: saturates)
    served = steep_int8_artifact(tmp_path)
    options = {} if given is None else {"session": given}
    assert find_runtime("onnxruntime")(served, options).options["session"] == settled


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("litert", ["litert.export", "aeq.static-int8"]),
        ("litert", ["litert.pt2e-int8"]),
        ("executorch", ["executorch.static-int8"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_int8_products_do_not_saturate_in_xnnpack(tmp_path: Path, name: str, passes: list[str]) -> None:
    # As above, through the toolchain: records from 0 to 255 and weights of 127 have scale 1, answers from 0 to 259,080
    # (at an input of 255 throughout, the last of 255 steps of 1,016). At 1 throughout 1,016, one step.
    served = steep_artifact(tmp_path, passes)
    answer = find_runtime(name)(served).query(np.array([[255] * 8, [1] * 8, [0] * 8], np.float32))
    np.testing.assert_allclose(answer, [[259_080] * 2, [1_016] * 2, [0] * 2], rtol=1e-6)


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
    with pytest.raises(ArtifactError, match=r"has a int8 tensor .*, but its manifest says uint8"):
        find_runtime("litert")(Artifact(served.folder, lying))


@pytest.mark.toolchain
def test_executorch(tmp_path: Path) -> None:
    served = converted(tmp_path, ["executorch.export"])
    runtime = find_runtime("executorch")(served, {"batch": 2})
    np.testing.assert_allclose(runtime.query(RECORDS), EXPECTED, rtol=1e-6)
    first = runtime.query(RECORDS[:2])
    runtime.query(RECORDS[2:])
    np.testing.assert_allclose(first, EXPECTED[:2], rtol=1e-6)  # an answer is no window on the runtime's memory
    with pytest.raises(
        ArtifactError, match=r"'batch' of 'executorch' is 65, but model\.pte was exported for at most 64"
    ):
        find_runtime("executorch")(served, {"batch": 65})
    lying = replace(served.manifest, input=replace(served.manifest.input, dtype="int8"))
    with pytest.raises(
        ArtifactError, match=r"has a tensor 'input' of float32 \(2,\), but its manifest says int8 \(2,\)"
    ):
        find_runtime("executorch")(Artifact(served.folder, lying))


@pytest.mark.toolchain
@pytest.mark.parametrize("damage", ["cut by a byte", "cut in half", "overwritten"])
def test_a_damaged_executorch_file(tmp_path: Path, damage: str) -> None:
    """The runtime's own minimal verification ends the process on the last of these."""
    served = converted(tmp_path, ["executorch.export"])
    content = served.path.read_bytes()
    middle = len(content) // 4
    served.path.write_bytes(
        {
            "cut by a byte": content[:-1],
            "cut in half": content[: len(content) // 2],
            "overwritten": content[:100] + b"\xff" * middle + content[100 + middle :],
        }[damage]
    )
    with pytest.raises(
        ArtifactError, match=r"cannot load .*model\.pte: .* truncated, damaged .* recreate the artifact"
    ):
        find_runtime("executorch")(served)


@pytest.mark.toolchain
def test_executorch_has_one_thread_is_silent_and_keeps_the_environment(tmp_path: Path) -> None:
    """In a process of its own; executorch 1.5.1 starts a thread for each core unless told not to."""
    folder = str(converted(tmp_path, ["executorch.export"]).folder)
    code = """
import os
import sys
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.errors import ArtifactError
from edgeaudit.runtimes.registry import find_runtime
before, environment = len(os.listdir("/proc/self/task")), dict(os.environ)
served = Artifact.load(Path(sys.argv[1]))
first, second = (find_runtime("executorch")(served) for _ in range(2))
for runtime in (first, second, first):
    answers = runtime.query(np.ones((100, 2), np.float32))
    assert np.allclose(answers, [[10, -1]]), answers
assert len(os.listdir("/proc/self/task")) == before
assert dict(os.environ) == environment
served.path.write_bytes(served.path.read_bytes()[:-1])
try:
    find_runtime("executorch")(served)
except ArtifactError:
    pass
else:
    raise AssertionError("a file without its last byte was loaded")
from executorch.extension.pybindings import portable_lib
assert portable_lib._threadpool_get_thread_count() == 1
"""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("name", "kind"),
    [("onnxruntime", "onnx"), ("litert", "tflite"), ("openvino", "openvino"), ("executorch", "executorch")],
)
def test_an_invalid_file(tmp_path: Path, name: str, kind: Any) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"not a model")
    served = seal(path, kind, FLAT.input, FLAT.output)
    with pytest.raises(ArtifactError, match=f"{name} cannot load .*model: "):
        find_runtime(name)(served)
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{name} cannot load .*model: "):
        find_runtime(name)(served)


@pytest.mark.toolchain
@pytest.mark.parametrize("batch", [1, 2])
def test_openvino(tmp_path: Path, batch: int) -> None:
    runtime = find_runtime("openvino")(openvino_artifact(tmp_path), {"batch": batch})
    np.testing.assert_allclose(runtime.query(RECORDS), EXPECTED, rtol=1e-6)
    assert runtime.options == {"batch": batch, "precision": "f32", "integer_kernels": not onednn_sums_saturate()}


# 8 products with 127: of 255, 259,080; of 127, 129,032. Added in pairs in 16 bits each pair is at most 32,767, so the
# sum is 131,068. Signed numbers are shifted by 128 first, and 128 * 127 * 8 = 130,048 is taken away again: 1,020.
STEEP = {False: (255, 259_080, 131_068), True: (127, 129_032, 1_020)}


@pytest.mark.toolchain
@pytest.mark.parametrize("signed", STEEP)
def test_openvinos_int8_products_do_not_saturate(tmp_path: Path, signed: bool) -> None:
    value, exact, _ = STEEP[signed]
    runtime = find_runtime("openvino")(steep_openvino_artifact(tmp_path, signed=signed))
    np.testing.assert_allclose(runtime.query(np.full((1, 8), value, np.float32)), np.full((1, 2), exact), rtol=1e-6)


@pytest.mark.toolchain
@pytest.mark.parametrize("signed", STEEP)
def test_openvinos_integer_kernels_saturate_as_predicted_from_the_cpu(tmp_path: Path, signed: bool) -> None:
    value, exact, cut = STEEP[signed]
    served = steep_openvino_artifact(tmp_path, signed=signed)
    answer = find_runtime("openvino")(served, {"integer_kernels": True}).query(np.full((1, 8), value, np.float32))
    np.testing.assert_allclose(answer, np.full((1, 2), cut if onednn_sums_saturate() else exact), rtol=1e-6)


# 2049 has 12 significant bits and 257 has 9. float16 keeps 11 and bfloat16 8; halves are rounded to even.
WIDE = np.array([[2049, 0], [257, 0]], np.float32)
ROUNDED = {"f32": (2049, 257), "bf16": (2048, 256), "f16": (2048, 257)}
CAPABILITY = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}


@pytest.mark.toolchain
@pytest.mark.parametrize("precision", list(ROUNDED))
def test_a_precision_is_computed_in_or_refused(tmp_path: Path, precision: str) -> None:
    """Which of them the CPU has, the plugin says; what it computes in, its answers say."""
    with quiet(NO_TELEMETRY):
        import openvino

    has = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    others = ", ".join(name for name, word in CAPABILITY.items() if word in has and name != precision)
    refused = rf"cannot compute in {precision}, .* this CPU has \({others}\)"
    if precision != "f32" and "BF16" in has and "avx512f" not in onednn_flags():
        refused = f"cannot compute in {precision} while ONEDNN_MAX_CPU_ISA forbids"  # which the plugin does not ask
    elif CAPABILITY[precision] in has:
        refused = ""
    served = converted(tmp_path, ["openvino.export"], adding)
    if refused:
        with pytest.raises(ArtifactError, match=refused):
            find_runtime("openvino")(served, {"precision": precision})
    else:
        answers = find_runtime("openvino")(served, {"precision": precision}).query(WIDE)
        np.testing.assert_array_equal(answers[:, 0], ROUNDED[precision])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "'precision' of 'openvino' is 'int8'; it can be: f32, bf16, f16"),
        ({"integer_kernels": "no"}, "'integer_kernels' of 'openvino' is 'no'; it can be: auto, true, false"),
    ],
    ids=str,
)
def test_invalid_openvino_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        find_runtime("openvino")(Artifact(Path(), replace(FLAT, kind="openvino")), options)


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
def test_the_device_side_never_imports_torch_and_is_silent(tmp_path: Path) -> None:
    """In a process of its own: load and query an artifact of each kind, then look at what was imported."""
    for folder in ("onnx", "tflite", "openvino"):
        (tmp_path / folder).mkdir()
    served = (
        onnx_artifact(tmp_path / "onnx"), tflite_artifact(tmp_path / "tflite"), openvino_artifact(tmp_path / "openvino")
    )  # fmt: skip
    folders = [str(artifact.folder) for artifact in served]
    code = """
import sys
from pathlib import Path
import numpy as np
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.runtimes.registry import find_runtime
for name, folder in zip(("onnxruntime", "litert", "openvino"), sys.argv[1:]):
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
