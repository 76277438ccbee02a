from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.lira import Lira, default_variant
from edgeaudit.attacks.signals import target_margins
from edgeaudit.leakage.roc import auc

from .conftest import MakeEvidence


def from_margins(target: list[float], shadows: list[list[float]]) -> Evidence:
    """Two classes: logits (phi, 0) have the margin phi."""
    t, s = np.array(target), np.array(shadows)
    return Evidence(
        np.stack((t, np.zeros_like(t)), axis=-1),
        np.stack((s, np.zeros_like(s)), axis=-1),
        np.ones(s.shape, dtype=np.bool_),
        np.zeros(len(t), dtype=np.int64),
        "logits",
    )


def test_both_variants_by_hand() -> None:
    # OUT margins 0, 2, 4 (mean 2, s^2 4) and 1, 2, 3 (mean 2, s^2 1); pooled 2.5. Targets 6 and 1.
    evidence = from_margins([6.0, 1.0], [[0.0, 1.0], [2.0, 2.0], [4.0, 3.0]])
    scores = Lira().score(evidence, "offline-global")
    np.testing.assert_allclose(scores.score, [4 / math.sqrt(2.5), -1 / math.sqrt(2.5)])
    own = Lira().score(evidence, "offline-per-record")
    np.testing.assert_allclose(own.score, [4 / 2, -1 / 1])
    assert own.p_value is None
    assert own.nominal is not None
    np.testing.assert_allclose(own.nominal, 1 - stats.norm.cdf([2.0, -1.0]))


def test_one_sided() -> None:
    # Fault 1: with -log pdf the record far BELOW its OUT mean would score like the one far above.
    evidence = from_margins([5.0, 0.0, -5.0], [[-1.0] * 3, [0.0] * 3, [1.0] * 3])
    for variant in ("offline-global", "offline-per-record"):
        np.testing.assert_allclose(Lira().score(evidence, variant).score, [5.0, 0.0, -5.0])


def test_one_sided_beats_two_sided(evidence_of: MakeEvidence) -> None:
    # Score differences of two records are N(2, 2 (1 + 1/12)): AUC Phi(2 / sqrt(2 * 13/12)) = .913; se about .009.
    evidence, members = evidence_of(0, n=1000, shift=2.0)
    score = Lira().score(evidence, "offline-global").score
    assert abs(auc(score, members) - stats.norm.cdf(2 / math.sqrt(2 * 13 / 12))) < 4 * 0.009
    assert auc(np.abs(score), members) < auc(score, members) - 0.05


def test_difficulty_is_removed(evidence_of: MakeEvidence) -> None:
    # Difficulty spread 3: the plain margin has AUC Phi(1.5 / sqrt(2 (1 + 9))) = .63, LiRA Phi(1.5 / sqrt(13/6)) = .85.
    evidence, members = evidence_of(1, n=1000, spread=3.0)
    assert auc(Lira().score(evidence, "offline-global").score, members) > 0.80
    assert auc(target_margins(evidence), members) < 0.70


def test_scores_do_not_saturate() -> None:
    # Pr[Z <= phi] is 1 to every digit at both; z is not.
    evidence = from_margins([30.0, 60.0], [[-1.0] * 2, [0.0] * 2, [1.0] * 2])
    low, high = Lira().score(evidence, "offline-global").score
    assert low < high


def test_one_out_shadow_takes_the_pooled_variance() -> None:
    evidence = from_margins([1.0, 1.0], [[0.0, 0.0], [2.0, 9.0], [4.0, 9.0]])
    out = np.array([[True, True], [True, False], [True, False]])
    # Record 0: OUT 0, 2, 4, s^2 = 4, also the pooled one; record 1: mean 0, z = 1 / 2.
    scores = Lira().score(replace(evidence, out=out), "offline-per-record")
    np.testing.assert_allclose(scores.score, [-0.5, 0.5])


@pytest.mark.parametrize(("shadows", "variant"), [(20, "offline-global"), (64, "offline-per-record")])
def test_default_variant(shadows: int, variant: str) -> None:
    assert default_variant(shadows) == variant


