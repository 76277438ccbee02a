"""Data sources by name; another package offers one through the entry-point group `edgeaudit.sources`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeaudit.errors import DataError
from edgeaudit.registry import Registry

if TYPE_CHECKING:
    from edgeaudit.population.sources import Source, SourceSpec

__all__ = ["SOURCES"]

SOURCES: Registry[Source, SourceSpec] = Registry(
    noun="data source",
    group="edgeaudit.sources",
    base="edgeaudit.population.sources:Source",
    own={
        "digits": "edgeaudit.population.sources:Digits",
        "npz": "edgeaudit.population.sources:Npz",
        "folder": "edgeaudit.population.images:Folder",
        "csv": "edgeaudit.population.frames:Csv",
        "parquet": "edgeaudit.population.frames:Parquet",
        "arrow": "edgeaudit.population.arrow:Arrow",
        "wav": "edgeaudit.population.audio:Wav",
        "torchvision": "edgeaudit.population.sources:Torchvision",
    },
    error=DataError,
)
