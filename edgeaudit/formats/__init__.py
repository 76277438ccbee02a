"""Formats: presets, their resolution, and incompatible combinations."""
