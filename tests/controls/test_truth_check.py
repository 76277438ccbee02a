"""The check of targets without classes: bad ones are refused, good ones are not."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.controls.truth_check import Examined, better_fed, shows_a_model

RNG = np.random.default_rng(0)
MEMBERS = np.arange(400) < 200


def _examined(model: float, seed: int = 0, n: int = 400) -> Examined:
    """Errors of a model that has `model` times the error of knowing nothing, on average."""
    rng = np.random.default_rng(seed)
    nothing = rng.chisquare(1, n)
    return Examined(model * rng.chisquare(1, n), nothing, np.arange(n) < n // 2)


def test_a_model_that_errs_less_than_the_mean_is_one() -> None:
    assert shows_a_model(_examined(0.3))
    assert _examined(0.3).explained[1] == pytest.approx(0.7, abs=0.1)


def test_a_model_that_knows_its_members_alone_is_one() -> None:
    known = _examined(1.5)
    assert shows_a_model(Examined(np.where(known.members, 0.1, 1.0) * known.loss, known.nothing, known.members))


def test_answers_in_other_units_are_not_those_of_a_model() -> None:
    assert not shows_a_model(_examined(50.0))


def test_a_model_of_nothing_is_hardly_ever_taken_for_one() -> None:
    # Two tests of 1% on each of two sides: at most 4%, plus chance of 300 draws.
    shown = [shows_a_model(_examined(1.0, seed)) for seed in range(300)]
    assert np.mean(shown) < 0.08


def test_far_better_inputs_are_named() -> None:
    good, declared = _examined(0.1), _examined(0.9)
    assert better_fed(declared, {"with data.preprocessing: unit": good}) == "with data.preprocessing: unit"


def test_a_good_model_is_not_refused_for_inputs_that_are_a_little_better() -> None:
    # Other inputs with 80% of the loss, which no model that was trained on its own has by half.
    assert better_fed(_examined(0.5), {"other": _examined(0.4, 1)}) is None


def test_better_on_members_alone_is_no_better_way() -> None:
    declared, other = _examined(0.9), _examined(0.9)
    loss = np.where(other.members, 0.01, 2.0) * other.loss
    assert better_fed(declared, {"other": Examined(loss, other.nothing, other.members)}) is None
