"""Whole audits of models that are no classifiers of many classes, through two toolchains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tests.e2e.conftest import Finished, Workbench

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

MODELS = """
import torch
from torch import nn

def logit(shape, n):
    return nn.Sequential(nn.Linear(shape[0], 64), nn.ReLU(), nn.Linear(64, 1))

def sigmoid(shape, n):
    return nn.Sequential(logit(shape, n), nn.Sigmoid())

class Functional(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.inner = logit(shape, 2)
    def forward(self, x):
        return torch.sigmoid(self.inner(x))

def functional(shape, n):
    return Functional(shape)

def many(shape, n):
    return nn.Sequential(nn.Linear(shape[0], 64), nn.ReLU(), nn.Linear(64, n))
"""
KERAS = """
import keras

def sigmoid(shape, n):
    inputs = keras.Input(shape)
    hidden = keras.layers.Dense(64, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
"""
SIZES = {"members": 100, "nonmembers": 100, "reference": 200, "calibration": {"records": 32}}
TRAINING = {"epochs": 60, "batch": 20, "lr": 0.01, "optimizer": "adam", "weight_decay": 0.0}
ATTACKS = ["cm-mia", "lira", "rmia", "attack-r", "attack-p", "yeom", "gap"]
BOTH = ["torch-fp32", "onnx-int8-static", "litert-int8"]


def _noisy(y: Any, seed: int = 0) -> Any:
    """A tenth of the labels are wrong, so that what is learned by heart shows."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(y.shape) < 0.1, 1 - y, y)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "heads.py").write_text(MODELS, encoding="utf-8")
    (folder / "keras_heads.py").write_text(KERAS, encoding="utf-8")
    cancer, diabetes, digits = load_breast_cancer(), load_diabetes(), load_digits()
    np.savez(folder / "binary.npz", x=cancer.data.astype(np.float32), y=_noisy(cancer.target))
    progress = (diabetes.target - diabetes.target.mean()) / diabetes.target.std()
    np.savez(folder / "values.npz", x=diabetes.data.astype(np.float32), y=progress)
    spread = np.stack([progress, 100 * diabetes.data[:, 2] ** 2], axis=1)
    np.savez(folder / "two_values.npz", x=diabetes.data.astype(np.float32), y=spread)
    pixels = digits.data.astype(np.float32)
    labels = np.stack([digits.target % 2 == 0, digits.target > 4, digits.target % 3 == 0], axis=1)
    np.savez(folder / "labels.npz", x=pixels, y=_noisy(labels.astype(np.int64)))
    np.savez(folder / "records.npz", x=pixels)
    return Workbench(folder)


def _audit(bench: Workbench, name: str, data: str, model: str, *, epochs: int = 60, **changes: Any) -> Finished:
    spec: dict[str, Any] = {
        "model": {"recipe": model, "options": {}, **TRAINING, "epochs": epochs},
        "data": {"source": "npz", "path": str(bench.folder / f"{data}.npz"), **SIZES},
        "attacks": ATTACKS,
        "formats": BOTH,
        "quality": {"latency": False},
        "controls": {"null-targets": 0, "shift": False},
        **changes,
    }
    return bench.audit(name, **spec)


def _aucs(done: Finished, attack: str, variant: str) -> dict[str, float]:
    assert done.code == 0, done.stderr + done.stdout
    return {
        row["format"]: row["value"]
        for row in done.audit["leakage"]
        if (row["attack"], row["variant"], row["subset"], row["metric"]) == (attack, variant, "all", "auc")
    }


def _leaks_everywhere(done: Finished, at_least: float) -> None:
    """Every attack that runs finds an overfitted model in every format, and integer answers hardly change it."""
    assert all(one["status"] == "ok" for one in done.audit["formats"])
    for attack, variant in (
        ("lira", "offline-global"),
        ("rmia", "offline-0.3"),
        ("attack-r", "rank"),
        ("attack-p", "quantile"),
        ("yeom", "loss"),
        ("cm-mia", "t"),
        ("cm-mia", "calibrated"),
    ):
        found = _aucs(done, attack, variant)
        assert set(found) == {one["id"] for one in done.audit["formats"]}, (attack, variant)
        assert min(found.values()) > at_least, (attack, variant, found)
        assert max(found.values()) - min(found.values()) < 0.1


def _gap_is_explained(done: Finished, task: str) -> None:
    notes = {row["note"] for row in done.audit["leakage"] if row["attack"] == "gap"}
    wanted = f"not applicable: 'gap' reads an answer for each class, and a model for {task} has no classes"
    assert notes == {wanted}


def test_one_logit(bench: Workbench) -> None:
    done = _audit(bench, "logit", "binary", "heads:logit")
    _leaks_everywhere(done, 0.55)
    assert _aucs(done, "gap", "label")["torch-fp32"] > 0.5
    assert done.audit["formats"][0]["accuracy"]["train"] > 0.95
    planned = bench.run("plan", bench.folder / "logit.yaml")
    assert "one output for two classes" in planned.stdout


def test_one_sigmoid_is_the_same_as_its_logit(bench: Workbench) -> None:
    plain = _audit(bench, "logit", "binary", "heads:logit")
    done = _audit(bench, "sigmoid", "binary", "heads:sigmoid", attacks=["lira", "yeom", "gap"], formats=BOTH[:2])
    for attack, variant in (("lira", "offline-global"), ("yeom", "loss"), ("gap", "label")):
        found, wanted = _aucs(done, attack, variant), _aucs(plain, attack, variant)
        assert found == {name: wanted[name] for name in found}


def test_a_sigmoid_that_is_a_function_is_refused_with_the_remedy(bench: Workbench) -> None:
    done = bench.run(
        "run",
        bench.write(
            "functional",
            model={"recipe": "heads:functional", "options": {}, **TRAINING},
            data={"source": "npz", "path": str(bench.folder / "binary.npz"), **SIZES},
        ),
        "--out",
        "out-functional",
    )
    assert done.code == 2
    assert "make it a layer (nn.Sigmoid)" in " ".join(done.stderr.split())


def test_a_sigmoid_inside_the_file(bench: Workbench) -> None:
    formats = [{"format": name, "softmax": "inside"} for name in BOTH[1:]]
    done = _audit(bench, "inside", "binary", "heads:logit", epochs=300, formats=formats, attacks=["yeom"])  # by heart
    assert done.code == 0, done.stderr
    assert all(one["artifact"]["softmax_inside"] for one in done.audit["formats"])
    assert min(_aucs(done, "yeom", "loss").values()) > 0.6


def _onnx(file: Path, weights: Any, bias: float, *, inside: bool) -> None:
    """A file of one output: x w + b, or its sigmoid."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    values = [
        numpy_helper.from_array(np.array(weights, np.float32).reshape(-1, 1), "w"),
        numpy_helper.from_array(np.array([bias], np.float32), "b"),
    ]
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["z"])]
    nodes += [helper.make_node("Sigmoid", ["z"], ["p"])] if inside else []
    shapes = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(weights)]),
        helper.make_tensor_value_info("p" if inside else "z", TensorProto.FLOAT, ["n", 1]),
    )
    graph = helper.make_graph(nodes, "one", [shapes[0]], [shapes[1]], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, file)


@pytest.mark.parametrize("inside", [False, True])
def test_files_of_one_output_are_read_by_their_answers(bench: Workbench, inside: bool) -> None:
    """A logistic regression of somebody else's, whose losses numpy computes here from its weights."""
    with np.load(bench.folder / "binary.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    scaled = (x - mean) / deviation
    ids = np.random.default_rng(0).permutation(len(y))
    members, others = np.sort(ids[:200]), np.sort(ids[200:400])
    fitted = LogisticRegression(max_iter=1000).fit(scaled[members], y[members])
    name = f"foreign-{'inside' if inside else 'outside'}"
    _onnx(bench.folder / f"{name}.onnx", fitted.coef_[0], float(fitted.intercept_[0]), inside=inside)
    np.save(bench.folder / "in.npy", members)
    np.save(bench.folder / "out.npy", others)
    spec = {
        "target": {"artifact": f"{name}.onnx"},
        "data": {
            "source": "npz",
            "path": "binary.npz",
            "members": "in.npy",
            "nonmembers": "out.npy",
            "preprocessing": {"mean": mean.tolist(), "std": deviation.tolist()},
        },
        "controls": {"shift": False},
        "attacks": ["yeom", "gap"],
        "quality": {"latency": False},
    }
    (bench.folder / f"{name}.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    done = bench.run("run", f"{name}.yaml", "--out", name, out=name)
    assert done.code == 0, done.stderr
    artifact = done.audit["formats"][0]["artifact"]
    assert artifact["softmax_inside"] is inside
    audited = np.concatenate([members, others])
    margins = np.where(y == 1, 1, -1) * fitted.decision_function(scaled)
    # Probabilities end at half of float32's step below 1, 2^-25.
    wanted = np.maximum(-np.logaddexp(0, -margins), -25 * np.log(2))[audited]
    with np.load(next((done.out / "scores").rglob("*.npz"))) as scores:
        np.testing.assert_allclose(scores["yeom/loss"], wanted, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(scores["gap/label"], (margins > 0)[audited])


def test_keras_with_one_sigmoid(bench: Workbench) -> None:
    done = _audit(
        bench, "keras", "binary", "keras:keras_heads:sigmoid", formats=["keras-fp32", "tflite-int8"], attacks=["yeom"]
    )
    assert done.code == 0, done.stderr
    assert min(_aucs(done, "yeom", "loss").values()) > 0.6
    assert done.audit["formats"][0]["accuracy"]["train"] > 0.9


@pytest.mark.parametrize("data", ["values", "two_values"])
def test_regression(bench: Workbench, data: str) -> None:
    done = _audit(bench, data, data, "heads:many", task="regression")
    _leaks_everywhere(done, 0.55)
    _gap_is_explained(done, "regression")
    assert done.audit["formats"][0]["accuracy"]["train"] > 0.8
    report = (done.out / "report.html").read_text(encoding="utf-8")
    assert "records whose error is smaller than that of answering the mean" in report


def test_reconstruction(bench: Workbench) -> None:
    done = _audit(bench, "records", "records", "heads:many", task="reconstruction")
    _leaks_everywhere(done, 0.55)
    _gap_is_explained(done, "reconstruction")
    assert done.audit["population"]["outputs"] == 64


def test_several_labels(bench: Workbench) -> None:
    done = _audit(bench, "labels", "labels", "heads:many", task="multi-label")
    _leaks_everywhere(done, 0.55)
    _gap_is_explained(done, "multi-label")


def test_the_error_of_a_regression_by_hand(bench: Workbench) -> None:
    """Yeom's scores order records as the squared errors of a torch model that numpy asks itself."""
    done = _audit(bench, "values", "values", "heads:many", task="regression")
    scores = np.load(next((done.out / "scores").glob("*torch-fp32*.npz")))
    found = scores[next(key for key in scores.files if key.startswith("yeom"))]
    members = np.arange(200) < 100
    assert _aucs(done, "yeom", "loss")["torch-fp32"] == pytest.approx(roc_auc_score(members, found))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"canaries": {"records": 40}}, "remove 'canaries'"),
        ({"budgets": {"auc": ["error", {"max": 0.6, "subset": "class:*"}]}}, "no figures by class"),
        ({"together": "all"}, "remove 'together'"),
        ({"threat": {"shadows": 4, "weaker": ["label"]}}, "remove 'threat.weaker'"),
        ({"attacks": ["label-only"]}, "'label-only' needs predicted classes"),
        ({"model": {"accuracy": 0.9}}, "remove 'accuracy'"),
        ({"formats": [{"format": "onnx-fp32", "softmax": "inside"}]}, "remove 'softmax: inside'"),
        ({"threat": {"shadows": 4, "views": ["flip"]}}, "remove 'threat.views'"),
    ],
)
def test_what_needs_classes_is_refused_before_anything_runs(
    bench: Workbench, changes: dict[str, Any], words: str
) -> None:
    done = bench.refused(task="reconstruction", **changes)
    assert words in " ".join(done.stderr.split())
