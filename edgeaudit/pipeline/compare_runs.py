"""Two finished runs -> differences of their leakage figures, with what else differs between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgeaudit.errors import RunError, SpecError, did_you_mean
from edgeaudit.formats.presets import REFERENCES
from edgeaudit.gate.attack_set import Mode, standing_for
from edgeaudit.gate.bounds import FormatScores
from edgeaudit.leakage.between_runs import (
    Matched,
    RecordSet,
    accuracy_difference,
    adjusted,
    covariance,
    independent_accuracies,
    independent_difference,
    independent_nonmembers,
    match_records,
    paired_difference,
    saturated_note,
)
from edgeaudit.leakage.comparisons import figure
from edgeaudit.leakage.influence import LinearisedFigure, target_figure
from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.paired import Difference
from edgeaudit.leakage.roc import FloatArray, IntArray
from edgeaudit.leakage.series_names import at_common_floor, is_judged_beside
from edgeaudit.leakage.thresholds import threshold_of
from edgeaudit.pipeline.assemble import load_scores, scores_file
from edgeaudit.pipeline.attacker_changes import AttackerChange, attacker_changes
from edgeaudit.pipeline.run_settings import Pair, format_changes, loosened_limits, setting_changes
from edgeaudit.report.model import Audit, FormatResult, LeakageRow
from edgeaudit.report.model.between_runs import (
    AccuracyChange,
    ChangeOutcome,
    ComparedFormat,
    ComparedRun,
    FigureChange,
    Method,
    RunComparison,
    SettingChange,
    Uncompared,
)
from edgeaudit.report.words import counted, difference, difference_interval, listed, metric_name, place_name
from edgeaudit.rows import Rows

__all__ = [
    "MARGIN", "METRICS", "SIGNIFICANT", "FinishedRun", "WantedFigure", "classified", "compare_runs", "figure_changes",
]  # fmt: skip

METRICS = ("auc", "tpr@fpr=0.01", "balanced_accuracy")
MARGIN = 0.02
SIGNIFICANT = 0.05
_ORDER: tuple[ChangeOutcome, ...] = ("increase", "inconclusive", "equal", "decrease")
_CORRECT = "gap/label"
"""The series whose score is 1 where the model is right."""
_TIED = "tie at the highest score"
"""In the note of a TPR whose threshold lies within one tied group (`tpr_at_fpr`)."""
_NOT_RUN_IN_OLD = "only in OLD, which could not run it"
# Stored figures and those of the stored scores differ by rounding only.
_ROUNDING = 1e-9


class FinishedRun(NamedTuple):
    """A run's folder and its audit."""

    folder: Path
    audit: Audit


class WantedFigure(NamedTuple):
    """A format's figure. old, new: attack/variant in either run. metric: of `METRICS`, or another TPR."""

    format: str
    device: str
    old: str
    new: str
    metric: str


