"""Population: records, labels, and their split."""

from edgeaudit.population.base import HALF, NULL, SHADOW, TARGET, Population, Role, numbered, stream
from edgeaudit.population.build import build_population, population_inputs

__all__ = [
    "HALF",
    "NULL",
    "SHADOW",
    "TARGET",
    "Population",
    "Role",
    "build_population",
    "numbered",
    "population_inputs",
    "stream",
]
