"""Architectures by name; another package offers one through the entry-point group `edgeaudit.recipes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeaudit.errors import RecipeError
from edgeaudit.registry import Registry

if TYPE_CHECKING:
    from edgeaudit.recipes.base import Architecture, ArchitectureSpec

__all__ = ["ARCHITECTURES"]

ARCHITECTURES: Registry[Architecture, ArchitectureSpec] = Registry(
    noun="recipe",
    group="edgeaudit.recipes",
    base="edgeaudit.recipes.base:Architecture",
    own={
        "mlp": "edgeaudit.recipes.architectures:Mlp",
        "cnn": "edgeaudit.recipes.architectures:Cnn",
        "resnet8": "edgeaudit.recipes.architectures:ResNet8",
        "ds-cnn": "edgeaudit.recipes.architectures:DsCnn",
        "mobilenet-v2": "edgeaudit.recipes.architectures:MobileNetV2",
        "keras:mlp": "edgeaudit.recipes.keras_models:Mlp",
        "keras:cnn": "edgeaudit.recipes.keras_models:Cnn",
        "keras:resnet8": "edgeaudit.recipes.keras_models:ResNet8",
    },
    error=RecipeError,
    named_by_spec=True,
)