def compare_runs(
    old: FinishedRun, new: FinishedRun, formats: Mapping[str, str] | None = None, margin: float = MARGIN
) -> RunComparison:
    """Compare NEW with OLD: every figure that a gate would judge, of each format that both have.

    Args:
        old: the earlier run, or the baseline.
        new: the later one.
        formats: format of OLD -> the one of NEW with which it is compared, where their ids differ.
        margin: differences whose interval lies within +- this count as equal.

    Raises:
        RunError: both are one folder, or scores cannot be read. SpecError: `formats` names a format that a run does not
            have, or the margin is not between 0 and 1.
    """
    if old.folder.resolve() == new.folder.resolve():
        raise RunError(f"{new.folder} is compared with itself: name the folders of two runs, the older one first")
    if not 0 < margin < 1:
        raise SpecError(f"margin: must be a number above 0 and below 1, such as {MARGIN:g}; it is {margin!r}")
    ids = _paired_ids(old, new, dict(formats or {}))
    pairs = list(_pairs(old.audit, new.audit, ids))
    comparisons = [_FormatPair(old, new, first, second) for first, second in pairs]
    missing = [*_only_in(old.audit, new.audit, ids), *_attacks_only_in(old.audit, new.audit, comparisons)]
    planned = [(pair, series) for pair in comparisons for series in pair.series(missing)]
    family = [(pair, series, metric) for pair, series in planned for metric in METRICS]
    found = [pair.change(series, metric, len(family)) for pair, series, metric in family]
    holm = adjusted([None if made is None else made.found.p_value for made in found])
    rows = [
        _row(pair, series, metric, made, p, margin)
        for (pair, series, metric), made, p in zip(family, found, holm, strict=True)
    ]
    rows.sort(key=lambda row: (_ORDER.index(row.outcome), row.value is None, -(row.value or 0.0)))
    settings = setting_changes(old.audit, new.audit)
    doubts = _Doubts(
        blocked=(*_invalid(old.audit, new.audit), *_undecided(old.audit, new.audit, pairs), *_other_attacker(settings)),
        attacker=attacker_changes(old.audit, new.audit),
        same_files=frozenset((pair.names[1], pair.names[2]) for pair in comparisons if pair.same_file),
        missing=(*_lost_attacks(missing), *_lost_formats(old.audit, new.audit, pairs, ids)),
    )
    outcome, exit_code, reasons, unsaid = _outcome(rows, doubts, margin)
    return RunComparison(
        old=_about(old.audit),
        new=_about(new.audit),
        outcome=outcome,
        exit_code=exit_code,
        reasons=reasons,
        warnings=(*_warnings(old.audit, new.audit), *unsaid),
        loosened=loosened_limits(old.audit, new.audit, pairs),
        margin=margin,
        settings=Rows(settings, of=SettingChange),
        formats=Rows([pair.about() for pair in comparisons], of=ComparedFormat),
        rows=Rows(rows, of=FigureChange),
        accuracy=Rows([row for pair in comparisons for row in pair.accuracy()], of=AccuracyChange),
        uncompared=Rows(missing, of=Uncompared),
    )


def figure_changes(
    old: FinishedRun, new: FinishedRun, wanted: Iterable[WantedFigure], rows: int, margin: float = MARGIN
) -> list[FigureChange]:
    """Compare single figures of formats that both runs have under the same id; p-values are not adjusted.

    Args:
        old: as in `compare_runs`.
        new: as in `compare_runs`.
        wanted: what to compare.
        rows: of the family for which the p-values will be adjusted.
        margin: as in `compare_runs`.
    """
    same = {one.id: one.id for one in old.audit.formats}
    pairs = {
        (first.id, first.device): _FormatPair(old, new, first, second)
        for first, second in _pairs(old.audit, new.audit, same)
    }
    found = []
    for one in wanted:
        pair = pairs[one.format, one.device]
        made = pair.change(one.old, one.metric, rows, one.new)
        found.append(_row(pair, one.new, one.metric, made, None, margin))
    return found


def _about(audit: Audit) -> ComparedRun:
    verdict = audit.verdict
    return ComparedRun(
        name=audit.name,
        created=audit.created,
        version=audit.tool.version,
        outcome=verdict.outcome,
        exit_code=verdict.exit_code,
        sha256=audit.population.sha256,
    )


# ---- which formats


def _paired_ids(old: FinishedRun, new: FinishedRun, named: dict[str, str]) -> dict[str, str]:
    """Format of OLD -> format of NEW: those that are named, and others by their id."""
    first, second = ({one.id: None for one in run.audit.formats} for run in (old, new))
    for side, run, have, names in (("OLD", old, first, named), ("NEW", new, second, named.values())):
        unknown = next((name for name in names if name not in have), None)
        if unknown is not None:
            raise SpecError(
                f"formats: '{unknown}' is no format of {side} ({run.folder}), which has {', '.join(have)}."
                f"{did_you_mean(unknown, have)}"
            )
    twice = next((name for name in named.values() if list(named.values()).count(name) > 1), None)
    if twice is not None:
        raise SpecError(f"formats: '{twice}' of NEW is compared with two formats of OLD; compare it with one")
    same = {name: name for name in first if name in second and name not in named and name not in named.values()}
    return {name: {**named, **same}[name] for name in first if name in {**named, **same}}


