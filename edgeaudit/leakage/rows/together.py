"""Multi-version attacks: on several formats of one model, against a baseline attack on each format alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeaudit.leakage.comparisons import Compared

__all__ = ["TogetherNullRow", "TogetherRow", "TogetherSingle"]


@dataclass(frozen=True)
class TogetherSingle:
    """A multi-version attack's figure minus that of the baseline attack on one format alone; value is the baseline's.

    low, high, p_value: of the difference, paired; two-sided, unadjusted.
    """

    format: str
    value: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    note: str | None = None

    @classmethod
    def of(cls, format_id: str, difference: Compared) -> TogetherSingle:
        """Build from the difference between the combination and the baseline on this format."""
        return cls(
            format=format_id,
            value=difference.second,
            difference=difference.value,
            low=difference.low,
            high=difference.high,
            p_value=difference.p_value,
            note=difference.note,
        )


@dataclass(frozen=True)
class TogetherRow:
    """An attacker who holds several formats of one model, against the baseline attack on each of them alone.

    method: compleak-sr, compleak-mr, joint-offline, joint-online, mean-score; `-` where the set was not run. value,
    low, high: of the combination, over the records of one target or, with several, over targets. yardstick: the
    baseline attack: the audit's headline attack (cm-mia/calibrated), or an attack of the same kind
    (lira/offline-global, compleak-nr); `-` where the set was not run. best: the format with the largest baseline
    figure; difference and its interval: combination minus that. p_value: of "some format alone is at least as good",
    the largest over the singles; two-sided. adjusted_p: Holm's, over all sets and methods against one kind of baseline,
    in one metric.
    """

    formats: tuple[str, ...]
    device: str
    shadow_match: str
    method: str
    metric: str
    yardstick: str
    value: float | None
    low: float | None
    high: float | None
    best: str | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p_value: float | None
    adjusted_p: float | None
    singles: tuple[TogetherSingle, ...]
    targets: int
    note: str | None = None


@dataclass(frozen=True)
class TogetherNullRow:
    """A multi-version attack's AUC on a null target, as in `NullControlRow`.

    format: the formats, joined by ` + `. attack: the method; variant: empty.
    """

    format: str
    attack: str
    variant: str
    target: str
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    n_members: int
    n_nonmembers: int
