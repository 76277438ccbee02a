"""Training on: zeros stay, the rest moves, and the file is what a recipe's own loop makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from edgeaudit.config.entries import PassEntry
from edgeaudit.errors import ToolchainError
from edgeaudit.exporters import ExportJob, find_pass
from tests.exporters.toys import Toy, apply, toy

pytestmark = pytest.mark.toolchain

PRUNED = PassEntry("nncf.prune", {"ratio": 0.7, "epochs": 0})


def pruned(subject: Toy) -> Path:
    return apply(subject, PRUNED, subject.state)[0]


@pytest.mark.parametrize("name", ["mlp", "cnn-8x8x1"])
def test_pruned_weights_stay_zero_and_others_move(name: str) -> None:
    subject = toy(name)
    source = pruned(subject)
    path, product = apply(subject, PassEntry("finetune", {"epochs": 2}), source)
    before, after = load_file(source), load_file(path)
    assert list(after) == list(before)
    weights = [n for n, tensor in before.items() if tensor.ndim >= 2]
    for weight in weights:
        assert torch.equal(before[weight] == 0, after[weight] == 0)
        assert not torch.equal(before[weight], after[weight])
    zeros, total = sum(int((after[n] == 0).sum()) for n in weights), sum(after[n].numel() for n in weights)
    assert product.notes == {"zeros": zeros, "weights": total}
    assert zeros / total == pytest.approx(0.7, abs=0.01)


def test_the_same_as_pruning_with_epochs() -> None:
    """Of a network that draws nothing: masked weights and held gradients take the same steps, in other sums."""
    subject = toy("mlp")
    at_once = load_file(apply(subject, PassEntry("nncf.prune", {"ratio": 0.7, "epochs": 2}), subject.state)[0])
    in_two = load_file(apply(subject, PassEntry("finetune", {"epochs": 2}), pruned(subject))[0])
    for name, tensor in at_once.items():
        torch.testing.assert_close(in_two[name], tensor, rtol=1e-4, atol=1e-5)


def test_of_a_dense_network_it_is_the_loop_itself() -> None:
    subject = toy("mlp")
    path, _ = apply(subject, PassEntry("finetune", {"epochs": 1}), subject.state)
    module = subject.module(subject.state)
    subject.finetune(module, 1)
    for name, tensor in load_file(path).items():
        assert torch.equal(tensor, module.state_dict()[name])


def job(subject: Toy, source: Path, folder: Path, epochs: int = 1) -> ExportJob:
    return ExportJob(
        source=source,
        workdir=folder,
        params=find_pass("finetune").parameters({"epochs": epochs}),
        input_shape=subject.recipe.shape,
        n_classes=10,
        seed=0,
        module=lambda: subject.module(source),
        finetune=subject.finetune,
    )


def adam(module: nn.Module, epochs: int) -> None:
    subject = toy("mlp")
    optimizer = torch.optim.AdamW(module.parameters(), 0.01, weight_decay=0.1)
    for _ in range(epochs):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(torch.from_numpy(subject.x[:60])), torch.from_numpy(subject.y[:60]))
        loss.backward()  # type: ignore[no-untyped-call]  # torch 2.14
        optimizer.step()


def noisy(module: nn.Module, epochs: int) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.01)


def test_adam_leaves_them_where_they_are(tmp_path: Path) -> None:
    subject = toy("mlp")
    source = pruned(subject)
    find_pass("finetune").apply(replace(job(subject, source, tmp_path, 3), finetune=adam))
    before, after = load_file(source), load_file(tmp_path / "model.safetensors")
    assert torch.equal(before["0.weight"] == 0, after["0.weight"] == 0)
    assert not torch.equal(before["0.weight"], after["0.weight"])


def test_a_loop_that_restores_pruned_weights_is_detected(tmp_path: Path) -> None:
    subject = toy("mlp")
    with pytest.raises(ToolchainError, match=r"fine-tuning changed \d+ pruned weights"):
        find_pass("finetune").apply(replace(job(subject, pruned(subject), tmp_path), finetune=noisy))


def test_invalid_parameters(tmp_path: Path) -> None:
    subject = toy("mlp")
    with pytest.raises(ToolchainError, match="'epochs' is 0; it must be an integer from 1"):
        find_pass("finetune").apply(job(subject, subject.state, tmp_path, 0))
    with pytest.raises(ToolchainError, match="this recipe cannot fine-tune"):
        find_pass("finetune").apply(replace(job(subject, subject.state, tmp_path), finetune=None))
