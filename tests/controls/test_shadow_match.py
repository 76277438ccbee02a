"""Shadows that do not match the target are a warning; with shadows that are nothing like it no budget passes."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.controls.base import Control
from edgeaudit.controls.shadow_match import Likeness, Side, shadow_size, shadow_target_match


def finding(trained: tuple[float, float, float], other: tuple[float, float, float], n: int = 600) -> Control:
    """Each side: accuracy of the target, of its shadows, and the distance of their margins."""
    (found,) = shadow_target_match({"f": Likeness(Side(n, *trained), Side(n, *other))})
    assert (found.name, found.format) == ("shadow-target match", "f")
    return found


def test_like_shadows_hold() -> None:
    found = finding((0.9, 0.95, 0.1), (0.8, 0.71, 0.1))
    assert found.status == "holds"
    assert found.value == pytest.approx(0.09)


def test_accuracies_ten_points_apart_are_a_warning() -> None:
    found = finding((0.9, 0.88, 0.1), (0.8, 0.69, 0.1))
    assert found.status == "warning"
    assert "80.0% on nonmembers" in found.statement
    assert "accuracy is 88.0% and 69.0%" in found.statement


def test_margins_that_are_distributed_otherwise_are_a_warning() -> None:
    assert finding((0.9, 0.9, 0.1), (0.8, 0.8, 0.35)).status == "warning"


@pytest.mark.parametrize(
    ("trained", "other"),
    [
        ((1.0, 0.04, 0.99), (0.7, 0.04, 0.7)),  # shadows that learned nothing
        ((1.0, 0.6, 0.2), (0.7, 0.65, 0.1)),  # far from its accuracy on members alone
        ((0.9, 0.9, 0.1), (0.5, 0.85, 0.1)),  # far from it on nonmembers alone, and better
        ((0.9, 0.9, 0.1), (0.8, 0.8, 0.7)),  # right as often, and sure of nothing
    ],
)
def test_shadows_unlike_the_target_are_undecided(
    trained: tuple[float, float, float], other: tuple[float, float, float]
) -> None:
    found = finding(trained, other)
    assert found.status == "undecided"
    assert "train them as the target was trained" in found.statement


def test_few_records_do_not_show_that_shadows_are_unlike() -> None:
    assert finding((0.9, 0.6, 0.3), (0.8, 0.55, 0.6), n=600).status == "undecided"
    assert finding((0.9, 0.6, 0.3), (0.8, 0.55, 0.6), n=10).status == "warning"


def test_the_least_difference_is_that_of_an_exact_interval() -> None:
    side = Side(100, 0.7, 0.2, 0.9)
    # The .05% quantile of Beta(70, 31).
    assert side.least_difference == pytest.approx(0.53331 - 0.2, abs=1e-5)
    assert side.least_distance == pytest.approx(0.9 - np.sqrt(np.log(2000) / 200))


@pytest.mark.parametrize(
    ("records", "status"), [(30, "undecided"), (149, "undecided"), (150, "warning"), (269, "warning")]
)
def test_shadows_of_fewer_records_are_no_proof(records: int, status: str) -> None:
    (found,) = shadow_size(300, records)
    assert found.status == status
    assert found.statement.startswith(f"the target trained on 300 records, each trained shadow trained on {records};")
    assert found.statement.endswith(
        "set data.shadow-records to the number of members, and data.reference to more than that"
    )


def test_shadows_of_as_many_records_need_no_word() -> None:
    assert shadow_size(300, 300) == shadow_size(300, 270) == shadow_size(300, 600) == []
    assert shadow_size(300, None) == shadow_size(300, None, [280, 270]) == []


def test_every_given_shadow_counts() -> None:
    """Their mean is 300, as the target's."""
    (found,) = shadow_size(300, None, [550, 60, 290, 300])
    assert found.status == "undecided"
    assert found.value == 0.2
    assert "shadows.models[1] trained on 60;" in found.statement
    assert "models[2]" not in found.statement
    assert found.statement.endswith("leave the smaller ones out")
    (many,) = shadow_size(300, 200, [200] * 9)
    assert many.status == "warning"
    assert "each trained shadow trained on 200, shadows.models[0] trained on 200" in many.statement
    assert "and 6 more" in many.statement
    assert "data.shadow-records" in many.statement
