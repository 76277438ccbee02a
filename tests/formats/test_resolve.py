"""Formats put together in audit.yaml: what fits is a format like any preset, what does not is told before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeaudit.config.audit import load_spec
from edgeaudit.config.entries import PassEntry, RuntimeEntry
from edgeaudit.config.formats import FormatUse
from edgeaudit.config.yaml_text import read_yaml
from edgeaudit.errors import SpecError
from edgeaudit.exporters import find_pass
from edgeaudit.filetypes.artifact import Kind
from edgeaudit.formats.incompatibilities import INCOMPATIBILITIES, refusal
from edgeaudit.formats.presets import FORMATS, Format
from edgeaudit.formats.resolve import find_format, starts_from
from edgeaudit.runtimes.registry import default_runtime, find_runtime, runtime_specs

OTHERWISE = {"litert-int8-reference", "litert-int8-averaged", "openvino-bf16"}
"""Presets whose runtime is told something, or whose limits are their own."""


def by_hand(found: Format) -> FormatUse:
    """The preset as a user would write it."""
    return FormatUse(
        name="mine",
        passes=tuple(PassEntry(step.name, step.params) for step in found.passes),
        runtime=RuntimeEntry(found.runtime, found.runtime_options),
    )


def composed(*passes: Any, **more: Any) -> Format:
    return find_format(FormatUse.model_validate({"name": "mine", "passes": list(passes), **more}))


def plain(found: Format) -> tuple[object, ...]:
    """What decides the keys of a format's jobs."""
    passes = [(step.name, find_pass(step.name).parameters(step.params)) for step in found.passes]
    options = find_runtime(found.runtime).spec.options(found.runtime_options)
    return passes, found.runtime, options, found.precision, found.tolerance, found.range_tolerance


@pytest.mark.parametrize("preset", [f for f in FORMATS.values() if f.passes], ids=lambda f: f.id)
def test_a_preset_is_a_name_for_its_composition(preset: Format) -> None:
    use = by_hand(preset)
    if preset.id in {"litert-int8-averaged", "sklearn-onnx"}:  # whose limits are their own
        use = use.model_copy(update={"tolerance": preset.tolerance, "range_tolerance": preset.range_tolerance})
    assert plain(find_format(use, starts_from(preset))) == plain(preset)


@pytest.mark.parametrize(
    "preset",
    [f for f in FORMATS.values() if f.passes and f.id not in OTHERWISE and f.runtime != "tflite-runtime"],
    ids=lambda f: f.id,
)
def test_the_runtime_may_be_left_out(preset: Format) -> None:
    """Also where answers depend on the batch: the pass says so."""
    use = by_hand(preset).model_copy(update={"runtime": None})
    if preset.id == "sklearn-onnx":  # whose limit is its own
        use = use.model_copy(update={"tolerance": preset.tolerance})
    assert plain(find_format(use, starts_from(preset))) == plain(preset)


def test_the_order_of_parameters_does_not_matter() -> None:
    ways = [{"ratio": 0.5, "epochs": 3}, {"epochs": 3, "ratio": 0.5}]
    found = [composed({"nncf.prune": params}, "onnx.export", "ort.static-int8") for params in ways]
    assert plain(found[0]) == plain(found[1])
    assert [step.name for step in found[0].passes] == ["nncf.prune", "onnx.export", "ort.static-int8"]
    assert found[0].summary == "[{nncf.prune: {ratio: 0.5, epochs: 3}}, onnx.export, ort.static-int8]"


def test_passes_of_torch_alone_are_served_by_torch() -> None:
    found = composed({"nncf.prune": {"ratio": 0.7}}, {"finetune": {"epochs": 2}})
    assert (found.runtime, found.precision, found.tolerance) == ("torch", "float32", 1e-3)


def test_the_weights_have_the_precision_of_the_last_pass_that_sets_one() -> None:
    assert composed("litert.export", "aeq.fp16").precision == "float16"
    assert composed("nncf.prune", "onnx.export").precision == "float32"


def test_the_user_can_set_limits() -> None:
    found = composed("onnx.export", tolerance=0.3, **{"range-tolerance": 0.5})
    assert (found.tolerance, found.range_tolerance) == (0.3, 0.5)


def test_a_preset_in_another_runtime() -> None:
    use = FormatUse(format="litert-int8", name="mine", runtime=RuntimeEntry("litert", {"xnnpack": False}))
    assert plain(find_format(use)) == plain(FORMATS["litert-int8-reference"])
    kept = find_format(
        FormatUse(format="litert-int8-reference", name="mine", runtime=RuntimeEntry("litert", {"batch": 8}))
    )
    assert kept.runtime_options == {"xnnpack": False, "batch": 8}
    assert (kept.batch, FORMATS["litert-int8"].batch, FORMATS["onnx-int8-dynamic"].batch) == (8, None, 1)


