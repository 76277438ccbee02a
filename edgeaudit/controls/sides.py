"""Sides in order: does no attack find nonmembers rather than members?

A model knows what it trained on at least as well as other records, so an AUC below 0.5 beyond chance says that the
audit's sides are swapped, or that the members' labels or records are wrong. It does not say that a format is safe.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeaudit.controls.base import Control
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.rows import NullControlRow

__all__ = ["NAME", "sides_in_order"]

NAME = "sides in order"

_ALARM = 0.001
"""As small as that of null targets: every audit with attacks is tested, and swapped sides give far smaller p-values."""


def sides_in_order(rows: Sequence[NullControlRow]) -> list[Control]:
    """Return a failure a format in which some attack's AUC is below 0.5, else one finding for all.

    It fails with p below 0.1%, two-sided, after Holm over attacks, formats and targets.

    rows: AUCs on targets, on all records, of the attacks that are judged.
    """
    tested = [row for row in rows if row.p_value is not None]
    if not tested:
        return []
    corrected = holm(np.array([row.p_value for row in tested], dtype=np.float64)).tolist()
    lowest: dict[str, tuple[float, NullControlRow]] = {}
    for p, row in sorted(zip(corrected, tested, strict=True), key=lambda result: result[1].value):
        if row.value < 0.5 and p < _ALARM:
            lowest.setdefault(row.format, (p, row))
    if not lowest:
        p, row = min(zip(corrected, tested, strict=True), key=lambda result: result[1].value)
        return [_finding(p, row, len(tested), failed=False)]
    return [_finding(p, row, len(tested), failed=True) for p, row in lowest.values()]


def _finding(p: float, row: NullControlRow, count: int, *, failed: bool) -> Control:
    attack = f"{row.attack} {row.variant}".rstrip()
    statement = (
        f"{attack} takes nonmembers for members: are the sides swapped, or are the members' labels wrong?"
        if failed
        else f"no attack takes nonmembers for members beyond chance; the lowest AUC is that of {attack}"
    )
    return Control(
        NAME,
        "failed" if failed else "holds",
        statement,
        row.value,
        row.low,
        row.high,
        p,
        row.n_members + row.n_nonmembers,
        row.format,
        f"p-value after Holm over {count} tests" if count > 1 else None,
    )