def _pairs(old: Audit, new: Audit, ids: Mapping[str, str]) -> Iterator[Pair]:
    """Formats that both runs have audited on the same device."""
    by_place = {(one.id, one.device): one for one in new.formats}
    for first in old.formats:
        second = by_place.get((ids.get(first.id, ""), first.device))
        if second is not None and (first.status, second.status) == ("ok", "ok"):
            yield first, second


def _only_in(old: Audit, new: Audit, ids: Mapping[str, str]) -> Iterator[Uncompared]:
    sides = (("old", "OLD", old.formats, ids, new.formats), ("new", "NEW", new.formats, _inverse(ids), old.formats))
    for side, name, own, others, theirs in sides:
        for result in own:
            where, other = place_name(result.id, result.device), others.get(result.id)
            devices = [one for one in theirs if one.id == other]
            there = next((one for one in devices if one.device == result.device), None)
            if result.status == "failed":
                why = f"it failed in {name}: {result.error}"
            elif there is not None:
                continue
            elif devices:
                why = f"only in {name} on this device; other devices answer otherwise, and are not compared with it"
            else:
                why = f"only in {name}"
            yield Uncompared.model_validate({"kind": "format", "name": where, "run": side, "why": why})


def _lost_attacks(missing: Iterable[Uncompared]) -> Iterator[str]:
    """Say which attacks, and variants that stood for one, found something in OLD and were not run in NEW."""
    lost = [one.name for one in missing if one.kind == "attack" and one.run == "old" and one.why != _NOT_RUN_IN_OLD]
    if lost:
        yield f"NEW was not attacked by {listed(lost)}, which OLD was: what that would find is not known"


def _lost_formats(old: Audit, new: Audit, pairs: Sequence[Pair], ids: Mapping[str, str]) -> Iterator[str]:
    """Say which formats of OLD that ship have nothing to be compared with in NEW."""
    compared = {(first.id, first.device) for first, _ in pairs}
    failed = {(one.id, one.device): one.error for one in new.formats if one.status == "failed"}
    absent = []
    for one in old.formats:
        if one.status != "ok" or one.id in REFERENCES.values() or (one.id, one.device) in compared:
            continue
        where, there = place_name(one.id, one.device), ids.get(one.id)
        if there is None:
            absent.append(where)
        elif (there, one.device) in failed:
            why = f"failed in NEW ({failed[there, one.device]})"
            yield f"{where} of OLD {why}: whether it leaks more is not known"
        else:
            yield f"NEW has no {place_name(there, one.device)}, which OLD has on this device: it is not compared"
    if absent:
        yield (
            f"NEW has no {listed(absent)}, which OLD has: whether it leaks more is not known; name what took its place "
            "with --map OLD=NEW"
        )


def _inverse(ids: Mapping[str, str]) -> dict[str, str]:
    return {new: old for old, new in ids.items()}


def _attacks_of(audit: Audit) -> dict[str, None]:
    """The attacks that an audit planned, each of which has a row, whether or not it could be run."""
    return {row.attack: None for row in audit.leakage if not is_judged_beside(f"{row.attack}/{row.variant}")}


def _attacks_only_in(old: Audit, new: Audit, pairs: Sequence[_FormatPair]) -> Iterator[Uncompared]:
    first, second = _attacks_of(old), _attacks_of(new)
    for attack in first:
        if attack not in second:
            ran = any(pair.old.ran_any(attack) for pair in pairs)
            why = "only in OLD" if ran else _NOT_RUN_IN_OLD
            yield Uncompared(kind="attack", name=attack, run="old", why=why)
    for attack in second:
        if attack not in first:
            yield Uncompared(kind="attack", name=attack, run="new", why="only in NEW")


# ---- one format in both runs


@dataclass(frozen=True)
class _Made:
    """A difference with the two figures and how it was found."""

    old: float | None
    new: float | None
    found: Difference
    method: Method