def test_softmax_goes_into_the_export() -> None:
    found = composed("nncf.prune", "onnx.export", "ort.static-int8", softmax="inside")
    assert [step.params.get("softmax") for step in found.passes] == [None, "inside", None]
    with pytest.raises(SpecError, match="'mine' exports no file, so it cannot have softmax: inside"):
        composed("nncf.prune", softmax="inside")


def test_each_kind_has_a_default_runtime() -> None:
    assert {spec.serves: default_runtime(spec.serves).spec.name for spec in runtime_specs()} == {
        "torch": "torch", "onnx": "onnxruntime", "tflite": "litert", "openvino": "openvino", "executorch": "executorch",
        "keras": "keras", "sklearn": "sklearn",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        (["onnx.exprot"], r"there is no pass 'onnx\.exprot'\. Did you mean 'onnx\.export'\? There are: "),
        (
            ["ort.static-int8"],
            r"'ort\.static-int8' takes onnx, but the trained model is torch\. Did you mean to put 'onnx\.export' ",
        ),
        (
            ["litert.export", "ort.static-int8"],
            r"the pass 'ort\.static-int8' takes onnx, but 'litert\.export' makes tflite\.$",
        ),
        (
            ["onnx.export", "nncf.prune"],
            r"the pass 'nncf\.prune' takes torch, but 'onnx\.export' makes onnx\.$",
        ),
        (["onnx.export", "ort.static_int8"], r"no pass 'ort\.static_int8'\. Did you mean 'ort\.static-int8'\?"),
        ([{"nncf.prune": {"share": 0.5}}], r"'nncf\.prune' has no parameter 'share'; it has: epochs, ratio"),
        ([{"nncf.prune": {"epoch": 5}}], r"Did you mean 'epochs'\?"),
        ([{"nncf.prune": {"ratio": "half"}}], r"'ratio' is 'half'; it must be a number"),
        ([{"nncf.prune": {"ratio": True}}], r"'ratio' is True; it must be a number"),
        (
            ["onnx.export", {"ort.static-int8": {"per_channel": "yes"}}],
            r"'per_channel' is 'yes'; it must be true or fal",
        ),
        (["onnx.export", {"ort.static-int8": {"activation_type": "s4"}}], r"'activation_type' is 's4'; it can be: u8"),
        (["litert.export", {"aeq.fp16": {"x": 1}}], r"'aeq\.fp16' has no parameter 'x'; it has no parameters"),
    ],
)
def test_reject_incompatible_passes(passes: list[Any], message: str) -> None:
    with pytest.raises(SpecError, match=f"formats: 'mine': .*{message}"):
        composed(*passes)


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ("onnxruntme", r"there is no runtime 'onnxruntme'\. Did you mean 'onnxruntime'\? There are: "),
        ("litert", r"the runtime 'litert' serves tflite, but the passes create onnx\, which is served by: onnxruntime"),
        (
            {"onnxruntime": {"btach": 1}},
            r"has no option 'btach'; it has: batch, providers, session\. Did you mean 'batch'\?",
        ),
        ({"onnxruntime": {"batch": 0}}, r"'batch' of 'onnxruntime' must be an integer from 1, not 0"),
        ({"onnxruntime": {"batch": True}}, r"must be an integer from 1, not True"),
    ],
)
def test_reject_incompatible_runtimes(runtime: Any, message: str) -> None:
    with pytest.raises(SpecError, match=f"formats: 'mine': .*{message}"):
        composed("onnx.export", runtime=runtime)


