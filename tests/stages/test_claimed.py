"""Claims about single records: valid on null targets, none where none can be made, and stable ones said to be."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edgeaudit.attacks.attack_p import AttackP
from edgeaudit.attacks.cm_mia import CmMia
from edgeaudit.attacks.conformal import conformal_p
from edgeaudit.attacks.evidence import Evidence, FloatArray
from edgeaudit.errors import AttackError
from edgeaudit.leakage.record_claims import combined_p_values
from edgeaudit.leakage.rows import PCalibration
from edgeaudit.stages.claimed import RecordTests, claim_test, claimed_records, half_p_values, shadow_halves
from edgeaudit.stages.evidence import Case

N, M = 400, 1000


def of_format(p_value: FloatArray, *halves: FloatArray, members: int = 0) -> RecordTests:
    n = len(p_value)
    labels = np.arange(n) % 3
    return RecordTests(
        "f", "cm-mia/t", p_value, halves, 4 if halves else None, np.arange(n) + 100, labels, np.arange(n) < members,
        np.arange(n) == 1,
    )  # fmt: skip


def drawn(
    rng: np.random.Generator, formats: int, rho: float, shift: float = 0.0, members: int = 0, n: int = N, m: int = M
) -> list[FloatArray]:
    """Conformal p-values of each format: scores of one target's formats are correlated, and share known nonmembers."""
    common = rng.normal(size=n + m)
    p_values = []
    for _ in range(formats):
        scores = math.sqrt(rho) * common + math.sqrt(1 - rho) * rng.normal(size=n + m)
        scores[:members] += shift
        p_values.append(conformal_p(scores[:n], scores[n:]))
    return p_values


@pytest.mark.parametrize(
    ("formats", "rho", "n", "m"),
    [(1, 0.0, N, M), (1, 0.0, 50, 5000), (2, 0.5, 50, 5000), (5, 0.9, N, M), (13, 0.0, N, M), (13, 0.999, 50, 5000)],
)
def test_nothing_is_claimed_of_null_targets(formats: int, rho: float, n: int, m: int) -> None:
    # No claim in at least 95% of 400 draws. With 50 records and 5,000 known nonmembers p-values are fine enough for a
    # test of one format to use up its 5%; SE .0109. The smallest raw p of several formats is no p-value.
    rng = np.random.default_rng([formats, int(1000 * rho), n])
    claimed = smallest = 0
    for _ in range(400):
        p_values = drawn(rng, formats, rho, n=n, m=m)
        family, rows = claimed_records(n, [of_format(p) for p in p_values])
        assert family.claimed == len(rows)
        claimed += bool(rows)
        smallest += bool(claimed_records(n, [of_format(np.min(p_values, axis=0))])[1])
    assert claimed <= 0.05 * 400
    if formats == 1 and n == 50:
        assert claimed > 0.01 * 400
    if formats == 13 and not rho:  # of 13 independent ones
        assert smallest > 0.15 * 400


@pytest.mark.parametrize("formats", [1, 5])
def test_the_share_of_false_claims_keeps_its_level_where_there_are_members(formats: int) -> None:
    rng = np.random.default_rng(formats)
    wrong, found = [], []
    for _ in range(200):
        members = 150
        family, rows = claimed_records(
            N, [of_format(p, members=members) for p in drawn(rng, formats, 0.9, 5.0, members)]
        )
        assert family.false_claims == sum(not row.member for row in rows)
        wrong.append(family.false_claims / max(1, len(rows)))
        found.append(len(rows) - family.false_claims)
    assert np.mean(wrong) <= 0.05
    assert np.mean(found) > 100


def test_formats_are_combined_as_e_times_the_geometric_mean() -> None:
    # sqrt(.01 x .04) = .02; e x .02 = .0544. Never above 1, and one format needs no combination.
    two = combined_p_values([np.array([0.01, 0.9]), np.array([0.04, 0.8])])
    np.testing.assert_allclose(two, [0.02 * math.e, 1.0])
    assert combined_p_values([np.array([0.01, 0.9])]).tolist() == [0.01, 0.9]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95, 1.0])
def test_the_combination_is_a_p_value_under_dependence(rho: float) -> None:
    # Uniform p-values of 6 formats; P[combined <= a] <= a: 20,000 draws, SE at most .0016.
    rng = np.random.default_rng(int(100 * rho))
    common = rng.normal(size=20_000)
    normal = [math.sqrt(rho) * common + math.sqrt(1 - rho) * rng.normal(size=20_000) for _ in range(6)]
    p = combined_p_values([1 - np.argsort(np.argsort(z)) / 20_000 for z in normal])
    for level in (0.001, 0.01, 0.05):
        assert (p <= level).mean() <= level + 2 * 0.0016


@pytest.mark.parametrize("p_values", [[], [np.array([0.5]), np.array([0.5, 0.5])], [np.array([1.5])]])
def test_p_values_of_other_records_or_of_none_are_refused(p_values: list[FloatArray]) -> None:
    with pytest.raises(AttackError):
        combined_p_values(p_values)


