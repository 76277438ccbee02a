from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgeaudit.errors import AttackError
from edgeaudit.leakage.one_run import one_run_audit, one_run_epsilon, one_run_p_value, one_run_pairs


def brute_force(m: int, guesses: int, correct: int, rate: Fraction, delta: Fraction) -> Fraction:
    """Theorem 5.2 term by term, in fractions."""
    pmf = [math.comb(guesses, k) * rate**k * (1 - rate) ** (guesses - k) for k in range(guesses + 1)]
    alpha = max((sum(pmf[correct - i : correct], Fraction(0)) / i for i in range(1, correct + 1)), default=Fraction(0))
    return min(Fraction(1), sum(pmf[correct:], Fraction(0)) + 2 * m * delta * alpha)


@settings(derandomize=True, deadline=None)
@given(st.data())
def test_p_value_against_fractions(data: st.DataObject) -> None:
    guesses = data.draw(st.integers(1, 25))
    correct = data.draw(st.integers(0, guesses))
    m = guesses + data.draw(st.integers(0, 25))
    odds = data.draw(st.integers(1, 20))
    delta = data.draw(st.sampled_from([Fraction(0), Fraction(1, 10_000), Fraction(1, 100)]))
    expected = brute_force(m, guesses, correct, Fraction(odds, odds + 1), delta)
    # e^epsilon = odds.
    got = one_run_p_value(m, guesses, correct, math.log(odds), float(delta))
    assert got == pytest.approx(float(expected), rel=1e-9)


def test_p_value_without_delta_is_the_binomial_tail() -> None:
    # 9 or 10 of 10 with e^epsilon = 3: 10 (3/4)^9 (1/4) + (3/4)^10.
    assert one_run_p_value(50, 10, 9, math.log(3)) == pytest.approx(10 * 0.75**9 * 0.25 + 0.75**10)
    assert one_run_p_value(50, 10, 0, 1.0) == 1.0
    assert one_run_p_value(50, 0, 0, 1.0) == 1.0


def test_epsilon_in_closed_form() -> None:
    # All r right: q^r = .05, q = .05^(1/r), epsilon = log(q / (1 - q)).
    q = 0.05 ** (1 / 30)
    assert one_run_epsilon(30, 30, 30) == pytest.approx(math.log(q / (1 - q)), abs=1e-8)
    # And in general q is Clopper-Pearson's one-sided lower bound.
    q = float(stats.beta.ppf(0.05, 75, 26))
    assert one_run_epsilon(1000, 100, 75) == pytest.approx(math.log(q / (1 - q)), abs=1e-8)


def test_epsilon_against_the_paper() -> None:
    # Steinke, Nasr & Jagielski: appendix D, 75 of 100 guesses of m = 1000, delta 1e-4: .673; section 7, 1439 of 1510 of
    # m = 1e5, delta 1e-5: 2.675 (cut, not rounded).
    assert one_run_epsilon(1000, 100, 75, 1e-4) == pytest.approx(0.673, abs=5e-4)
    assert one_run_epsilon(100_000, 1510, 1439, 1e-5) == pytest.approx(2.6755, abs=5e-4)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(0, 100), st.sampled_from([0.0, 1e-5, 1e-3]))
def test_monotone(guesses: int, idle: int, delta: float) -> None:
    m = guesses + idle
    bounds = [one_run_epsilon(m, guesses, correct, delta) for correct in range(guesses + 1)]
    assert all(a <= b + 1e-8 for a, b in pairwise(bounds))
    assert one_run_epsilon(m, guesses, guesses, delta, 0.99) <= bounds[-1]
    assert one_run_epsilon(m, guesses, guesses, 2 * delta) <= bounds[-1] + 1e-8
    # The bisection rests on this: whatever is below the bound is rejected too.
    for correct, bound in enumerate(bounds):
        grid = np.linspace(0, bound, 20, endpoint=False).tolist() if bound > 0 else []
        assert all(one_run_p_value(m, guesses, correct, e, delta) < 0.05 + 1e-9 for e in grid)


def test_no_leak_has_epsilon_0() -> None:
    # 600 runs: at most 5% above 0, standard error .0089; the tail of Binomial(100, 1/2) is .0443 at 59 right.
    rng = np.random.default_rng(0)
    bounds = [one_run_audit(rng.normal(size=400), rng.random(400) < 0.5, 50, 50, rng).epsilon for _ in range(600)]
    above = np.mean(np.array(bounds) > 0)
    assert 0.0443 - 4 * 0.0089 < above < 0.05 + 4 * 0.0089


