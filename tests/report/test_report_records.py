"""Single records in the report: claims with what they assume, or that there are none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeaudit.report.html import html_text
from edgeaudit.report.lookup import Lookup
from edgeaudit.report.model import Audit, ClaimedRecord, RecordClaims
from edgeaudit.report.origin import claimed_table, claims_sentence, population_facts, ranks_table

from . import sample

FAMILY = RecordClaims(0.05, 1800, ("a", "b"), ("cm-mia/t", "cm-mia/t"), 2, 1, 1, 0.004, 16, "combined somehow")
ROWS = (
    ClaimedRecord(17, 3, 1e-5, 0.004, 0.03, 1.0, member=True, calibrated=False),
    ClaimedRecord(902, 7, 2e-5, 0.018, 0.14, 0.5, member=False, calibrated=True),
)


def of(family: RecordClaims | None, rows: tuple[ClaimedRecord, ...] = ()) -> Lookup:
    return Lookup(sample.audit(claims=family, claimed=rows))


def texts(lookup: Lookup) -> list[list[str]]:
    table = claimed_table(lookup)
    assert table is not None
    return [[row.head.text, *(cell.text for cell in row.cells)] for row in table.rows]


def test_claims_are_listed_with_q_values_and_stability() -> None:
    lookup = of(FAMILY, ROWS)
    assert texts(lookup) == [
        ["17", "3", "yes", "1e-05", "0.004", "0.03", "100%"],
        ["902", "7", "no", "2e-05", "0.018", "0.14", "50%"],
    ]
    said = claims_sentence(lookup)
    assert said.startswith("2 records can be claimed as training records at a false discovery rate of 5% (1,800 ")
    assert "1 of them was not trained on" in said
    assert "assumes that p-values of records are independent or positively dependent" in said
    assert "by Benjamini-Yekutieli, which assumes nothing, it is 1." in said
    assert "(16 or more each)" in said


def test_without_halves_of_the_shadows_there_is_no_stability() -> None:
    lookup = of(replace(FAMILY, half_shadows=None), tuple(replace(row, stability=None) for row in ROWS))
    assert [row[-1] for row in texts(lookup)] == ["-", "-"]
    assert "needs 8 or more shadows" in claims_sentence(lookup)


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (replace(FAMILY, claimed=0, false_claims=0, claimed_by=0, smallest_q=0.31), "the smallest q-value is 0.31"),
        (RecordClaims(0.05, 9, (), (), 0, 0, 0, None, None, "no test is valid"), "can be claimed: no test is valid."),
        (None, "This audit tested no single records."),
    ],
)
def test_where_none_can_be_claimed_none_is_listed(family: RecordClaims | None, said: str) -> None:
    lookup = of(family)
    assert said in claims_sentence(lookup)
    assert claimed_table(lookup) is None
    ranking = ranks_table(lookup)
    assert ranking is not None
    assert "no claims" in ranking.caption


def test_only_the_first_claims_are_shown() -> None:
    many = tuple(replace(ROWS[0], record=n) for n in range(23))
    table = claimed_table(of(replace(FAMILY, claimed=23), many))
    assert table is not None
    assert len(table.rows) == 20
    assert table.notes == ("3 further records in audit.json",)


def test_the_page_says_so(audit: Audit) -> None:
    page = html_text(audit.model_copy(update={"claims": FAMILY, "claimed": ROWS}))
    assert "2 records can be claimed as training records" in page
    assert "Records that can be claimed" in page


def test_a_claimed_record_has_the_name_of_its_file_and_of_its_class() -> None:
    named = of(FAMILY, (replace(ROWS[0], name="train/dog/0017.png"),))
    population = named.audit.population.model_copy(update={"class_names": ("a", "b", "c", "dog")})
    table = claimed_table(Lookup(named.audit.model_copy(update={"population": population})))
    assert table is not None
    assert (table.rows[0].head.detail, table.rows[0].cells[0].detail) == ("train/dog/0017.png", "dog")
    assert ("classes", "0 a, 1 b, 2 c, 3 dog") in population_facts(population)