@pytest.mark.parametrize(
    ("entry", "trained", "message"),
    [
        (
            {"format": "onnx-int8-static"},
            "keras",
            r"from a torch model, but model\.recipe creates a keras one\. Suitable formats: keras-fp32, tflite-fp32",
        ),
        ({"format": "torch-fp32"}, "keras", r"starts from a torch model"),
        (
            {"format": "tflite-int8"},
            "torch",
            r"starts from a keras model, but model\.recipe creates a torch one\. Suitable formats: torch-fp32",
        ),
        (
            {"name": "mine", "passes": ["onnx.export"]},
            "keras",
            r"'onnx\.export' takes torch, but the trained model is keras\. Passes that take keras: tflite\.convert$",
        ),
        (
            {"name": "mine", "passes": ["aeq.fp16"]},
            "keras",
            r"takes tflite, but the trained model is keras\. Did you mean to put 'tflite\.convert' before it",
        ),
        ({"name": "mine", "passes": ["tflite.convert"]}, "torch", r"takes keras, but the trained model is torch\."),
    ],
)
def test_reject_formats_of_the_other_framework(entry: dict[str, Any], trained: Kind, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        find_format(FormatUse.model_validate(entry), trained)


def test_the_converters_precision_decides_the_limits() -> None:
    passes = [{"tflite.convert": {"precision": "int8"}}]
    use = FormatUse.model_validate({"name": "mine", "passes": passes, "softmax": "inside"})
    found = find_format(use, "keras")
    assert (found.passes[0].params, found.runtime) == ({"precision": "int8", "softmax": "inside"}, "litert")
    assert (found.precision, found.tolerance) == ("int8", FORMATS["tflite-int8"].tolerance)
    quantised_after = FormatUse.model_validate({"name": "mine", "passes": ["tflite.convert", "aeq.static-int8"]})
    assert [step.name for step in find_format(quantised_after, "keras").passes] == ["tflite.convert", "aeq.static-int8"]


def test_reject_a_presets_name() -> None:
    for use in (
        FormatUse(name="torch-fp32", passes=(PassEntry("onnx.export"),)),
        FormatUse(name="litert-int8", format="litert-fp16"),
        FormatUse(name="litert-int8", format="litert-int8", calibration="members"),
    ):
        with pytest.raises(SpecError, match="is the name of a different preset; choose another 'name'"):
            find_format(use)
    assert find_format(FormatUse(name="litert-int8", format="litert-int8")) == FORMATS["litert-int8"]


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.1), ("f16", 0.02), ("f32", 0.001)])
def test_reduced_precision_sets_the_limits(precision: str, tolerance: float) -> None:
    runtime = RuntimeEntry("openvino", {"precision": precision})
    assert composed("openvino.export", runtime=runtime).tolerance == tolerance
    assert find_format(FormatUse(name="mine", format="openvino-fp32", runtime=runtime)).tolerance == tolerance
    assert composed("openvino.export", "nncf.ptq-openvino", runtime=runtime).tolerance == 0.2


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        (
            [{"litert.pt2e-int8": {"activations": "dynamic"}}],
            "garbage that differs from run to run .* use 'aeq.dynamic-int8'",
        ),
        ([{"litert.pt2e-int8": {"per_channel": False}}], "garbage that differs from run to run"),
        (["nncf.qat", "litert.export"], "an operator for a torch model that rounds .* Use 'onnx.export' or"),
        (
            [{"nncf.qat": {"epochs": 3}}, {"finetune": {"epochs": 1}}, "executorch.static-int8"],
            "an operator for a torch model that rounds",
        ),
        (["nncf.qat", "onnx.export", "ort.static-int8"], "int8 already"),
        (["nncf.qat", "openvino.export", "nncf.ptq-openvino"], "int8 already"),
        (["onnx.export", {"ort.static-int8": {"activation_type": "s8", "weight_type": "u8"}}], "no such kernel"),
    ],
)
def test_known_incompatibilities_are_rejected_by_name(passes: list[Any], message: str) -> None:
    with pytest.raises(SpecError, match=f"formats: 'mine': .*{message}"):
        composed(*passes)


def test_the_default_tolerance_follows_from_the_precision() -> None:
    for precision, tolerance in {"float32": 0.001, "float16": 0.02, "int8": 0.2, "int4": 0.2}.items():
        assert Format("mine", (), "torch", "", precision).tolerance == tolerance
        assert Format("mine", (), "torch", "", precision, tolerance=0.5).tolerance == 0.5


def test_similar_formats_are_not_rejected() -> None:
    composed("nncf.qat", "onnx.export", "ort.fp16")
    composed("onnx.export", {"ort.static-int8": {"activation_type": "s8"}})
    composed("onnx.export", {"ort.static-int8": {"weight_type": "u8"}})
    assert not [form.id for form in FORMATS.values() if refusal(form)]


def test_every_incompatibility_has_a_remedy() -> None:
    """Those that are refused by name are known by a format, the others are not."""
    for entry in INCOMPATIBILITIES:
        assert (entry.shows is not None) == (entry.refused == "by name")
        assert entry.reason[-1] != "."
        assert entry.instead[0].isupper()


def test_the_documented_spellings_are_equivalent(root_folder: Path) -> None:
    text = (root_folder / "docs" / "compositions.md").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in text.split("```yaml\n")[2:]]
    assert len(blocks) == 3
    uses = [FormatUse.model_validate({"name": "mine", **read_yaml(block)}) for block in blocks]
    assert uses[0] == uses[1] == uses[2]


def test_the_documented_compositions_are_valid(root_folder: Path, tmp_path: Path) -> None:
    text = (root_folder / "docs" / "compositions.md").read_text(encoding="utf-8")
    (tmp_path / "audit.yaml").write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    found = [find_format(use) for use in load_spec(tmp_path / "audit.yaml").formats]
    assert [step.name for step in found[1].passes] == ["nncf.prune", "onnx.export", "ort.static-int8"]
    assert found[1].passes[0].params == {"ratio": 0.7, "epochs": 3}
    assert found[2].runtime_options == {"batch": 1, "xnnpack": False}
