"""Every format of a Keras model: the real converter and file, both interpreters; Keras is the reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters import ExportJob, find_pass
from edgeaudit.filetypes.agreement import agreement, comparable, require_agreement
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.formats.presets import FORMATS, Format
from edgeaudit.formats.resolve import starts_from
from edgeaudit.runtimes.registry import find_runtime
from tests.keras_process import TOYS, KerasToy, asked, converted, in_tensorflow, trained

FloatArray = npt.NDArray[np.float32]

CONVERTED = [f for f in FORMATS.values() if f.passes and starts_from(f) == "keras"]
every_format = pytest.mark.parametrize("fmt", CONVERTED, ids=lambda f: f.id)
every_toy = pytest.mark.parametrize("name", TOYS)


class Bench:
    """Trained networks and their files; each is made once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._logits: dict[str, FloatArray] = {}

    def logits(self, name: str) -> FloatArray:
        """Keras's own answers to the toy's queries."""
        if name not in self._logits:
            folder = self._root / name
            folder.mkdir()
            self._logits[name] = in_tensorflow(trained, TOYS[name], folder)
        return self._logits[name]

    def source(self, name: str) -> Path:
        """The folder of the trained model."""
        self.logits(name)
        return self._root / name

    def made(self, name: str, params: Mapping[str, Any]) -> Path:
        """The folder of a converted file."""
        folder = self._root / f"{name}-{'-'.join(f'{key}={value}' for key, value in params.items())}"
        if not folder.is_dir():
            folder.mkdir()
            in_tensorflow(converted, TOYS[name], self.source(name), folder, params)
        return folder


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("keras"))


def litert(folder: Path, records: FloatArray, **options: Any) -> FloatArray:
    return find_runtime("litert")(Artifact.load(folder), options).query(records)


@every_format
def test_passes_fit_together_and_end_in_what_the_runtime_serves(fmt: Format) -> None:
    (use,) = fmt.passes
    step = find_pass(use.name)
    given = step.parameters(use.params)
    assert find_runtime(fmt.runtime).spec.serves == step.spec.produces
    assert (step.precision(given) or "float32") == fmt.precision
    assert step.calibrates(given) == (use.params["precision"] in {"int8", "int16x8"})


@pytest.mark.toolchain
@every_toy
def test_the_stored_model_is_the_trained_one(bench: Bench, name: str) -> None:
    """In a runtime of its own, with another batch: the logits that the training process computed."""
    answers = in_tensorflow(asked, bench.source(name), "keras", {}, TOYS[name].queries)
    np.testing.assert_allclose(answers, bench.logits(name), atol=1e-4)


@pytest.mark.toolchain
@every_toy
@every_format
def test_artifact_answers_like_keras(bench: Bench, fmt: Format, name: str) -> None:
    toy = TOYS[name]
    answers = litert(bench.made(name, fmt.passes[0].params), toy.queries, **fmt.runtime_options)
    found = require_agreement(
        bench.logits(name),
        answers,
        what=fmt.id,
        tolerance=fmt.tolerance,
        range_tolerance=fmt.range_tolerance,
    )
    assert found.records == len(toy.queries)
    assert found.top1 is not None
    assert found.top1 > 0.95


@pytest.mark.toolchain
@every_format
def test_the_contract_comes_from_the_file(bench: Bench, fmt: Format) -> None:
    manifest = Artifact.load(bench.made("resnet8", fmt.passes[0].params)).manifest
    assert (manifest.input.layout, manifest.input.shape, manifest.output.shape) == ("NHWC", (-1, 8, 8, 1), (-1, 10))
    params = find_pass("tflite.convert").parameters(fmt.passes[0].params)
    integers = {"int8": "int8", "int16x8": "int16"}
    dtype = integers.get(params["precision"], "float32") if params["interface"] == "integer" else "float32"
    assert (manifest.input.dtype, manifest.output.dtype) == (dtype, dtype)
    assert (manifest.input.scale is not None) == (dtype != "float32")
    assert not manifest.softmax_inside


@pytest.mark.toolchain
@every_format
def test_an_answer_does_not_depend_on_the_records_beside_it(bench: Bench, fmt: Format) -> None:
    queries = TOYS["resnet8"].queries
    runtime = find_runtime(fmt.runtime)(Artifact.load(bench.made("resnet8", fmt.passes[0].params)), fmt.runtime_options)
    assert runtime.batch == 64
    together = runtime.query(queries[:70])
    alone = np.concatenate([runtime.query(queries[i : i + 1]) for i in (0, 1, 63, 64, 69)])
    np.testing.assert_array_equal(alone, together[[0, 1, 63, 64, 69]])


@pytest.mark.toolchain
@every_format
def test_tf_lite_answers_like_litert(bench: Bench, fmt: Format) -> None:
    folder, queries = bench.made("resnet8", fmt.passes[0].params), TOYS["resnet8"].queries
    answers = in_tensorflow(asked, folder, "tf-lite", {}, queries)
    assert agreement(litert(folder, queries), answers).rel_rms < 0.01