class _Side:
    """A format in one of the runs: its rows and, where they are stored, its scores."""

    def __init__(self, name: str, run: FinishedRun, result: FormatResult) -> None:
        self.result, self._path = result, f"{name}/scores/{scores_file(result.id, result.device)}"
        self._folder = run.folder
        self.rows: dict[tuple[str, str], LeakageRow] = {}
        for row in run.audit.leakage:
            if (row.format, row.device, row.subset) == (result.id, result.device, "all"):
                # The first shadow match is the one that is judged.
                self.rows.setdefault((f"{row.attack}/{row.variant}", row.metric), row)
        stored = run.folder / "scores" / scores_file(result.id, result.device)
        self.scores = load_scores(run.folder, result.id, result.device) if stored.is_file() else None
        self.lacks = None if self.scores is not None else f"{self._path} is missing"
        if self.scores is not None and self.scores.records is None:
            self.lacks = f"{self._path} has no ids of records"

    def ran(self, series: str) -> bool:
        row = self.rows.get((series, "auc"))
        return row is not None and (row.value is not None or row.high is not None)

    def ran_any(self, attack: str) -> bool:
        """Whether some variant of an attack could be run."""
        return any(self.ran(series) for series, _ in self.rows if series.partition("/")[0] == attack)

    def compared_name(self, series: str) -> str:
        """The series by which formats are compared: at the common probability floor, where that is another."""
        common = at_common_floor(series)
        return common if (common, "auc") in self.rows else series

    def row(self, series: str, metric: str) -> LeakageRow | None:
        return self.rows.get((self.compared_name(series), metric))

    def values(self, series: str) -> FloatArray | None:
        """Scores of a series, with NaN where a record has none; None where they are not stored."""
        return None if self.scores is None else self.scores.scores.get(self.compared_name(series))

    def threshold(self, series: str, metric: str) -> float | None:
        """The a-priori threshold of a series."""
        row, values = self.row(series, metric), self.values(series)
        if row is None or values is None or self.scores is None:
            return None
        scored = ~np.isnan(values)
        return threshold_of(metric, row.value, row.realised_fpr, values[scored], self.scores.members[scored])

    def require_own(self, series: str) -> None:
        """Raise `RunError` if the stored scores do not have the AUC that audit.json states."""
        row, values = self.row(series, "auc"), self.values(series)
        if row is None or row.value is None or values is None or self.scores is None:
            return
        scored = ~np.isnan(values)
        again = figure(values[scored], self.scores.members[scored], "auc")
        if again is not None and abs(again - row.value) > _ROUNDING:
            raise RunError(
                f"{self._folder / 'scores'}: the scores of {self.result.id} have an AUC of {again:.6f} by {series}, "
                f"and audit.json states {row.value:.6f}: files of two runs are mixed; run the audit again, which "
                "repeats no work"
            )

    def shares(self, series: str, metric: str, units: IntArray) -> LinearisedFigure | None:
        """The share of each record in a figure; `units` of all records."""
        values = self.values(series)
        if values is None or self.scores is None:
            return None
        scored = ~np.isnan(values)
        threshold = self.threshold(series, metric)
        return target_figure(values[scored], self.scores.members[scored], metric, units[scored], threshold)


class _Series(NamedTuple):
    """The attack/variant whose figure is compared, in either run."""

    old: str
    new: str


