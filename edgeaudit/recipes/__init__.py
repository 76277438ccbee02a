"""Recipes: how a model is trained from (records, seed)."""
