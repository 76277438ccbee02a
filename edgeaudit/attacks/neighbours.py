"""Records as the shadows see them, and the cosine distances between them; never an n x n matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.evidence import FloatArray, IntArray, ShadowAnswers
from edgeaudit.errors import AttackError

__all__ = ["Features", "features", "nearest_distances"]

Features = npt.NDArray[np.float32]

_BLOCK_BYTES = 1 << 26


def features(answers: ShadowAnswers) -> Features:
    """F(x): the K shadows' output vectors on x, concatenated, L2-normalised; float32 [records, K * classes].

    Logits are turned into probabilities first (our choice): a constant added to all logits of a record changes no
    model, and must not change a neighbourhood. float32 holds cosine distances to about 1e-7.
    """
    k, n, classes = answers.shadows.shape
    if k == 0:
        raise AttackError("records are compared through the shadows' answers, and there is no shadow")
    joined = np.empty((n, k * classes), dtype=np.float32)
    for shadow, one in enumerate(answers.shadows):
        joined[:, shadow * classes : (shadow + 1) * classes] = answers.task.probabilities(one, answers.exposure)
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
    """Cosine distances (1 - cosine, in [0, 2]) to the `count` nearest records of the pool, ascending.

    Args:
        audited: [n, D], from `features`.
        pool: [m, D], from `features` over the same shadows.
        count: neighbours per record.
        self_index: int [n], the row of the pool that is the record itself and is not its own neighbour; -1 where
            the pool does not hold it. None: the pool holds none of the audited records.
        block_bytes: size of the largest block of similarities held at once (a block has at least one row).

    Returns:
        float64 [n, count].

    Raises:
        AttackError: the pool is too small, or its features come from other shadows.
    """
    if audited.shape[1] != pool.shape[1]:
        raise AttackError(f"features of {audited.shape[1]} and {pool.shape[1]} outputs: not the same shadows")
    available = len(pool) - int(self_index is not None and bool((self_index >= 0).any()))
    if not 1 <= count <= available:
        raise AttackError(f"{count} neighbours are wanted among {available} reference records")
    nearest = np.empty((len(audited), count))
    rows = max(1, block_bytes // (4 * len(pool)))
    for start in range(0, len(audited), rows):
        block = slice(start, start + rows)
        similarity = audited[block] @ pool.T
        if self_index is not None:
            own = self_index[block]
            held = np.flatnonzero(own >= 0)
            similarity[held, own[held]] = -np.inf
        top = np.partition(similarity, len(pool) - count, axis=1)[:, len(pool) - count :]
        nearest[block] = 1 - np.sort(top, axis=1)[:, ::-1].astype(np.float64)
    # Rounding puts the cosine of equal rows a hair above 1.
    return np.clip(nearest, 0.0, 2.0)
