"""Pass: every upper end within. Fail: a corrected lower end beyond. Else inconclusive."""

from __future__ import annotations

import pytest

from edgeaudit.gate.decision import Bounds, corrected_level, decide


def test_the_tail_is_shared_among_the_attacks() -> None:
    assert corrected_level(1) == pytest.approx(0.95)
    assert (1 - corrected_level(10)) / 2 == pytest.approx(0.0025)


@pytest.mark.parametrize(
    ("bounds", "verdict", "decided_by"),
    [
        ({"a": Bounds(0.5, 0.4, 0.6), "b": Bounds(0.55, 0.45, 0.7)}, "pass", "b"),  # the limit itself is within
        ({"a": Bounds(0.5, 0.4, 0.6), "b": Bounds(0.55, 0.45, 0.71)}, "inconclusive", "b"),
        ({"a": Bounds(0.5, 0.4, 0.6), "b": Bounds(0.8, 0.75, 0.85, 0.71)}, "fail", "b"),
        # Beyond by itself, not once corrected: no fail, and no pass either.
        ({"a": Bounds(0.5, 0.4, 0.6), "b": Bounds(0.8, 0.72, 0.85, 0.69)}, "inconclusive", "b"),
        ({"a": Bounds(0.8, 0.75, 0.9, 0.71), "b": Bounds(0.8, 0.75, 0.85, 0.73)}, "fail", "b"),
        # An attack that could not be run blocks a pass, and no fail.
        ({"a": Bounds(0.5, 0.4, 0.6), "b": Bounds(None, None, None)}, "inconclusive", "b"),
        ({"a": Bounds(0.8, 0.75, 0.85, 0.72), "b": Bounds(None, None, None)}, "fail", "a"),
        ({"a": Bounds(0.69, 0.6, 0.75), "b": Bounds(None, None, None)}, "inconclusive", "a"),
        # An upper end without a point estimate is an upper end.
        ({"a": Bounds(None, 0.0, 0.69), "b": Bounds(0.5, 0.4, 0.6)}, "pass", "a"),
        ({"a": Bounds(0.6, 0.55, None), "b": Bounds(0.5, 0.4, 0.6)}, "inconclusive", "a"),
    ],
)
def test_a_set_of_attacks_against_a_limit(bounds: dict[str, Bounds], verdict: str, decided_by: str) -> None:
    decision = decide(0.7, bounds)
    assert (decision.verdict, decision.decided_by) == (verdict, decided_by)
