"""The report's tables, one function each: Lookup -> Table, or None where the audit has no data for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from edgeaudit.report.lookup import AUC, NOMINAL, TPR, Lookup, Place, Series, series_label, unique
from edgeaudit.report.model import Agreement, Budget, Control, FormatResult, JudgedWaiver, LeakageRow
from edgeaudit.report.summary import beyond_limit, own_limits, waived_by
from edgeaudit.report.tables import EMPTY, Axis, Cell, Head, Notes, Row, Table, figure_cell, labelled
from edgeaudit.report.terminal import budget_word
from edgeaudit.report.words import (
    budget_figure,
    counted,
    figure,
    figure_and_interval,
    file_size,
    interval,
    judged_figure,
    metric_name,
    percent,
    place_name,
)

__all__ = [
    "MAIN_CUTOFF",
    "ablation_tables",
    "attack_table",
    "attack_tables",
    "budget_tables",
    "control_tables",
    "formats_table",
    "further_table",
    "not_applicable",
    "verdict_tables",
]

MAIN_CUTOFF = "0.05"
_WIDE = 8
_RANK_TESTS = ("calibrated", "ecdf", "pchip")  # the one that is shown openly, by preference
_BUDGET = {
    "fail": ("exceeded", "bad"),
    "warn": ("warning", "warn"),
    "inconclusive": ("inconclusive", "warn"),
    "waived": ("waived", "warn"),
    "pass": ("within", "good"),
    "": ("none set", "muted"),
}
_CONTROL_TONES = {"failed": "bad", "undecided": "warn", "warning": "warn", "not run": "muted", "holds": "good"}
_WAIVER_TONES = {
    "applied": "warn", "insufficient": "bad", "expired": "bad", "unneeded": "muted", "unmatched": "muted",
}  # fmt: skip
_FEW_CONTROLS = 3


def formats_table(lookup: Lookup) -> Table:
    """Return one row per format: cost, leakage, and agreement with the model."""
    notes = Notes()
    axis = Axis.of([row for _, row in lookup.ranked()])
    rows = [_format_row(lookup, place, result, notes, axis) for place, result in lookup.formats.items()]
    attack = lookup.headline.label if lookup.headline else "no attack"
    heads = (
        Head("Format", align="text"),
        Head("Budget", align="text"),
        Head("AUC"),
        Head("", f"{axis.low:.2f} to {axis.high:.2f}", align="strip"),
        Head("TPR at 1% FPR"),
        Head("realised FPR"),
        Head("Train"),
        Head("Test"),
        Head("Size"),
        Head("same class", "rel. RMS"),
    )
    groups = (
        Head("", align="text"),
        Head(""),
        Head("Leakage", span=4, align="group"),
        Head("Accuracy", span=2, align="group"),
        Head(""),
        Head("Agreement", align="group"),
    )
    caption = f"Leakage under {attack}, all records, 95% intervals"
    return Table(caption, heads, tuple(rows), tuple(notes.texts), groups, "formats sortable")


def _format_row(lookup: Lookup, place: Place, result: FormatResult, notes: Notes, axis: Axis) -> Row:
    head = Cell(lookup.label(place), result.summary, code=True)
    if result.status == "failed":
        return Row(head, across=result.error or "no error was recorded")
    accuracy, artifact = result.accuracy, result.artifact
    auc = lookup.row(place, lookup.headline, AUC)
    tpr = lookup.row(place, lookup.headline, TPR)
    realised = None if tpr is None else tpr.realised_fpr
    cells = (
        _budget_cell(lookup, place),
        figure_cell(auc, notes, limits=_limits(lookup, place, AUC)),
        axis.mark(auc),
        figure_cell(tpr, notes, limits=_limits(lookup, place, TPR)),
        EMPTY if realised is None else Cell(percent(realised), sort=realised),
        Cell(percent(accuracy.train), sort=accuracy.train) if accuracy else EMPTY,
        Cell(percent(accuracy.test), sort=accuracy.test) if accuracy else EMPTY,
        Cell(file_size(artifact.bytes), sort=artifact.bytes) if artifact else EMPTY,
        _agreement(result.agreement),
    )
    return Row(head, cells)


def _agreement(agreement: Agreement | None) -> Cell:
    if agreement is None:
        return EMPTY
    same = "" if agreement.top1 is None else percent(agreement.top1)
    return Cell(same, f"{agreement.rel_rms:.2g}", sort=agreement.top1)


def _limits(lookup: Lookup, place: Place, metric: str) -> list[float]:
    """The limits of a metric on a format, from which its figures are told apart."""
    return _known(*(b.bound for b in lookup.budgets(place) if b.metric == metric and b.against is None))


def _budget_cell(lookup: Lookup, place: Place) -> Cell:
    """The worst verdict on a format; with the figure on which it rests where the row does not show that."""
    budgets = lookup.budgets(place)
    word = budget_word(budgets)
    text, tone = _BUDGET[word]
    if word == "pass" and lookup.audit.verdict.outcome == "invalid":
        text, tone = "within, in an invalid audit", "muted"
    same = [b for b in budgets if budget_word([b]) == word]
    deciding = max(same, key=beyond_limit, default=None)
    detail = "" if deciding is None or _in_row(lookup, deciding) else _deciding(lookup, deciding)
    return Cell(text, detail, tone=tone, sort=list(_BUDGET).index(word))


def _in_row(lookup: Lookup, budget: Budget) -> bool:
    """Whether the table has the figure on which a verdict rests: the headline's, at the format's own floor."""
    shown = budget.metric in (AUC, TPR) and budget.subset == "all" and budget.scope == "file" and not budget.against
    return shown and series_label(budget.decided_by or budget.attack) == (lookup.headline and lookup.headline.label)


def _deciding(lookup: Lookup, budget: Budget) -> str:
    """The figure on a line, and whose it is on another: AUC 0.764 [0.731, 0.795], lira/offline-global."""
    over = f" above {budget.against}" if budget.against else ""
    pipeline = "" if budget.scope == "file" else f", this {budget.scope}"
    whose = budget.decided_by or budget.attack
    own = f"{lookup.headline_name} "  # the table's caption has the headline's name
    return f"{metric_name(budget.metric)}{over} {budget_figure(budget)}{pipeline}\n{whose.removeprefix(own)}"


def attack_tables(lookup: Lookup) -> dict[str, list[Table]]:
    """Per subset the tables of AUC and of TPR at 1% FPR, formats by attacks; `all` first.

    A page takes `_WIDE` attacks side by side: the headline's and then the strongest come first, in tables of their own
    where there are more. Of a subset the page has the AUC of the first `_WIDE`.
    """
    subsets = sorted(unique(s.subset for s in lookup.series if s.is_main), key=lambda subset: subset != "all")
    return {
        subset: list(_attack_tables(lookup, subset) if subset == "all" else islice(_attack_tables(lookup, subset), 1))
        for subset in subsets
    }


def _attack_tables(lookup: Lookup, subset: str) -> Iterator[Table]:
    missing = {label for label, _ in not_applicable(lookup)}
    applicable = [s for s in lookup.series_with(AUC) if s.is_main and s.subset == subset and s.label not in missing]
    ranked = sorted(applicable, key=lambda s: (s != lookup.headline, -(_strength(lookup, s) or 0.0)))
    if len(ranked) <= _WIDE:
        ranked = applicable  # one table keeps the order of the audit
    for start in range(0, len(ranked), _WIDE):
        for metric in (AUC, TPR):
            table = attack_table(
                lookup, ranked[start : start + _WIDE], metric, "" if start == 0 else ", weaker attacks"
            )
            if table is not None:
                yield table


def _strength(lookup: Lookup, series: Series) -> float | None:
    """Return the largest AUC over formats; None where the attack was not applicable."""
    rows = [lookup.row(place, series, AUC) for place, _ in lookup.ok()]
    return max((row.value for row in rows if row is not None and row.value is not None), default=None)


def not_applicable(lookup: Lookup) -> list[tuple[str, str]]:
    """(attack, reason) of the attacks that could not be run."""
    reasons = []
    for series in lookup.series_with(AUC):
        rows = [lookup.row(place, series, AUC) for place, _ in lookup.ok()]
        notes = [row.note for row in rows if row is not None and row.note]
        if series.is_main and series.subset == "all" and notes and _strength(lookup, series) is None:
            reasons.append((series.label, notes[0].removeprefix("not applicable: ")))
    return reasons


def attack_table(lookup: Lookup, series: Sequence[Series], metric: str, which: str = "") -> Table | None:
    """One metric of several attacks on the same records, formats by attacks."""
    shown = [s for s in series if metric in lookup.metrics(s)]
    notes = Notes()
    grid = {place: [lookup.row(place, s, metric) for s in shown] for place, _ in lookup.ok()}
    rows = [labelled(lookup, p, [figure_cell(r, notes, tint=True) for r in cells]) for p, cells in grid.items()]
    some = next((row for cells in grid.values() for row in cells if row is not None), None)
    if some is None:
        return None
    people = f"{counted(some.n_members, 'member')}, {counted(some.n_nonmembers, 'nonmember')}"
    heads = [Head(s.label, _unusual(lookup, s)) for s in shown]
    caption = f"{metric_name(metric)}, {shown[0].subset} records ({people}){which}"
    return Table(caption, (Head("Format", align="text"), *heads), tuple(rows), tuple(notes.texts), classes="matrix")


def _unusual(lookup: Lookup, series: Series) -> str:
    """The exposure, where it is not the headline's."""
    return "" if lookup.headline is None or series.exposure == lookup.headline.exposure else series.exposure


