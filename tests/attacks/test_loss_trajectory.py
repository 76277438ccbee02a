"""Loss trajectory: leakage of members' trajectories, and the shadows that are used."""

from __future__ import annotations

import builtins
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray
from edgeaudit.attacks.loss_trajectory import LossTrajectory
from edgeaudit.attacks.many_queries import queries_of, with_views
from edgeaudit.attacks.threshold import learn_threshold
from edgeaudit.attacks.traces import Trace
from edgeaudit.errors import AttackError, MissingToolchain
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.roc import auc

EPOCHS, K = 8, 3


def _evidence(rng: np.random.Generator, target: BoolArray, shadows: BoolArray, rate: float, own: float) -> Evidence:
    """Evidence of two classes; the first of three shadows and the target have students.

    target: bool [n], shadows: bool [K, n], who trained on what. A student's loss starts at 2 to 3 and falls with the
    epochs at a rate around .3, `rate` more on its model's members, times noise of 20%. A model's own logit of the
    label is N(2, 1), `own` more on members.
    """
    n = len(target)

    def trajectories(trained: BoolArray) -> FloatArray:
        falls = 0.3 + 0.05 * rng.normal(size=n) + rate * trained
        losses = rng.uniform(2, 3, n)[:, None] * np.exp(-falls[:, None] * np.arange(EPOCHS))
        return np.asarray(losses * np.exp(0.2 * rng.normal(size=losses.shape)), dtype=np.float64)

    def answers(trained: BoolArray) -> FloatArray:
        return np.stack((2 + rng.normal(size=trained.shape) + own * trained, np.zeros(trained.shape)), axis=-1)

    trace = Trace(trajectories(target), {0: trajectories(shadows[0])}, np.zeros(n))
    labels = np.zeros(n, dtype=np.int64)
    return Evidence(answers(target), answers(shadows), ~shadows, labels, "logits", traces={"trajectory": trace})


def _world(seed: int, rate: float = 0.0, own: float = 0.0, n: int = 600) -> tuple[Evidence, Evidence, BoolArray]:
    """Audited records, 400 reference records of which each shadow trained on half, and who is a member."""
    rng = np.random.default_rng(seed)
    members, trained = rng.permutation(n) < n // 2, rng.random((K, 400)) < 0.5
    audited = _evidence(rng, members, np.zeros((K, n), dtype=np.bool_), rate, own)
    return audited, _evidence(rng, np.zeros(400, dtype=np.bool_), trained, rate, own), members


def _score(audited: Evidence, reference: Evidence) -> FloatArray:
    return LossTrajectory().score(audited, "distilled", reference).score


def test_members_whose_losses_fall_faster_are_found() -> None:
    # The rates are N(.3, .05) and N(.4, .05): known exactly, they have an AUC of Phi(.1 / (.05 sqrt 2)) = .92. The
    # slope of seven steps of noisy logs is known to .2 / sqrt(42) = .03, which leaves Phi(.1 / (.058 sqrt 2)) = .89.
    audited, reference, members = _world(0, rate=0.1)
    score = _score(audited, reference)
    assert 0.83 < auc(score, members) < 0.92
    assert ((score >= 0) == members).mean() > 0.74
    # Nothing of it is in the model's own loss.
    own = audited.target[:, 0]
    assert delong(own, members).low < 0.5 < delong(own, members).high


def test_the_model_s_own_loss_is_read_too() -> None:
    # Logits N(2, 1) and N(4, 1): Phi(2 / sqrt 2) = .92.
    audited, reference, members = _world(1, own=2.0)
    assert 0.87 < auc(_score(audited, reference), members) < 0.95


@pytest.mark.parametrize("seed", range(4))
def test_without_a_leak_the_auc_is_a_half(seed: int) -> None:
    audited, reference, members = _world(10 + seed)
    # 99.9% of intervals at this level hold .5; the seeds are fixed.
    found = delong(_score(audited, reference), members, level=0.999)
    assert found.low < 0.5 < found.high


def test_shadows_without_a_student_are_ignored() -> None:
    audited, reference, _ = _world(2, rate=0.1)
    plain = _score(audited, reference)
    garbled = reference.shadows.copy()
    garbled[1:] = 7.0
    np.testing.assert_array_equal(_score(audited, replace(reference, shadows=garbled)), plain)
    garbled[0] = 7.0
    assert (_score(audited, replace(reference, shadows=garbled)) != plain).any()


def test_the_threshold_is_even_odds_and_no_further_query_is_counted() -> None:
    audited, reference, _ = _world(3)
    assert learn_threshold(LossTrajectory(), "distilled", reference).value == 0.0
    assert queries_of(LossTrajectory.spec.needs_of("distilled"), audited) == 1
    assert len(with_views(LossTrajectory(), audited)) == 1


def test_losses_of_zero_are_finite_scores() -> None:
    audited, reference, _ = _world(4, rate=0.1)
    trace = audited.traces["trajectory"]
    still = replace(audited, traces={"trajectory": replace(trace, target=np.zeros_like(trace.target))})
    assert np.isfinite(_score(still, reference)).all()


def test_a_missing_torch_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    (audited, reference, _), real = _world(5), builtins.__import__

    def without_torch(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "torch":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(MissingToolchain, match=r"attack 'loss-trajectory'.*pip install 'edgeaudit\[torch\]'"):
        _score(audited, reference)


def test_traces_by_hand() -> None:
    nan = float("nan")
    target = np.array([[1.0, 2.0], [nan, nan], [5.0, 6.0]])
    trace = Trace(target, {2: target + 10, 0: target[::-1]}, np.array([3.0, 0.0, 4.0]))
    assert trace.taken.tolist() == [True, False, True]
    # Shadow 0 was looked at on records 0 and 2 and trained on 0; shadow 2 on the same, and trained on both.
    out = np.array([[False, True, True], [True, True, True], [False, False, False]])
    of_shadows = trace.of_shadows
    values, members = of_shadows.examples(out)
    assert values.tolist() == [[5, 6], [1, 2], [11, 12], [15, 16]]
    assert members.tolist() == [True, False, True, True]
    assert {n: one.tolist() for n, one in trace.take(np.array([2])).shadows.items()} == {2: [[15, 16]], 0: [[1, 2]]}
    assert trace.take(slice(2, 3)).queries.tolist() == [4]
    assert list(trace.keep(np.array([1, 2])).shadows) == [1]
    played = of_shadows.play(2, np.array([0, 1]))
    np.testing.assert_array_equal(played.target, target + 10)
    assert list(played.shadows) == [0]
    assert not of_shadows.play(1, np.array([0, 2])).taken.any()
    of_shadows.require_fit(3, 3)
    for records, k in ((3, 2), (4, 3)):
        with pytest.raises(AttackError, match=f"there are {records} records and {k} shadows"):
            of_shadows.require_fit(records, k)
