"""Cosine distances between records in the space of the shadows' answers, in blocks, without an n x n matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.evidence import FloatArray, IntArray, ShadowAnswers
from edgeaudit.errors import AttackError

__all__ = ["Features", "features", "nearest_distances"]

Features = npt.NDArray[np.float32]

_BLOCK_BYTES = 1 << 26


def features(answers: ShadowAnswers) -> Features:
    """Return F(x), the K shadows' output vectors on x, concatenated and L2-normalised; float32 [records, K * classes].

    Logits are converted to probabilities first (our choice): a constant added to all logits of a record does not change
    the model, and must not change a neighbourhood. float32 is accurate to about 1e-7 in cosine distances.

    Raises:
        AttackError: there are no shadows.
    """
    k, n, classes = answers.shadows.shape
    if k == 0:
        raise AttackError("records are compared by the shadows' answers, and there are no shadows")
    joined = np.empty((n, k * classes), dtype=np.float32)
    for shadow, outputs in enumerate(answers.shadows):
        joined[:, shadow * classes : (shadow + 1) * classes] = answers.task.probabilities(outputs, answers.exposure)
    norms = np.sqrt(np.einsum("ij,ij->i", joined, joined))
    # A row of zeros (possible after integer rounding) stays zero: distance 1 to everything, not NaN.
    joined /= np.where(norms > 0, norms, 1)[:, None]
    return joined


def nearest_distances(
    audited: Features,
    pool: Features,
    count: int,
    self_index: IntArray | None = None,
    block_bytes: int = _BLOCK_BYTES,
) -> FloatArray:
    """Return the cosine distances (1 - cosine, in [0, 2]) to the `count` nearest records of the pool, ascending.

    Args:
        audited: [n, D], from `features`.
        pool: [m, D], from `features` over the same shadows.
        count: neighbours per record.
        self_index: int [n], the row of the pool that is the record itself, which is not counted as a neighbour; -1
            where the pool does not contain it. None: the pool contains none of the audited records.
        block_bytes: size of the largest block of similarities in memory (a block has at least one row).

    Returns:
        float64 [n, count].

    Raises:
        AttackError: the pool is too small, or its features come from other shadows.
    """
    if audited.shape[1] != pool.shape[1]:
        raise AttackError(f"features of {audited.shape[1]} and {pool.shape[1]} outputs come from different shadows")
    available = len(pool) - int(self_index is not None and bool((self_index >= 0).any()))
    if not 1 <= count <= available:
        raise AttackError(f"{count} neighbours cannot be found among {available} reference records; add records")
    nearest = np.empty((len(audited), count))
    rows = max(1, block_bytes // (4 * len(pool)))
    for start in range(0, len(audited), rows):
        block = slice(start, start + rows)
        similarity = audited[block] @ pool.T
        if self_index is not None:
            itself = self_index[block]
            contained = np.flatnonzero(itself >= 0)
            similarity[contained, itself[contained]] = -np.inf
        top = np.partition(similarity, len(pool) - count, axis=1)[:, len(pool) - count :]
        nearest[block] = 1 - np.sort(top, axis=1)[:, ::-1].astype(np.float64)
    # Rounding can make the cosine of equal rows slightly larger than 1.
    return np.clip(nearest, 0.0, 2.0)
