"""Finding figures in an audit: places (format on a device), series (one attack in one setting) and the headline."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from edgeaudit.report.model import Audit, Budget, Curve, FormatResult, LeakageRow

__all__ = ["AUC", "TPR", "Lookup", "Place", "Series", "unique"]

AUC = "auc"
TPR = "tpr@fpr=0.01"
_HEADLINES = (("cm-mia", "t"), ("cm-mia", "ecdf"))
_VERDICT = re.compile(r"(coverage|ppv|recall|fpr|forced_accuracy)@(\d*\.?\d+)")
_WITHOUT_SHADOWS = {"", "-", "none"}
_T = TypeVar("_T")


class Place(NamedTuple):
    """A format on a device."""

    format: str
    device: str


class Series(NamedTuple):
    """One attack in one setting; with a place and a metric it names a figure."""

    attack: str
    variant: str
    exposure: str
    subset: str
    shadow_match: str

    @property
    def label(self) -> str:
        """Attack and variant: cm-mia t, gap."""
        return self.attack if self.variant in {"", "-", "default", self.attack} else f"{self.attack} {self.variant}"

    @property
    def is_main(self) -> bool:
        """Whether the shadows were made like the target, or the attack uses none: all that is not an ablation."""
        return self.shadow_match == "matched" or self.shadow_match in _WITHOUT_SHADOWS


def unique(items: Iterable[_T]) -> list[_T]:
    """Items in their order, each once."""
    return list(dict.fromkeys(items))


class Lookup:
    """An audit's figures by name. Where a name occurs twice the first stands."""

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self.places = [Place(f.id, f.device) for f in audit.formats]
        self.formats = dict(zip(self.places, audit.formats, strict=True))
        self._rows: dict[tuple[Place, Series, str], LeakageRow] = {}
        for row in audit.leakage:
            self._rows.setdefault((Place(row.format, row.device), _series(row), row.metric), row)
        self.series = unique(series for _, series, _ in self._rows)
        self.headline = self._headline()

    def _headline(self) -> Series | None:
        """CM-MIA t on all records with matched shadows; where it was not run, the first attack with an AUC."""
        main = [s for s in self.series_with(AUC) if s.is_main and s.subset == "all"]
        for wanted in _HEADLINES:
            for series in main:
                if (series.attack, series.variant) == wanted:
                    return series
        return main[0] if main else None

    def series_with(self, metric: str) -> list[Series]:
        """The series that have this metric in any format."""
        return unique(series for _, series, name in self._rows if name == metric)

    def metrics(self, series: Series) -> list[str]:
        """The metrics that a series has in any format."""
        return unique(name for _, owner, name in self._rows if owner == series)

    def row(self, place: Place, series: Series | None, metric: str) -> LeakageRow | None:
        """One figure, or None where the audit does not have it."""
        return None if series is None else self._rows.get((place, series, metric))

    def ok(self) -> list[tuple[Place, FormatResult]]:
        """The formats that were audited."""
        return [(place, result) for place, result in self.formats.items() if result.status == "ok"]

    def label(self, place: Place) -> str:
        """The format's name, with its device where the audit has several."""
        several = len({device for _, device in self.places}) > 1
        return f"{place.format} @ {place.device}" if several else place.format

    def budgets(self, place: Place) -> list[Budget]:
        """The budgets that were judged on a format."""
        return [b for b in self.audit.verdict.budgets if b.format == place.format and b.device in {None, place.device}]

    def curve(self, place: Place, series: Series | None) -> Curve | None:
        """The ROC curve of a series on a format."""
        return next(
            (c for c in self.audit.curves if series is not None and _curve_key(c) == (place, series[:2], series[3:])),
            None,
        )

    def cutoffs(self, series: Series) -> dict[str, list[str]]:
        """The verdict metrics of a series by cutoff: {"0.05": ["coverage", "ppv", ...]}."""
        found: dict[str, list[str]] = {}
        for metric in self.metrics(series):
            if match := _VERDICT.fullmatch(metric):
                found.setdefault(match[2], []).append(match[1])
        return dict(sorted(found.items(), key=lambda item: float(item[0])))

    def most_leaking(self) -> Place | None:
        """The format on which the headline attack has the largest AUC; the first of them where several tie."""
        ranked = self.ranked()
        return ranked[0][0] if ranked else None

    def ranked(self) -> list[tuple[Place, LeakageRow]]:
        """Audited formats with a headline AUC, the largest first."""
        rows = [(place, self.row(place, self.headline, AUC)) for place, _ in self.ok()]
        known = [(place, row) for place, row in rows if row is not None and row.value is not None]
        return sorted(known, key=lambda item: -(item[1].value or 0.0))


def _series(row: LeakageRow) -> Series:
    return Series(row.attack, row.variant, row.exposure, row.subset, row.shadow_match)


def _curve_key(c: Curve) -> tuple[Place, tuple[str, str], tuple[str, str]]:
    return Place(c.format, c.device), (c.attack, c.variant), (c.subset, c.shadow_match)
