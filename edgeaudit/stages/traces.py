"""The result of boundary and trajectory: values about some of the records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeaudit.graph.job import Job

__all__ = ["StoredTrace", "TraceJob"]

_FILE = "trace.npz"


@dataclass(frozen=True)
class StoredTrace:
    """places: int64 [m], positions in `Population.queried`. values: float64 [m, d]. queries: int64 [m], to the device.

    distilled: int64 [records], positions of a student's training records; empty without a student.
    """

    places: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    queries: npt.NDArray[np.int64]
    distilled: npt.NDArray[np.int64]

    def save(self, folder: Path) -> None:
        """As .npz."""
        np.savez(folder / _FILE, places=self.places, values=self.values, queries=self.queries, distilled=self.distilled)

    @classmethod
    def load(cls, folder: Path) -> StoredTrace:
        """Read what `save` wrote."""
        with np.load(folder / _FILE) as arrays:
            return cls(arrays["places"], arrays["values"], arrays["queries"], arrays["distilled"])


TraceJob: TypeAlias = Job[StoredTrace]
