"""Pareto-optimal formats in accuracy, size, compressed size, latency and leakage.

One format dominates another if it is no worse in all five and better in at least one. A difference within noise is not
a win, and noise must not hide a loss:

- test accuracy: no worse if at least as many records are correct; better if the two 95% intervals are disjoint (which
  is conservative, as the records are the same).
- size, compressed size: exact.
- latency (median, one record a call): no worse if at most 10% larger, since the intervals describe one run of calls and
  not the next; better if the other is over 10% larger and the intervals are disjoint.
- leakage (AUC of the headline attack, paired over the same records or targets): no worse if the upper end of the
  difference's 95% interval is at most .02, so that "no difference found" is not enough; better if the difference is
  significant after Holm's adjustment over all pairs.

If a figure of one of the two is unknown, neither dominates. Latency counts unless no format has one. It is unknown
where other programs used the processor during the measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from edgeaudit.leakage.intervals import clopper_pearson
from edgeaudit.quality.latency import BUSY
from edgeaudit.report.compared import significant
from edgeaudit.report.lookup import AUC, Lookup, Place
from edgeaudit.report.model import Comparison, FormatResult, Latency

__all__ = ["LATENCY_MARGIN", "LEAKAGE_MARGIN", "Domination", "Pareto", "accuracy_interval"]

LEAKAGE_MARGIN = 0.02
LATENCY_MARGIN = 0.1
_BATCH = 1
_REFERENCE_RUNTIME = "torch"


@dataclass(frozen=True)
class Domination:
    """`by` is no worse in any figure, and better in those that `wins` lists."""

    by: Place
    wins: tuple[str, ...]


class Pareto:
    """Domination between formats, by device. The torch reference is not shipped, so it is left out."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._latency = {(Place(row.format, row.device), row.batch): row for row in lookup.audit.latency}
        self._pairs: dict[tuple[Place, Place], Comparison] = {}
        for row in lookup.audit.comparisons:
            if (row.kind, row.metric) == ("format pair", AUC):
                self._pairs[Place(row.first, row.device), Place(row.second, row.device)] = row

    @cached_property
    def timed(self) -> bool:
        """Whether latency counts: any format has one."""
        return any(row.median_ms is not None for (_, batch), row in self._latency.items() if batch == _BATCH)

    @cached_property
    def untimed(self) -> list[Place]:
        """Compared formats whose latency counts and is unknown: they neither dominate nor are dominated."""
        return [
            place for place in self._lookup.places if self.timed and self.takes_part(place) and not self._known(place)
        ]

    def _known(self, place: Place) -> bool:
        row = self.latency(place)
        return row is not None and row.median_ms is not None and (row.cpu_share is None or row.cpu_share >= BUSY)

    def latency(self, place: Place, batch: int = _BATCH) -> Latency | None:
        """The row of a format and batch."""
        return self._latency.get((place, batch))

    def takes_part(self, place: Place) -> bool:
        """Return whether a format was audited and is not a reference."""
        result = self._lookup.formats[place]
        return result.status == "ok" and result.runtime is not None and result.runtime.name != _REFERENCE_RUNTIME

    @cached_property
    def dominated(self) -> dict[Place, tuple[Domination, ...]]:
        """Map every compared format to the formats that dominate it, Pareto-optimal formats first."""
        places = [place for place in self._lookup.places if self.takes_part(place)]
        dominating = {
            place: [
                Domination(other, wins)
                for other in places
                if other != place and other.device == place.device and (wins := self._wins(other, place))
            ]
            for place in places
        }
        return {place: tuple(sorted(by, key=lambda d: bool(dominating[d.by]))) for place, by in dominating.items()}

    def _wins(self, one: Place, other: Place) -> tuple[str, ...]:
        """Return the figures in which `one` is better; none if it is, or may be, worse in any figure."""
        a, b = self._lookup.formats[one], self._lookup.formats[other]
        outcomes = [self._accuracy(a, b), *_sizes(a, b), self._leakage(one, other)]
        if self.timed:
            outcomes.append(self._faster(one, other))
        if any(win is None for win in outcomes):
            return ()
        return tuple(win for win in outcomes if win)

    def _accuracy(self, a: FormatResult, b: FormatResult) -> str | None:
        if a.accuracy is None or b.accuracy is None or a.accuracy.test < b.accuracy.test:
            return None
        n = self._lookup.audit.population.nonmembers
        apart = accuracy_interval(a.accuracy.test, n)[0] > accuracy_interval(b.accuracy.test, n)[1]
        return "more accurate" if apart else ""

    def _faster(self, one: Place, other: Place) -> str | None:
        a, b = self.latency(one), self.latency(other)
        if not (self._known(one) and self._known(other)):
            return None
        if a is None or b is None or a.median_ms is None or b.median_ms is None:
            return None
        if a.median_ms > b.median_ms * (1 + LATENCY_MARGIN):
            return None
        apart = a.median_high is not None and b.median_low is not None and a.median_high < b.median_low
        return "faster" if apart and b.median_ms > a.median_ms * (1 + LATENCY_MARGIN) else ""

    def _leakage(self, one: Place, other: Place) -> str | None:
        row = self._pairs.get((one, other))
        sign = 1 if row is not None else -1
        row = row or self._pairs.get((other, one))
        if row is None or row.value is None or row.low is None or row.high is None:
            return None
        upper = row.high if sign > 0 else -row.low
        if upper > LEAKAGE_MARGIN:
            return None
        return "leaks less" if significant(row) and sign * row.value < 0 else ""


def _sizes(a: FormatResult, b: FormatResult) -> list[str | None]:
    if a.artifact is None or b.artifact is None or a.quality is None or b.quality is None:
        return [None]
    sizes = (
        ("smaller", a.artifact.bytes, b.artifact.bytes),
        ("smaller compressed", a.quality.compressed_bytes, b.quality.compressed_bytes),
    )
    return [None if x > y else win if x < y else "" for win, x, y in sizes]


def accuracy_interval(accuracy: float, records: int) -> tuple[float, float]:
    """Return the 95% interval of an accuracy over `records` (Clopper-Pearson)."""
    return clopper_pearson(round(accuracy * records), records)
