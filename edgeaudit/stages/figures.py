"""Rows on one target's scores: figures, curves, lower bounds of epsilon and the records that are exposed most.

Parts of `measure` and `weaken`; the arithmetic is in `edgeaudit.leakage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.base import Scores
from edgeaudit.attacks.threshold import Threshold
from edgeaudit.leakage.epsilon import split_epsilon_bound
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.metrics import Figure, figures, unresolved
from edgeaudit.leakage.one_run import one_run_pairs
from edgeaudit.leakage.one_run_gaussian import gaussian_epsilon, one_run_mu
from edgeaudit.leakage.outputs import Granularity, granularity
from edgeaudit.leakage.paired import chance_p_value
from edgeaudit.leakage.roc import roc, thin
from edgeaudit.leakage.rows import Curve, ExposedRecord, LeakageRow, NullControlRow, Place, Series
from edgeaudit.population.base import stream
from edgeaudit.stages.evidence import Case
from edgeaudit.stages.scores import TargetScores

__all__ = [
    "curve", "epsilon_bounds", "exposed", "leakage", "null_control", "true_class_granularity", "with_queries",
]  # fmt: skip

BoolArray = npt.NDArray[np.bool_]

_MOST_EXPOSED = 20
_LEAST_ONE_RUN = 40
_DELTA = 1e-5  # at which mu is said as an epsilon, too


def leakage(
    case: Case, subsets: Mapping[str, BoolArray], threshold: Threshold, scores: Scores, series: Series
) -> Iterator[LeakageRow]:
    """All figures in each subset, by name -> bool [scored]; a subset without members or nonmembers has the reason."""
    for subset, mask in subsets.items():
        members = case.members[mask]
        if members.all() or not members.any():
            note = f"the subset has {int(members.sum())} members and {int((~members).sum())} nonmembers"
            yield series.row(subset, unresolved("auc", members, note))
            continue
        groups = case.groups_of(mask)
        for figure in figures(scores.score[mask], members, threshold.value, threshold.note, groups):
            yield series.row(subset, figure)


def curve(case: Case, scores: Scores, series: Series) -> Curve:
    """The ROC curve."""
    fpr, tpr = thin(roc(scores.score, case.members))
    place = series.place
    about = (place.format, place.device, series.attack, series.variant, "all", place.shadow_match)
    return Curve(*about, tuple(fpr.tolist()), tuple(tpr.tolist()))


def epsilon_bounds(
    case: Case,
    scores: Scores,
    series: Series,
    seed: int,
    *,
    members_drawn: bool,
    subset: str = "all",
    guesses: int | None = None,
) -> Iterator[LeakageRow]:
    """Lower bounds at 95%: of epsilon from a threshold chosen on half of the records, of epsilon and mu from one run.

    Both need independent records, so they are computed on one record of each group of related records.

    members_drawn: whether members were drawn at random by edgeaudit, which the one-run audit needs. subset: of the
    rows. guesses: of the one-run audit; None for one of 20 records.
    """
    first, chosen = case.one_of_each, "one record of each group of related records"
    score, members = scores.score[first], case.members[first]
    m, n = int(members.sum()), int((~members).sum())
    if min(m, n) < 2:
        return

    def noted(note: str | None) -> str | None:
        return note if case.groups is None else f"{note}; {chosen}" if note else chosen

    # One draw for all attacks and formats, so that their bounds do not differ by the split.
    bound = split_epsilon_bound(score, members, stream(seed, "epsilon"))
    lower = Figure("epsilon_lower", bound.epsilon, bound.epsilon, None, m, n, None, noted(bound.note))
    yield series.row(subset, lower)
    if not members_drawn or m + n < _LEAST_ONE_RUN:
        note = "the one-run audit needs enough members that were drawn at random"
        for metric in ("epsilon_one_run", "mu_one_run"):
            yield series.row(subset, unresolved(metric, members, note))
        return
    # The number of guesses is fixed beforehand: choosing it by the result would void the bound.
    one_run = one_run_pairs(score, members, (m + n) // 20 if guesses is None else guesses, stream(seed, "one run"))
    found = Figure("epsilon_one_run", one_run.epsilon, one_run.epsilon, None, m, n, None, noted(one_run.note))
    yield series.row(subset, found)
    # The same guesses; a second hypothesis, so it is not the better of two that is reported, but both.
    mu = one_run_mu(one_run.m, one_run.guesses, one_run.correct)
    implied = gaussian_epsilon(mu, _DELTA)
    note = f"{one_run.note}; of Gaussian DP, epsilon {implied:.3g} at delta {_DELTA:g}"
    yield series.row(subset, Figure("mu_one_run", mu, mu, None, m, n, None, noted(note)))


def null_control(case: Case, scores: Scores, series: Series) -> NullControlRow:
    """The AUC on a null target, where nothing can be found."""
    area, place = delong(scores.score, case.members, groups=case.groups), series.place
    return NullControlRow(
        place.format,
        place.device,
        series.attack,
        series.variant,
        place.shadow_match,
        case.role,
        area.auc,
        area.low,
        area.high,
        chance_p_value(scores.score, case.members, case.groups),
        int(case.members.sum()),
        int((~case.members).sum()),
    )


def exposed(
    case: Case,
    scores: TargetScores,
    place: Place,
    headlines: Sequence[str],
    test: str | None,
) -> Iterator[ExposedRecord]:
    """The records ranked highest by the first headline variant that ran; ties are ordered by record. No claims.

    headlines: `attack/variant`, the most important first. test: of those, the one with valid p-values here; None where
    there are rankings only.
    """
    score = next((scores.scores[name] for name in headlines if name in scores.scores), None)
    if score is None:
        return
    p_value = None if test is None else scores.p_value(test)
    records, calibrated = scores.records, scores.calibrated
    if records is None or calibrated is None:
        raise AssertionError("a measurement has ids and calibrated records")
    for rank, i in enumerate(np.argsort(-score, kind="stable")[:_MOST_EXPOSED], 1):
        yield ExposedRecord(
            place.format,
            place.device,
            rank,
            int(records[i]),
            int(case.audited.labels[i]),
            float(score[i]),
            None if p_value is None else float(p_value[i]),
            bool(case.members[i]),
            bool(calibrated[i]),
        )


def true_class_granularity(case: Case) -> Granularity:
    """How coarse the target's true-class probabilities are."""
    audited = case.audited
    # The likelihood of the truth, where there are no classes.
    probabilities = audited.task.probabilities(audited.target, audited.exposure)
    labels = audited.labels if audited.task.has_classes else np.zeros_like(audited.labels)
    return granularity(probabilities[np.arange(len(probabilities)), labels])


def with_queries(row: LeakageRow, queries: int) -> LeakageRow:
    """The row with the number of queries per record in its note, if there is more than one."""
    return row if queries == 1 else row.with_note(f"{queries} queries per record")