def respond(rng: np.random.Generator, m: int, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Randomised response of every inclusion."""
    included = rng.random(m) < 0.5
    return (included == (rng.random(m) < 1 / (1 + math.exp(-eps)))).astype(np.float64), included


def test_randomised_response_is_not_exceeded_and_approached() -> None:
    # About 500 answers say "in" and 500 "out", so 100 + 100 guesses each follow their answer: v ~ Binomial(200, q).
    eps, rng = 1.0, np.random.default_rng(1)
    bounds = np.array([one_run_audit(*respond(rng, 1000, eps), 100, 100, rng).epsilon for _ in range(400)])
    assert np.mean(bounds > eps) < 0.05 + 4 * 0.0109
    # q = .7311; its bound is about 1.645 sqrt(q (1 - q) / r) lower, in epsilon 1.645 / sqrt(r q (1 - q)):
    # .26 for r = 200, .0117 for r = 100,000.
    assert abs(np.median(bounds) - (eps - 0.26)) < 0.05
    large = one_run_audit(*respond(rng, 200_000, eps), 50_000, 50_000, rng).epsilon
    assert eps - 0.0117 - 4 * 0.0071 < large < eps + 4 * 0.0071


def test_stored_order_is_not_a_score() -> None:
    # Members first and one score for all: taking the first k would get every guess right.
    included = np.arange(400) < 200
    audits = [one_run_audit(np.zeros(400), included, 50, 50, np.random.default_rng(s)) for s in range(200)]
    assert np.mean([audit.correct / 100 for audit in audits]) == pytest.approx(0.5, abs=4 * 0.05 / math.sqrt(200))
    pairs = [one_run_pairs(np.zeros(400), included, 50, np.random.default_rng(s)) for s in range(200)]
    assert np.mean([audit.correct / 50 for audit in pairs]) == pytest.approx(0.5, abs=4 * 0.07 / math.sqrt(200))


def test_guesses_by_hand() -> None:
    # Highest two: in, out; lowest two: out, out. 3 of 4 right.
    scores = np.array([9.0, 8.0, 5.0, 4.0, 2.0, 1.0])
    included = np.array([True, False, True, True, False, False])
    audit = one_run_audit(scores, included, 2, 2, np.random.default_rng(0))
    assert (audit.correct, audit.guesses, audit.m, audit.epsilon) == (3, 4, 6, 0.0)
    assert audit.p_value == pytest.approx(5 / 16)
    assert "not evidence of privacy" in audit.note
    assert one_run_audit(scores, included, 1, 0, np.random.default_rng(0)).correct == 1
    assert one_run_audit(scores, included, 0, 3, np.random.default_rng(0)).correct == 2


def test_draws_of_fixed_size_are_not_independent() -> None:
    # With all m = 10 guessed and 5 members, right guesses are twice a hypergeometric: 8 or more with probability
    # (5 * 5 + 1) / 252 = .103 where coins have .055. So 8 of 10 must not be read by theorem 5.2.
    twice = stats.hypergeom(10, 5, 5)
    assert twice.sf(3) == pytest.approx(26 / 252)
    assert one_run_p_value(10, 10, 8, 0.0) == pytest.approx(56 / 1024)


def test_pairs_of_a_fixed_size_draw_are_coins() -> None:
    # No leak, 500 runs at 95%: standard error .0097. Mixed pairs of 400 records with 200 members: about 100.
    rng = np.random.default_rng(2)
    audits = [one_run_pairs(rng.normal(size=400), rng.permutation(400) < 200, 60, rng) for _ in range(500)]
    assert np.mean([audit.epsilon > 0 for audit in audits]) < 0.05 + 4 * 0.0097
    # v ~ Binomial(60, 1/2): variance 15, and that of a variance about 2 * 15^2 / 500 (sd .95).
    assert abs(np.var([audit.correct for audit in audits]) - 15) < 4 * 0.95
    assert abs(np.mean([audit.m for audit in audits]) - 100) < 2


def test_pairs_do_not_exceed_replace_one_epsilon() -> None:
    # Every inclusion by randomised response with e^1: replacing a record changes two bits, 2 in all. The higher score
    # of a mixed pair is right e^2 : 1 where they differ, and the pairs that differ come first.
    rng = np.random.default_rng(3)
    bounds = []
    for _ in range(200):
        included = rng.permutation(1000) < 500
        scores = (included == (rng.random(1000) < 1 / (1 + math.exp(-1.0)))).astype(np.float64)
        bounds.append(one_run_pairs(scores, included, 100, rng).epsilon)
    assert np.mean(np.array(bounds) > 2.0) < 0.05 + 4 * 0.0154
    assert np.median(bounds) > 1.3


def test_pairs_are_capped_at_the_mixed_pairs() -> None:
    scores, included = np.array([3.0, 1.0, 2.0]), np.array([True, False, False])
    found = [one_run_pairs(scores, included, 5, np.random.default_rng(s)) for s in (0, 1)]
    assert {(audit.m, audit.guesses, audit.correct) for audit in found} == {(1, 1, 1)}


def test_invalid_arguments_are_rejected() -> None:
    scores, included, rng = np.arange(4.0), np.arange(4) < 2, np.random.default_rng(0)
    for k_plus, k_minus in ((-1, 2), (0, 0), (3, 2)):
        with pytest.raises(AttackError, match="1 to 4"):
            one_run_audit(scores, included, k_plus, k_minus, rng)
    for m, guesses, correct, eps in ((10, 5, 6, 0.0), (4, 5, 3, 0.0), (10, 5, -1, 0.0), (10, 5, 3, -0.1)):
        with pytest.raises(AttackError, match="correct"):
            one_run_p_value(m, guesses, correct, eps)
    with pytest.raises(AttackError, match="delta"):
        one_run_epsilon(10, 5, 3, 1.0)
    with pytest.raises(AttackError, match="at least 1"):
        one_run_pairs(scores, included, 0, rng)
    with pytest.raises(AttackError, match="NaN or infinite"):
        one_run_audit(np.array([1.0, np.nan, 0.0, 0.0]), included, 1, 1, rng)
