"""Formats whose file holds another architecture than the one that was trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from safetensors.torch import load_file

from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.store import Store
from edgeaudit.recipes.base import Recipe, build
from edgeaudit.report.schema import json_schema
from tests.e2e.conftest import Workbench, jobs_run

pytestmark = pytest.mark.e2e

SMALLER = {"name": "tiny-student", "passes": [{"distil": {"student": "mlp", "epochs": 30}}, "onnx.export"]}
FORMATS: list[Any] = ["torch-fp32", "channels-pruned-50-onnx-int8", "distilled-litert-int8", SMALLER]
CHANGES: dict[str, Any] = {
    "formats": FORMATS,
    "threat": {"shadows": 3, "shadow_match": ["matched", "fp32"]},
    "attacks": ["lira", "gap"],
}


def artifacts(store: Store, last_pass: str) -> Iterator[Artifact]:
    """Torch artifacts that end in a pass."""
    for folder in sorted((store.root / "compress").iterdir()):
        found = Artifact.load(folder)
        if found.manifest.kind == "torch" and found.manifest.passes[-1].name == last_pass:
            yield found


def shapes(artifact: Artifact) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in load_file(artifact.path).items()}


def test_smaller_architectures_are_audited_beside_the_full_one(bench: Workbench) -> None:
    done = bench.audit("smaller", **CHANGES)
    assert done.code == 0, done.stdout + done.stderr
    audit = done.audit
    jsonschema.validate(audit, json_schema())
    names = ["torch-fp32", "channels-pruned-50-onnx-int8", "distilled-litert-int8", "tiny-student"]
    assert [(f["id"], f["status"]) for f in audit["formats"]] == [(name, "ok") for name in names]
    rows = {
        (r["format"], r["shadow_match"]): r["value"]
        for r in audit["leakage"]
        if (r["attack"], r["variant"], r["subset"], r["metric"]) == ("lira", "offline-global", "all", "auc")
    }
    assert set(rows) == {(name, match) for name in names for match in ("matched", "fp32")}
    # Uncompressed shadows are the recipe's whole models for each format, so the reference has the same twice.
    assert rows["torch-fp32", "matched"] == rows["torch-fp32", "fp32"]
    assert rows["distilled-litert-int8", "matched"] != rows["distilled-litert-int8", "fp32"]

    # A target, a null target and three shadows each; widths by hand: the recipe's 8, 16 and 32 halved.
    store = Store(bench.folder / ".edgeaudit")
    pruned = list(artifacts(store, "torch-pruning.structured"))
    assert len(pruned) == 5
    assert all(shapes(a)["4.0.weight"] == (16, 8, 3, 3) and a.manifest.recipe["resized"] for a in pruned)
    students = list(artifacts(store, "distil"))
    assert len(students) == 10
    for artifact in students:
        recipe = Recipe.from_dict(artifact.manifest.recipe)
        assert (recipe.name, dict(recipe.options)) in [("cnn", {"width": 4}), ("mlp", {})]
        assert recipe.training.epochs == {"cnn": 20, "mlp": 30}[recipe.name]
        narrow = build(recipe, 0).state_dict()
        assert shapes(artifact) == {name: tuple(tensor.shape) for name, tensor in narrow.items()}

    again = bench.audit("smaller", **CHANGES)
    assert jobs_run(again.stdout)[0] == 0


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"distil": {"alfa": 0.5}}, "the pass 'distil' has no parameter 'alfa'"),
        ({"distil": {"student": "nowhere:make"}}, "the module 'nowhere' cannot be found"),
    ],
)
def test_reject_passes_without_effect(tmp_path: Path, step: dict[str, Any], message: str) -> None:
    done = Workbench(tmp_path).refused(formats=["torch-fp32", {"name": "x", "passes": [step, "onnx.export"]}])
    assert message in " ".join((done.stdout + done.stderr).split())