class _FormatPair:
    """A format in both runs."""

    def __init__(self, old: FinishedRun, new: FinishedRun, first: FormatResult, second: FormatResult) -> None:
        self.old, self.new = _Side("OLD", old, first), _Side("NEW", new, second)
        self.audits = old.audit, new.audit
        self.same_data = old.audit.population.sha256 == new.audit.population.sha256
        # The digest includes the preprocessing, which another draw of the same records may change.
        self._may_share = self.same_data or _source(old.audit) == _source(new.audit)
        self._matched = self._match()

    @property
    def names(self) -> tuple[str, str, str]:
        return self.old.result.id, self.new.result.id, self.new.result.device

    @property
    def same_file(self) -> bool:
        """Whether both runs queried the same bytes by the same runtime on the same records, as far as is known."""
        first, second = self.old.result, self.new.result
        if first.artifact is None or second.artifact is None or first.artifact.sha256 != second.artifact.sha256:
            return False
        unknown = self.same_data and (self.old.lacks or self.new.lacks) is not None
        return first.runtime == second.runtime and (isinstance(self._matched, Matched) or unknown)

    def _match(self) -> Matched | str:
        if not self.same_data:
            return "the digests of the data differ (records, labels or preprocessing)"
        lacking = self.old.lacks or self.new.lacks
        if lacking is not None:
            return f"{lacking}, so that records cannot be matched"
        first, second = (_record_set(side.scores) for side in (self.old, self.new) if side.scores is not None)
        return match_records(first, second)

    def about(self) -> ComparedFormat:
        """How it was compared."""
        matched = isinstance(self._matched, Matched)
        why = "the same records on the same sides" if matched else str(self._matched)
        if not matched:
            why += f"; independent intervals, {self._caveat()}"
        old, new, device = self.names
        return ComparedFormat(
            old=old,
            new=new,
            device=device,
            method="paired" if matched else "unpaired",
            why=why,
            changes=format_changes(self.old.result, self.new.result),
        )

    def _caveat(self) -> str:
        if not self._may_share:
            return "each of its own records"
        if self.old.lacks or self.new.lacks:
            return "wider than paired ones of the same records on the same sides"
        return "widened where shared records make them scatter in opposite directions"

    def series(self, missing: list[Uncompared]) -> Iterator[str]:
        """Yield the variant that stands for each attack of both runs; what could not be run is added to `missing`."""
        first, second = (_attacks_of(audit) for audit in self.audits)
        mode: Mode = "auditor" if self.audits[1].threat.get("mode") == "auditor" else "adversary"
        tried = {name for side in (self.old, self.new) for name, _ in side.rows}
        for attack in second:
            if attack not in first:
                continue
            name = standing_for(attack, mode, lambda series: self.old.ran(series) and self.new.ran(series), tried)
            ran = self.old.ran(name), self.new.ran(name)
            if all(ran):
                yield name
                missing.extend(self._stood_in_old(attack, name, tried))
                continue
            side = self.new if not ran[1] else self.old
            row = side.row(name, "auc")
            where = place_name(self.new.result.id, self.new.result.device)
            why = "it could not be run" if row is None or row.note is None else row.note
            of = "NEW" if side is self.new else "OLD"
            run = "both" if not any(ran) else "old" if ran[0] else "new"
            missing.append(
                Uncompared.model_validate(
                    {"kind": "attack", "name": f"{name} on {where}", "run": run, "why": f"{of}: {why}"}
                )
            )

    def _stood_in_old(self, attack: str, compared: str, tried: set[str]) -> Iterator[Uncompared]:
        """Yield the variant that stood for an attack in OLD, where NEW could not run it and another is compared."""
        mode: Mode = "auditor" if self.audits[0].threat.get("mode") == "auditor" else "adversary"
        name = standing_for(attack, mode, self.old.ran, tried)
        if name == compared or not self.old.ran(name) or self.new.ran(name):
            return
        row, where = self.new.row(name, "auc"), place_name(self.new.result.id, self.new.result.device)
        why = "it was not run" if row is None or row.note is None else row.note
        yield Uncompared(kind="attack", name=f"{name} on {where}", run="old", why=f"NEW: {why}")

    def change(self, series: str, metric: str, rows: int, in_new: str | None = None) -> _Made | None:
        """Return the difference of a figure; None where a run does not have it. in_new: NEW's, if it is another."""
        names = _Series(series, in_new or series)
        first, second = self.old.row(names.old, metric), self.new.row(names.new, metric)
        if first is None or second is None:
            return None
        unresolved = next((row.note for row in (second, first) if row.value is None), None)
        if first.value is None or second.value is None:
            found = Difference(None, None, None, None, unresolved or "not resolvable")
            return _Made(first.value, second.value, found, self.about().method)
        old, new = self.old.values(names.old), self.new.values(names.new)
        if metric == "auc":
            self.old.require_own(names.old)
            self.new.require_own(names.new)
        if isinstance(self._matched, Matched) and old is not None and new is not None:
            return self._paired(names, metric, rows, (old, new), (first, second), self._matched)
        if (tied := self._saturated(names, metric)) is not None:
            return _Made(first.value, second.value, tied, "unpaired")
        found = independent_difference(second, first, self._covariance(names, metric))
        if isinstance(self._matched, Matched):
            found = replace(found, note="unpaired: the scores of a run do not have this attack")
        return _Made(first.value, second.value, found, "unpaired")

    def _paired(
        self,
        series: _Series,
        metric: str,
        rows: int,
        scores: tuple[FloatArray, FloatArray],
        stated: tuple[LeakageRow, LeakageRow],
        matched: Matched,
    ) -> _Made:
        old, new = scores[0][matched.first], scores[1][matched.second]
        both = ~(np.isnan(old) | np.isnan(new))
        stored = self.new.scores
        assert stored is not None  # noqa: S101  for the type checker: there are scores
        members = stored.members[matched.second][both]
        groups = None if stored.groups is None else stored.groups[matched.second][both]
        thresholds = self.new.threshold(series.new, metric), self.old.threshold(series.old, metric)
        known = None if thresholds[0] is None or thresholds[1] is None else (thresholds[0], thresholds[1])
        found = paired_difference(
            new[both], old[both], members, metric, (*self.names, *dict.fromkeys(series)), rows, groups, thresholds=known
        )
        values = stated[0].value, stated[1].value
        if not both.all():
            # An attack that scored some of the records, and not the same ones in both runs.
            values = tuple(
                next(f.value for f in figures(side[both], members, threshold, None, groups) if f.metric == metric)
                for side, threshold in ((old, thresholds[1]), (new, thresholds[0]))
            )  # type: ignore[assignment]
        return _Made(*values, found, "paired")

    def _saturated(self, series: _Series, metric: str) -> Difference | None:
        """Why a TPR has no difference from another: without scores, what the figure's note says."""
        for name, side, own in (("NEW", self.new, series.new), ("OLD", self.old, series.old)):
            row, values, note = side.row(own, metric), side.values(own), None
            if values is not None and side.scores is not None:
                scored = ~np.isnan(values)
                note = saturated_note(values[scored], side.scores.members[scored], metric)
            elif metric.startswith("tpr@") and row is not None and _TIED in (row.note or ""):
                note = f"not resolvable: more nonmembers of {name} {_TIED} than the rate allows"
            if note is not None:
                return Difference(None, None, None, None, note)
        return None

    def _covariance(self, series: _Series, metric: str) -> float:
        """Of the two figures, over records that both runs audited, by their ids."""
        sides = (self.new, self.old)
        sets = [_record_set(s.scores) for s in sides if s.scores is not None and s.scores.records is not None]
        if not self._may_share or len(sets) < 2:
            return 0.0
        units = _common_units(*sets)
        own = zip(sides, (series.new, series.old), units, strict=True)
        first, second = (side.shares(name, metric, unit) for side, name, unit in own)
        return covariance(first, second)

    def accuracy(self) -> Iterator[AccuracyChange]:
        """Yield the accuracies of both files, and the difference on nonmembers."""
        first, second = self.old.result.accuracy, self.new.result.accuracy
        if first is None or second is None:
            return
        old, new = self.old.values(_CORRECT), self.new.values(_CORRECT)
        note, method, value = None, "unpaired", second.test - first.test
        low: float | None
        high: float | None
        if isinstance(self._matched, Matched) and old is not None and new is not None and self.new.scores is not None:
            place, groups = self._matched.second, self.new.scores.groups
            members = self.new.scores.members[place]
            of_pairs = None if groups is None else groups[place]
            found = accuracy_difference(new[place], old[self._matched.first], members, of_pairs)
            low, high, method = found.low, found.high, "paired"
        else:
            sizes = [
                self._nonmembers(side, audit) for side, audit in zip((self.old, self.new), self.audits, strict=True)
            ]
            if sizes[0] is None or sizes[1] is None:
                low = high = None
                note = "records are related, and which is not known without scores"
            else:
                value, (low, high) = independent_accuracies((second.test, sizes[1]), (first.test, sizes[0]))
        old_id, new_id, device = self.names
        yield AccuracyChange.model_validate(
            {
                "format": new_id, "old_format": old_id, "device": device, "method": method, "value": value,
                "old_train": first.train, "new_train": second.train, "old_test": first.test, "new_test": second.test,
                "low": low, "high": high, "note": note,
            }
        )  # fmt: skip

    def _nonmembers(self, side: _Side, audit: Audit) -> float | None:
        """How many independent nonmembers an accuracy rests on; None where that is not known."""
        if side.scores is not None:
            return independent_nonmembers(side.scores.members, side.scores.groups)
        about = audit.population
        related = about.largest_group is not None and about.largest_group > 1
        return None if related else float(about.nonmembers)


