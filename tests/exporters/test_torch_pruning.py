"""Channel pruning: which channels go, how many are left, and that the file says how its module is built again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edgeaudit.config.entries import PassEntry
from edgeaudit.errors import ToolchainError
from edgeaudit.exporters import ExportJob, PassResult, find_pass
from edgeaudit.recipes.base import Recipe, build, module_from_manifest
from edgeaudit.recipes.training import logits
from tests.exporters.toys import Toy, apply, toy

pytestmark = pytest.mark.toolchain

NAME = "torch-pruning.structured"


def pruned(recipe: Recipe, folder: Path, seed: int = 0, **params: Any) -> tuple[nn.Module, PassResult]:
    """An untrained model, pruned and not fine-tuned, as it is built from the file again."""
    source, workdir = folder / "source.safetensors", folder / "pruned"
    workdir.mkdir()
    save_file(build(recipe, seed).state_dict(), source)
    step = find_pass(NAME)
    product = step.apply(
        ExportJob(
            source,
            workdir,
            step.parameters({"epochs": 0, **params}),
            recipe.input_shape,
            recipe.n_classes,
            seed,
            module=lambda: module_from_manifest(recipe.to_dict(), source),
            recipe=recipe,
        )
    )
    assert product.recipe is not None
    return module_from_manifest(product.recipe.to_dict(), workdir / product.file), product


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def chain(shape: tuple[int, ...], n_classes: int) -> nn.Module:
    """Convolution, BatchNorm, all pixels into a linear layer: its inputs go in blocks of one channel's pixels."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * shape[1] * shape[2], 6),
        nn.ReLU(),
        nn.Linear(6, n_classes),
    )


def test_counts_and_channels_by_hand(tmp_path: Path) -> None:
    """The net `chain` on 1x2x2 records with 3 classes.

    Before: 4 x 9 + 4, BatchNorm 2 x 4, 16 x 6 + 6, 6 x 3 + 3 = 40 + 8 + 102 + 21 = 171 parameters, 4 + 6 channels.
    Half of the channels: 2 x 9 + 2, 2 x 2, 8 x 3 + 3, 3 x 3 + 3 = 20 + 4 + 27 + 12 = 63 parameters, 2 + 3 channels.
    """
    recipe = Recipe(f"{__name__}:chain", (1, 2, 2), 3)
    module, product = pruned(recipe, tmp_path, ratio=0.5, round_to=1)
    assert product.notes == {"parameters": 63, "parameters_before": 171, "channels": 5, "channels_before": 10}
    state = module.state_dict()
    assert [tuple(state[n].shape) for n in ("0.weight", "1.running_var", "4.weight", "6.weight")] == [
        (2, 1, 3, 3), (2,), (3, 8), (3, 3),
    ]  # fmt: skip
    assert repr(module[0]).startswith("Conv2d(1, 2,")  # type: ignore[index]
    assert repr(module[4]) == "Linear(in_features=8, out_features=3, bias=True)"  # type: ignore[index]

    # The group of the linear layer's 6 outputs is its rows and the last layer's columns; the 3 of smallest sum of
    # squares go, and what stays is untouched.
    before = load_file(tmp_path / "source.safetensors")
    rows, columns = before["4.weight"].pow(2).sum(1), before["6.weight"].pow(2).sum(0)
    # The convolution goes first, so the rows count without the columns of its lost channels.
    convolved = before["0.weight"].pow(2).sum((1, 2, 3)) + before["1.weight"].pow(2)
    convolved += before["4.weight"].reshape(6, 4, 4).pow(2).sum((0, 2))
    kept = sorted(convolved.topk(2).indices.tolist())
    assert torch.equal(state["0.weight"], before["0.weight"][kept])
    columns_kept = [4 * channel + pixel for channel in kept for pixel in range(4)]
    linear_kept = sorted((rows + columns).topk(3).indices.tolist())
    assert torch.equal(state["4.weight"], before["4.weight"][linear_kept][:, columns_kept])
    assert torch.equal(state["6.weight"], before["6.weight"][:, linear_kept])


