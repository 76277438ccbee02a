"""What rests on p-values: whether they hold on known nonmembers, verdicts, and claims on single records.

Only conformal p-values (`Scores.p_value`) are used as such, and only while nothing in this audit speaks against them:
where more known nonmembers are accused than a valid test would, the test is a ranking in this format. What a test
itself calls a p-value (`Scores.nominal`) is held against nonmembers, and serves the paper's own decision rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from edgeaudit.attacks.base import AttackSpec, BoolArray, FloatArray, Scores
from edgeaudit.attacks.cm_mia import RANK_TESTS, check_cutoff, check_known, decide
from edgeaudit.errors import AttackError
from edgeaudit.leakage.metrics import unresolved
from edgeaudit.leakage.multiplicity import ClaimMethod, claim_figures, claim_records
from edgeaudit.leakage.p_calibration import CalibrationRow, calibration_over_targets
from edgeaudit.leakage.verdicts import verdict_figures
from edgeaudit.stages.evidence import Case

__all__ = ["calibrate", "claims", "histograms", "verdicts"]

_FALSE_DISCOVERIES = 0.05
_METHODS: tuple[ClaimMethod, ...] = ("bh", "by")
_NULL_BINS = 20
_LEVEL = 0.95
_HEAD = ("format", "device", "shadow_match", "attack", "variant")


def calibrate(
    spec: AttackSpec, head: Mapping[str, Any], scored: Sequence[tuple[Case, Scores]]
) -> tuple[list[dict[str, Any]], str | None]:
    """Observed against nominal rates on all known nonmembers of this audit: rows, and why p is a ranking, or None.

    Known nonmembers are the audited nonmembers of the targets (`nonmembers`) and all audited records asked of null
    targets (`null target`). Every row says how it lies to its own 95% band, above which a valid test's is in 1 of 40.
    A test is called a ranking where one row lies above the band that Bonferroni widens for all rows of this test, five
    levels of two sources: of valid tests that is at most 1 in 40 as a whole.
    """
    conformal, nominal = _rows(scored, "conformal"), _rows(scored, "nominal")
    all_at_once = 1 - (1 - _LEVEL) / max(1, len(conformal))
    wrong = [
        (source, row) for source, row in _rows(scored, "conformal", all_at_once) if row.status == "anti-conservative"
    ]
    ranking = None
    if head["variant"] not in spec.calibrated_p:
        ranking = "not valid by construction"
    elif wrong:
        source, row = max(wrong, key=lambda one: one[1].observed / one[1].nominal)
        asked = "a null target's records" if source == "null target" else "nonmembers"
        ranking = (
            f"a ranking in this format: {row.observed:.3g} of {asked} have p <= {row.nominal:g}, anti-conservative"
        )
    place = {name: head[name] for name in _HEAD}
    rows = []
    for kind, found in (("conformal", conformal), ("nominal", nominal)):
        for source, row in found:
            fields = asdict(row)
            if kind == "conformal" and ranking is not None:
                fields["note"] = "; ".join(part for part in (ranking, row.note) if part)
            is_p_value = kind == "conformal" and ranking is None
            rows.append({**place, "kind": kind, "source": source, "is_p_value": is_p_value, **fields})
    return rows, ranking


def _rows(scored: Sequence[tuple[Case, Scores]], kind: str, level: float = _LEVEL) -> list[tuple[str, CalibrationRow]]:
    found = []
    for source in ("nonmembers", "null target"):
        p_values, known = [], []
        for case, scores in scored:
            p = scores.p_value if kind == "conformal" else scores.nominal
            if p is None or case.is_null != (source == "null target"):
                continue
            p_values.append(p if case.is_null else p[~case.members])
            known.append(scores.known)
        if p_values:
            held = known if kind == "conformal" else None
            judged = calibration_over_targets(p_values, level=level, known=held)
            found += [(source, row) for row in judged]
    return found


def verdicts(
    case: Case,
    subsets: Mapping[str, BoolArray],
    scores: Scores,
    ranking: str | None,
    cutoffs: Sequence[float],
    head: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Figures of p <= cutoff: `fpr@0.05` by conformal p-values, `fpr@nominal=0.05` by the paper's rule (rank tests)."""
    variant, k = str(head["variant"]), int(case.audited.out.sum(axis=0).min())
    for cutoff in cutoffs:
        if scores.p_value is not None:
            reason = ranking or _refused(check_known, cutoff, scores.known)
            yield from _decided(case, subsets, scores.p_value, reason, cutoff, f"{cutoff:g}", head)
        if variant in RANK_TESTS and scores.nominal is not None:
            reason = _refused(check_cutoff, cutoff, k, variant)
            yield from _decided(case, subsets, scores.nominal, reason, cutoff, f"nominal={cutoff:g}", head)


def _refused(check: Any, *about: Any) -> str | None:
    try:
        check(*about)
    except AttackError as exc:
        return str(exc)
    return None


def _decided(
    case: Case,
    subsets: Mapping[str, BoolArray],
    p_value: FloatArray,
    reason: str | None,
    cutoff: float,
    rule: str,
    head: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    if reason is not None:
        yield {**head, "subset": "all", **asdict(unresolved(f"coverage@{rule}", case.members, reason))}
        return
    for subset, mask in subsets.items():
        for figure in verdict_figures(decide(p_value, mask, cutoff), case.members, rule):
            yield {**head, "subset": subset, **asdict(figure)}


def claims(case: Case, scores: Scores, ranking: str | None, head: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Which records may be called members at a false discovery rate of 5%, and how often that is right."""
    if scores.p_value is None:
        return
    for method in _METHODS:
        if ranking is not None:
            metric = f"claimed@{method}={_FALSE_DISCOVERIES:g}"
            yield {**head, "subset": "all", **asdict(unresolved(metric, case.members, f"no claims: {ranking}"))}
            continue
        for figure in claim_figures(claim_records(scores.p_value, _FALSE_DISCOVERIES, method), case.members):
            yield {**head, "subset": "all", **asdict(figure)}


def histograms(case: Case, scores: Scores, head: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The nonmembers' p-values of each kind, counted in bins."""
    place = {key: head[key] for key in ("format", "device", "shadow_match")}
    for kind, p_value in (("conformal", scores.p_value), ("nominal", scores.nominal)):
        if p_value is not None:
            counts, _ = np.histogram(p_value[~case.members], bins=_NULL_BINS, range=(0.0, 1.0))
            yield {**place, "test": head["variant"], "kind": kind, "counts": counts.tolist()}