def _source(audit: Audit) -> tuple[object, ...]:
    """Where records come from: runs that agree in it may have audited the same ones."""
    about = audit.population
    return about.source, about.records, about.classes, about.input_shape


def _record_set(stored: FormatScores) -> RecordSet:
    records = stored.records
    return RecordSet(np.arange(len(stored.members)) if records is None else records, stored.members, stored.groups)


def _common_units(first: RecordSet, second: RecordSet) -> tuple[IntArray, IntArray]:
    """What is drawn in both runs: groups where shared records have the same ones, else records."""
    if first.groups is None or second.groups is None:
        return first.ids, second.ids
    _, here, there = np.intersect1d(first.ids, second.ids, return_indices=True)
    if np.array_equal(first.groups[here], second.groups[there]):
        return first.groups, second.groups
    return first.ids, second.ids


# ---- rows and outcome


def _row(
    pair: _FormatPair, series: str, metric: str, made: _Made | None, adjusted_p: float | None, margin: float
) -> FigureChange:
    old, new, device = pair.names
    none = Difference(None, None, None, None, "a run does not have this figure")
    made = made or _Made(None, None, none, pair.about().method)
    found = made.found
    return FigureChange(
        format=new,
        old_format=old,
        device=device,
        attack=series,
        metric=metric,
        old=made.old,
        new=made.new,
        value=found.value,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        adjusted_p=adjusted_p,
        method=made.method,
        outcome=classified(found, adjusted_p, margin),
        note=found.note,
    )