@pytest.mark.parametrize(
    ("name", "shape", "options", "halves"),
    [
        ("mlp", (64,), {}, {"hidden": [64, 32]}),
        ("cnn", (1, 8, 8), {}, {"width": 8}),
        ("resnet8", (3, 16, 16), {}, {"width": 8}),
        ("ds-cnn", (3, 16, 16), {}, {"width": 32}),
    ],
)
def test_half_of_the_channels_is_the_architecture_of_half_the_width(
    tmp_path: Path, name: str, shape: tuple[int, ...], options: dict[str, Any], halves: dict[str, Any]
) -> None:
    """Every layer loses half, so shape by shape the result is what the recipe builds at half its width."""
    recipe = Recipe(name, shape, 10, options)
    module, product = pruned(recipe, tmp_path, ratio=0.5)
    narrow = build(replace(recipe, options=halves), 0)
    shapes = {n: tuple(t.shape) for n, t in module.state_dict().items()}
    assert shapes == {n: tuple(t.shape) for n, t in narrow.state_dict().items()}
    assert product.notes["parameters"] == size(narrow)
    assert product.notes["parameters_before"] == size(build(recipe, 0))
    assert repr(module) == repr(narrow)  # widths that layers keep beside their tensors: channels, groups, features


@pytest.mark.parametrize("name", ["mobilenet-v2", "torchvision:mobilenet_v3_small", "torchvision:squeezenet1_1"])
def test_depthwise_squeeze_and_excite_concatenation(tmp_path: Path, name: str) -> None:
    """Coupled in other ways: a channel of a squeeze-and-excite block is a factor of another layer's."""
    recipe = Recipe(name, (3, 32, 32), 10)
    module, product = pruned(recipe, tmp_path, ratio=0.5)
    whole = build(recipe, 0)
    kinds = nn.Conv2d | nn.Linear
    pairs = [(a, b) for a, b in zip(module.modules(), whole.modules(), strict=True) if isinstance(b, kinds)]
    left, before = (
        [(m.out_channels if isinstance(m, nn.Conv2d) else m.out_features) for m in side]
        for side in zip(*pairs, strict=True)
    )
    assert product.notes["channels_before"] == sum(before) - 10
    assert product.notes["channels"] == sum(left) - 10
    assert [n for n in left[:-1] if n % 4] == []
    assert all(b // 2 - 4 < a <= b // 2 for a, b in zip(left[:-1], before[:-1], strict=True))
    assert left[-1] == before[-1] == 10
    assert sum(p.numel() for p in module.parameters()) == product.notes["parameters"]
    for a, b in pairs:
        if isinstance(b, nn.Conv2d) and b.groups > 1:
            assert isinstance(a, nn.Conv2d)
            assert a.groups == a.in_channels == a.out_channels
    assert module(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def loss(subject: Toy, state: Path) -> float:
    """Mean cross-entropy on the training records."""
    x, y = subject.members()
    with torch.inference_mode():
        return float(nn.functional.cross_entropy(subject.module(state)(torch.from_numpy(x)), torch.from_numpy(y)))


@pytest.mark.parametrize(("name", "damage"), [("mlp", 0.0), ("cnn-8x8x1", 2.0)])
def test_fine_tuning_brings_the_training_records_back(name: str, damage: float) -> None:
    """Half of the MLP's 128 units are to spare; the CNN needs its channels and gets its accuracy back."""
    subject = toy(name)
    cut, tuned = (apply(subject, PassEntry(NAME, {"epochs": epochs}), subject.state)[0] for epochs in (0, 20))
    assert loss(subject, subject.state) < 0.05
    assert damage < loss(subject, cut)
    assert loss(subject, tuned) < min(0.3, loss(subject, cut))
    x, y = subject.members()
    assert (logits(subject.module(tuned), x).argmax(axis=1) == y).mean() > 0.95


def test_it_composes_with_pruning_of_weights_and_with_itself() -> None:
    subject = toy("residual-32x32x3")
    once, first = apply(subject, PassEntry(NAME, {"epochs": 0}), subject.state)
    # toys.residual has 16, 24 and 32 channels: six convolutions and the stem, 16 + 3 x 24 + 3 x 32 = 184 in all.
    assert (first.notes["channels_before"], first.notes["channels"]) == (184, 92)
    sparse, product = apply(subject, PassEntry("nncf.prune", {"ratio": 0.7, "epochs": 1}), once)
    assert product.notes["sparsity"] == pytest.approx(0.7, abs=0.01)
    assert {n: t.shape for n, t in load_file(sparse).items()} == {n: t.shape for n, t in load_file(once).items()}
    twice, second = apply(subject, PassEntry(NAME, {"epochs": 0}), once)
    # 8, 12 and 16 channels are left; half of 12 is rounded down to 4: 4 + 3 x 4 + 3 x 8 = 40.
    assert second.notes["channels"] == 40
    assert subject.answers(twice).shape == subject.logits.shape


@pytest.mark.parametrize(("ratio", "left"), [(0.9, 1), (0.8, 2), (0.7, 3), (0.3, 7)])
def test_a_tenth_of_ten_channels_is_one(tmp_path: Path, ratio: float, left: int) -> None:
    """10 * (1 - 0.9) is 0.9999999999999998 in floating point, of which the whole part is 0."""
    module, product = pruned(Recipe("mlp", (5,), 3, {"hidden": [10]}), tmp_path, ratio=ratio, round_to=1)
    assert product.notes["channels"] == left
    assert module.state_dict()["1.weight"].shape == (left, 5)


def test_layers_too_narrow_for_the_rounding_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    """Half of 4 and 6 channels is 2 and 3: rounded down to multiples of 4 nothing remains, so both stay whole."""
    recipe = Recipe(f"{__name__}:chain", (1, 2, 2), 3)
    with pytest.raises(ToolchainError, match=r"50% of the channels left 10 of 10: .* fewer than 8 channels stay whole"):
        pruned(recipe, tmp_path, ratio=0.5, round_to=4)


class Stubborn(nn.Module):
    """Its forward knows how many channels it was born with."""

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, 8, 1), nn.Linear(8, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.second(self.first(x).reshape(len(x), 8, -1).mean(2))
        return answer


class Counting(Stubborn):
    """It answers louder with every call, and what it counts is in no tensor."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        answer: torch.Tensor = self.second(self.first(x).mean((2, 3))) * self.calls
        return answer


def stubborn(shape: tuple[int, ...], n_classes: int) -> nn.Module:
    return Stubborn(shape[0], n_classes)


def counting(shape: tuple[int, ...], n_classes: int) -> nn.Module:
    return Counting(shape[0], n_classes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stubborn", "it fails at the pruned widths: .* must take the numbers of channels from its tensors"),
        ("counting", "rebuilt at the pruned widths, its outputs differ"),
    ],
)
def test_a_module_that_cannot_be_rebuilt_is_refused(tmp_path: Path, name: str, message: str) -> None:
    recipe = Recipe(f"{__name__}:{name}", (2, 4, 4), 3)
    with pytest.raises(ToolchainError, match=f"{name} cannot be pruned by channels.*{message}"):
        pruned(recipe, tmp_path)


def normed(shape: tuple[int, ...], n_classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[0], 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, n_classes))


def test_layer_norm_keeps_the_order_of_its_channels_or_is_refused(tmp_path: Path) -> None:
    recipe = Recipe(f"{__name__}:normed", (5,), 3)
    module, _ = pruned(recipe, tmp_path, ratio=0.5)
    assert repr(module[1]).startswith("LayerNorm((32,)")  # type: ignore[index]
    (tmp_path / "more").mkdir()
    with pytest.raises(ToolchainError, match="the 4 channels that a LayerNorm keeps in another order"):
        pruned(recipe, tmp_path / "more", ratio=0.93)


def test_without_a_training_loop(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="this recipe cannot fine-tune"):
        pruned(Recipe("mlp", (5,), 3), tmp_path, epochs=1)


def test_channels_of_smallest_magnitude_are_removed() -> None:
    """mlp: unit k of the hidden layer goes with row k of the first weight and column k of the second."""
    subject = toy("mlp")
    before = load_file(subject.state)
    after = load_file(apply(subject, PassEntry(NAME, {"epochs": 0}), subject.state)[0])
    magnitude = (before["0.weight"].pow(2).sum(1) + before["2.weight"].pow(2).sum(0)).numpy()
    kept = np.sort(np.argsort(magnitude)[-64:])
    assert torch.equal(after["0.weight"], before["0.weight"][kept])
    assert torch.equal(after["0.bias"], before["0.bias"][kept])
    assert torch.equal(after["2.weight"], before["2.weight"][:, kept])