def ablation_tables(lookup: Lookup) -> list[Table]:
    """Matched shadows against others on all records: a table per attack and other setting."""
    others = [s for s in lookup.series if not s.is_main and s.subset == "all" and _matched(s) in lookup.series]
    tables = [_ablation_table(lookup, other) for other in others]
    return [table for table in tables if table is not None]


def _matched(series: Series) -> Series:
    return series._replace(shadow_match="matched")


def _ablation_table(lookup: Lookup, other: Series) -> Table | None:
    main = _matched(other)
    metrics = [m for m in (AUC, TPR) if m in lookup.metrics(main) and m in lookup.metrics(other)]
    if not metrics:
        return None
    notes = Notes()
    rows = []
    for place, _ in lookup.ok():
        pairs = [(lookup.row(place, main, m), lookup.row(place, other, m)) for m in metrics]
        rows.append(labelled(lookup, place, [cell for pair in pairs for cell in _compared(*pair, notes)]))
    heads = [Head(text) for _ in metrics for text in (main.shadow_match, other.shadow_match, "difference")]
    groups = (Head("", align="text"), *(Head(metric_name(m), span=3, align="group") for m in metrics))
    caption = f"{main.label}: {main.shadow_match} shadows against {other.shadow_match}"
    return Table(caption, (Head("Format", align="text"), *heads), tuple(rows), tuple(notes.texts), groups)


