"""Damaged checkpoints: weights, or one sentence. 20 of each kind here, 1,000 by `make fuzz`, in one worker each."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgeaudit.graph.processes import LocalProcesses
from edgeaudit.graph.store import Store
from edgeaudit.recipes.base import Recipe, build
from tests.fuzz import checkpoints
from tests.fuzz.damage import count, damaged, damages
from tests.fuzz.file_jobs import LoadMany
from tests.fuzz.test_model_files import tried
from tests.keras_process import in_tensorflow

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]
_MANY = count(20, 2000)


def _said(tmp_path: Path, names: list[str], **how: Any) -> Counter[str]:
    with LocalProcesses(Store(tmp_path / "store"), 1) as executor:

        def make(**more: Any) -> LoadMany:
            return LoadMany(**how, **more)

        found = tried(executor, make, tmp_path, names)
    assert found[names[0]] == ["", ""]
    return Counter(kind for kind, _ in found.values())


def test_damaged_torch_weights(tmp_path: Path) -> None:
    """One worker for both forms."""
    state = build(Recipe("mlp", (4,), 2, {"hidden": (3,)}), 0).state_dict()
    torch.save(state, tmp_path / "f.pt")
    save_file(state, tmp_path / "f.safetensors")
    names = ["f.pt", "f.safetensors"]
    for suffix in (".pt", ".safetensors"):
        for k, content in enumerate(damages((tmp_path / f"f{suffix}").read_bytes(), 21, _MANY)):
            names.append(f"f{k}{suffix}")
            (tmp_path / names[-1]).write_bytes(content)
    assert _said(tmp_path, names, recipe="mlp", options=(("hidden", (3,)),))["ours"] > _MANY // 2


def test_damaged_keras_files_and_saved_models(tmp_path: Path) -> None:
    """One worker for both: TensorFlow takes seconds to import."""
    in_tensorflow(checkpoints.write, tmp_path)
    whole = (tmp_path / "model.keras").read_bytes()
    names = []
    for k, content in enumerate((whole, *damages(whole, 22, _MANY))):
        names.append(f"f{k}.keras")
        (tmp_path / names[-1]).write_bytes(content)
    for k in range(_MANY):
        rng = random.Random(k)  # noqa: S311  no secret
        names.append(f"saved-{k}")
        shutil.copytree(tmp_path / "saved", tmp_path / names[-1])
        files = sorted(path for path in (tmp_path / names[-1]).rglob("*") if path.is_file())
        path = rng.choice([tmp_path / names[-1] / "saved_model.pb", *files])
        if rng.random() < 0.1:
            path.unlink()
        else:
            path.write_bytes(damaged(path.read_bytes(), rng))
    assert _said(tmp_path, names, recipe="keras:checkpoint", how="keras")["ours"] > _MANY // 2
