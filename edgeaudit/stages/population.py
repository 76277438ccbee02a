"""source -> population."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeaudit.config.data import DataSpec
from edgeaudit.graph.job import JobContext
from edgeaudit.population import build_population

__all__ = ["draw"]


def draw(context: JobContext) -> Mapping[str, Any]:
    """Read the source, split it, write the population."""
    build_population(DataSpec.model_validate(context.inputs["data"]), context.inputs["seed"], context.draft)
    return {}
