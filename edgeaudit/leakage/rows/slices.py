"""The worst slice of the records: what an average over all of them can hide."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WorstSlice"]


@dataclass(frozen=True)
class WorstSlice:
    """The slice (a class, or a value of a column of `data.slices`) with the largest AUC, of the resolvable ones.

    subset: as in `LeakageRow`, such as `class:3`; null where no slice is resolvable. value, low, high: its AUC with the
    95% interval, which is that of a slice named beforehand: the largest of many is too large by chance. adjusted_p:
    two-sided, of AUC = 0.5, by Holm's method over `slices`. overall: the AUC over all records. slices, unresolvable:
    number of slices that were compared, and of those with too few records.
    """

    format: str
    device: str
    attack: str
    variant: str
    shadow_match: str
    exposure: str
    subset: str | None
    value: float | None
    low: float | None
    high: float | None
    adjusted_p: float | None
    overall: float | None
    n_members: int
    n_nonmembers: int
    slices: int
    unresolvable: int
    note: str | None = None
