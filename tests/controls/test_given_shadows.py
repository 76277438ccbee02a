"""Whether given shadows know their lists: right lists, wrong ones, and models that know nothing of any list."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeaudit.controls.given_shadows import given_shadows_known
from edgeaudit.leakage.rows import Behaviour, Gap, Gaps


def _gaps(rng: np.random.Generator, size: float, n: int) -> Gaps:
    """Gaps of a model as n records a side show them; `size`: the true gap of its losses, in standard deviations."""
    inside, outside = rng.normal(size=n) + size, rng.normal(size=n)
    right = [(values > -0.5).astype(float) for values in (inside, outside)]

    def gap(one: np.ndarray, other: np.ndarray) -> Gap:
        return Gap(float(one.mean() - other.mean()), float(one.var(ddof=1) / n + other.var(ddof=1) / n))

    return Gaps(gap(*right), gap(inside, outside), gap(2 * inside, 2 * outside))


def _behaviour(rng: np.random.Generator, target: float, shadows: list[float], n: int = 200) -> Behaviour:
    return Behaviour(_gaps(rng, target, n), tuple(_gaps(rng, size, n) for size in shadows), 0.5, 0.5)


def test_right_lists_hold() -> None:
    rng = np.random.default_rng(0)
    found = given_shadows_known({"a": _behaviour(rng, 0.8, [0.8, 0.7, 0.9])}, 3)[0]
    assert (found.status, found.format) == ("holds", "a")
    assert given_shadows_known({"a": _behaviour(rng, 0.8, [0.8])}, 0) == []


def test_a_wrong_list_is_named() -> None:
    found = given_shadows_known({"a": _behaviour(np.random.default_rng(1), 1.0, [0.0, 1.0, 0.0, 1.0])}, 3)[0]
    # The first is trained by the audit, and is not one of the given.
    assert found.status == "undecided"
    assert "shadows.models[1] does not know the members of its list" in found.statement
    both = given_shadows_known({"a": _behaviour(np.random.default_rng(1), 1.0, [0.0, 1.0, 0.0])}, 3)[0]
    assert "shadows.models[0], shadows.models[2] do not know" in both.statement


def test_small_gaps_are_judged_together() -> None:
    """No single shadow shows that its list is wrong; the mean of twelve does."""
    rng = np.random.default_rng(2)
    found = given_shadows_known({"a": _behaviour(rng, 0.6, [0.0] * 12, n=100)}, 12)[0]
    assert found.status == "undecided"


def test_models_that_show_nothing_are_no_reason_for_doubt() -> None:
    found = given_shadows_known({"a": _behaviour(np.random.default_rng(3), 0.0, [0.0, 0.0])}, 2)[0]
    assert found.status == "holds"
    assert found.statement.startswith("neither the target")


def test_too_few_records_warn() -> None:
    rng = np.random.default_rng(4)
    found = {given_shadows_known({"a": _behaviour(rng, 0.9, [0.3, 0.9], n=25)}, 2)[0].status for _ in range(40)}
    assert "warning" in found


@pytest.mark.parametrize(("size", "n"), [(0.3, 100), (0.3, 1000), (1.0, 100), (0.1, 2000)])
def test_error_rates(size: float, n: int) -> None:
    """Gaps of models differ by a fifth: right lists are hardly ever doubted, wrong ones found where gaps are clear."""
    rng = np.random.default_rng(5)
    audits, count = 150, 4
    right, wrong = 0, 0
    for _ in range(audits):
        sizes = (size * (1 + 0.2 * rng.normal(size=count + 1))).tolist()
        for lists, fault in (("right", sizes[1:]), ("wrong", [0.0] * count)):
            found = given_shadows_known({"a": _behaviour(rng, sizes[0], fault, n)}, count)[0].status == "undecided"
            right += found and lists == "right"
            wrong += found and lists == "wrong"
    assert right <= 0.02 * audits
    if size * np.sqrt(n / 2) > 6:
        assert wrong > 0.9 * audits


def test_a_model_that_counts_twice_takes_a_pass_away() -> None:
    alike = replace(_behaviour(np.random.default_rng(0), 0.8, [0.8, 0.8, 0.8]), alike=((0, 3), (1, 2)))
    found = given_shadows_known({"a": alike}, 2)[0]
    assert found.status == "undecided"
    assert "the target and shadows.models[1], trained shadow 0 and shadows.models[0] answer" in found.statement


@pytest.mark.parametrize("size", [0.8, -0.8])
def test_a_list_that_leaves_out_the_targets_members_or_nonmembers_is_incomplete(size: float) -> None:
    rng = np.random.default_rng(1)
    plain = _behaviour(rng, 0.8, [0.8] * 3)
    quiet = (_gaps(rng, 0.0, 200), _gaps(rng, 0.0, 200), None)
    assert given_shadows_known({"a": replace(plain, unlisted=quiet)}, 3)[0].status == "holds"
    found = given_shadows_known({"a": replace(plain, unlisted=(quiet[0], _gaps(rng, size, 200), None))}, 3)[0]
    assert found.status == "undecided"
    assert "shadows.models[1] answers the target's members otherwise" in found.statement


def test_complete_lists_are_hardly_ever_doubted() -> None:
    """Eight shadows answer the same records, so that what chance makes of them is common to all."""
    rng, doubted = np.random.default_rng(2), 0
    for _ in range(400):
        gaps = _gaps(rng, 0.0, 100)
        plain = replace(_behaviour(rng, 0.8, [0.8] * 2), unlisted=(gaps, gaps))
        doubted += given_shadows_known({"a": plain}, 2)[0].status == "undecided"
    assert doubted <= 3