def _compared(main: LeakageRow | None, other: LeakageRow | None, notes: Notes) -> list[Cell]:
    cells = [figure_cell(main, notes), figure_cell(other, notes)]
    if main is None or other is None or main.value is None or other.value is None:
        return [*cells, EMPTY]
    difference = main.value - other.value
    return [*cells, Cell(f"{difference:+.3f}" if main.metric == AUC else f"{difference * 100:+.1f} pp")]


def further_table(lookup: Lookup) -> Table | None:
    """The headline attack's other figures on all records."""
    if lookup.headline is None:
        return None
    verdicts = {f"{name}@{cutoff}" for cutoff, names in lookup.cutoffs(lookup.headline).items() for name in names}
    metrics = [m for m in lookup.metrics(lookup.headline) if m not in {AUC, TPR, *verdicts}]
    if not metrics:
        return None
    notes = Notes()
    rows = [
        labelled(lookup, place, [figure_cell(lookup.row(place, lookup.headline, m), notes) for m in metrics])
        for place, _ in lookup.ok()
    ]
    heads = (Head("Format", align="text"), *(Head(metric_name(m)) for m in metrics))
    return Table(f"Further figures of {lookup.headline.label}, all records", heads, tuple(rows), tuple(notes.texts))


def verdict_tables(lookup: Lookup) -> tuple[Table | None, list[Table]]:
    """The table to be shown openly, a test with valid p-values at .05 on all records, and those behind it.

    Behind it are the same test at other cutoffs, and the other tests at .05, all on all records. Subsets of the records
    and further cutoffs are in the audit.
    """
    tests = [(s, cutoff, names) for s in lookup.series if s.is_main for cutoff, names in lookup.cutoffs(s).items()]
    if not tests:
        return None, []
    best = max(tests, key=lambda test: _prominence(lookup, *test))
    behind = [
        test
        for test in tests
        if test is not best
        and test[0].subset == best[0].subset
        and (test[0] == best[0] or test[1].removeprefix(NOMINAL) == MAIN_CUTOFF)
    ]
    return _verdict_table(lookup, *best), [_verdict_table(lookup, *test) for test in behind]


