"""Pruning: how much, where, under which names, and that fine-tuning keeps the zeros."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from edgeaudit.config.entries import PassEntry
from edgeaudit.errors import ToolchainError
from edgeaudit.exporters import ExportJob, find_pass
from tests.exporters.toys import Toy, apply, toy

pytestmark = pytest.mark.toolchain


def pruned(subject: Toy, **params: float) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    path, product = apply(subject, PassEntry("nncf.prune", params), subject.state)
    return load_file(path), {name: float(str(value)) for name, value in product.notes.items()}


@pytest.mark.parametrize("name", ["mlp", "separable-32x32x3"])
@pytest.mark.parametrize("ratio", [0.5, 0.9])
def test_the_requested_sparsity_holds_after_fine_tuning(name: str, ratio: float) -> None:
    subject = toy(name)
    before = load_file(subject.state)
    state, notes = pruned(subject, ratio=ratio, epochs=2)
    assert list(state) == list(before)
    weights = [n for n, tensor in before.items() if tensor.ndim >= 2]
    zeros, total = sum(int((state[n] == 0).sum()) for n in weights), sum(state[n].numel() for n in weights)
    assert notes == {"sparsity": zeros / total, "weights": total}
    assert abs(notes["sparsity"] - ratio) < 0.01
    subject.module(apply(subject, PassEntry("nncf.prune", {"ratio": ratio, "epochs": 0}), subject.state)[0])


def test_the_smallest_weights_go_each_layer_measured_by_its_norm() -> None:
    subject = toy("mlp")
    before = load_file(subject.state)
    after, _ = pruned(subject, ratio=0.7, epochs=0)
    names = ["0.weight", "2.weight"]
    size = np.concatenate([(before[n].abs() / before[n].norm()).numpy().ravel() for n in names])
    gone = np.concatenate([(after[n] == 0).numpy().ravel() for n in names])
    assert size[gone].max() <= size[~gone].min()
    for name, tensor in before.items():  # what stays is untouched
        kept = after[name] != 0
        assert torch.equal(after[name][kept], tensor[kept])


def test_fine_tuning_changes_only_the_remaining_weights() -> None:
    subject = toy("cnn-8x8x1")
    zeros, tuned = pruned(subject, ratio=0.7, epochs=0)[0], pruned(subject, ratio=0.7, epochs=2)[0]
    weight = "body.2.0.weight"
    assert torch.equal(zeros[weight] == 0, tuned[weight] == 0)
    assert not torch.equal(zeros[weight], tuned[weight])


def job(subject: Toy, folder: Path, **params: float) -> ExportJob:
    return ExportJob(
        source=subject.state,
        workdir=folder,
        params=find_pass("nncf.prune").parameters(params),
        input_shape=subject.recipe.shape,
        n_classes=10,
        seed=0,
        module=lambda: subject.module(subject.state),
        finetune=subject.finetune,
    )


@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5])
def test_ratio_out_of_range(tmp_path: Path, ratio: float) -> None:
    with pytest.raises(ToolchainError, match=r"'ratio' is .* between 0 and 1"):
        find_pass("nncf.prune").apply(job(toy("mlp"), tmp_path, ratio=ratio))


def test_without_a_training_loop(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="this recipe cannot fine-tune"):
        find_pass("nncf.prune").apply(replace(job(toy("mlp"), tmp_path), finetune=None))


def test_a_loop_that_restores_pruned_weights_is_detected(tmp_path: Path) -> None:
    """A loop that swaps the masks away leaves dense weights."""

    def unmask(module: nn.Module, epochs: int) -> None:
        for name, mask in module.named_buffers():
            if name.endswith("binary_mask"):
                mask.fill_(1)

    with pytest.raises(ToolchainError, match=r"pruning to 70% left \d+ of 9472 weights zero"):
        find_pass("nncf.prune").apply(replace(job(toy("mlp"), tmp_path), finetune=unmask))
