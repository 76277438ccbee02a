"""One suite over every format and every kind of network: the real converter, the real file, the real runtime."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.artifact import Artifact
from edgeaudit.exporters import find_pass
from edgeaudit.formats import FORMATS, Format, PassUse
from edgeaudit.runtimes.agreement import comparable, require_agreement
from edgeaudit.runtimes.registry import find_runtime
from tests.exporters.toys import RECIPES, Toy, artifact, pushed, toy

COMPRESSED = [f for f in FORMATS.values() if f.passes]
CHANNELS_LAST = {"tflite": "NHWC", "onnx": "NCHW"}

every_format = pytest.mark.parametrize("fmt", COMPRESSED, ids=lambda f: f.id)
every_toy = pytest.mark.parametrize("name", RECIPES)


def made(toy: Toy, fmt: Format) -> Artifact:
    return artifact(toy, fmt.passes)


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
@every_toy
@every_format
def test_artifact_answers_like_torch(fmt: Format, name: str) -> None:
    subject = toy(name)
    runtime = find_runtime(fmt.runtime)(made(subject, fmt), fmt.runtime_options)
    found = require_agreement(
        reference(subject, fmt),
        runtime.query(subject.queries),
        what=fmt.id,
        tolerance=fmt.tolerance,
        range_tolerance=fmt.range_tolerance,
    )
    assert found.records == len(subject.queries)
    assert found.top1 > 0.95


@pytest.mark.toolchain
@every_toy
@every_format
def test_the_contract_is_the_files_own(fmt: Format, name: str) -> None:
    subject = toy(name)
    manifest = made(subject, fmt).manifest
    channels_last = subject.recipe.shape[1:] + subject.recipe.shape[:1]
    image = len(subject.recipe.shape) == 3
    assert manifest.input.layout == (CHANNELS_LAST[manifest.kind] if image else "flat")
    shape = channels_last if image and manifest.kind == "tflite" else subject.recipe.shape
    assert manifest.input.shape == (-1, *shape)
    assert manifest.output.shape == (-1, 10)
    integer = fmt.passes[-1].name == "aeq.static-int8"
    assert (manifest.input.dtype, manifest.output.dtype) == (("int8", "int8") if integer else ("float32", "float32"))
    assert (manifest.input.scale is not None) == integer
    assert not manifest.softmax_inside


@pytest.mark.toolchain
@every_format
def test_an_answer_does_not_depend_on_the_records_beside_it(fmt: Format) -> None:
    subject = toy("cnn-8x8x1")
    runtime = find_runtime(fmt.runtime)(made(subject, fmt), fmt.runtime_options)
    together = runtime.query(subject.queries[:70])
    alone = np.concatenate([runtime.query(subject.queries[i : i + 1]) for i in (0, 1, 63, 64, 69)])
    np.testing.assert_array_equal(alone, together[[0, 1, 63, 64, 69]])


@pytest.mark.toolchain
def test_smaller_weights_make_smaller_files() -> None:
    subject = toy("residual-32x32x3")
    size = {f.id: made(subject, f).manifest.bytes for f in COMPRESSED}
    assert size["onnx-int8-static"] < 0.6 * size["onnx-fp32"]
    assert size["onnx-int8-dynamic"] < 0.6 * size["onnx-fp32"]
    assert size["litert-int8"] < 0.6 * size["litert-fp32"]
    assert size["litert-int8-dynamic"] < 0.6 * size["litert-fp32"]
    assert size["litert-fp16"] < 0.7 * size["litert-fp32"]


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("runtime", "passes"),
    [
        ("onnxruntime", [PassUse("onnx.export", {"softmax": "inside"})]),
        ("onnxruntime", [PassUse("onnx.export", {"softmax": "inside"}), PassUse("ort.dynamic-int8")]),
        ("onnxruntime", [PassUse("onnx.export", {"softmax": "inside"}), PassUse("ort.static-int8")]),
        (
            "onnxruntime",
            [PassUse("onnx.export", {"softmax": "inside"}), PassUse("ort.static-int8", {"quant_format": "QOperator"})],
        ),
        ("litert", [PassUse("litert.export", {"softmax": "inside"})]),
        ("litert", [PassUse("litert.export", {"softmax": "inside"}), PassUse("aeq.fp16")]),
        ("litert", [PassUse("litert.export", {"softmax": "inside"}), PassUse("aeq.dynamic-int8")]),
        ("litert", [PassUse("litert.export", {"softmax": "inside"}), PassUse("aeq.static-int8")]),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(use.name for use in value),
)
def test_softmax_inside(runtime: str, passes: list[PassUse]) -> None:
    subject = toy("cnn-8x8x1")
    probable = artifact(subject, passes)
    assert probable.manifest.softmax_inside
    answers = find_runtime(runtime)(probable).query(subject.queries)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=0.03)
    expected = comparable(subject.logits, softmax_inside=True)
    require_agreement(expected, answers, what="softmax inside", tolerance=0.2)


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
