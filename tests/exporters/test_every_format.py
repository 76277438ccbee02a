"""One suite over every format and every kind of network: the real converter, the real file, the real runtime.

`make test` takes pairs of them that meet every pass, runtime and kind of file with every network (representative.py);
the others are marked `matrix`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeaudit.config.entries import PassEntry
from edgeaudit.errors import ArtifactError
from edgeaudit.exporters import find_pass
from edgeaudit.filetypes.agreement import agreement, comparable, require_agreement
from edgeaudit.filetypes.artifact import Artifact, Manifest
from edgeaudit.formats.presets import FORMATS, Format
from edgeaudit.formats.resolve import starts_from
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime
from tests.exporters.representative import cases
from tests.exporters.toys import RECIPES, Toy, artifact, pushed, toy

pytestmark = pytest.mark.isa

COMPRESSED = [f for f in FORMATS.values() if f.passes and starts_from(f) == "torch"]
CHANNELS_LAST = {"tflite": "NHWC", "onnx": "NCHW", "openvino": "NCHW", "executorch": "NCHW"}
INTEGERS = {"aeq.static-int8": "int8", "aeq.static-int16x8": "int16", "litert.pt2e-int8": "int8"}


@pytest.fixture
def fmt(request: pytest.FixtureRequest) -> Format:
    """The format, with the environment of its runtime, where that has one of its own."""
    found: Format = request.param
    if found.runtime == "tflite-runtime" and request.node.get_closest_marker("toolchain"):
        request.getfixturevalue("tflite_environment")
    return found


every_format = pytest.mark.parametrize("fmt", COMPRESSED, ids=lambda f: f.id, indirect=True)
every_pair = pytest.mark.parametrize(("fmt", "name"), cases(COMPRESSED, list(RECIPES)), indirect=["fmt"])


def made(toy: Toy, fmt: Format) -> Artifact:
    return artifact(toy, fmt.passes)


def served(fmt: Format, one: Artifact) -> Runtime:
    """Loaded in the format's runtime; the test ends where this CPU has no such precision, and that is said."""
    try:
        return find_runtime(fmt.runtime)(one, fmt.runtime_options)
    except ArtifactError as exc:
        if "cannot compute in" not in str(exc):
            raise
        pytest.skip(str(exc))


def reference(toy: Toy, fmt: Format) -> np.ndarray:
    """Torch's logits, of the pruned module where the format prunes."""
    trained = [use for use in fmt.passes if find_pass(use.name).spec.produces == "torch"]
    return toy.answers(pushed(toy, trained)[0])


@every_format
def test_passes_fit_together_and_end_in_what_the_runtime_serves(fmt: Format) -> None:
    kind = "torch"
    for use in fmt.passes:
        step = find_pass(use.name)
        assert step.spec.consumes == kind
        step.parameters(use.params)
        kind = step.spec.produces
    runtime = find_runtime(fmt.runtime)
    assert runtime.spec.serves == kind
    assert set(fmt.runtime_options) <= set(runtime.spec.defaults)


@pytest.mark.toolchain
@every_pair
def test_the_file_matches_its_manifest_and_agrees_with_torch(fmt: Format, name: str) -> None:
    """One test for each file, since files take long to make and the rest does not."""
    subject = toy(name)
    one = made(subject, fmt)
    _require_its_contract(one.manifest, fmt, subject)
    runtime = served(fmt, one)
    answers = runtime.query(subject.queries)
    found = require_agreement(
        reference(subject, fmt),
        answers,
        what=fmt.id,
        tolerance=fmt.tolerance,
        range_tolerance=fmt.range_tolerance,
    )
    assert found.records == len(subject.queries)
    assert found.top1 is not None
    # How many classes of 240 records change depends on the CPU, on which the network was trained, too: 12 with AVX-512.
    assert found.top1 > (0.93 if fmt.id != "litert-int8-averaged" else 0.9)
    # No answer depends on the records beside it.
    some = [0, 1, 63, 64, 69]
    alone = np.concatenate([runtime.query(subject.queries[i : i + 1]) for i in some])
    np.testing.assert_array_equal(alone, runtime.query(subject.queries[:70])[some])


