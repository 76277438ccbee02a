"""The report as one self-contained HTML file.

Styles, plots and a script that sorts and filters tables are inline; the content security policy names style and script
by hash, and lets nothing else run or load. Without scripts the page has the same content.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jinja2
from markupsafe import Markup

from edgeaudit.report import compared, cost, devices, exposures, origin, plots, sections
from edgeaudit.report.calibration import calibration_leak_table, found_table
from edgeaudit.report.canaries import canary_tables
from edgeaudit.report.files import write_atomically
from edgeaudit.report.first_screen import answers
from edgeaudit.report.helps import help_table
from edgeaudit.report.lookup import AUC, TPR, Lookup, Place, Series, unique
from edgeaudit.report.model import Audit, Curve, NullHistogram, Verdict
from edgeaudit.report.slices import slice_tables
from edgeaudit.report.summary import sentences, waived_until
from edgeaudit.report.together import together_tables
from edgeaudit.report.words import counted, figure, percent, shown
from edgeaudit.report.writers import Writer, WriterSpec

__all__ = ["HtmlWriter", "html_text", "write_html"]

_HERE = Path(__file__).parent
_TONES = {0: "good", 1: "bad", 2: "bad", 3: "warn"}
_MOST_WARNINGS = 4
_MOST_REASONS = 6
_MOST_PANELS = 12
"""Plots of one kind; a page with more is slow, and nobody compares them."""


def write_html(audit: Audit, path: Path) -> None:
    """Write the report atomically.

    Raises `StoreError` where the folder cannot be written.
    """
    write_atomically(path, html_text(audit))


class HtmlWriter(Writer):
    """Writes report.html."""

    spec: ClassVar[WriterSpec] = WriterSpec("html", "report.html", "one page with tables and plots, for people")

    def write(self, audit: Audit, path: Path) -> None:
        """See `Writer.write`."""
        write_html(audit, path)


def html_text(audit: Audit) -> str:
    """Render the report; the same audit gives the same bytes."""
    loader = jinja2.FileSystemLoader(_HERE)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["unbroken"] = _unbroken
    css, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return environment.get_template("report.html.j2").render(
        css=Markup(css),  # noqa: S704 - our own file
        css_hash=_csp_hash(css),
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=_csp_hash(script),
        audit=audit,
        **_view(Lookup(audit)),
    )


def _csp_hash(text: str) -> str:
    """Name an inline style or script in a content security policy, which lets nothing else run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _unbroken(text: str) -> Markup:
    """Escape text so that names and intervals do not wrap: nncf-pruned-70, [0.694, 0.749]."""
    parts = re.split(r"(\[[^\]\s]{1,12}, [^\]\s]{1,12}\]|\b\w{1,20}(?:-\w{1,12}){1,4})", text)
    return Markup().join(Markup('<span class="nb">{}</span>').format(p) if n % 2 else p for n, p in enumerate(parts))