def straightforward(evidence: Evidence, variant: str) -> list[float]:
    """Carlini et al., algorithm 1, record by record: the two sides are lists that never meet."""
    n = len(evidence.labels)
    margins = []
    for row in [evidence.target, *evidence.shadows]:
        line = []
        for z, label in zip(row, evidence.labels, strict=True):
            others = [math.exp(v) for j, v in enumerate(z) if j != label]
            line.append(z[label] - math.log(sum(others)))
        margins.append(line)
    sides: dict[str, list[list[float]]] = {
        "in": [[m[i] for m, o in zip(margins[1:], evidence.out[:, i], strict=True) if not o] for i in range(n)],
        "out": [[m[i] for m, o in zip(margins[1:], evidence.out[:, i], strict=True) if o] for i in range(n)],
    }
    pooled = {
        side: sum(sum((v - np.mean(vs)) ** 2 for v in vs) for vs in lists) / sum(len(vs) - 1 for vs in lists)
        for side, lists in sides.items()
        if all(lists)
    }
    scores = []
    for i in range(n):
        log_density = {}
        for side, common in pooled.items():
            vs = sides[side][i]
            variance = common if variant.endswith("global") else float(np.var(vs, ddof=1))
            log_density[side] = float(stats.norm.logpdf(margins[0][i], np.mean(vs), math.sqrt(variance)))
            if variant.startswith("offline") and side == "out":
                scores.append((margins[0][i] - float(np.mean(vs))) / math.sqrt(variance))
        if variant.startswith("online"):
            scores.append(log_density["in"] - log_density["out"])
    return scores


@pytest.mark.parametrize("variant", Lira.spec.variants)
def test_against_a_straightforward_implementation(evidence_of: MakeEvidence, variant: str) -> None:
    evidence, _ = evidence_of(3, n=40, k=10, balanced=True)
    np.testing.assert_allclose(Lira().score(evidence, variant).score, straightforward(evidence, variant), atol=1e-6)


@pytest.mark.parametrize("variant", ["online-global", "online-per-record"])
def test_each_side_has_its_own_variance(variant: str) -> None:
    # IN margins 8, 12 (mean 10, s^2 8), OUT 0, 1 (mean .5, s^2 .5); both records alike, so pooled = own. At phi = 5:
    # log N(5; 10, 8) - log N(5; .5, .5) = -25/16 - log(8)/2 + 20.25 + log(.5)/2. The well-known copy-paste error
    # (both from the IN side) gives -25/16 + 20.25/16.
    evidence = from_margins([5.0, 5.0], [[8.0, 8.0], [12.0, 12.0], [0.0, 0.0], [1.0, 1.0]])
    online = replace(evidence, out=np.array([[False] * 2, [False] * 2, [True] * 2, [True] * 2]))
    expected = -25 / 16 - math.log(8) / 2 + 20.25 + math.log(0.5) / 2
    np.testing.assert_allclose(Lira().score(online, variant).score, [expected] * 2)


def test_online_beats_offline_and_has_its_closed_form(evidence_of: MakeEvidence) -> None:
    # With 64 + 64 shadows of equal variance the score rises with phi - (mu_in + mu_out) / 2, whose difference between
    # two records is N(2, 2 (1 + 1/256)): AUC Phi(2 / sqrt(2.008)) = .921; se .009.
    evidence, members = evidence_of(4, n=1000, k=128, shift=2.0, balanced=True)
    area = auc(Lira().score(evidence, "online-global").score, members)
    assert abs(area - stats.norm.cdf(2 / math.sqrt(2 * (1 + 1 / 256)))) < 4 * 0.009
    # Members twice as spread as nonmembers (sd 2 and 1, shift 0): only the online attack sees the variance.
    rng = np.random.default_rng(5)
    trained = rng.permuted(np.repeat(np.arange(64)[:, None] < 32, 1000, axis=1), axis=0)
    shadows = rng.normal(size=(64, 1000)) * np.where(trained, 2.0, 1.0)
    target = rng.normal(size=1000) * np.where(members, 2.0, 1.0)
    spread = replace(from_margins(target.tolist(), shadows.tolist()), out=~trained)
    assert auc(Lira().score(spread, "online-global").score, members) > 0.6
    assert abs(auc(Lira().score(spread, "offline-global").score, members) - 0.5) < 4 * 0.0183