def _prominence(lookup: Lookup, series: Series, cutoff: str, names: list[str]) -> tuple[bool, bool, bool, int, bool]:
    rows = [lookup.row(place, series, f"{name}@{cutoff}") for place, _ in lookup.ok() for name in names]
    known = any(row is not None and row.value is not None for row in rows)
    rank = -_RANK_TESTS.index(series.variant) if series.variant in _RANK_TESTS else -len(_RANK_TESTS)
    is_p_value = not cutoff.startswith(NOMINAL)
    return series.subset == "all", known, is_p_value, rank, cutoff == MAIN_CUTOFF


def _verdict_table(lookup: Lookup, series: Series, cutoff: str, names: list[str]) -> Table:
    notes = Notes()
    rows = []
    for place, _ in lookup.ok():
        figures = [lookup.row(place, series, f"{name}@{cutoff}") for name in names]
        rows.append(
            labelled(
                lookup,
                place,
                [_verdict_cell(row, name, cutoff, notes) for row, name in zip(figures, names, strict=True)],
            )
        )
    heads = (Head("Format", align="text"), *(Head(metric_name(name)) for name in names))
    tail = f"p-value at most {cutoff}"
    if cutoff.startswith(NOMINAL):
        tail = f"the paper's rule: nominal tail at most {cutoff.removeprefix(NOMINAL)} (not a p-value)"
    caption = f"{series.label}, {tail}, {series.subset} records"
    return Table(caption, heads, tuple(rows), tuple(notes.texts))


def _verdict_cell(row: LeakageRow | None, name: str, cutoff: str, notes: Notes) -> Cell:
    cell = figure_cell(row, notes)
    if name == "fpr" and row is not None and row.low is not None and row.low > float(cutoff.removeprefix(NOMINAL)):
        why = "the whole interval lies above the cutoff: the test has more false positives than its level"
        return Cell(cell.text, cell.detail, "warn", notes.number(why), why)
    return cell


def budget_tables(lookup: Lookup) -> list[tuple[bool, Table]]:
    """The budgets as judged: exceeded and inconclusive ones, shown openly (True), and those that are kept."""
    order = {"fail": 0, "inconclusive": 1, "waived": 2, "pass": 3}
    budgets = sorted(lookup.audit.verdict.budgets, key=lambda b: (order[b.counted], b.level == "warn"))
    kept = [b for b in budgets if b.verdict == "pass"]
    other = [b for b in budgets if b.verdict != "pass"]
    waived = any(b.waived_by for b in other)
    caption = "Exceeded, inconclusive and waived" if waived else "Exceeded and inconclusive"
    waivers, own = lookup.audit.verdict.waivers, own_limits(lookup.audit.verdict)
    return [
        *([(True, _budget_table(caption, other, own))] if other else []),
        *([(True, _waiver_table(waivers, lookup.audit.verdict.judged_on))] if waivers else []),
        *([(not other, _budget_table(f"Within: {counted(len(kept), 'budget')}", kept, own))] if kept else []),
    ]


def _waiver_table(waivers: Sequence[JudgedWaiver], judged_on: str | None) -> Table:
    notes = Notes()
    rows = []
    for one in waivers:
        up_to = "" if one.max is None else f"up to {one.max:g}"
        number = notes.number(one.note) if one.note else None
        status = Cell(one.status, "", _WAIVER_TONES[one.status], number, one.note or "")
        rows.append(Row(Cell(one.about, up_to), (status, Cell(one.expires), Cell(one.owner), Cell(one.reason))))
    heads = tuple(Head(text, align="text") for text in ("Waiver", "Status", "Until", "Owner", "Reason"))
    return Table(f"Waivers, as of {judged_on}", heads, tuple(rows), tuple(notes.texts))


