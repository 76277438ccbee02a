"""Checkpoints as trainers write them: a common prefix is taken off, and said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeaudit.errors import RecipeError
from edgeaudit.recipes.base import Recipe
from edgeaudit.recipes.torch_checkpoint import load_checkpoint

RECIPE = Recipe("mlp", (4,), 3)


def _net(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


def _under(prefix: str, seed: int = 1) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in _net(seed).state_dict().items()}


def _loaded(content: object, folder: Path) -> tuple[nn.Module, tuple[str, ...]]:
    path = folder / "weights.ckpt"
    torch.save(content, path)
    module = _net(0)
    return module, load_checkpoint(module, path, RECIPE)


def _is_trained(module: nn.Module) -> bool:
    return all(torch.equal(value, module.state_dict()[name]) for name, value in _under("").items())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_under(""), ()),
        ({"model": _under(""), "epoch": 60}, ("weights of the checkpoint are those under 'model'",)),
        (_under("module."), ("the prefix 'module.' of the checkpoint's names was taken off",)),
        (_under("_orig_mod."), ("the prefix '_orig_mod.' of the checkpoint's names was taken off",)),
        (
            {"epoch": 3, "state_dict": {**_under("model.net."), "criterion.weight": torch.ones(3)}},
            (
                "weights of the checkpoint are those under 'state_dict'",
                "the prefix 'model.net.' of the checkpoint's names was taken off",
                "left out of the checkpoint: criterion.weight",
            ),
        ),
    ],
)
def test_what_stands_around_the_weights_is_taken_off_and_said(
    content: object, said: tuple[str, ...], tmp_path: Path
) -> None:
    module, told = _loaded(content, tmp_path)
    assert _is_trained(module)
    assert told == said


def test_safetensors_with_a_prefix(tmp_path: Path) -> None:
    save_file(_under("module."), tmp_path / "w.safetensors")
    module = _net(0)
    load_checkpoint(module, tmp_path / "w.safetensors", RECIPE)
    assert _is_trained(module)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # Which of the two is deployed, the file does not say.
        ({**_under("model."), **_under("ema.", 2)}, "holds the recipe's weights 2 times, under 'ema.', 'model.'"),
        ({"state_dict": {"model.0.weight": torch.zeros(5, 4)}}, "does not fit model.recipe 'mlp' .* Missing key"),
        ([1, 2], "holds a list, not a state_dict"),
        ({name: value * torch.nan for name, value in _under("module.").items()}, "contains NaN"),
    ],
)
def test_what_does_not_fit_is_refused(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        _loaded(content, tmp_path)


@pytest.mark.parametrize("content", [b"hello", b"not a checkpoint", b"", b"\x80\x02}q\x00."])
def test_bytes_that_are_no_checkpoint_are_refused_in_words(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(
        RecipeError, match=r"model.checkpoint.*weights.pt.*torch.save\(model.state_dict\(\), ...\)|names"
    ):
        load_checkpoint(_net(0), path, RECIPE)


def test_a_checkpoint_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="No such file or directory") as caught:
        load_checkpoint(_net(0), tmp_path / "absent.pt", RECIPE)
    assert str(caught.value).count("absent.pt") == 1
