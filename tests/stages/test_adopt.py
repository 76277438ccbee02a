"""Foreign model files: what is read from them, what is detected, and what is rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeaudit.config.data import DataSpec
from edgeaudit.devices.shipping import shipped
from edgeaudit.digests import file_sha256
from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.filetypes.registry import filetype_of, filetype_specs
from edgeaudit.graph.job import Context, Job, Result
from edgeaudit.graph.store import Store
from edgeaudit.runtimes.registry import default_runtime
from edgeaudit.stages.adopt import Adopt
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.train import SourceFile
from tests.runtimes.served import converted

Made = TypeVar("Made", bound=Result)
CLASSES, SIDE = 3, 4
N = 120


def _records(seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images [N, 4, 4, 1] whose label is the row (of the first three) that is bright."""
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % CLASSES
    x = rng.integers(0, 60, (N, SIDE, SIDE, 1), dtype=np.uint8)
    x[np.arange(N), labels] += np.uint8(120)
    return x, labels


WEIGHTS = np.zeros((SIDE * SIDE, CLASSES), np.float32)
for _row in range(CLASSES):
    WEIGHTS[_row * SIDE : (_row + 1) * SIDE, _row] = 1 / SIDE
BIAS = np.zeros(CLASSES, np.float32)


def _onnx(
    path: Path,
    *,
    weights: npt.NDArray[np.float32] = WEIGHTS,
    scale: float = 1 / 64,
    bias: float = 0.0,
    softmax: bool = False,
    shape: tuple[int | str, ...] = ("n", 1, SIDE, SIDE),
    outputs: int = 1,
    sigmoid: bool = False,
    rounded: bool = False,
) -> Path:
    """(records * scale + bias) @ weights, by hand; `bias` spoils it where values are not what the file takes."""
    head = "Softmax" if softmax else "Sigmoid" if sigmoid else ""
    name = "rounding" if rounded else "out0"
    nodes = [
        helper.make_node("Mul", ["input", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["moved"]),
        helper.make_node("Relu", ["moved"], ["positive"]),
        helper.make_node("Flatten", ["positive"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits" if head else name]),
    ]
    if head:
        nodes.append(helper.make_node(head, ["logits"], [name]))
    if rounded:
        nodes.append(helper.make_node("QuantizeLinear", [name, "step", "zero"], ["codes"]))
        nodes.append(helper.make_node("DequantizeLinear", ["codes", "step", "zero"], ["out0"]))
    if outputs == 2:
        nodes.append(helper.make_node("Identity", ["flat"], ["out1"]))
    answers = [helper.make_tensor_value_info("out0", TensorProto.FLOAT, [shape[0], weights.shape[1]])]
    answers += [helper.make_tensor_value_info("out1", TensorProto.FLOAT, [shape[0], SIDE * SIDE])][: outputs - 1]
    graph = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, list(shape))],
        answers,
        [
            numpy_helper.from_array(np.array(scale, np.float32), "scale"),
            numpy_helper.from_array(np.array(bias, np.float32), "bias"),
            numpy_helper.from_array(weights.astype(np.float32), "weights"),
            numpy_helper.from_array(np.array(1 / 256, np.float32), "step"),
            numpy_helper.from_array(np.array(0, np.uint8), "zero"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def _drawn(tmp_path: Path, preprocessing: object, layout: str = "auto", labels: int = CLASSES) -> DrawPopulation:
    for name, seed in (("train", 1), ("test", 2)):
        x, y = _records(seed)
        x, y = x[y < labels], y[y < labels]
        np.savez(tmp_path / f"{name}.npz", x=x, y=y, seen=y == 1)
    data = DataSpec.model_validate({
        "source": "npz", "preprocessing": preprocessing, "layout": layout,
        "members": {"path": tmp_path / "train.npz"},
        "nonmembers": {"path": tmp_path / "test.npz", "calibrated": "seen"},
    })  # fmt: skip
    content = {"preprocessing": str(preprocessing), "layout": layout, "labels": labels}
    return DrawPopulation(content=content, seed=0, data=data)


def _run(job: Job[Made], store: Store) -> Made:
    """What the job makes, stored and read back."""
    with store.writing(*job.ref) as draft:
        job.run(Context(store, draft)).save(draft)
        store.finish(draft, {"kind": job.kind})
    return store.read(job)


def _job(population: DrawPopulation, path: Path, **inputs: Any) -> Adopt:
    filetype = filetype_of(path)
    runtime = default_runtime(filetype.spec.name).spec
    companions = {name: file_sha256(path.parent / name) for name in filetype.companions(path)}
    declared: dict[str, Any] = {
        "softmax": "detect",
        "outputs": None,
        "accuracy": None,
        "train_accuracy": None,
        **inputs,
    }
    return Adopt(
        population=population,
        file=SourceFile(file_sha256(path), companions, path),
        runtime=runtime.name,
        options=runtime.options({}),
        batch_given=False,
        versions={},
        machine={},
        **declared,
    )


def _adopt(
    tmp_path: Path,
    store: Store,
    path: Path,
    preprocessing: object = "raw",
    layout: str = "auto",
    labels: int = CLASSES,
    **inputs: Any,
) -> tuple[Artifact, tuple[str, ...]]:
    population = _drawn(tmp_path, preprocessing, layout, labels)
    _run(population, store)
    job = _job(population, path, **inputs)
    made = _run(job, store)
    return made.artifact, made.found


def test_the_contract_is_read_and_the_rest_detected(tmp_path: Path, store: Store) -> None:
    artifact, found = _adopt(tmp_path, store, _onnx(tmp_path / "made.onnx"))
    manifest = artifact.manifest
    assert (manifest.input.shape, manifest.input.layout) == ((-1, 1, SIDE, SIDE), "NCHW")
    assert not manifest.softmax_inside
    assert manifest.foreign
    assert manifest.outputs is None
    assert found[0] == "input 'input': float32 [any, 1, 4, 4]"
    assert "softmax outside" in found[3]
    assert "do not depend on the batch" in found[4]
    assert "correct on 100.0% of 120 nonmembers" in found[5]
    assert artifact.changed() is None


def test_the_key_has_the_reader_of_the_file_and_its_companions(tmp_path: Path) -> None:
    path = _onnx(tmp_path / "made.onnx")
    job = _job(_drawn(tmp_path, "raw"), path)
    assert "edgeaudit.filetypes.onnx" in job.closure().modules
    assert "edgeaudit.filetypes.tflite" not in job.closure().modules
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="data", size_threshold=64)
    outside = _job(job.population, path)
    content = (tmp_path / "data").read_bytes()
    (tmp_path / "data").write_bytes(bytes(len(content)))
    assert len({job.key, outside.key, _job(job.population, path).key}) == 3


def test_calibrated_records_are_in_the_manifest(tmp_path: Path, store: Store) -> None:
    artifact, _ = _adopt(tmp_path, store, _onnx(tmp_path / "made.onnx"))
    assert artifact.manifest.calibration_policy == "declared"
    assert artifact.manifest.calibration_ids == tuple(range(N + 1, 2 * N, 3))


def test_detect_a_softmax_by_sums(tmp_path: Path, store: Store) -> None:
    artifact, found = _adopt(tmp_path, store, _onnx(tmp_path / "made.onnx", softmax=True))
    assert artifact.manifest.softmax_inside
    assert found[3].startswith("softmax inside: 120 answers are in [0, 1] and sum to 1 within")


def test_an_image_without_a_channel_axis(tmp_path: Path, store: Store) -> None:
    artifact, _ = _adopt(tmp_path, store, _onnx(tmp_path / "made.onnx", shape=("n", SIDE, SIDE)))
    assert artifact.manifest.input.layout == "HW"


def test_a_file_with_batch_one_is_queried_one_at_a_time(tmp_path: Path, store: Store) -> None:
    artifact, found = _adopt(tmp_path, store, _onnx(tmp_path / "made.onnx", shape=(1, 1, SIDE, SIDE)))
    assert artifact.manifest.input.shape[0] == 1
    assert "queried 1 at a time" in found[4]


def test_labels_in_another_order(tmp_path: Path, store: Store) -> None:
    path = _onnx(tmp_path / "made.onnx", weights=WEIGHTS[:, [2, 0, 1]])  # output 0 is label 2, 1 is 0, 2 is 1
    with pytest.raises(ArtifactError, match=r"100.0% if its outputs are .* set target.outputs: \[1, 2, 0\]"):
        _adopt(tmp_path, store, path)


def test_target_outputs_reorder_labels(tmp_path: Path, store: Store) -> None:
    path = _onnx(tmp_path / "made.onnx", weights=np.concatenate([np.zeros((16, 1)), WEIGHTS], axis=1))
    artifact, found = _adopt(tmp_path, store, path, outputs=(1, 2, 3))
    assert artifact.manifest.outputs == (1, 2, 3)
    assert "correct on 100.0%" in found[5]


def test_a_softmax_is_found_in_all_outputs_before_some_are_taken(tmp_path: Path, store: Store) -> None:
    weights = np.concatenate([np.full((16, 1), 0.01), WEIGHTS], axis=1)  # output 0 takes a share of every sum
    path = _onnx(tmp_path / "made.onnx", weights=weights, softmax=True)
    artifact, found = _adopt(tmp_path, store, path, outputs=(1, 2, 3))
    assert artifact.manifest.softmax_inside
    assert "softmax inside: 120 answers are in [0, 1] and sum to 1" in found[3]


def test_a_softmax_that_the_file_quantises_and_dequantises(tmp_path: Path, store: Store) -> None:
    path = _onnx(tmp_path / "made.onnx", softmax=True, rounded=True)
    artifact, found = _adopt(tmp_path, store, path)
    assert artifact.manifest.output.rounded == 1 / 256
    assert artifact.manifest.softmax_inside
    assert "dequantised in the file, in steps of 0.00390625" in found[2]


def test_one_sigmoid_per_label_is_taken_as_probabilities(tmp_path: Path, store: Store) -> None:
    path = _onnx(tmp_path / "made.onnx", sigmoid=True)
    artifact, found = _adopt(tmp_path, store, path)
    assert artifact.manifest.softmax_inside
    assert found[3].startswith("one sigmoid per label (the last operator of the file): 120 answers are in [0, 1]")
    artifact, _ = _adopt(tmp_path, store, path, softmax="outside")
    assert not artifact.manifest.softmax_inside


def test_the_output_with_a_score_per_label_is_found(tmp_path: Path, store: Store) -> None:
    artifact, found = _adopt(tmp_path, store, _onnx(tmp_path / "made.onnx", outputs=2))
    assert (artifact.manifest.output.name, artifact.manifest.place) == ("out0", 0)
    assert found[6] == "output 'out0' of 2: the only one with a score per label"


def test_an_output_is_named(tmp_path: Path, store: Store) -> None:
    path = _onnx(tmp_path / "made.onnx", outputs=2)
    for name, message in (
        (
            "out2",
            r"target.output: made.onnx has no output 'out2'. Did you mean 'out\d'\? It has: out0: float32 \[-1, 3",
        ),
        ("out1", "returns 16 scores, but the data has 3 labels"),
    ):
        with pytest.raises(ArtifactError, match=message):
            _adopt(tmp_path, store, path, output=name)
    artifact, _ = _adopt(tmp_path, store, path, output="out0")
    assert artifact.manifest.output.name == "out0"


@pytest.mark.parametrize(
    ("precision", "rounded", "message"),
    [
        ("int8", False, "formats: 'mine' is int8, but made.onnx has float32 weights and no quantised operators"),
        ("int8", True, None),
        ("float32", False, None),
        (None, False, None),
    ],
)
def test_a_float_file_is_not_taken_as_quantised(
    tmp_path: Path, store: Store, precision: str | None, rounded: bool, message: str | None
) -> None:
    path = _onnx(tmp_path / "made.onnx", softmax=True, rounded=rounded)
    if message is None:
        _adopt(tmp_path, store, path, precision=precision, format="mine")
        return
    with pytest.raises(ArtifactError, match=message):
        _adopt(tmp_path, store, path, precision=precision, format="mine")


def _quantised_input(path: Path, step: float) -> Path:
    """`_onnx` behind an input of unsigned bytes times `step`."""
    model = onnx.load(_onnx(path, scale=1 / 64 if step == 1 else 20.0))
    for node in model.graph.node:
        if node.input[0] == "input":
            node.input[0] = "held"
    constants: dict[str, npt.NDArray[Any]] = {"in step": np.array(step, np.float32), "in zero": np.array(0, np.uint8)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    around = ["in step", "in zero"]
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["input", *around], ["bytes"]))
    model.graph.node.insert(1, helper.make_node("DequantizeLinear", ["bytes", *around], ["held"]))
    onnx.save(model, path)
    return path


def test_records_that_a_quantised_input_cannot_hold_are_refused(tmp_path: Path, store: Store) -> None:
    """Held are 0..1; of records of 0..255 all that is above is lost, though it answers them as well."""
    path = _quantised_input(tmp_path / "made.onnx", 1 / 255)
    with pytest.raises(ArtifactError, match=r"preprocessing does not fit .* holds values from 0 to 1, and \d+% of"):
        _adopt(tmp_path, store, path, preprocessing="raw")
    artifact, _ = _adopt(tmp_path, store, path, preprocessing="unit")
    assert not artifact.manifest.softmax_inside
    _adopt(tmp_path, store, _quantised_input(tmp_path / "bytes.onnx", 1.0), preprocessing="raw")


TWO = np.zeros((SIDE * SIDE, 1), np.float32)
TWO[:SIDE], TWO[SIDE : 2 * SIDE] = -1 / SIDE, 1 / SIDE  # the first row is bright in label 0, the second in label 1


@pytest.mark.parametrize(("sigmoid", "kind"), [(True, "probability"), (False, "logit")])
def test_one_value_per_record_is_of_two_labels(tmp_path: Path, store: Store, sigmoid: bool, kind: str) -> None:
    path = _onnx(tmp_path / "made.onnx", weights=TWO, sigmoid=sigmoid)
    artifact, found = _adopt(tmp_path, store, path, labels=2)
    manifest = artifact.manifest
    assert (manifest.single, manifest.softmax_inside) == (kind, sigmoid)
    assert "correct on 100.0%" in found[5]
    records = np.array([np.eye(4)[0], np.eye(4)[1]], np.float32).repeat(4, axis=1).reshape(2, 1, 4, 4) * 100
    answers = default_runtime("onnx")(artifact).query(records)
    # A bright row adds 100 / 64 to its logit.
    first, second = 1 / (1 + np.exp(100 / 64)), 1 / (1 + np.exp(-100 / 64))
    expected = [[1 - first, first], [1 - second, second]] if sigmoid else [[0, -100 / 64], [0, 100 / 64]]
    np.testing.assert_allclose(answers, expected, rtol=1e-5)


def test_the_value_of_the_other_label_is_named(tmp_path: Path, store: Store) -> None:
    path = _onnx(tmp_path / "made.onnx", weights=-TWO, sigmoid=True)
    with pytest.raises(ArtifactError, match=r"set target.outputs: \[1, 0\]"):
        _adopt(tmp_path, store, path, labels=2)
    artifact, found = _adopt(tmp_path, store, path, labels=2, outputs=(1, 0))
    assert artifact.manifest.outputs == (1, 0)
    assert "correct on 100.0%" in found[5]


def test_scores_with_other_axes_of_length_one(tmp_path: Path, store: Store) -> None:
    path = _onnx(tmp_path / "made.onnx")
    model = onnx.load(path)
    model.graph.node[-1].output[0] = "rows"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2], np.int64), "axes"))
    model.graph.node.append(helper.make_node("Unsqueeze", ["rows", "axes"], ["out0"]))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("out0", TensorProto.FLOAT, ["n", 1, 1, CLASSES]))
    onnx.save(model, path)
    artifact, found = _adopt(tmp_path, store, path)
    assert artifact.manifest.output.shape == (-1, CLASSES)
    assert "correct on 100.0%" in found[5]