def _view(lookup: Lookup) -> dict[str, Any]:
    audit = lookup.audit
    reasons, more, folded = _reasons(audit.verdict)
    roc_formats = _roc_formats(lookup)
    return {
        "reasons": reasons,
        "more_reasons": more,
        "folded": folded,
        "tone": _tone(audit.verdict),
        "waived": waived_until(audit.verdict.budgets),
        "sentences": sentences(audit),
        "glance": answers(lookup),
        "headline": lookup.headline.label if lookup.headline else None,
        "controls": sections.control_tables(lookup),
        "formats": sections.formats_table(lookup),
        "slices": slice_tables(lookup),
        "canaries": canary_tables(lookup),
        "further": sections.further_table(lookup),
        "attacks": sections.attack_tables(lookup),
        "not_applicable": sections.not_applicable(lookup),
        "targets": lookup.targets,
        "means": compared.mean_tables(lookup),
        "differences": compared.format_tables(lookup),
        "helps": help_table(lookup),
        "devices": devices.devices_view(lookup),
        "cost": cost.cost_view(lookup),
        "matches": compared.match_tables(lookup),
        "other_attacks": compared.attack_comparison_tables(lookup),
        "weaker": exposures.overview(lookup),
        "weaker_formats": exposures.format_tables(lookup),
        "weaker_attacks": exposures.attack_matrix(lookup),
        "together": together_tables(lookup),
        "calibration": compared.calibration_tables(lookup),
        # Without paired tests the two figures are at least put side by side.
        "ablations": [] if compared.match_tables(lookup)[1] else sections.ablation_tables(lookup),
        "verdict": sections.verdict_tables(lookup)[0],
        "verdicts": sections.verdict_tables(lookup)[1],
        "roc_formats": roc_formats,
        "roc_left_out": sum(lookup.curve(place, lookup.headline) is not None for place, _ in lookup.ok())
        - len(roc_formats),
        "roc_attacks": _roc_attacks(lookup),
        "nulls": _nulls(lookup),
        "claims": origin.claims_sentence(lookup),
        "exposed": [t for t in (origin.claimed_table(lookup), origin.ranks_table(lookup)) if t],
        "budgets": sections.budget_tables(lookup),
        "population": [*origin.population_facts(audit.population), *origin.training_facts(audit.training)],
        "threat": origin.facts(audit.threat),
        "spec": origin.facts(audit.spec),
        "packages": origin.facts(audit.environment.packages),
        "timings": [(key, f"{seconds:,.1f} s") for key, seconds in audit.timings.items()],
        "calibration_leaks": calibration_leak_table(lookup),
        "found": found_table(lookup),
        "artifacts": origin.artifact_table(lookup),
        "passes": origin.pass_table(lookup),
        "toolchains": origin.toolchains(lookup),
        "smallest_fpr": percent(1 / max(audit.population.nonmembers, 1)),
    }


def _tone(verdict: Verdict) -> str:
    if verdict.outcome == "not judged":
        return "muted"
    waived = verdict.exit_code == 0 and any(budget.waived_by for budget in verdict.budgets)
    return "warn" if waived else _TONES[verdict.exit_code]


def _reasons(verdict: Verdict) -> tuple[list[str], list[str], list[str]]:
    """Return the reasons in view, and those folded: further ones, and warnings, one a format and budget, if many.

    What a policy does not judge is never folded.
    """
    reasons = list(verdict.reasons)
    warnings = [one for one in reasons if one.startswith("warning: ") and one not in verdict.policy_notes]
    if len(warnings) <= _MOST_WARNINGS:
        warnings = []
    rest = [one for one in reasons if one not in warnings]
    more = [one for one in rest if one not in verdict.policy_notes][_MOST_REASONS:]
    return [one for one in rest if one not in more], more, warnings


@dataclass(frozen=True)
class Panel:
    """A plot with its title and detail."""

    title: str
    detail: str
    svg: Markup


@dataclass(frozen=True)
class Overlay:
    """Several curves in one plot, and the legend: line number, attack, AUC, TPR at 1% FPR."""

    title: str
    svg: Markup
    legend: tuple[tuple[int, str, str, str], ...]
    left_out: int


def _floor(lookup: Lookup) -> float:
    rows = [row for _, row in lookup.ranked()]
    return plots.roc_floor(min((row.n_nonmembers for row in rows), default=lookup.audit.population.nonmembers))


def _roc_formats(lookup: Lookup) -> list[Panel]:
    drawn = ((place, lookup.curve(place, lookup.headline)) for place, _ in lookup.ok())
    curves = [(place, curve) for place, curve in drawn if curve is not None]
    floor, every = _floor(lookup), [curve for _, curve in curves]
    ranked = sorted(curves, key=lambda item: _value(lookup, item[0], lookup.headline), reverse=True)[:_MOST_PANELS]
    kept = {place for place, _ in ranked}
    return [
        _roc_panel(lookup, n, place, curve, every, floor) for n, (place, curve) in enumerate(curves) if place in kept
    ]


