"""Faults that were measured in other tools, each with its known answer.

Tested where they belong: 1 two-sided LiRA (attacks/test_lira.py), 3 p(z) from the top half of the references and 4
n x m matrices (attacks/test_rmia.py), 10 stale caches (test_plan.py). The others are here.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.registry import attack_specs, find_attack
from edgeaudit.attacks.yeom import Yeom
from edgeaudit.errors import AttackError
from edgeaudit.leakage.epsilon import split_epsilon_bound
from edgeaudit.leakage.intervals import clopper_pearson_bounds
from edgeaudit.leakage.metrics import Figure, figures
from edgeaudit.leakage.operating_points import tpr_at_fpr
from edgeaudit.leakage.roc import auc, roc
from tests.attacks.conftest import simulate, simulate_world

# Those that live on queries of their own have answers of their own in tests/attacks.
VARIANTS = [
    (spec.name, variant)
    for spec in attack_specs()
    for variant in spec.variants
    if not (spec.needs_of(variant).views or spec.needs_of(variant).trace)
]


def test_fault_2_low_loss_means_member() -> None:
    # Margins of one spread, members 1.25 sd higher: AUC Phi(1.25 / (sqrt 2 sqrt 2)) = .734, inverted .266; sd .016.
    evidence, members = simulate(0, n=1000, shift=1.25)
    assert abs(auc(Yeom().score(evidence, "loss").score, members) - 0.734) < 4 * 0.016


def test_fault_5_hard_labels_have_half_of_their_ties() -> None:
    # 880 of 1000 members and 626 of 1000 nonmembers are right: 1/2 + (.88 - .626) / 2. The first index of each tied
    # group gives .095 here.
    scores = np.repeat([1.0, 0.0, 1.0, 0.0], [880, 120, 626, 374])
    row = figures(scores, np.arange(2000) < 1000, 0.5)[0]
    assert row.value == pytest.approx(0.627, abs=1e-12)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_fault_6_one_shadow_is_enough_or_refused(name: str, variant: str) -> None:
    # One shadow has no variance: some tools answer NaN, and score it 0.
    world = simulate_world(1, n=40, k=1, reference=200)
    attack = find_attack(name)()
    needs = attack.spec.needs_of(variant)
    reason = attack.inapplicable(world.evidence, world.reference, variant)
    assert (reason is None) == (needs.shadows <= 1)
    if reason is None:
        scores = attack.score(world.evidence, variant, world.reference).score
        assert auc(scores, world.members) > 0.5


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_fault_6_and_7_odd_sizes_lose_no_record(name: str, variant: str) -> None:
    world = simulate_world(2, n=41, k=7, reference=139, balanced=True)
    assert find_attack(name)().score(world.evidence, variant, world.reference).score.shape == (41,)


@pytest.mark.parametrize("part", ["target", "shadows"])
def test_fault_7_records_without_an_answer_are_refused_by_number(part: str) -> None:
    evidence, _ = simulate(3, n=50, k=3)
    broken = getattr(evidence, part).copy()
    broken[..., [4, 17, 30], 1] = np.nan
    with pytest.raises(AttackError, match="answers on 3 of 50 records contain NaN or infinity"):
        replace(evidence, **{part: broken})


def test_fault_8_a_rate_below_one_nonmember_is_not_resolvable() -> None:
    rng = np.random.default_rng(4)
    members = np.arange(2000) < 1000
    scores = rng.normal(size=2000) + members
    assert tpr_at_fpr(scores, members, 1e-5).tpr is None
    assert "needs 99999 nonmembers, and there are 1000" in str(tpr_at_fpr(scores, members, 1e-5).note)


def test_fault_8_a_tied_group_is_decided_at_random_and_not_taken_whole() -> None:
    # Highest value: 43 members, 8 nonmembers; next: 35 and 10. Rank floor(.01 * 1001) = 10 is the second of ten tied
    # nonmembers; of 35 members in a random order with them, 2/11 precede it: 43 + 70/11 = 49.36.
    scores = np.repeat([2.0, 1.0, 0.0, 2.0, 1.0, 0.0], [43, 35, 922, 8, 10, 982])
    row = figures(scores, np.arange(2000) < 1000, None)[1]
    assert (row.metric, row.realised_fpr) == ("tpr@fpr=0.01", 0.009)
    assert row.value == pytest.approx((43 + 70 / 11) / 1000)


def test_fault_9_no_leak_has_no_epsilon() -> None:
    # Scores that know nothing, 500 + 500 records, 200 runs. Reported elsewhere: the upper end of log(TPR / FPR) at the
    # threshold where it is largest. With one false alarm TPR_U is about .011 and FPR_L 5e-5: log 220 = 5.4 by chance.
    rng = np.random.default_rng(6)
    members = np.arange(1000) < 500
    naive, ours = [], []
    for _ in range(200):
        scores = rng.normal(size=1000)
        curve = roc(scores, members)
        some = curve.false_positives > 0
        tpr_high = clopper_pearson_bounds(curve.true_positives[some], 500)[1]
        fpr_low = clopper_pearson_bounds(curve.false_positives[some], 500)[0]
        naive.append(float(np.log(tpr_high / fpr_low).max()))
        ours.append(split_epsilon_bound(scores, members, rng).epsilon)
    assert min(naive) > 2.72
    # At most 5% above 0; standard error .0154.
    assert np.mean(np.array(ours) > 0) < 0.05 + 4 * 0.0154
    assert np.mean(ours) < 0.02


def test_fault_11_one_false_positive_of_1000_has_its_interval() -> None:
    # At a threshold fixed beforehand, Clopper-Pearson of 1 of 1000: 1 - .975^(1/1000) = .0000253 to .00556. At a
    # threshold that one nonmember exceeds because it was put there, Beta(2, 999) of the 2nd largest of 1000 (n = 2001
    # gives rank 2 at 0.1%): P[Beta(2, 2000) <= x] = .025, .975.
    scores = np.concatenate((np.full(200, 2.0), np.zeros(800), [2.0], np.zeros(999)))
    rows: dict[str, Figure] = {row.metric: row for row in figures(scores, np.arange(2000) < 1000, 1.0)}
    np.testing.assert_allclose(_fpr_interval(rows["advantage"], 1, 1000), [2.53e-5, 0.00556], rtol=0.02)
    rng = np.random.default_rng(7)
    rows = {row.metric: row for row in figures(rng.normal(size=3001), np.arange(3001) < 1000, None)}
    expected = scipy.stats.beta.ppf([0.025, 0.975], 2, 2000)
    np.testing.assert_allclose(_fpr_interval(rows["tpr@fpr=0.001"], 1, 2001), expected, rtol=0.02)


def _fpr_interval(row: Figure, alarms: int, n: int) -> tuple[float, float]:
    found = re.search(rf"{alarms} of {n} nonmembers; FPR interval (\S+) to ([^\s;]+)", str(row.note))
    assert found is not None
    return float(found[1]), float(found[2])


def test_no_record_of_the_reference_pool_is_lost_either() -> None:
    # A reference record with a NaN answer is not left out: the evidence is refused.
    world = simulate_world(5, n=20, k=3)
    broken = world.reference.target.copy()
    broken[7] = np.nan
    with pytest.raises(AttackError, match="1 of 300"):
        Evidence(broken, world.reference.shadows, world.reference.out, world.reference.labels, world.reference.exposure)