def _require_its_contract(manifest: Manifest, fmt: Format, subject: Toy) -> None:
    channels_last = subject.recipe.shape[1:] + subject.recipe.shape[:1]
    image = len(subject.recipe.shape) == 3
    assert manifest.input.layout == (CHANNELS_LAST[manifest.kind] if image else "flat")
    shape = channels_last if image and manifest.kind == "tflite" else subject.recipe.shape
    assert manifest.input.shape == (-1, *shape)
    assert manifest.output.shape == (-1, 10)
    last = fmt.passes[-1]
    dtype = "float32" if last.params.get("interface") == "float" else INTEGERS.get(last.name, "float32")
    assert (manifest.input.dtype, manifest.output.dtype) == (dtype, dtype)
    assert (manifest.input.scale is not None) == (dtype != "float32")
    assert not manifest.softmax_inside


@pytest.mark.toolchain
def test_smaller_weights_make_smaller_files() -> None:
    subject = toy("residual-32x32x3")
    size = {f.id: made(subject, f).manifest.bytes for f in COMPRESSED}
    assert size["onnx-int8-static"] < 0.6 * size["onnx-fp32"]
    assert size["onnx-int8-dynamic"] < 0.6 * size["onnx-fp32"]
    assert size["openvino-int8-nncf"] < 0.7 * size["openvino-fp32"]  # .66: the .xml is 35 kB and grows
    assert size["onnx-int8-nncf"] < 0.6 * size["onnx-fp32"]
    assert size["onnx-int8-qat"] < 0.6 * size["onnx-fp32"]
    assert size["openvino-int8-qat"] < 0.7 * size["openvino-fp32"]
    assert size["litert-int8"] < 0.6 * size["litert-fp32"]
    assert size["litert-int8-dynamic"] < 0.6 * size["litert-fp32"]
    assert size["litert-int8-pt2e"] < 0.6 * size["litert-fp32"]
    assert size["openvino-fp16"] < 0.7 * size["openvino-fp32"]
    assert size["litert-fp16"] < 0.7 * size["litert-fp32"]
    assert size["onnx-fp16"] < 0.7 * size["onnx-fp32"]
    assert size["litert-int8-weights"] < 0.6 * size["litert-fp32"]
    assert size["litert-int16x8"] < 0.6 * size["litert-fp32"]
    assert size["executorch-int8"] < 0.6 * size["executorch-fp32"]


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("runtime", "passes"),
    [
        ("onnxruntime", [PassEntry("onnx.export", {"softmax": "inside"})]),
        ("onnxruntime", [PassEntry("onnx.export", {"softmax": "inside"}), PassEntry("ort.dynamic-int8")]),
        ("onnxruntime", [PassEntry("onnx.export", {"softmax": "inside"}), PassEntry("ort.static-int8")]),
        (
            "onnxruntime",
            [
                PassEntry("onnx.export", {"softmax": "inside"}),
                PassEntry("ort.static-int8", {"quant_format": "QOperator"}),
            ],
        ),
        ("openvino", [PassEntry("openvino.export", {"softmax": "inside"})]),
        ("openvino", [PassEntry("openvino.export", {"softmax": "inside"}), PassEntry("nncf.ptq-openvino")]),
        ("onnxruntime", [PassEntry("onnx.export", {"softmax": "inside"}), PassEntry("nncf.ptq-onnx")]),
        ("litert", [PassEntry("litert.export", {"softmax": "inside"})]),
        ("onnxruntime", [PassEntry("nncf.qat"), PassEntry("onnx.export", {"softmax": "inside"})]),
        ("openvino", [PassEntry("nncf.qat"), PassEntry("openvino.export", {"softmax": "inside"})]),
        ("litert", [PassEntry("litert.export", {"softmax": "inside"}), PassEntry("aeq.fp16")]),
        ("litert", [PassEntry("litert.export", {"softmax": "inside"}), PassEntry("aeq.dynamic-int8")]),
        ("litert", [PassEntry("litert.export", {"softmax": "inside"}), PassEntry("aeq.static-int8")]),
        ("litert", [PassEntry("litert.pt2e-int8", {"softmax": "inside"})]),
        ("executorch", [PassEntry("executorch.export", {"softmax": "inside"})]),
        ("executorch", [PassEntry("executorch.static-int8", {"softmax": "inside"})]),
        ("executorch", [PassEntry("executorch.dynamic-int8", {"softmax": "inside"})]),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(use.name for use in value),
)
def test_softmax_inside(runtime: str, passes: list[PassEntry]) -> None:
    subject = toy("cnn-8x8x1")
    probable = artifact(subject, passes)
    assert probable.manifest.softmax_inside
    answers = find_runtime(runtime)(probable).query(subject.queries)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=0.03)
    trained = [use for use in passes if find_pass(use.name).spec.produces == "torch"]
    expected = comparable(subject.answers(pushed(subject, trained)[0]), softmax_inside=True)
    require_agreement(expected, answers, what="softmax inside", tolerance=0.2)


