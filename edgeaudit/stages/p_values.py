"""Results based on p-values: their calibration on known nonmembers, verdicts, and claims about single records.

Only conformal p-values (`Scores.p_value`) are used as such, and only unless this audit contradicts them: if more known
nonmembers are flagged than by a valid test, the test is reported as a ranking in this format. A test's nominal p-value
(`Scores.nominal`) is compared with nonmembers, and used for the paper's own decision rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from edgeaudit.attacks.cm_mia import RANK_TESTS, check_cutoff, check_known, decide
from edgeaudit.attacks.evidence import BoolArray, FloatArray
from edgeaudit.attacks.spec import AttackSpec, Scores
from edgeaudit.errors import AttackError
from edgeaudit.leakage.metrics import unresolved
from edgeaudit.leakage.multiplicity import ClaimMethod, claim_figures, claim_records
from edgeaudit.leakage.p_calibration import CalibrationRow, calibration_over_targets
from edgeaudit.leakage.rows import LeakageRow, NullHistogram, PCalibration, PKind, PSource, Series
from edgeaudit.leakage.verdicts import verdict_figures
from edgeaudit.stages.evidence import Case

__all__ = ["calibrate", "claims", "histograms", "verdicts"]

_FALSE_DISCOVERIES = 0.05
_METHODS: tuple[ClaimMethod, ...] = ("bh", "by")
_NULL_BINS = 20
_LEVEL = 0.95
_KINDS: tuple[PKind, ...] = ("conformal", "nominal")
_SOURCES: tuple[PSource, ...] = ("nonmembers", "null target")


def calibrate(
    spec: AttackSpec, series: Series, scored: Sequence[tuple[Case, Scores]]
) -> tuple[list[PCalibration], str | None]:
    """Observed and nominal rates on all known nonmembers of this audit: rows, and why p is a ranking, or None.

    Known nonmembers are the audited nonmembers of the targets (`nonmembers`) and all audited records of null targets
    (`null target`). Every row is compared with its own 95% band, which a valid test exceeds in 1 of 40 cases. A test is
    a ranking if one row exceeds the band that Bonferroni widens for all rows of this test (five levels of two
    sources): this happens to at most 1 in 40 valid tests.
    """
    rows_by_kind = {kind: _rows(scored, kind) for kind in _KINDS}
    ranking = _ranking(spec, series.variant, scored, max(1, len(rows_by_kind["conformal"])))
    rows = [
        PCalibration.of(series, kind, source, row, ranking) for kind in _KINDS for source, row in rows_by_kind[kind]
    ]
    return rows, ranking


def _ranking(spec: AttackSpec, variant: str, scored: Sequence[tuple[Case, Scores]], tests: int) -> str | None:
    """Why conformal p is a ranking only, or None."""
    if variant not in spec.calibrated_p:
        return "not valid by construction"
    rows = _rows(scored, "conformal", 1 - (1 - _LEVEL) / tests)
    wrong = [(source, row) for source, row in rows if row.status == "anti-conservative"]
    if not wrong:
        return None
    source, row = max(wrong, key=lambda pair: pair[1].observed / pair[1].nominal)
    records = "a null target's records" if source == "null target" else "nonmembers"
    return f"a ranking in this format: {row.observed:.3g} of {records} have p <= {row.nominal:g}, anti-conservative"


def _rows(
    scored: Sequence[tuple[Case, Scores]], kind: PKind, level: float = _LEVEL
) -> list[tuple[PSource, CalibrationRow]]:
    rows: list[tuple[PSource, CalibrationRow]] = []
    for source in _SOURCES:
        p_values, nonmembers = [], []
        for case, scores in scored:
            p = scores.p_value if kind == "conformal" else scores.nominal
            if p is None or case.is_null != (source == "null target"):
                continue
            # The band is that of independent records.
            independent = case.one_of_each
            p_values.append(p[independent] if case.is_null else p[independent & ~case.members])
            nonmembers.append(scores.known)
        if p_values:
            held = nonmembers if kind == "conformal" else None
            rows += [(source, row) for row in calibration_over_targets(p_values, level=level, known=held)]
    return rows


def verdicts(
    case: Case,
    subsets: Mapping[str, BoolArray],
    scores: Scores,
    ranking: str | None,
    cutoffs: Sequence[float],
    series: Series,
) -> Iterator[LeakageRow]:
    """Figures of p <= cutoff: `fpr@0.05` by conformal p-values, `fpr@nominal=0.05` by the paper's rule (rank tests)."""
    variant, k = series.variant, int(case.audited.out.sum(axis=0).min())

    def decided(p_value: FloatArray, reason: str | None, cutoff: float, rule: str) -> Iterator[LeakageRow]:
        if reason is not None:
            yield series.row("all", unresolved(f"coverage@{rule}", case.members, reason))
            return
        for subset, mask in subsets.items():
            for figure in verdict_figures(decide(p_value, mask, cutoff), case.members, rule, case.groups):
                yield series.row(subset, figure)

    for cutoff in cutoffs:
        if scores.p_value is not None:
            reason = ranking or _refused(lambda c=cutoff: check_known(c, scores.known))  # type: ignore[misc]
            yield from decided(scores.p_value, reason, cutoff, f"{cutoff:g}")
        if variant in RANK_TESTS and scores.nominal is not None:
            reason = _refused(lambda c=cutoff: check_cutoff(c, k, variant))  # type: ignore[misc]
            yield from decided(scores.nominal, reason, cutoff, f"nominal={cutoff:g}")


def _refused(check: Callable[[], None]) -> str | None:
    try:
        check()
    except AttackError as exc:
        return str(exc)
    return None


def claims(case: Case, scores: Scores, ranking: str | None, series: Series) -> Iterator[LeakageRow]:
    """Records claimed as members at a false discovery rate of 5%, and how many claims are correct."""
    if scores.p_value is None:
        return
    for method in _METHODS:
        if ranking is not None:
            metric = f"claimed@{method}={_FALSE_DISCOVERIES:g}"
            yield series.row("all", unresolved(metric, case.members, f"no claims: {ranking}"))
            continue
        for figure in claim_figures(claim_records(scores.p_value, _FALSE_DISCOVERIES, method), case.members):
            yield series.row("all", figure)


def histograms(case: Case, scores: Scores, series: Series) -> Iterator[NullHistogram]:
    """The nonmembers' p-values of each kind, counted in bins."""
    place, p_values = series.place, zip(_KINDS, (scores.p_value, scores.nominal), strict=True)
    for kind, p_value in p_values:
        if p_value is not None:
            counts, _ = np.histogram(p_value[~case.members], bins=_NULL_BINS, range=(0.0, 1.0))
            about = (place.format, place.device, series.variant, kind, place.shadow_match)
            yield NullHistogram(*about, tuple(counts.tolist()))
