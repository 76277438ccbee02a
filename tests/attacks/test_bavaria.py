from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from edgeaudit.attacks.bavaria import Bavaria
from edgeaudit.attacks.cm_mia import CmMia
from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.lira import Lira
from edgeaudit.attacks.variance_prior import fit_prior
from edgeaudit.leakage.roc import auc

from .conftest import MakeWorld, logits_with_margins


def test_scores_by_hand() -> None:
    # Three records of six models, three IN and three OUT each.
    rng = np.random.default_rng(0)
    phi, target = rng.normal(size=(6, 3)) * np.array([1.0, 3.0, 0.2]), np.array([0.5, -1.0, 0.3])
    out = np.repeat([[True], [False]], 3, axis=0) & np.ones((6, 3), dtype=np.bool_)
    rest = rng.normal(size=(6, 3, 2))
    answers, others = logits_with_margins(target, rest[0]), logits_with_margins(phi, rest)
    evidence = Evidence(answers, others, out, np.zeros(3, dtype=np.int64), "logits")
    expected = {"online-t": np.zeros(3), "online-n": np.zeros(3)}
    for sign, side in ((1, phi[3:]), (-1, phi[:3])):
        variance = side.var(axis=0, ddof=1)
        prior = fit_prior(variance, np.full(3, 2))
        assert np.isfinite(prior.d0)
        moderated = (prior.d0 * prior.scale + 2 * variance) / (prior.d0 + 2)
        law = {"loc": side.mean(axis=0), "scale": np.sqrt(moderated * 4 / 3)}
        expected["online-t"] += sign * stats.t.logpdf(target, prior.d0 + 2, **law)
        expected["online-n"] += sign * stats.norm.logpdf(target, **law)
    for variant, score in expected.items():
        np.testing.assert_allclose(Bavaria().score(evidence, variant).score, score)


@pytest.mark.parametrize("k", [4, 8])
def test_it_is_ahead_of_variances_of_single_records(world_of: MakeWorld, k: int) -> None:
    # All records have one variance: LiRA's global one is right, that of single records is noise, and d0 finds out.
    world = world_of(1, n=2000, k=k, balanced=True)
    areas = {
        variant: auc(attack.score(world.evidence, variant, world.reference).score, world.members)
        for attack, variant in (
            (Bavaria(), "online-t"),
            (Bavaria(), "online-n"),
            (Lira(), "online-global"),
            (Lira(), "online-per-record"),
        )
    }
    for variant in ("online-t", "online-n"):
        assert areas[variant] > areas["online-per-record"] + 0.02
        assert areas[variant] > areas["online-global"] - 0.01


@pytest.mark.parametrize(("variant", "same"), [("offline-t", "t"), ("offline-n", "t")])
def test_offline_it_ranks_as_the_moderated_test_does(world_of: MakeWorld, variant: str, same: str) -> None:
    world = world_of(2, n=300, k=6)
    ours = Bavaria().score(world.evidence, variant, world.reference).score
    theirs = CmMia().score(world.evidence, same, world.reference).score
    # All records have six OUT shadows, hence the same degrees of freedom.
    np.testing.assert_array_equal(np.argsort(ours), np.argsort(theirs))


def test_offline_tails_do_not_saturate(world_of: MakeWorld) -> None:
    world = world_of(3, n=60, k=6)
    target = world.evidence.target.copy()
    target[:30, 0] += np.linspace(50, 80, 30)
    target[30:, 0] -= np.linspace(50, 80, 30)
    score = Bavaria().score(replace(world.evidence, target=target), "offline-n", world.reference).score
    assert np.isfinite(score).all()
    assert len(np.unique(score)) == 60
