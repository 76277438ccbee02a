"""Multi-version attacks on simulated versions with known truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from edgeaudit.attacks.compleak import Classifier, Stack
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray
from edgeaudit.attacks.joint_lira import JointLira, shrunk
from edgeaudit.attacks.lira import Lira
from edgeaudit.attacks.versions import ShadowVersion, TargetVersion
from edgeaudit.errors import AttackError
from edgeaudit.leakage.paired import auc_difference
from edgeaudit.leakage.roc import auc
from edgeaudit.tasks.classification import softmax

from .conftest import logits_with_margins

K = 16


class Versions:
    """Versions of one model whose margins are difficulty + N(0, S) + shift if trained on, S of the given correlation.

    Shadows trained on half of `known` records each; on audited ones where `auditor`, else on none.
    """

    def __init__(
        self,
        shifts: Sequence[float],
        correlation: float = 0.0,
        seed: int = 0,
        n: int = 2000,
        known: int = 600,
        auditor: bool = False,
    ) -> None:
        rng = np.random.default_rng(seed)
        size = len(shifts)
        mix = np.linalg.cholesky((1 - correlation) * np.eye(size) + correlation * np.ones((size, size)))
        self.members: BoolArray = rng.permutation(n) < n // 2

        def asked(trained: BoolArray, difficulty: FloatArray) -> FloatArray:
            noise: FloatArray = rng.normal(size=(*trained.shape, size)) @ mix.T
            noise += difficulty[:, None] + trained[..., None] * np.asarray(shifts)
            return noise

        halves = [rng.random((K, count)) < 0.5 for count in (n, known)]
        trained = [halves[0] if auditor else np.zeros((K, n), dtype=np.bool_), halves[1]]
        difficulty = [rng.normal(size=count) for count in (n, known)]
        target = asked(self.members, difficulty[0])
        shadows = [asked(t, d) for t, d in zip(trained, difficulty, strict=True)]
        rests = [rng.normal(size=(1 + K, count, 3)) for count in (n, known)]
        self.audited = [self._evidence(target[:, f], shadows[0][..., f], trained[0], rests[0]) for f in range(size)]
        unseen = np.zeros(known)
        self.known = [self._evidence(unseen, shadows[1][..., f], trained[1], rests[1]) for f in range(size)]
        if auditor:
            self.known = self.audited

    @staticmethod
    def _evidence(target: FloatArray, shadows: FloatArray, trained: BoolArray, rest: FloatArray) -> Evidence:
        labels = np.zeros(len(target), dtype=np.int64)
        answers = logits_with_margins(target, rest[0])
        return Evidence(answers, logits_with_margins(shadows, rest[1:]), ~trained, labels, "logits")

    @property
    def shadows(self) -> list[ShadowVersion]:
        return [
            ShadowVersion.of(a.shadow_answers, b.shadow_answers) for a, b in zip(self.audited, self.known, strict=True)
        ]

    @property
    def targets(self) -> list[TargetVersion]:
        return [TargetVersion.of(one) for one in self.audited]

    def joint(self, online: bool = False) -> FloatArray:
        """The score of joint LiRA."""
        fitted = JointLira.fit(self.shadows)
        return (fitted.online if online else fitted.offline)(self.shadows, self.targets)


def area(separation: float) -> float:
    """AUC where members are `separation` OUT standard deviations off and the OUT mean is that of K shadows."""
    return float(stats.norm.cdf(separation / math.sqrt(2 * (1 + 1 / K))))


# The standard error of an AUC of .8 from 1,000 members and as many others is .0098.
CLOSE = 4 * 0.0098


def test_two_independent_versions_count_as_two_observations() -> None:
    # d^2 = shift' S^-1 shift: 1 for one version and 2 for two; AUC .753 and .834.
    versions = Versions([1.0, 1.0])
    score, alone = versions.joint(), Lira().score(versions.audited[0], "offline-global").score
    assert abs(auc(score, versions.members) - area(math.sqrt(2))) < CLOSE
    assert abs(auc(alone, versions.members) - area(1.0)) < CLOSE
    found = auc_difference(score, alone, versions.members)
    assert found.value is not None
    assert found.p_value is not None
    assert abs(found.value - (area(math.sqrt(2)) - area(1.0))) < CLOSE
    assert found.p_value < 1e-6


def test_a_version_that_hardly_leaks_reduces_the_noise_of_another() -> None:
    # S has correlation .8 and the second version shows nothing of members: d^2 = 1 / (1 - .64), so AUC .876 for .753.
    # A diagonal covariance would give the second no weight.
    versions = Versions([1.0, 0.0], correlation=0.8)
    assert abs(auc(versions.joint(), versions.members) - area(1 / 0.6)) < CLOSE


def test_near_copies_add_as_much_as_the_covariance_implies() -> None:
    # Equal shifts, correlation .9: d^2 = 2 / 1.9, AUC .759 for .753. Counted as two witnesses the order is the same.
    versions = Versions([1.0, 1.0], correlation=0.9)
    assert abs(auc(versions.joint(), versions.members) - area(math.sqrt(2 / 1.9))) < CLOSE


@pytest.mark.parametrize("online", [False, True])
def test_copies_add_nothing(online: bool) -> None:
    versions = Versions([1.0], auditor=online)
    alone = versions.joint(online)
    versions.audited, versions.known = versions.audited * 3, versions.known * 3
    found = auc_difference(versions.joint(online), alone, versions.members)
    # Offline a sum of copies orders records as one does; online the quadratic form is that of their mean.
    assert found.value == pytest.approx(0, abs=1e-3)
    if not online:
        assert (found.value, found.p_value) == (0, 1)


def test_one_version_is_lira() -> None:
    versions = Versions([1.0], auditor=True)
    for online, variant in ((False, "offline-global"), (True, "online-global")):
        alone = Lira().score(versions.audited[0], variant).score
        np.testing.assert_allclose(versions.joint(online), alone, rtol=1e-9)


def test_online_beats_offline_where_members_vary_less() -> None:
    # In each version members' margins are halved around difficulty + shift; only the online score knows that.
    versions = Versions([1.0, 1.0], auditor=True)
    changed = []
    for one in versions.audited:
        inside = np.concatenate((versions.members[None], ~one.out))
        answers = np.concatenate((one.target[None], one.shadows))
        margins = answers[..., 0] - np.log(np.exp(answers[..., 1:]).sum(axis=-1))
        centre = np.array([margins[1:, i][~one.out[:, i]].mean() for i in range(margins.shape[1])])
        shifted = np.where(inside, centre + (margins - centre) / 4, margins)
        both = logits_with_margins(shifted, answers[..., 1:])
        changed.append(replace(one, target=both[0], shadows=both[1:]))
    versions.audited = versions.known = changed
    assert auc(versions.joint(online=True), versions.members) > auc(versions.joint(), versions.members) + 0.05


@pytest.mark.parametrize("online", [False, True])
def test_joint_lira_without_a_leak_has_an_auc_of_a_half(online: bool) -> None:
    # Shadows leak, the target does not: 4 standard errors of an AUC of .5 from 1,000 and 1,000 are .052.
    versions = Versions([1.0, 1.0], correlation=0.5, auditor=online)
    members = np.random.default_rng(5).permutation(versions.members)
    versions.audited = [replace(a, target=a.shadows[0]) for a in versions.audited]
    if online:
        versions.known = versions.audited
    assert abs(auc(versions.joint(online), members) - 0.5) < 0.052


@pytest.mark.parametrize("online", [False, True])
def test_the_order_of_versions_does_not_matter(online: bool) -> None:
    versions = Versions([1.0, 0.5, 0.0], correlation=0.6, auditor=online)
    before = versions.joint(online)
    versions.audited, versions.known = versions.audited[::-1], versions.known[::-1]
    np.testing.assert_allclose(versions.joint(online), before, rtol=1e-8, atol=1e-10)


def test_shrinkage_is_ledoit_and_wolf_s_with_shadows_for_rows() -> None:
    # Two shadows with correlations .5 and .7 and equal scales, 10 degrees of freedom each: pooled .6, sd 1. Error of
    # the mean: each is off by .1 in two places, 2 (.01 + .01) / (2 x 1) = .02; distance from the identity 2 x .36.
    scatter = 10 * np.array([[[1, 0.5], [0.5, 1]], [[1, 0.7], [0.7, 1]]])
    share = 0.02 / 0.72
    np.testing.assert_allclose(shrunk(scatter, 20), [[1, 0.6 * (1 - share)], [0.6 * (1 - share), 1]])
    # A shadow whose residuals are larger, and no other in shape, says nothing against the correlation.
    same = 10 * np.array([[[1, 0.6], [0.6, 1]], [[4, 2.4], [2.4, 4]]])
    np.testing.assert_allclose(shrunk(same, 50), [[1, 0.6 * (1 - 1e-4)], [0.6 * (1 - 1e-4), 1]])


def test_versions_of_different_shadows_are_rejected() -> None:
    one, other = Versions([1.0], seed=1).shadows[0], Versions([1.0], seed=2).shadows[0]
    for fit in (JointLira.fit, lambda shadows: Classifier.fit(shadows, 0), lambda shadows: Stack.fit(shadows, 0)):
        with pytest.raises(AttackError, match="the same shadows"):
            fit([one, other])


def test_too_few_examples_are_reported() -> None:
    few = Versions([1.0, 1.0], known=4)
    with pytest.raises(AttackError, match="50 or more shadows' answers on records they trained on"):
        Classifier.fit(few.shadows, 0)
    none = [replace(one, known_out=np.ones_like(one.known_out)) for one in few.shadows]
    with pytest.raises(AttackError, match="records that two shadows trained on and two did not"):
        JointLira.fit(none)
    with pytest.raises(AttackError, match="2000 records have no IN shadow"):
        JointLira.fit(few.shadows).online(few.shadows, few.targets)
    with pytest.raises(AttackError, match="two or more versions"):
        Stack.fit(few.shadows[:1], 0)


def test_a_classifier_of_two_versions_outperforms_one_of_one() -> None:
    # A classifier sees no difficulty-free score: with difficulty of variance 1, one version has d^2 = 2^2 / 2 and two
    # have 2^2 / 1.5, AUC .841 and .876, whatever is learned.
    versions = Versions([2.0, 2.0])
    alone = Classifier.fit(versions.shadows[:1], 0).score(versions.targets[:1])
    both = Classifier.fit(versions.shadows, 0).score(versions.targets)
    found = auc_difference(both, alone, versions.members)
    assert found.value is not None
    assert found.p_value is not None
    assert 0.01 < found.value < 0.06
    assert found.p_value < 1e-4
    assert auc(both, versions.members) < stats.norm.cdf(2 / math.sqrt(3)) + CLOSE


def test_a_stack_reads_all_versions() -> None:
    versions = Versions([2.0, 2.0, 2.0])
    alone = Classifier.fit(versions.shadows[:1], 0).score(versions.targets[:1])
    stack = Stack.fit(versions.shadows, 0)
    found = auc_difference(stack.score(versions.targets), alone, versions.members)
    assert found.value is not None
    assert 0.01 < found.value < 0.08  # d^2 = 2^2 / (1 + 1/3): .890
    again = Stack.fit(versions.shadows, 0).score(versions.targets)
    np.testing.assert_array_equal(stack.score(versions.targets), again)


def test_classifiers_without_a_leak_have_an_auc_of_a_half() -> None:
    versions = Versions([2.0, 2.0])
    shown = versions.shadows
    asked = [TargetVersion.of(replace(a, target=a.shadows[0])) for a in versions.audited]
    for scores in (Classifier.fit(shown, 0).score(asked), Stack.fit(shown, 0).score(asked)):
        assert abs(auc(scores, versions.members) - 0.5) < 0.052


def test_features_are_sorted_by_the_first_version() -> None:
    # A record's classes are named anew; SR's features, and so its scores, do not change.
    versions = Versions([2.0, 2.0])
    model = Classifier.fit(versions.shadows, 0)
    order = np.array([2, 0, 3, 1])
    place = np.argsort(order)
    renamed = [
        replace(a, answers=a.answers[:, order], labels=place[a.labels].astype(np.int64)) for a in versions.targets
    ]
    np.testing.assert_array_equal(model.score(renamed), model.score(versions.targets))


def test_probabilities_and_logits_give_equal_features() -> None:
    versions = Versions([2.0, 2.0], n=300)
    told = [
        replace(a, target=softmax(a.target), shadows=softmax(a.shadows), exposure="probabilities")
        for a in versions.known
    ]
    asked = [
        replace(a, target=softmax(a.target), shadows=softmax(a.shadows), exposure="probabilities")
        for a in versions.audited
    ]
    shown = [ShadowVersion.of(a.shadow_answers, b.shadow_answers) for a, b in zip(asked, told, strict=True)]
    score = Classifier.fit(shown, 0).score([TargetVersion.of(a) for a in asked])
    np.testing.assert_array_equal(score, Classifier.fit(versions.shadows, 0).score(versions.targets))
