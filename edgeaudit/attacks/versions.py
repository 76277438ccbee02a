"""Input of multi-version attacks: a summary of each version of a model, small enough to hold many in memory."""

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
    """Answers of one version of a target, without the target's memberships.

    margins: float64 [n], of the true class. answers: float32 [n, classes], probabilities. labels: int64 [n].
    """

    margins: FloatArray
    answers: FloatRows
    labels: IntArray

    @classmethod
    def of(cls, audited: Evidence) -> TargetVersion:
        """Build from the evidence on the audited records."""
        answers = audited.task.probabilities(audited.target, audited.exposure).astype(np.float32)
        return cls(target_margins(audited), answers, audited.labels)


@dataclass(frozen=True)
class ShadowVersion:
    """Answers of the shadows in one version; the same for every target that is scored with these shadows.

    margins, out: [K, n], on the audited records.
    known_margins, known_out: [K, m], on records with known membership in each shadow's training set.
    row_*: a sample of those (shadow, record) pairs: answers float32 [rows, classes], probabilities; margins float64
        [rows]; labels int64 [rows]; members bool [rows]; halves int64 [rows], 0 or 1 by record, so that all pairs of a
        record are in the same half.
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
        """Build from the shadows' answers on the audited records and on records with known membership.

        known: reference records, or the audited records again where shadows trained on them (auditor mode). The rows
            are all (shadow, known record) pairs, or those of evenly spaced records where there are more than 10,000
            rows or 1,000,000 values.
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
    """Raise `AttackError` unless these are one or more versions of the same shadows, on the same records."""
    if not versions:
        raise AttackError("a multi-version attack needs at least one version of the model")
    first = versions[0]
    for other in versions[1:]:
        same = (
            np.array_equal(getattr(first, name), getattr(other, name))
            for name in ("out", "known_out", "row_labels", "row_members")
        )
        if not all(same):
            raise AttackError("only versions of the same shadows, on the same records, can be combined")