def classified(found: Difference, adjusted_p: float | None, margin: float = MARGIN) -> ChangeOutcome:
    """Say what a difference shows; see `ChangeOutcome`."""
    if found.value is None:
        return "inconclusive"
    if adjusted_p is not None and adjusted_p <= SIGNIFICANT and found.value != 0:
        return "increase" if found.value > 0 else "decrease"
    if found.low is not None and found.high is not None and -margin <= found.low and found.high <= margin:
        return "equal"
    return "inconclusive"


@dataclass(frozen=True)
class _Doubts:
    """What keeps differences from being the model's.

    blocked: why no difference says anything. attacker: what made the attacker stronger or weaker. same_files: format
    and device in NEW, of files that are the same in both runs. missing: why the absence of increases says little.
    """

    blocked: tuple[str, ...]
    attacker: tuple[AttackerChange, ...]
    same_files: frozenset[tuple[str, str]]
    missing: tuple[str, ...]

    def explanation(self, row: FigureChange) -> str | None:
        """What other than the model may explain an increase; None: nothing."""
        if (row.format, row.device) in self.same_files:
            where = place_name(row.format, row.device)
            return f"{where} is the same file in both runs, on the same records: an increase is the attacker's"
        for change in self.attacker:
            if change.strength != "weaker" and change.covers(row.attack, row.metric):
                which = "the stronger attacker" if change.strength == "stronger" else "another attacker"
                return f"{change.said}: an increase may come from {which}"
        return None

    def hiding(self, rows: Iterable[FigureChange]) -> Iterator[str]:
        """Yield what may hide an increase."""
        figures = [(row.attack, row.metric) for row in rows if row.value is not None]
        for change in self.attacker:
            if change.strength != "stronger" and any(change.covers(*one) for one in figures):
                which = "the weaker attacker" if change.strength == "weaker" else "another attacker"
                yield f"{change.said}: that no increase shows may come from {which}, and so may a decrease"
        yield from self.missing


def _invalid(old: Audit, new: Audit) -> Iterator[str]:
    for name, audit in (("NEW", new), ("OLD", old)):
        failed = list(dict.fromkeys(c.name for c in audit.controls if c.status == "failed"))
        if failed or audit.verdict.outcome == "invalid":
            which = f" (failed controls: {listed(failed)})" if failed else ""
            yield f"the audit of {name} is invalid{which}, so its figures are no evidence: nothing is concluded"


