from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from edgeaudit.attacks.evidence import Evidence, FloatArray
from edgeaudit.attacks.info_rmia import InfoRmia
from edgeaudit.attacks.rmia import OFFLINE_A, Rmia, average_probability, likelihood_ratio
from edgeaudit.errors import AttackError

from .conftest import MakeWorld


def from_probabilities(target: list[float], shadows: list[list[float]], out: list[list[int]]) -> Evidence:
    """Two classes, label 0, with these probabilities of it."""
    t, s = np.array(target), np.array(shadows)
    return Evidence(
        np.stack((t, 1 - t), axis=-1),
        np.stack((s, 1 - s), axis=-1),
        np.array(out, dtype=np.bool_),
        np.zeros(len(t), dtype=np.int64),
        "probabilities",
    )


def ratio(evidence: Evidence, variant: str) -> FloatArray:
    return likelihood_ratio(evidence, average_probability(evidence.shadow_answers, variant))


def straightforward_ratio(evidence: Evidence, a: float | None) -> FloatArray:
    """p_x / p(x) record by record and shadow by shadow; a None: online."""
    ratios = []
    for i, label in enumerate(evidence.labels):
        lists: dict[bool, list[float]] = {True: [], False: []}
        answers = [evidence.target[i], *evidence.shadows[:, i]]
        p = []
        for row in answers:
            if evidence.exposure == "logits":
                biggest = max(row)
                weights = [math.exp(z - biggest) for z in row]
                value = weights[label] / sum(weights)
            else:
                value = row[label]
            p.append(min(max(value, evidence.floor), 1 - evidence.floor))
        for value, out in zip(p[1:], evidence.out[:, i], strict=True):
            lists[bool(out)].append(value)
        p_out = sum(lists[True]) / len(lists[True])
        p_in = a * p_out + 1 - a if a is not None else p_out
        if a is None and lists[False]:
            p_in = sum(lists[False]) / len(lists[False])
        ratios.append(p[0] / ((p_in + p_out) / 2))
    return np.array(ratios)


@pytest.mark.parametrize("exposure", ["logits", "probabilities"])
@pytest.mark.parametrize(("variant", "a"), [*OFFLINE_A.items(), ("online", None)])
def test_against_a_straightforward_implementation(
    world_of: MakeWorld, variant: str, a: float | None, exposure: str
) -> None:
    world = world_of(0, n=70, k=8, reference=90, balanced=a is None, exposure=exposure)
    x, z = straightforward_ratio(world.evidence, a), straightforward_ratio(world.reference, a)
    share = [sum(1 for b in z if r / b > 2.0) / len(z) for r in x]
    np.testing.assert_allclose(Rmia().score(world.evidence, variant, world.reference).score, share, atol=1e-6)
    np.testing.assert_allclose(ratio(world.evidence, variant), x, rtol=1e-6)
    np.testing.assert_allclose(InfoRmia().score(world.evidence, variant).score, np.log(x), atol=1e-6)


def test_by_hand() -> None:
    # OUT means: x .4 and .5, z .5, .25, .2, .8. a = 0: p(.) = (p_out + 1) / 2 = .7, .75; .75, .625, .6, .9.
    evidence = from_probabilities([0.84, 0.3], [[0.2, 0.5], [0.6, 0.5]], [[1, 1], [1, 1]])
    # Ratios: x 1.2, .4; z .4, .64, .2, .8 (tenfold copies, as ten reference records are the least).
    reference = from_probabilities([0.3, 0.4, 0.12, 0.72] * 10, [[0.5, 0.25, 0.2, 0.8] * 10] * 2, [[1] * 40] * 2)
    # x / gamma: .6 beats .4 and .2 of four; .2 beats none, for the ratio of .2 is not more than twofold beaten.
    np.testing.assert_allclose(Rmia().score(evidence, "offline-0", reference).score, [0.5, 0.0])
    # gamma 1: 1.2 beats all, .4 beats .2 alone.
    np.testing.assert_allclose(Rmia(gamma=1.0).score(evidence, "offline-0", reference).score, [1.0, 0.25])


def test_every_out_shadow_of_a_reference_record_counts() -> None:
    # Fault 3: with p(z) from the larger half of the shadows (.5, .4 -> .45) z's ratio at a = 0.6 would be
    # .36 / (.8 * .45 + .2) = .643; over all four (.5, .4, .2, .1 -> .3) it is .36 / .44 = .818. x's ratio is
    # .7 / (.8 * .3 + .2) = 1.59: twice .643 is beaten, twice .818 is not.
    evidence = from_probabilities([0.7], [[0.3]] * 4, [[1]] * 4)
    reference = from_probabilities([0.36] * 10, [[p] * 10 for p in (0.5, 0.4, 0.2, 0.1)], [[1] * 10] * 4)
    np.testing.assert_allclose(Rmia().score(evidence, "offline-0.6", reference).score, [0.0])


def test_shadows_that_trained_on_a_reference_record_do_not_count_offline() -> None:
    # z's IN shadow says .9; OUT .3: ratio at a = 0: .6 / .65 = .923. With the IN shadow p_out would be .6: .75.
    evidence = from_probabilities([0.95], [[0.1], [0.1]], [[1], [1]])
    reference = from_probabilities([0.6] * 10, [[0.9] * 10, [0.3] * 10], [[0] * 10, [1] * 10])
    # x: .95 / .55 = 1.727 < 2 * .923.
    np.testing.assert_allclose(Rmia().score(evidence, "offline-0", reference).score, [0.0])


def test_online_weighs_in_and_out_alike() -> None:
    # Three IN at .9, one OUT at .3: p(x) = .6, not the plain mean .75.
    evidence = from_probabilities([0.9], [[0.9], [0.9], [0.9], [0.3]], [[0], [0], [0], [1]])
    np.testing.assert_allclose(ratio(evidence, "online"), [1.5])
    # A record that no shadow trained on keeps its OUT mean.
    alone = replace(evidence, out=np.ones_like(evidence.out))
    np.testing.assert_allclose(ratio(alone, "online"), [0.9 / 0.75])


def test_reference_records_without_out_shadow_are_left_out() -> None:
    evidence = from_probabilities([0.84], [[0.2], [0.6]], [[1], [1]])
    reference = from_probabilities([0.3] * 12, [[0.5] * 12] * 2, [[1] * 10 + [0, 0]] * 2)
    # Ratio 1.2 against .4: all ten that have a p(z).
    np.testing.assert_allclose(Rmia().score(evidence, "offline-0", reference).score, [1.0])
    few = reference.take(np.arange(1, 12))
    reason = Rmia().inapplicable(evidence, few, "offline-0")
    assert reason is not None
    assert "10 or more reference records with 1 or more OUT shadows; there are 9" in reason


def test_memory_grows_with_n_plus_m() -> None:
    # Fault 4: an n x m matrix of doubles would be 20,000 * 20,000 * 8 = 3.2 GB. The inputs of n or m doubles are .16 MB
    # each, and some dozen of them are alive at once.
    rng = np.random.default_rng(0)
    n, k = 20_000, 3
    x, z = (from_probabilities(rng.random(n).tolist(), rng.random((k, n)).tolist(), [[1] * n] * k) for _ in range(2))
    tracemalloc.start()
    Rmia().score(x, "offline-0.3", z)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6


def test_gamma_must_be_positive() -> None:
    with pytest.raises(AttackError, match="gamma must be above 0"):
        Rmia(gamma=0.0)
