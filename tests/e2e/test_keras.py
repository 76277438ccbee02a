"""Audits of Keras models, as a user runs them: a recipe, a model of the user's own, and what does not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from sklearn.datasets import load_digits

from edgeaudit.report.schema import json_schema
from tests.e2e.conftest import Workbench, jobs_run
from tests.keras_process import in_tensorflow

pytestmark = pytest.mark.e2e

TINY: dict[str, Any] = {
    "model": {"recipe": "keras:cnn", "options": {"width": 4}, "epochs": 15},
    "data": {"members": 60, "nonmembers": 60, "reference": 250, "calibration": {"records": 32}},
    "threat": {"shadows": 2},
    "attacks": ["lira", "gap"],
}
MIXED = {
    "name": "served-by-tensorflow",
    "passes": [{"tflite.convert": {"precision": "int8"}}],
    "runtime": "tf-lite",
    "softmax": "inside",
}


def test_a_keras_recipe_is_audited_like_any_other(bench: Workbench) -> None:
    changes = {
        **TINY,
        "threat": {"shadows": 2, "shadow_match": ["matched", "fp32"]},
        "controls": {"null-targets": 0},
        "formats": ["keras-fp32", "tflite-int8", MIXED],
        "attacks": ["lira", "gap", "loss-trajectory"],
        "loss-trajectory": {"epochs": 3},
        "budgets": {"auc": ["error", {"max": 0.999, "attack": "lira"}]},
    }
    done = bench.audit("keras", **changes)
    assert done.code == 0, done.stdout + done.stderr
    audit = done.audit
    jsonschema.validate(audit, json_schema())
    names = ["keras-fp32", "tflite-int8", "served-by-tensorflow"]
    assert [(f["id"], f["status"]) for f in audit["formats"]] == [(name, "ok") for name in names]
    assert [f["artifact"]["softmax_inside"] for f in audit["formats"]] == [False, False, True]
    assert [f["artifact"]["calibration_records"] for f in audit["formats"]] == [0, 32, 32]
    assert [f["runtime"]["name"] for f in audit["formats"]] == ["keras", "litert", "tf-lite"]
    # The reference is the Keras model: formats are compared with it, budgets leave it out.
    between = {(r["first"], r["second"]) for r in audit["comparisons"] if r["kind"] == "format"}
    assert between == {(name, "keras-fp32") for name in names[1:]}
    assert {b["format"] for b in audit["verdict"]["budgets"]} == set(names[1:])
    rows = {
        (r["format"], r["shadow_match"]): r["value"]
        for r in audit["leakage"]
        if (r["attack"], r["variant"], r["subset"], r["metric"]) == ("lira", "offline-global", "all", "auc")
    }
    assert rows["keras-fp32", "matched"] == rows["keras-fp32", "fp32"]
    assert rows["tflite-int8", "fp32"] > 0.5
    again = bench.audit("keras", **changes)
    assert jobs_run(again.stdout)[0] == 0


def fit_users_model(folder: Path, ids: list[int]) -> None:
    """A user's model: his own training on those digits, raw values from 0 to 16, a softmax at the end."""
    from edgeaudit.recipes.keras_models import keras, seeded

    layers = keras().layers
    digits = load_digits()
    with seeded(0):
        model = keras().Sequential(
            [
                keras().Input((8, 8, 1)),
                layers.Rescaling(1 / 16),
                layers.Conv2D(6, 3, activation="relu"),
                layers.Flatten(),
                layers.Dense(10, activation="softmax"),
            ]
        )
        model.compile(keras().optimizers.Adam(0.02), "sparse_categorical_crossentropy")
        model.fit(digits.images[ids][..., None], digits.target[ids], epochs=15, verbose=0)
    model.save(folder / "mine.keras")


def test_a_users_keras_file_and_shadows_of_its_architecture(bench: Workbench) -> None:
    order = np.random.default_rng(0).permutation(1797)
    members, others = order[:60], order[60:120]
    np.savetxt(bench.folder / "members.txt", members, "%d")
    np.savetxt(bench.folder / "others.txt", others, "%d")
    in_tensorflow(fit_users_model, bench.folder, members.tolist())
    digits = load_digits()
    np.savez(bench.folder / "raw.npz", x=digits.images.astype(np.float32), y=digits.target)
    raw = {"source": "npz", "path": "raw.npz", "standardise": False}
    raw |= {"members": "members.txt", "nonmembers": "others.txt"}
    changes = {
        **TINY,
        "model": {"recipe": "keras:checkpoint", "options": {}, "checkpoint": "mine.keras", "epochs": 15},
        "data": {**TINY["data"], **raw},
        "formats": [{"format": "tflite-int8-float-io", "softmax": "inside"}],
    }
    done = bench.audit("mine", **changes)
    assert done.code == 0, done.stdout + done.stderr
    (found,) = done.audit["formats"]
    assert found["status"] == "ok"
    assert found["artifact"]["softmax_inside"]
    assert found["accuracy"]["train"] > 0.9  # the file itself, on records as the user's training saw them


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"formats": ["keras-fp32", "onnx-int8-static"]}, "'onnx-int8-static' starts from a torch model"),
        ({"model": {"recipe": "cnn"}, "formats": ["tflite-int8"]}, "'tflite-int8' starts from a keras model"),
        ({"model": {"recipe": "keras:checkpoint"}, "formats": ["keras-fp32"]}, "set model.checkpoint to a .keras file"),
        (
            {"model": {"precision": "bfloat16"}, "formats": ["keras-fp32"]},
            "models of keras train in float32, not in bf",
        ),
        ({"model": {"recipe": "keras:nowhere:make"}, "formats": ["keras-fp32"]}, "'nowhere' cannot be found"),
    ],
)
def test_reject_incompatible_settings(shared_bench: Workbench, changes: dict[str, Any], message: str) -> None:
    model = {**TINY["model"], **changes.get("model", {})}
    done = shared_bench.refused(**{**TINY, **changes, "model": model})
    assert message in " ".join(done.stderr.split())