@pytest.mark.toolchain
@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic-int8", "int8", "int16x8"])
def test_softmax_inside(bench: Bench, precision: str) -> None:
    folder = bench.made("resnet8", {"precision": precision, "softmax": "inside"})
    assert Artifact.load(folder).manifest.softmax_inside
    answers = litert(folder, TOYS["resnet8"].queries)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=0.03)
    expected = comparable(bench.logits("resnet8"), softmax_inside=True)
    require_agreement(expected, answers, what="softmax inside", tolerance=0.2)


@pytest.mark.toolchain
def test_interfaces_give_equal_outputs(bench: Bench) -> None:
    """uint8 is int8 plus 128, and a float interface adds its conversions: answers are equal but for the last bits."""
    files = {i: bench.made("resnet8", {"precision": "int8", "interface": i}) for i in ("integer", "uint8", "float")}
    dtypes = {name: Artifact.load(folder).manifest.input.dtype for name, folder in files.items()}
    assert dtypes == {"integer": "int8", "uint8": "uint8", "float": "float32"}
    integer, unsigned, floats = (litert(folder, TOYS["resnet8"].queries) for folder in files.values())
    np.testing.assert_allclose(unsigned, integer, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(floats, integer, rtol=1e-5, atol=1e-5)


def scales_of_weights(folder: Path) -> set[int]:
    """How many scales the int8 matrices and filters have."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_path=str(folder / "model.tflite")).get_tensor_details()
    weights = [d for d in details if d["name"].endswith(("/convolution", "/MatMul"))]  # names of fused results go on
    assert len(weights) == 10  # of ResNet-8: nine convolutions and a matrix
    return {len(d["quantization_parameters"]["scales"]) for d in weights}


@pytest.mark.toolchain
def test_per_channel_is_a_scale_for_each_filter(bench: Bench) -> None:
    several, one = (
        bench.made("resnet8", FORMATS[name].passes[0].params) for name in ("tflite-int8", "tflite-int8-per-tensor")
    )
    assert scales_of_weights(several) == {16, 32, 64, 10}
    assert scales_of_weights(one) == {1}


@pytest.mark.toolchain
def test_smaller_weights_make_smaller_files_and_the_same_bytes_twice(bench: Bench, tmp_path: Path) -> None:
    files = {f.id: bench.made("resnet8", f.passes[0].params) / "model.tflite" for f in CONVERTED}
    whole = files["tflite-fp32"].stat().st_size
    assert files["tflite-fp16"].stat().st_size < 0.6 * whole
    for name in ("tflite-int8-dynamic", "tflite-int8", "tflite-int8-per-tensor", "tflite-int16x8"):
        assert files[name].stat().st_size < 0.4 * whole
    params = FORMATS["tflite-int8"].passes[0].params
    in_tensorflow(converted, TOYS["resnet8"], bench.source("resnet8"), tmp_path, params)
    assert (tmp_path / "model.tflite").read_bytes() == files["tflite-int8"].read_bytes()


@pytest.mark.toolchain
def test_an_unsupported_interface_is_named(bench: Bench, tmp_path: Path) -> None:
    params = {"precision": "int16x8", "interface": "uint8"}
    with pytest.raises(ToolchainError, match="an int16x8 file has an int16 or a float interface"):
        in_tensorflow(converted, TOYS["resnet8"], bench.source("resnet8"), tmp_path, params)


@pytest.mark.toolchain
def test_beside_torch_tensorflow_is_refused_and_not_loaded(bench: Bench, tmp_path: Path) -> None:
    import torch  # noqa: F401

    step, source = find_pass("tflite.convert"), bench.source("mlp")
    job = ExportJob(source / "model.keras", tmp_path, step.parameters({}), (64,), 10, 0, recipe=TOYS["mlp"].recipe)
    with pytest.raises(ToolchainError, match="tensorflow and torch cannot share a process"):
        step.apply(job)


RECURRENT = {
    "lstm": KerasToy("keras:tests.keras_process:lstm", images=True, epochs=40),
    "gru": KerasToy("keras:tests.keras_process:gru", images=True, epochs=40),
}


@pytest.mark.toolchain
@pytest.mark.parametrize(("name", "precision"), [("lstm", "float32"), ("lstm", "int8"), ("gru", "dynamic-int8")])
def test_recurrent_layers_are_converted_for_one_record_at_a_time(tmp_path: Path, name: str, precision: str) -> None:
    """Full-integer files have them unrolled: a loop would end the process that calibrates it."""
    toy, source, made = RECURRENT[name], tmp_path / "source", tmp_path / "made"
    source.mkdir()
    made.mkdir()
    logits = in_tensorflow(trained, toy, source)
    in_tensorflow(converted, toy, source, made, {"precision": precision})
    assert Artifact.load(made).manifest.input.shape == (1, 8, 8, 1)
    found = agreement(logits, litert(made, toy.queries))
    assert found.rel_rms < (1e-5 if precision == "float32" else 0.1)
    kinds = find_filetype("tflite").operators(made / "model.tflite")
    assert ("WHILE" in kinds) == (precision != "int8")