def _budget_table(caption: str, budgets: list[Budget], own: str | None) -> Table:
    """The table; own: what the audit's own limits are called beside those of a policy."""
    notes = Notes()
    rows = []
    for b in budgets:
        name = place_name(b.format, b.device)
        note = "; ".join(part for part in (b.note, b.needed, _outside(b)) if part)
        number = notes.number(note) if note else None
        text, ends = judged_figure(None, b.low, b.high, b.bound), interval(b.metric, b.low, b.high)
        if b.value is not None:
            text, ends = figure_and_interval(b.metric, b.value, b.low, b.high, _known(b.bound))
        word = "warn" if (b.counted, b.level) == ("fail", "warn") else b.counted
        said = "exceeded" if b.verdict == "fail" else _BUDGET[b.verdict][0]
        why = f"waived {waived_by(b)}" if b.waived_by else ""
        waived = f"waived until {b.waived_until}" if b.waived_by else ""
        verdict = Cell(said, waived, _BUDGET[word][1], notes.number(why) if why else None, why)
        value = Cell(text, ends, "muted" if b.value is None else "", number, note)
        attacks = len({one.attack for one in b.attacks if not one.beside}) or 1
        decided = Cell(b.decided_by or b.attack, f"of {counted(attacks, 'attack')}")
        set_by = f"policy {b.policy}" if b.policy else own
        limit = Cell(b.limit, ": ".join(part for part in (set_by, b.reason) if part))
        words = (Cell(b.metric, code=True), limit, Cell(b.level), Cell(f"this {b.scope}"), decided, Cell(b.subset))
        rows.append(Row(Cell(name, code=True), (verdict, value, *words)))
    heads = ("Format", "Verdict", "Value", "Metric", "Limit", "Level", "Scope", "Decided by", "Records")
    aligned = tuple(Head(text, align="num" if text == "Value" else "text") for text in heads)
    return Table(caption, aligned, tuple(rows), tuple(notes.texts))


def _known(*limits: float | None) -> list[float]:
    return [limit for limit in limits if limit is not None]


def _outside(budget: Budget) -> str | None:
    """The strongest attack that the budget leaves out."""
    worst = budget.worst_outside
    if worst is None or worst.value is None:
        return None
    found = figure_and_interval(budget.metric, worst.value, worst.low, worst.high, _known(budget.bound))
    return f"outside the attack set: {worst.name} {' '.join(found)}".rstrip()


def control_tables(lookup: Lookup) -> list[tuple[bool, Table]]:
    """The controls: those of the whole audit and all that do not hold, openly (True); many of formats that hold."""
    order = list(_CONTROL_TONES)
    controls = sorted(lookup.audit.controls, key=lambda c: order.index(c.status))
    quiet = [c for c in controls if c.format is not None and c.status == "holds"]
    if len(quiet) <= _FEW_CONTROLS:
        quiet = []
    shown = [c for c in controls if c not in quiet]
    return [
        *([(True, _control_table("Checks of the audit itself", shown))] if shown else []),
        *([(False, _control_table(f"Per format: {counted(len(quiet), 'control')} that hold", quiet))] if quiet else []),
    ]


def _control_table(caption: str, controls: list[Control]) -> Table:
    notes = Notes()
    rows = []
    for c in controls:
        number = notes.number(c.note) if c.note else None
        range_ = interval(AUC, c.low, c.high)
        value = EMPTY if c.value is None else Cell(figure(AUC, c.value), range_)
        # The footnote belongs to what every control has: many have no figure.
        statement = Cell(c.statement, note=number, why=c.note or "")
        chance = EMPTY if c.p_value is None else Cell(f"{c.p_value:.2g}")
        records = EMPTY if c.n is None else Cell(f"{c.n:,}")
        head = Cell(c.name, c.format or "")
        rows.append(Row(head, (Cell(c.status, tone=_CONTROL_TONES[c.status]), statement, value, chance, records)))
    heads = (
        Head("Control", align="text"), Head("Status", align="text"), Head("Finding", align="text"),
        Head("Figure", "95% interval"), Head("p-value"), Head("n"),
    )  # fmt: skip
    return Table(caption, heads, tuple(rows), tuple(notes.texts))
