"""Check logits: the trained model's answers on its calibration records.

Every artifact carries them, so the job that serves it needs no torch. They are the records that the quantiser saw:
min-max ranges clip nothing on them, so clipping there is a fault of the toolchain and not of a small calibration set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from edgeaudit.config.data import CalibrationPolicy
from edgeaudit.population.base import Population

__all__ = ["CHECK", "DEFAULT_POLICY", "check_records", "read_check", "write_answers"]

CHECK = "check.npz"
DEFAULT_POLICY = "disjoint"
_FEWEST = 128


def write_answers(
    answer: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]],
    population: Population,
    role: str,
    audit_seed: int,
    count: int,
    folder: Path,
) -> None:
    """Answer calibration records of every policy, `count` or as many as there are; store ids and logits in `folder`.

    answer: float32 [n, *input_shape] -> logits or values, float32 [n, outputs].
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for policy in get_args(CalibrationPolicy):
        ids = population.calibration_ids(role, audit_seed, policy, count, at_most=True)
        if len(ids) == 0:
            continue
        arrays[f"ids_{policy}"] = ids
        arrays[f"logits_{policy}"] = answer(population.take(ids))
    np.savez(folder / CHECK, **arrays)  # type: ignore[arg-type]


def check_records(requested: int) -> int:
    """How many records of a policy a trained model answers, for `requested` records of calibration.

    Few numbers, so that another number of calibration records seldom needs another answer, and no other training.

    Examples:
        >>> [check_records(count) for count in (1, 128, 129, 300)]
        [128, 128, 256, 512]
    """
    return max(_FEWEST, 1 << (requested - 1).bit_length())


def read_check(
    folder: Path, policy: str | None, seen: Sequence[int] = ()
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Record ids and the trained model's logits on them.

    policy: None for an uncalibrated artifact, which is compared on all answered records of the policy `disjoint`. seen:
    ids of the records that a quantiser saw; a smaller selection is a part of a larger one.
    """
    name = policy or DEFAULT_POLICY
    with np.load(folder / CHECK) as arrays:
        ids, logits = arrays[f"ids_{name}"], arrays[f"logits_{name}"]
    if policy is None:
        return ids, logits
    chosen = np.isin(ids, np.asarray(seen, np.int64))
    return ids[chosen], logits[chosen]
