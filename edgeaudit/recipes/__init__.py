"""Recipes: how a model is made from (records, seed)."""
