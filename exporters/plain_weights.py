"""Weights that a torch module computes in its forward from others, made plain parameters.

Converters would have to convert the computation (spectral_norm has `aten::vdot`, which ONNX opset 17 and OpenVINO do
not have), and would store what a deployed file does not need.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeaudit.errors import ToolchainError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["computed_weights", "make_plain", "require_plain"]


def make_plain(module: nn.Module) -> nn.Module:
    """Replace computed weights by their values, in place; eval mode, in which answers stay what they are.

    Parametrisations (torch.nn.utils.parametrizations: weight_norm, spectral_norm, orthogonal), the hooks that came
    before them (torch.nn.utils.weight_norm and spectral_norm, deprecated in torch 2.14), and the masks of
    torch.nn.utils.prune.
    """
    from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
    from torch.nn.utils.spectral_norm import SpectralNorm
    from torch.nn.utils.weight_norm import WeightNorm

    module.eval()
    for layer in module.modules():
        if parametrize.is_parametrized(layer):
            for name in list(layer.parametrizations):  # type: ignore[arg-type]  # a ModuleDict, torch 2.14
                parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
        for hook in list(layer._forward_pre_hooks.values()):  # noqa: SLF001  torch has no other list of them
            if isinstance(hook, WeightNorm):
                remove_weight_norm(layer, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(layer, hook.name)
            elif isinstance(hook, prune.BasePruningMethod):
                prune.remove(layer, hook._tensor_name)  # type: ignore[no-untyped-call]  # noqa: SLF001  torch 2.14
    return module


def computed_weights(module: nn.Module) -> Iterator[str]:
    """Names of the layers whose weights are computed, as `make_plain` would find them."""
    from torch.nn.utils import parametrize, prune
    from torch.nn.utils.spectral_norm import SpectralNorm
    from torch.nn.utils.weight_norm import WeightNorm

    for name, layer in module.named_modules():
        hooked = any(
            isinstance(hook, WeightNorm | SpectralNorm | prune.BasePruningMethod)
            for hook in layer._forward_pre_hooks.values()  # noqa: SLF001
        )
        if hooked or parametrize.is_parametrized(layer):
            yield name or type(layer).__name__


def require_plain(module: nn.Module, step: str) -> None:
    """Raise `ToolchainError` that names a layer with computed weights, which `step` cannot change.

    step: what would change them, such as `pruning`.
    """
    if found := list(computed_weights(module)):
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise ToolchainError(
            f"the weight of the layer '{found[0]}'{more} is computed from others (weight_norm, spectral_norm or "
            f"another parametrisation), so that {step} cannot change it; choose a format without {step}, or train "
            "the model without the parametrisation"
        )
