"""A target that answers its members as it answers others passes only where its shadows do so, too."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.controls.base import Control
from edgeaudit.controls.members_known import Known, Origin, members_known
from edgeaudit.leakage.rows import Behaviour, Gap, Gaps, NullControlRow

RECORDS = 600


def gaps(value: float, records: int = RECORDS) -> Gaps:
    """Gaps of one model: of accuracies around .8, losses and margins of deviation 1."""
    return Gaps(Gap(value, 2 * 0.16 / records), Gap(value, 2 / records), Gap(2 * value, 2 / records))


def shadows(value: float, count: int = 8, spread: float = 0.02) -> tuple[Gaps, ...]:
    return tuple(gaps(v) for v in value + spread * np.linspace(-1, 1, count))


def auc_of(value: float, p: float | None) -> NullControlRow:
    return NullControlRow("f", "local", "lira", "offline", "matched", "target", value, 0.0, 1.0, p, 100, 100)


def finding(behaviour: Behaviour, *rows: NullControlRow, origin: Origin = "given") -> Control:
    (found,) = members_known({"f": Known(behaviour, rows)}, origin)
    assert (found.name, found.format) == ("members known", "f")
    return found


def test_no_gap_where_shadows_have_one_is_undecided() -> None:
    found = finding(Behaviour(gaps(0.0), shadows(0.2), 0.5, 0.5), auc_of(0.51, 0.7))
    assert found.status == "undecided"
    assert "is the list of members right?" in found.statement
    assert found.p_value is not None
    assert found.p_value < 0.001


@pytest.mark.parametrize(("p_accuracy", "p_loss", "p_attack"), [(1e-4, 0.9, 0.9), (0.9, 1e-4, 0.9), (0.9, 0.9, 1e-4)])
def test_one_test_that_finds_members_is_enough(p_accuracy: float, p_loss: float, p_attack: float) -> None:
    # A gap far below the shadows', but shown: the list is right, and the model better than its shadows.
    known = Behaviour(gaps(0.01), shadows(0.2), p_accuracy, p_loss)
    assert finding(known, auc_of(0.56, p_attack)).status == "holds"


def test_an_attack_that_finds_nonmembers_is_no_evidence() -> None:
    assert finding(Behaviour(gaps(0.0), shadows(0.2), 0.5, 0.5), auc_of(0.44, 1e-9)).status == "undecided"


def test_several_tests_share_their_level() -> None:
    chance = [auc_of(0.54, p) for p in (0.016, *[0.4] * 9)]  # the first is .008 one-sided, of twelve tests
    assert finding(Behaviour(gaps(0.0), shadows(0.2), 0.5, 0.5), *chance).status == "undecided"


@pytest.mark.parametrize("value", [0.0, 0.01])
def test_a_model_without_a_gap_passes_with_shadows_that_have_none(value: float) -> None:
    found = finding(Behaviour(gaps(0.0), shadows(value, spread=0.03), 0.5, 0.5))
    assert (found.status, "so do its shadows" in found.statement) == ("holds", True)


def test_too_few_records_to_tell_are_a_warning() -> None:
    found = finding(Behaviour(gaps(0.0, records=20), shadows(0.15), 0.5, 0.5))
    assert found.status == "warning"


def test_shadows_that_differ_among_themselves_accuse_nobody() -> None:
    assert finding(Behaviour(gaps(0.0), shadows(0.2, spread=0.15), 0.5, 0.5)).status != "undecided"
    # Two shadows that happen to agree are no proof that all models do.
    assert finding(Behaviour(gaps(0.12), shadows(0.2, 2, spread=0.0), 0.5, 0.5)).status == "warning"


@pytest.mark.parametrize(
    ("origin", "status"), [("given", "undecided"), ("declared", "warning"), ("trained here", "holds")]
)
def test_without_shadows_the_origin_of_the_list_decides(origin: Origin, status: str) -> None:
    assert finding(Behaviour(gaps(0.0), (), 0.3, 0.3), origin=origin).status == status
    assert finding(Behaviour(gaps(0.1), (), 1e-6, 0.3), origin=origin).status == "holds"


def test_sound_models_are_accused_less_than_once_in_five_hundred() -> None:
    rng = np.random.default_rng(0)
    statuses = [_drawn(rng, gap, own=gap) for gap in (0.02, 0.05, 0.1, 0.2) for _ in range(500)]
    assert statuses.count("undecided") <= 4  # .1% of 2,000 is 2


def test_wrong_lists_are_found() -> None:
    rng = np.random.default_rng(1)
    assert [_drawn(rng, 0.2, own=0.0) for _ in range(200)].count("undecided") > 140


def _drawn(rng: np.random.Generator, gap: float, own: float) -> str:
    """One audit: models whose gaps differ by a fifth, answers of accuracy .7 on nonmembers, tested by a z test."""

    def model(value: float, records: int = RECORDS) -> tuple[Gaps, float]:
        inside = rng.binomial(records, min(0.7 + value * (1 + 0.2 * rng.standard_normal()), 1)) / records
        outside = rng.binomial(records, 0.7) / records
        variance = (inside * (1 - inside) + outside * (1 - outside)) / records
        one = Gap(inside - outside, variance)
        p = float(1 - _normal(one.value / np.sqrt(variance)))
        return Gaps(one, one, one), p

    target, p = model(own)
    return finding(Behaviour(target, tuple(model(gap)[0] for _ in range(4)), p, p)).status


def _normal(z: float) -> float:
    from scipy.stats import norm

    return float(norm.cdf(z))
