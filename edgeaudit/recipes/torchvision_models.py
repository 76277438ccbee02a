"""Any torchvision classifier by name, untrained, with the audit's number of classes."""

from __future__ import annotations

from torch import nn

from edgeaudit.errors import RecipeError, did_you_mean
from edgeaudit.recipes.base import Recipe

__all__ = ["build_named"]


def build_named(recipe: Recipe) -> nn.Module:
    """torchvision.models.<name>(num_classes=n_classes, **options), without weights from a hub."""
    from torchvision import models

    name = recipe.name.partition(":")[2]
    classifiers = models.list_models(module=models)
    if name not in classifiers:
        family = name.rstrip("0123456789").split("_", maxsplit=1)[0]
        near = [c for c in classifiers if family in c] or classifiers
        raise RecipeError(
            f"torchvision has no classifier '{name}'.{did_you_mean(name, classifiers)} "
            f"Among others it has: {', '.join(near[:12])}"
        )
    module: nn.Module = models.get_model(name, weights=None, num_classes=recipe.n_classes, **recipe.options)
    return module
