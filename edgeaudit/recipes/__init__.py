"""Recipes: how a model is made from (records, seed)."""

from edgeaudit.recipes.base import Recipe, Training, build, import_function, module_from_manifest, source_digest

__all__ = ["Recipe", "Training", "build", "import_function", "module_from_manifest", "source_digest"]
