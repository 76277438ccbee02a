"""Both looks at canaries are exact: without leakage they reject as often as they say, and each has its strength."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from edgeaudit.leakage.canaries import adjusted, look, top_p_value

M = 50
PLANTED = np.arange(2 * M) < M


@pytest.mark.parametrize("above", [0, 1, 3, 6])
def test_the_top_p_value_counts_draws(above: int) -> None:
    # All choices of 4 of 10 places whose first `above` places are planted.
    expected = comb(10 - above, 4 - above) / comb(10, 4) if above <= 4 else 0
    assert top_p_value(above, 4, 6) == pytest.approx(expected)


def test_without_leakage_both_looks_reject_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    looks = [look(rng.standard_t(2, 2 * M), PLANTED) for _ in range(4000)]
    for values in ([one.p_above_all for one in looks], [one.p_order for one in looks]):
        for level in (0.01, 0.05):
            assert np.mean(np.array(values) <= level) < level + 3 * np.sqrt(level / 4000)
    together = [adjusted([one])[0] for one in looks]
    assert np.mean(np.array(together) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 / 4000)


def test_ties_with_a_held_out_canary_do_not_count() -> None:
    assert look(np.zeros(2 * M), PLANTED).above_all == 0
    scores = np.where(PLANTED, 1.0, 0.0)
    assert look(scores, PLANTED).above_all == M
    scores[-1] = 1.0
    assert look(scores, PLANTED).above_all == 0


def test_the_top_finds_a_few_memorised_canaries_and_the_order_a_shift_of_all() -> None:
    rng = np.random.default_rng(1)
    few, shift = [], []
    for _ in range(200):
        noise = rng.normal(size=2 * M)
        few.append(look(noise + 5 * (np.arange(2 * M) < 8), PLANTED))
        shift.append(look(noise + 0.7 * PLANTED, PLANTED))
    assert np.mean([one.p_above_all < 0.025 for one in few]) > 0.95 > np.mean([one.p_order < 0.025 for one in few])
    assert np.mean([one.p_order < 0.025 for one in shift]) > 0.85 > np.mean([one.p_above_all < 0.025 for one in shift])
    both = [adjusted([one])[0] for one in (*few, *shift)]
    assert np.mean(np.array(both) < 0.05) > 0.85


def test_no_attack_has_no_p_value() -> None:
    assert adjusted([]) == []