def test_wrong_preprocessing_names_the_right_one(tmp_path: Path, store: Store) -> None:
    path = _onnx(tmp_path / "made.onnx", scale=1.0, bias=-100.0)  # takes 0..255: of 0..1 nothing is left
    with pytest.raises(ArtifactError, match=r"data.preprocessing does not fit made.onnx: .*preprocessing: raw"):
        _adopt(tmp_path, store, path, preprocessing="unit")


def test_a_stated_accuracy_is_checked(tmp_path: Path, store: Store) -> None:
    with pytest.raises(ArtifactError, match=r"target.accuracy is 70.0%, but made.onnx classifies 100.0%"):
        _adopt(tmp_path, store, _onnx(tmp_path / "made.onnx"), accuracy=0.7)
    with pytest.raises(ArtifactError, match=r"target.accuracy.train is 70.0%, but made.onnx .* members correctly"):
        _adopt(tmp_path, store, _onnx(tmp_path / "made.onnx"), train_accuracy=0.7)


@pytest.mark.parametrize("location", ["made.onnx.data", "weights/of it.bin"])
def test_external_data_are_copied(tmp_path: Path, store: Store, location: str) -> None:
    path = _onnx(tmp_path / "made.onnx")
    (tmp_path / location).parent.mkdir(exist_ok=True)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=location, size_threshold=64)
    artifact, found = _adopt(tmp_path, store, path)
    manifest = artifact.manifest
    assert manifest.companions == {location: file_sha256(tmp_path / location)}
    assert manifest.bytes == path.stat().st_size + WEIGHTS.nbytes
    assert artifact.changed() is None
    assert "correct on 100.0%" in found[5]
    folder = tmp_path / "shipped"
    folder.mkdir()
    shipped(artifact, folder)
    assert Artifact.load(folder).changed() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": WEIGHTS[:, :1]}, "returns one value per record, like a regression or a single sigmoid"),
        ({"weights": np.tile(WEIGHTS, 2)}, "returns 6 scores, but the data has 3 labels"),
        (
            {"shape": ("n", 3, SIDE, SIDE), "weights": np.tile(WEIGHTS, (3, 1))},
            r"takes records of shape \[3, 4, 4\], but the data's records have \[1, 4, 4\]",
        ),
        ({"weights": np.zeros_like(WEIGHTS)}, "not clearly more than always answering the most frequent label"),
    ],
)
def test_reject_files_that_cannot_be_audited(
    tmp_path: Path, store: Store, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        _adopt(tmp_path, store, _onnx(tmp_path / "made.onnx", **settings))


@pytest.mark.parametrize(
    ("wish", "softmax", "message"),
    [
        ("inside", False, "does not return probabilities"),
        ("outside", True, "returns probabilities: .* within [0-9.e-]+; remove it"),
    ],
)
def test_a_declared_softmax_is_compared_with_the_answers(
    tmp_path: Path, store: Store, wish: str, softmax: bool, message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        _adopt(tmp_path, store, _onnx(tmp_path / "made.onnx", softmax=softmax), softmax=wish)


@pytest.mark.parametrize("suffix", [suffix for spec in filetype_specs() if spec.adoptable for suffix in spec.suffixes])
def test_reject_a_text_file_as_artifact(tmp_path: Path, store: Store, suffix: str) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_text("no model\n" * 100, encoding="utf-8")
    path.with_suffix(".bin").touch()
    with pytest.raises(ArtifactError, match=f"cannot (read|load) .*text{suffix}"):
        _adopt(tmp_path, store, path)


@pytest.mark.toolchain
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("passes", [["litert.export"], ["onnx.export"], ["executorch.export"]])
def test_reject_a_truncated_file(tmp_path: Path, store: Store, passes: list[str], share: float) -> None:
    made = converted(tmp_path, passes)
    content = made.path.read_bytes()
    cut = tmp_path / f"cut{made.path.suffix}"
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtifactError, match=r"cut\.\w+"):
        _adopt(tmp_path, store, cut)
