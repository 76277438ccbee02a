"""The report names the worst slice of each format, and slices fill no other table."""

from __future__ import annotations

from dataclasses import replace

from edgeaudit.leakage.rows import WorstSlice
from edgeaudit.report.lookup import Lookup
from edgeaudit.report.model import Audit
from edgeaudit.report.sections import attack_tables
from edgeaudit.report.slices import slice_sentences, slice_tables
from edgeaudit.report.summary import sentences
from edgeaudit.rows import Rows
from tests.report import sample


def _audit() -> Audit:
    audit = sample.audit()
    headline = Lookup(audit).headline
    assert headline is not None
    rows, worst = list(audit.leakage), []
    for n, (place, _) in enumerate(Lookup(audit).ok()):
        about = (place.format, place.device, headline.attack, headline.variant, headline.shadow_match, "probabilities")
        ends = (0.7 + n / 100, 0.6, 0.8, 0.004)
        worst.append(WorstSlice(*about, f"class:{n}", *ends, 0.55, 30, 21, 9, 1))
        main = Lookup(audit).row(place, headline, "auc")
        assert main is not None
        rows.append(replace(main, subset=f"class:{n}", value=0.7))
    return audit.model_copy(update={"leakage": Rows(rows), "worst_slices": Rows(worst)})


def test_the_summary_names_the_worst_slice() -> None:
    lookup = Lookup(_audit())
    (sentence,) = slice_sentences(lookup)
    last = len(lookup.ok()) - 1
    assert (
        f"class:{last} of {lookup.label(lookup.ok()[last][0])}, AUC {0.7 + last / 100:.3f} [0.600, 0.800]" in sentence
    )
    counts = "(51 records; adjusted p 0.004 over 9 slices; 1 more have too few records)"
    assert f"{counts}, where all records have 0.550" in sentence
    assert sentence in sentences(lookup.audit)


def test_a_slice_below_the_average_is_not_called_the_worst() -> None:
    audit = _audit()
    below = Rows([replace(row, value=0.5) for row in audit.worst_slices])
    (sentence,) = slice_sentences(Lookup(audit.model_copy(update={"worst_slices": below})))
    assert sentence.startswith("No slice with enough records is above the average; the largest slice of the records")
    assert "The worst slice" not in sentence


def test_an_audit_without_slices_has_neither_sentence_nor_table() -> None:
    lookup = Lookup(sample.audit())
    assert slice_sentences(lookup) == []
    assert slice_tables(lookup) == []


def test_the_table_has_a_row_for_each_format() -> None:
    lookup = Lookup(_audit())
    (table,) = slice_tables(lookup)
    assert [row.head.text for row in table.rows] == [lookup.label(place) for place, _ in lookup.ok()]
    texts = [cell.text for cell in table.rows[0].cells]
    assert texts == ["class:0", "0.700", "30 + 21", "0.004", "0.550", "9", "1"]


def test_slices_are_no_subsets_of_other_tables() -> None:
    assert list(attack_tables(Lookup(_audit()))) == list(attack_tables(Lookup(sample.audit())))


def test_a_class_has_the_name_that_the_data_gave_it() -> None:
    audit = _audit()
    names = ("ant", "bee", "cow\x1b[2J")
    population = audit.population.model_copy(update={"class_names": names})
    lookup = Lookup(audit.model_copy(update={"population": population}))
    (table,) = slice_tables(lookup)
    assert [row.cells[0].text for row in table.rows][:3] == ["class:0 (ant)", "class:1 (bee)", "class:2 (cow)"]
    assert (lookup.class_name(3), lookup.class_name(-1), lookup.subset_name("site:0")) == (None, None, "site:0")
