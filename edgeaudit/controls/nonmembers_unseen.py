"""Nonmembers unseen: does the test of single records accuse no more of them than of other records that were not seen?

Where a list of nonmembers has records that the target trained on, members no longer stand out from them: every figure
is too small, and a budget may pass. Conformal p-values rank a record's score among those of reference records, which
the target did not train on, so that such a list shows: more nonmembers have small p-values than a valid test gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist

from edgeaudit.controls.base import Control, Status
from edgeaudit.leakage.rows import PCalibration

__all__ = ["NAME", "nonmembers_unseen"]

NAME = "nonmembers unseen"

_NOMINAL = 0.1
"""The level at which most of a mixture shows, of those that are reported."""
_ALARM = 0.001
_CLEAR = 1.5
"""Times the level, from which on it matters: a few percent of known nonmembers change no verdict."""
_BAND = 1.959964


def nonmembers_unseen(formats: Mapping[str, Iterable[PCalibration]], tests: Sequence[str]) -> list[Control]:
    """Return a finding a format that has p-values; of no use where edgeaudit drew the nonmembers itself.

    Undecided where the test accuses 1.5 times as many nonmembers as its level, with p below 0.1% after Bonferroni over
    formats (from the band of a valid test, which includes the draw of the reference records).

    formats: name -> rows of one shadow match. tests: `attack/variant` of tests whose p-values are
    conformal, the first that a format has.
    """
    rows = {name: row for name, of in formats.items() if (row := _row(list(of), tests)) is not None}
    return [_finding(name, row, len(rows)) for name, row in rows.items()]


def _row(rows: Sequence[PCalibration], tests: Sequence[str]) -> PCalibration | None:
    for test in tests:
        wanted = (test, "conformal", "nonmembers", _NOMINAL)
        of = [row for row in rows if (f"{row.attack}/{row.variant}", row.kind, row.source, row.nominal) == wanted]
        if of and of[0].band_high is not None:
            return of[0]
    return None


def _finding(name: str, row: PCalibration, tests: int) -> Control:
    spread = max((row.band_high or 0.0) - row.nominal, 1e-9) / _BAND
    p = min(1.0, tests * NormalDist().cdf((row.nominal - row.observed) / spread))
    seen = p < _ALARM and row.observed >= _CLEAR * row.nominal
    accused = f"at a level of {row.nominal:.0%} {row.attack} {row.variant} accuses {row.observed:.1%} of them"
    allowed = f"where reference records allow {row.band_high:.1%}: did the target train on some, or do they differ from"
    statement = (
        f"nonmembers look like training records ({accused}, {allowed} reference records?); figures are too small then"
        if seen
        else f"nonmembers look like other records that the target did not train on ({accused})"
    )
    status: Status = "undecided" if seen else "holds"
    return Control(NAME, status, statement, row.observed, row.low, row.high, p, row.n, name)
