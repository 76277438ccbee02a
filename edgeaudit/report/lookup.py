"""Lookup of figures in an audit by deployment (format on a device) and series (one attack in one setting)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, TypeVar

from edgeaudit.report.model import AcrossTargets, Audit, Budget, Curve, FormatResult, LeakageRow
from edgeaudit.report.words import place_name

__all__ = ["AUC", "NOMINAL", "SMALL_TPR", "TPR", "Lookup", "Place", "Series", "series_label", "unique"]

AUC = "auc"
TPR = "tpr@fpr=0.01"
SMALL_TPR = "tpr@fpr=0.001"
_HEADLINES = ("cm-mia/calibrated", "cm-mia/t", "cm-mia/ecdf")
"""Those of audits of before `Audit.headlines`."""
NOMINAL = "nominal="
"""Prefix of cutoffs on statistics that are not valid p-values (the paper's rule): fpr@nominal=0.05."""
_VERDICT = re.compile(r"(coverage|ppv|recall|fpr|forced_accuracy)@((?:nominal=)?\d*\.?\d+)")
_WITHOUT_SHADOWS = {"", "-", "none"}
_WITHIN_0_1 = ("auc", "tpr", "balanced_accuracy")
_T = TypeVar("_T")


class Place(NamedTuple):
    """A deployment: a format on a device."""

    format: str
    device: str


class Series(NamedTuple):
    """One attack in one setting; together with a deployment and a metric it identifies a figure."""

    attack: str
    variant: str
    exposure: str
    subset: str
    shadow_match: str

    @property
    def label(self) -> str:
        """Attack and variant: cm-mia t, gap."""
        return series_label(f"{self.attack}/{self.variant}")

    @property
    def is_main(self) -> bool:
        """Whether the shadows match the target or the attack uses none; other series are ablations."""
        return self.shadow_match == "matched" or self.shadow_match in _WITHOUT_SHADOWS


def series_label(name: str) -> str:
    """Return a series' display name: cm-mia/t -> cm-mia t, gap/ -> gap."""
    attack, _, variant = name.partition("/")
    return attack if variant in {"", "-", "default", attack} else f"{attack} {variant}"


def unique(items: Iterable[_T]) -> list[_T]:
    """Return the items in order, without repeats."""
    return list(dict.fromkeys(items))


class Lookup:
    """An audit's figures by name. Of two figures with one name the first counts."""

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self.headlines = audit.headlines or _HEADLINES
        self.places = [Place(f.id, f.device) for f in audit.formats]
        self.formats = dict(zip(self.places, audit.formats, strict=True))
        self._rows: dict[tuple[Place, Series, str], LeakageRow] = {}
        # Slices and canaries have tables of their own; as subsets of every table they would fill the page.
        for row in (row for row in audit.leakage if not (row.of_slice or row.of_canaries)):
            self._rows.setdefault((Place(row.format, row.device), _series(row), row.metric), row)
        self.series = unique(series for _, series, _ in self._rows)
        self._means: dict[tuple[Place, str, str], AcrossTargets] = {}
        for mean in audit.across_targets:
            if mean.subset == "all" and (mean.shadow_match == "matched" or mean.shadow_match in _WITHOUT_SHADOWS):
                name = f"{mean.attack}/{mean.variant}"
                self._means.setdefault((Place(mean.format, mean.device), name, mean.metric), _bounded(mean))
        self.headline = self._headline()
        self.targets = max((mean.targets + mean.missing for mean in audit.across_targets), default=1)

    def _headline(self) -> Series | None:
        """The headline series: the first of the audit's headlines with an AUC on every format, with matched shadows.

        Else the first with an AUC on any format; without any, the first attack with one. Rows without values, as of
        variants that are not applicable, do not count.
        """
        main = [s for s in self.series_with(AUC) if s.is_main and s.subset == "all"]
        known = {s: sum(self._known(place, s) for place, _ in self.ok()) for s in main}
        wanted = [s for name in self.headlines for s in main if f"{s.attack}/{s.variant}" == name and known[s]]
        everywhere = [s for s in wanted if known[s] == len(self.ok())]
        return next(iter([*everywhere, *wanted, *(s for s in main if known[s]), *main]), None)

    def _known(self, place: Place, series: Series) -> bool:
        row = self.row(place, series, AUC)
        return row is not None and row.value is not None

    def demoted(self, place: Place) -> list[str]:
        """Return the tests (cm-mia/ecdf) whose conformal p-values are not valid on a format, and so rank only.

        Only the first shadow-target match of audit.yaml counts; others are ablations.
        """
        rows = [row for row in self.audit.p_calibration if Place(row.format, row.device) == place]
        return unique(
            f"{row.attack}/{row.variant}"
            for row in rows
            if (row.kind, row.is_p_value, row.shadow_match) == ("conformal", False, rows[0].shadow_match)
        )

    def class_name(self, label: int) -> str | None:
        """The data's own label of a class; None where that is the number."""
        names = self.audit.population.class_names
        return names[label] if 0 <= label < len(names) else None

    def subset_name(self, subset: str) -> str:
        """A subset as budgets name it, with the data's own label: `class:3 (ship)`."""
        kind, _, number = subset.partition(":")
        name = self.class_name(int(number)) if kind == "class" and number.isdecimal() else None
        return subset if name is None else f"{subset} ({name})"

    def mean(self, place: Place, series: str, metric: str) -> AcrossTargets | None:
        """A figure's mean over targets on all records; series: `cm-mia/t`."""
        return self._means.get((place, series, metric))

    def mean_series(self) -> list[str]:
        """The series that have means over targets, the headline's first."""
        names = unique(name for _, name, _ in self._means)
        headline = self.headline_name
        return sorted(names, key=lambda name: name != headline)

    @property
    def headline_name(self) -> str:
        """The headline as comparisons name it: cm-mia/calibrated; empty where there is none."""
        return f"{self.headline.attack}/{self.headline.variant}" if self.headline else ""

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
        """The format's name, with its device where that is another than this machine."""
        return place_name(*place)

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
        """The verdict metrics of a series by cutoff: {"0.05": ["coverage", "ppv", ...], "nominal=0.05": [...]}."""
        by_cutoff: dict[str, list[str]] = {}
        for metric in self.metrics(series):
            if match := _VERDICT.fullmatch(metric):
                by_cutoff.setdefault(match[2], []).append(match[1])
        return dict(sorted(by_cutoff.items(), key=lambda item: _by_rule_and_cutoff(item[0])))

    def most_leaking(self) -> Place | None:
        """Return the deployment with the largest headline AUC (the mean over several targets); the first on a tie."""
        ranked = self.ranked()
        return ranked[0][0] if ranked else None

    def ranked(self) -> list[tuple[Place, LeakageRow]]:
        """Return deployments with a headline AUC, the largest first; by the mean over targets where all have one."""
        rows = [(place, self.row(place, self.headline, AUC)) for place, _ in self.ok()]
        known = [(place, row) for place, row in rows if row is not None and row.value is not None]
        means = self.mean_aucs([place for place, _ in known])
        return sorted(known, key=lambda item: -((means[item[0]] if means else item[1]).value or 0.0))

    def mean_aucs(self, places: Iterable[Place]) -> dict[Place, AcrossTargets]:
        """Return the headline AUC's mean over targets of all these deployments; empty where one has none."""
        means = {place: self.mean(place, self.headline_name, AUC) for place in places}
        known = {place: mean for place, mean in means.items() if mean is not None and mean.value is not None}
        return known if len(known) == len(means) else {}


def _by_rule_and_cutoff(cutoff: str) -> tuple[bool, float]:
    return cutoff.startswith(NOMINAL), float(cutoff.removeprefix(NOMINAL))


def _bounded(mean: AcrossTargets) -> AcrossTargets:
    """Clip a t interval to [0, 1], the range of shares and AUCs."""
    if mean.low is None or mean.high is None or not mean.metric.startswith(_WITHIN_0_1):
        return mean
    return replace(mean, low=max(mean.low, 0.0), high=min(mean.high, 1.0))


def _series(row: LeakageRow) -> Series:
    return Series(row.attack, row.variant, row.exposure, row.subset, row.shadow_match)


def _curve_key(c: Curve) -> tuple[Place, tuple[str, str], tuple[str, str]]:
    return Place(c.format, c.device), (c.attack, c.variant), (c.subset, c.shadow_match)