def _undecided(old: Audit, new: Audit, pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield controls of what is compared; one of a format that one run alone has does no harm."""
    first, second = ({pair[side].id for pair in pairs} for side in (0, 1))
    for name, audit, ids in (("NEW", new, second), ("OLD", old, first)):
        undecided = [c for c in audit.controls if c.status == "undecided"]
        concern = [c.name for c in undecided if c.format is None or _format_of(c.format) in ids]
        unknown = list(dict.fromkeys(concern))
        if unknown:
            what = f"controls of {name} are undecided ({listed(unknown)})"
            yield f"{what}, so its figures show too little: nothing is concluded"


def _format_of(place: str) -> str:
    """The id of a format that a control names, as `id` or `id @ device`."""
    return place.partition(" @ ")[0]


def _other_attacker(settings: Iterable[SettingChange]) -> Iterator[str]:
    for change in settings:
        if change.attacker:
            yield (
                f"{change.name} is {change.old} in OLD and {change.new} in NEW: the figures are of different "
                "attackers, and their differences say nothing of the files"
            )


def _outcome(
    rows: Sequence[FigureChange], doubts: _Doubts, margin: float
) -> tuple[str, int, tuple[str, ...], tuple[str, ...]]:
    """Return outcome, exit code and reasons; and the doubts that did not decide, as warnings."""
    hiding = tuple(doubts.hiding(rows))
    if not any(row.value is not None for row in rows):
        none = "no figure can be compared: the runs share no format and device with an attack that both could run"
        if rows:
            none = f"no figure can be compared: none of {counted(len(rows), 'difference')} is resolvable"
        return "not comparable", 3, (*doubts.blocked, none), hiding
    increased = [(row, doubts.explanation(row)) for row in rows if row.outcome == "increase"]
    explained = tuple(dict.fromkeys(why for _, why in increased if why is not None))
    unsaid = tuple(dict.fromkeys((*explained, *hiding)))
    if doubts.blocked:
        return "not comparable", 3, doubts.blocked, unsaid
    count = {outcome: sum(row.outcome == outcome for row in rows) for outcome in _ORDER}
    equal = f"{count['equal']} equal within +-{margin:g}"
    rest = f"{count['inconclusive']} inconclusive, {equal}, {count['decrease']} decreased"
    found = f"{counted(len(rows), 'figure')}: {count['increase']} increased, {rest}"
    shown = tuple(_sentence(row) for row, why in increased if why is None)
    if shown:
        return "increase", 1, (*shown, found), unsaid
    if unsaid:
        return "not comparable", 3, (*unsaid, found), ()
    none = f"no increase among {counted(len(rows), 'figure')} is significant: {rest}"
    stronger = [one.said for one in doubts.attacker if one.strength == "stronger"]
    return "no increase shown", 0, (none,), tuple(f"{said}: the attacker of NEW is the stronger" for said in stronger)


def _sentence(row: FigureChange) -> str:
    where = place_name(row.format, row.device)
    against = "" if row.format == row.old_format else f" over {row.old_format}"
    size = f"{difference(row.metric, row.value or 0.0)} {difference_interval(row.metric, row.low, row.high)}".rstrip()
    return f"{where}{against}: {metric_name(row.metric)} of {row.attack} {size}"


def _warnings(old: Audit, new: Audit) -> Iterator[str]:
    """Yield what to know before reading on."""
    times = _time(old.created), _time(new.created)
    if times[0] is not None and times[1] is not None and times[1] < times[0]:
        yield (
            f"NEW ({new.created}) was made before OLD ({old.created}): are the folders in this order? An increase here "
            "is a decrease there"
        )
    if old.population.classes != new.population.classes:
        yield (
            f"OLD has {old.population.classes} classes and NEW {new.population.classes}: the models answer different "
            "questions, so a difference need not be the file's"
        )
    if max(_targets(audit) for audit in (old, new)) > 1:
        yield "an audit has several targets: figures here are those of the first one, this file"


def _targets(audit: Audit) -> int:
    found = audit.threat.get("targets", 1)
    return found if isinstance(found, int) else 1


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
