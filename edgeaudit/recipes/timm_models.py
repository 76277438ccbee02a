"""Any timm classifier by name, untrained, with the audit's numbers of classes and channels."""

from __future__ import annotations

from typing import Any

from torch import nn

from edgeaudit.errors import MissingToolchain, RecipeError, did_you_mean
from edgeaudit.recipes.base import Recipe

__all__ = ["build_named"]


def build_named(recipe: Recipe) -> nn.Module:
    """timm.create_model(<name>, num_classes=n_classes, in_chans=channels, **options), without weights from a hub.

    Networks of a fixed resolution, such as vision transformers, take the records' by the option `img_size`.

    Raises `RecipeError` where timm has no such model, and `MissingToolchain` where it is not installed.
    """
    name = recipe.name.partition(":")[2]
    try:
        import timm
    except ImportError as exc:
        raise MissingToolchain(f"model.recipe '{recipe.name}'", "timm", "timm") from exc
    architecture, _, weights = name.partition(".")
    if weights and timm.is_model(architecture):
        raise RecipeError(
            f"model.recipe: '{recipe.name}' names the weights '{weights}', but recipes are trained anew; write "
            f"timm:{architecture}, and give trained weights as model.checkpoint"
        )
    if not timm.is_model(name):
        models = timm.list_models()
        family = architecture.rstrip("0123456789").split("_", maxsplit=1)[0]
        near = [model for model in models if family in model] or models
        raise RecipeError(
            f"model.recipe: timm has no model '{name}'.{did_you_mean(name, models)} Among others it has: "
            f"{', '.join(near[:12])}"
        )
    settings: dict[str, Any] = {"num_classes": recipe.n_classes, "in_chans": recipe.input_shape[0], **recipe.options}
    if len(recipe.input_shape) != 3:
        settings.pop("in_chans", None)
    module: nn.Module = timm.create_model(name, pretrained=False, **settings)
    return module
