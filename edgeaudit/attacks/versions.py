"""Several versions of one model: what attacks read of each of them, small enough to hold many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, IntArray, ShadowAnswers
from edgeaudit.attacks.signals import shadow_margins, target_margins
from edgeaudit.errors import AttackError

__all__ = ["FloatRows", "ShadowVersion", "TargetVersion", "require_one_model"]

FloatRows = npt.NDArray[np.float32]

_MOST_ROWS = 10_000
_MOST_CELLS = 1_000_000


@dataclass(frozen=True)
class TargetVersion:
    """What one version of a target answers. No membership of the target is in it.

    margins: float64 [n], of the true class. answers: float32 [n, classes], probabilities. labels: int64 [n].
    """

    margins: FloatArray
    answers: FloatRows
    labels: IntArray

    @classmethod
    def of(cls, audited: Evidence) -> TargetVersion:
        """From the evidence on the audited records."""
        answers = audited.task.probabilities(audited.target, audited.exposure).astype(np.float32)
        return cls(target_margins(audited), answers, audited.labels)


@dataclass(frozen=True)
class ShadowVersion:
    """What shadows answer in one version; the same for every target that is scored with these shadows.

    margins, out: [K, n] on the audited records. known_margins, known_out: [K, m] on records of which it is known, for
    each shadow, whether it trained on them. The rows are some of these (shadow, record) pairs: answers float32
    [rows, classes], probabilities; margins float64 [rows]; labels int64 [rows]; members bool [rows]; halves int64
    [rows], 0 or 1, by record, so that a record is never in both.
    """

    margins: FloatArray
    out: BoolArray
    known_margins: FloatArray
    known_out: BoolArray
    row_answers: FloatRows
    row_margins: FloatArray
    row_labels: IntArray
    row_members: BoolArray
    row_halves: IntArray

    @classmethod
    def of(cls, audited: ShadowAnswers, known: ShadowAnswers) -> ShadowVersion:
        """From the shadows' answers on the audited records and on those that teach.

        known: reference records, or the audited ones again where shadows trained on them (auditor mode). Rows are all
        pairs of these with shadows, or those of evenly spaced records where that is more than 10,000, or 1,000,000
        numbers.
        """
        k, n = known.out.shape
        most = min(_MOST_ROWS, _MOST_CELLS // known.shadows.shape[2]) // max(1, k)
        picked: IntArray = np.linspace(0, n - 1, min(n, max(1, most))).astype(np.int64)
        margins = shadow_margins(known)
        return cls(
            shadow_margins(audited),
            audited.out,
            margins,
            known.out,
            np.concatenate(
                [known.task.probabilities(one[picked], known.exposure).astype(np.float32) for one in known.shadows]
            ),
            margins[:, picked].ravel(),
            np.tile(known.labels[picked], k),
            ~known.out[:, picked].ravel(),
            np.tile(np.arange(len(picked), dtype=np.int64) % 2, k),
        )


def require_one_model(versions: Sequence[ShadowVersion]) -> None:
    """Raise `AttackError` unless these are versions of the same shadows, on the same records."""
    if not versions:
        raise AttackError("no version of the model is at hand")
    first = versions[0]
    for other in versions[1:]:
        same = (
            np.array_equal(getattr(first, name), getattr(other, name))
            for name in ("out", "known_out", "row_labels", "row_members")
        )
        if not all(same):
            raise AttackError("only versions of the same shadows, on the same records, can be combined")
