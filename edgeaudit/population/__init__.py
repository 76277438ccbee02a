"""Population: records, labels, and their split."""

from edgeaudit.population.base import HALF, Population, Role, stream
from edgeaudit.population.build import build_population, population_inputs

__all__ = ["HALF", "Population", "Role", "build_population", "population_inputs", "stream"]