def _roc_panel(lookup: Lookup, n: int, place: Place, curve: Curve, others: list[Curve], floor: float) -> Panel:
    name = lookup.label(place)
    auc, tpr = (lookup.row(place, lookup.headline, metric) for metric in (AUC, TPR))
    label = f"ROC curve of {name} on logarithmic axes. AUC {shown(auc)}, TPR at 1% FPR {shown(tpr)}."
    spread = others if len(others) > 1 else []
    svg = plots.roc_panel(curve, spread, floor, f"roc{n}", label)
    detail = f"AUC {figure(AUC, auc.value)}" if auc is not None and auc.value is not None else ""
    return Panel(name, detail, Markup(svg))  # noqa: S704 - made by plots, which escapes the label


def _roc_attacks(lookup: Lookup) -> Overlay | None:
    place = lookup.most_leaking()
    if place is None:
        return None
    series = [s for s in lookup.series_with(AUC) if s.is_main and s.subset == "all"]
    curves = [(s, curve) for s in series if (curve := lookup.curve(place, s)) is not None]
    curves.sort(key=lambda item: -_value(lookup, place, item[0]))
    kept = curves[: len(plots.SERIES)]
    if not kept:
        return None
    name = lookup.label(place)
    label = f"ROC curves of {counted(len(kept), 'attack')} on {name}, log axes; figures in the table beside."
    svg = plots.roc_overlay([curve for _, curve in kept], _floor(lookup), "attacks", label)
    legend = tuple(
        (n, s.label, shown(lookup.row(place, s, AUC)), shown(lookup.row(place, s, TPR)))
        for n, (s, _) in enumerate(kept)
    )
    return Overlay(name, Markup(svg), legend, len(curves) - len(kept))  # noqa: S704 - made by plots, which escapes the label


def _value(lookup: Lookup, place: Place, series: Series | None) -> float:
    row = lookup.row(place, series, AUC)
    return row.value if row is not None and row.value is not None else 0.0


def _nulls(lookup: Lookup) -> tuple[str, list[Panel], int] | None:
    """The test whose p-values are drawn, a panel a format, and how many formats are left out.

    The test is the headline's with matched shadows, if it has p-values.
    """
    histograms = [h for h in lookup.audit.null_p_values if h.counts and sum(h.counts)]
    tests = unique((h.test, h.shadow_match, h.kind) for h in histograms)
    if not tests:
        return None
    headline = lookup.headline.variant if lookup.headline else ""
    # p-values come before nominal tails. A histogram's test is a variant of CM-MIA.
    best = min(tests, key=lambda test: (test[2] == "nominal", test[1] != "matched", headline != test[0]))
    drawn = [h for h in histograms if (h.test, h.shadow_match, h.kind) == best]
    # The farthest from level, if there are too many to look at; in the audit's order.
    farthest = sorted(drawn, key=_unevenness, reverse=True)[:_MOST_PANELS]
    panels = [_null_panel(lookup, f"null{n}", h) for n, h in enumerate(drawn) if h in farthest]
    return _test_name(*best), panels, len(drawn) - len(panels)


def _unevenness(histogram: NullHistogram) -> float:
    """The share in the first bin, of the smallest p-values, in multiples of what a level histogram has there."""
    return histogram.counts[0] / sum(histogram.counts) * len(histogram.counts)


def _test_name(test: str, match: str, kind: str) -> str:
    ranking = f" ({compared.NOMINAL_TAIL})" if kind == "nominal" else ""
    return f"cm-mia {test}{ranking}" + ("" if match == "matched" else f", {match} shadows")


def _null_panel(lookup: Lookup, name: str, histogram: NullHistogram) -> Panel:
    place = Place(histogram.format, histogram.device)
    title = lookup.label(place)
    bins = len(histogram.counts)
    share, fair = histogram.counts[0] / sum(histogram.counts), 1 / bins
    ranking = histogram.kind == "nominal" or f"cm-mia/{histogram.test}" in lookup.demoted(place)
    axis, symbol = ("tail", "tail") if ranking else ("p-value", "p")
    detail = f"{percent(share)} at {symbol} < {fair:.3g}"
    label = f"Histogram of the {histogram.test} {axis}s of {title}'s nonmembers: {detail}, {percent(fair)} expected."
    svg = plots.null_panel(histogram.counts, name, label, axis)
    return Panel(title, detail, Markup(svg))  # noqa: S704 - made by plots, which escapes the label