def test_claims_by_hand() -> None:
    # BH over 4 records: .002 x 4 / 1 = .008 and .01 x 4 / 2 = .02; .5 x 4 / 3 = .67. BY: x (1 + 1/2 + 1/3 + 1/4).
    p = np.array([0.01, 0.002, 0.5, 0.9])
    family, rows = claimed_records(
        4, [of_format(p, np.array([0.9, 0.001, 0.9, 0.9]), np.array([0.01, 0.01, 0.9, 0.9]), members=1)]
    )
    assert [(row.record, row.label, row.member, row.calibrated, row.stability) for row in rows] == [
        (101, 1, False, True, 1.0),
        (100, 0, True, False, 0.5),
    ]
    np.testing.assert_allclose([row.q_value for row in rows], [0.008, 0.02])
    np.testing.assert_allclose([row.q_by for row in rows], [0.008 * 25 / 12, 0.02 * 25 / 12])
    assert (family.claimed, family.false_claims, family.claimed_by) == (2, 1, 2)
    assert family.smallest_q == pytest.approx(0.008)
    assert family.half_shadows == 4


def test_of_equal_p_values_the_most_stable_comes_first() -> None:
    p, less = np.array([0.01, 0.01, 0.001]), np.array([0.9, 0.01, 0.9])
    _, rows = claimed_records(3, [of_format(p, less, less)])
    assert [(row.record, row.stability) for row in rows] == [(102, 0.0), (101, 1.0), (100, 0.0)]


def test_without_valid_p_values_nothing_is_claimed() -> None:
    family, rows = claimed_records(N, [])
    assert rows == ()
    assert family.smallest_q is None
    assert "no record can be claimed" in family.note


def test_there_is_no_stability_unless_every_format_has_halves() -> None:
    p = np.array([0.001, 0.9])
    _, rows = claimed_records(2, [of_format(p, p, p), of_format(p)])
    assert [row.stability for row in rows] == [None]


def row(attack: str, variant: str, *, valid: bool) -> PCalibration:
    return PCalibration(
        "f", "local", "matched", attack, variant, "conformal", "nonmembers", valid, 0.05, 0.05, 0.03, 0.07, 5, 100,
        0.05, "calibrated", 1,
    )  # fmt: skip


def test_the_first_headline_with_valid_p_values_is_the_test() -> None:
    order = ("lira/online-global", "cm-mia/calibrated", "cm-mia/t", "attack-p/quantile")
    found = [
        row("attack-p", "quantile", valid=True),
        row("cm-mia", "t", valid=True),
        row("cm-mia", "calibrated", valid=False),
    ]
    assert claim_test(order, found) == "cm-mia/t"
    assert claim_test(order, [replace(one, is_p_value=False) for one in found]) is None


@pytest.mark.parametrize("shadows", [8, 9, 10, 16, 64])
def test_halves_of_the_shadows_are_disjoint_and_keep_complementary_pairs(shadows: int) -> None:
    first, second = shadow_halves(shadows, 0)
    together = np.concatenate((first, second))
    assert len(np.unique(together)) == len(together) == shadows // 2 * 2
    assert len(first) == shadows // 4 * 2
    for half in (first, second):
        assert set((half ^ 1).tolist()) == set(half.tolist())
    assert shadows < 16 or not np.array_equal(first, shadow_halves(shadows, 1)[0])


def world(k: int, n: int = 120, m: int = 200) -> Case:
    rng = np.random.default_rng(k)

    def part(records: int, member: FloatArray) -> Evidence:
        difficulty = rng.normal(size=records)
        half = rng.random(records) < 0.5
        inside = np.array([half ^ bool(shadow % 2) for shadow in range(k)])
        margins = difficulty + rng.normal(scale=0.5, size=(k + 1, records))
        margins[0] += 4 * member
        answers = np.stack((margins / 2, -margins / 2), axis=2)
        out = ~inside if records == n else np.ones((k, records), np.bool_)
        return Evidence(answers[0], answers[1:], out, np.zeros(records, np.int64), "logits", 0.0)

    members = np.arange(n) < n // 2
    return Case("target", part(n, members.astype(float)), part(m, np.zeros(m)), members, np.zeros(0, np.int64), n // 2)


def test_p_values_by_halves_are_those_of_an_audit_with_half_the_shadows() -> None:
    case = world(8)
    found = half_p_values(case, CmMia(), "t", 3)
    assert len(found) == 2
    for half, p_value in zip(shadow_halves(8, 3), found, strict=True):
        scores = CmMia().score(case.audited.keep(half), "t", case.reference.keep(half))
        np.testing.assert_array_equal(p_value, scores.p_value)
        assert np.median(p_value[case.members]) < 0.05 < np.median(p_value[~case.members])
    assert not np.array_equal(*found)


def test_too_few_shadows_and_tests_without_shadows_have_no_halves() -> None:
    assert half_p_values(world(7), CmMia(), "t", 0) == ()
    assert half_p_values(world(8), AttackP(), "quantile", 0) == ()