@pytest.mark.toolchain
@pytest.mark.parametrize("name", ["mlp", "cnn-8x8x1"])
def test_bfloat16_is_within_its_limits(name: str) -> None:
    """Where no CPU with bf16 is at hand: torch computes in it on any, slowly. The preset's file is that of float32."""
    subject, preset = toy(name), FORMATS["openvino-bf16"]
    with torch.inference_mode():
        halved = subject.module(subject.state).bfloat16()
        answers = halved(torch.from_numpy(subject.queries).bfloat16()).float().numpy()
    found = require_agreement(subject.logits, answers, what=preset.id, tolerance=preset.tolerance)
    assert found.rel_rms > FORMATS["openvino-fp32"].tolerance
    assert preset.passes == FORMATS["openvino-fp32"].passes


@pytest.mark.toolchain
def test_executorch_quantises_linear_layers_dynamically_and_leaves_convolutions() -> None:
    """An MLP's weights are a quarter; of the CNN's 5,072, those of the last layer, 320, are."""
    size = {
        (name, form): made(toy(name), FORMATS[form]).manifest.bytes
        for name in ("mlp", "cnn-8x8x1")
        for form in ("executorch-fp32", "executorch-int8-dynamic")
    }
    assert size["mlp", "executorch-int8-dynamic"] < 0.45 * size["mlp", "executorch-fp32"]
    assert size["cnn-8x8x1", "executorch-int8-dynamic"] > 0.8 * size["cnn-8x8x1", "executorch-fp32"]


@pytest.mark.toolchain
def test_xnnpack_is_another_runtime() -> None:
    """The reference kernels are right as well, and not the same."""
    subject = toy("separable-32x32x3")
    passes = FORMATS["litert-int8"].passes
    served = artifact(subject, passes)
    litert = find_runtime("litert")
    with_it, without = (litert(served, {"xnnpack": x}).query(subject.queries) for x in (True, False))
    require_agreement(subject.logits, without, what="reference kernels", tolerance=0.2)
    assert (with_it != without).any()


@pytest.mark.toolchain
@pytest.mark.parametrize(("name", "floats"), [("residual-32x32x3", False), ("separable-32x32x3", True)])
def test_xnnpack_takes_only_the_float_operators_of_int16_files(name: str, floats: bool) -> None:
    """Hard-swish, which the separable network has, stays float32."""
    subject = toy(name)
    served = artifact(subject, FORMATS["litert-int16x8"].passes)
    with_it, without = (find_runtime("litert")(served, {"xnnpack": x}).query(subject.queries) for x in (True, False))
    assert (with_it != without).any() == floats
    assert agreement(without, with_it).rel_rms < 1e-3


@pytest.mark.toolchain
def test_signed_activations_are_the_unsigned_ones_shifted() -> None:
    """s8s8 is another file, and another kernel on a device; answers differ by a rounding here and there, if at all."""
    subject = toy("residual-32x32x3")
    unsigned, signed = (made(subject, FORMATS[f"onnx-int8-{name}"]) for name in ("static", "s8s8"))
    assert unsigned.manifest.sha256 != signed.manifest.sha256
    one, other = (find_runtime("onnxruntime")(artifact).query(subject.queries) for artifact in (unsigned, signed))
    assert agreement(one, other).rel_rms < 0.002


@pytest.mark.toolchain
def test_a_float_interface_adds_nothing_but_its_conversions() -> None:
    """Inside, the file is the integer one: answers are equal but for the last bits of scale times integer."""
    subject = toy("cnn-8x8x1")
    integer, between_floats = (
        find_runtime("litert")(made(subject, FORMATS[name])).query(subject.queries)
        for name in ("litert-int8", "litert-int8-float-io")
    )
    np.testing.assert_allclose(integer, between_floats, rtol=1e-5, atol=1e-5)
