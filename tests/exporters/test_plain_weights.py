"""Computed weights become plain ones before export, and answers stay what they are."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters.plain_weights import computed_weights, make_plain, require_plain

X = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def _old(wrap: Callable[..., nn.Module], layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.14 deprecates them, and models that have them exist
        return wrap(layer)


def _pruned(layer: nn.Module) -> nn.Module:
    prune.l1_unstructured(layer, "weight", 0.5)  # type: ignore[no-untyped-call]  # torch 2.14
    return layer


WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "old weight_norm": lambda layer: _old(nn.utils.weight_norm, layer),
    "old spectral_norm": lambda layer: _old(nn.utils.spectral_norm, layer),
    "pruned": _pruned,
}


@pytest.mark.parametrize("way", WAYS)
def test_answers_stay_and_only_plain_tensors_are_left(way: str) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), WAYS[way](nn.Linear(4, 3)))
    with torch.no_grad():
        module(X)  # spectral_norm estimates in training mode
        expected = module.eval()(X)
        assert list(computed_weights(module)) == ["2"]
        with pytest.raises(ToolchainError, match=r"weight of the layer '2' is computed .* so that pruning cannot"):
            require_plain(module, "pruning")
        found = make_plain(module)(X)
    torch.testing.assert_close(found, expected)
    assert sorted(module.state_dict()) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert not list(computed_weights(module))
    require_plain(module, "pruning")
