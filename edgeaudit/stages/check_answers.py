"""Check logits: the trained model's answers on its calibration records.

Every artifact carries them, so the job that serves it needs no torch. They are the records that the quantiser saw:
min-max ranges clip nothing on them, so clipping there is a fault of the toolchain and not of a small calibration set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeaudit.population.base import Population

__all__ = ["CHECK", "read_check", "write_answers"]

CHECK = "check.npz"
DEFAULT_POLICY = "disjoint"


def write_answers(
    answer: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
    population: Population,
    role: str,
    audit_seed: int,
    calibration: Mapping[str, int],
    folder: Path,
) -> None:
    """Answer the calibration records of every policy (policy -> how many); store ids and logits in `folder`.

    answer: float32 [n, *input_shape] -> logits or values, float32 [n, outputs].
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for policy, count in calibration.items():
        ids = population.calibration_ids(role, audit_seed, policy, count)
        arrays[f"ids_{policy}"] = ids
        arrays[f"logits_{policy}"] = answer(population.take(ids))
    np.savez(folder / CHECK, **arrays)  # type: ignore[arg-type]


def read_check(folder: Path, policy: str | None) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Record ids and the trained model's logits on them; `policy` is None for an uncalibrated artifact."""
    with np.load(folder / CHECK) as arrays:
        return arrays[f"ids_{policy or DEFAULT_POLICY}"], arrays[f"logits_{policy or DEFAULT_POLICY}"]
