"""Multi-query attacks: averages over views, and their effect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeaudit.attacks.cm_mia import CmMia
from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.gap import Gap
from edgeaudit.attacks.lira import Lira
from edgeaudit.attacks.many_queries import over_views, queries_of, with_views
from edgeaudit.attacks.registry import find_attack
from edgeaudit.attacks.signals import shadow_margins, target_margins
from edgeaudit.attacks.threshold import learn_threshold
from edgeaudit.attacks.views import View
from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import auc

from .conftest import MakeEvidence, MakeWorld

NAMES = ("flip", "shift-1", "shift-1")


def shown_as_it_is(evidence: Evidence) -> Evidence:
    """Three views that change nothing."""
    return replace(evidence, views=tuple(View(name, evidence.target, evidence.shadows) for name in NAMES))


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("lira", "offline-global"),
        ("lira", "offline-per-record"),
        ("cm-mia", "t"),
        ("cm-mia", "ecdf"),
        ("rmia", find_attack("rmia").spec.variants[0]),
        ("yeom", find_attack("yeom").spec.variants[0]),
        ("gap", "label"),
    ],
)
def test_identical_views_do_not_change_scores(world_of: MakeWorld, name: str, variant: str) -> None:
    world = world_of(0, n=80)
    attack = find_attack(name)()
    plain = attack.score(world.evidence, variant, world.reference)
    many = over_views(attack, NAMES)
    views = many.score(shown_as_it_is(world.evidence), f"{variant}+flip+shift-1", shown_as_it_is(world.reference))
    np.testing.assert_allclose(views.score, plain.score, rtol=1e-9, atol=1e-12)
    reads_margins = variant in attack.spec.reads_margins
    assert (views.p_value is not None) == (reads_margins and plain.p_value is not None)
    if views.p_value is not None and plain.p_value is not None:
        np.testing.assert_allclose(views.p_value, plain.p_value, rtol=1e-9)


def test_margins_are_averaged_before_the_test(evidence_of: MakeEvidence) -> None:
    one, two = evidence_of(0)[0], evidence_of(1)[0]
    both = replace(one, views=(View("flip", two.target, two.shadows),))
    found = over_views(Lira(), ("flip",)).score(both, "offline-global+flip")
    # By hand: z of the mean margin, with the variance of mean margins pooled over records.
    phi = (target_margins(one) + target_margins(two)) / 2
    margins = (shadow_margins(one.shadow_answers) + shadow_margins(two.shadow_answers)) / 2
    z = (phi - margins.mean(axis=0)) / np.sqrt(margins.var(axis=0, ddof=1).mean())
    np.testing.assert_allclose(found.score, z, rtol=1e-9)


def test_scores_of_other_variants_are_averaged(evidence_of: MakeEvidence) -> None:
    one, two = evidence_of(0)[0], evidence_of(1)[0]
    both = replace(one, views=(View("flip", two.target, two.shadows),))
    found = over_views(Gap(), ("flip",)).score(both, "label+flip")
    right = [e.target.argmax(axis=1) == 0 for e in (one, two)]
    np.testing.assert_array_equal(found.score, (right[0].astype(float) + right[1]) / 2)
    assert found.p_value is None


def test_more_queries_increase_the_auc(evidence_of: MakeEvidence) -> None:
    # Four views of one truth: a margin's own noise (sd 1 in the simulation, drawn anew for each seed, as is the
    # difficulty) halves, so the AUC rises from Phi(1 / sqrt(2)) = .76 towards Phi(2 / sqrt(2)) = .92.
    worlds = [evidence_of(seed, n=600, shift=1.0) for seed in range(4)]
    members = worlds[0][1]
    order = [np.concatenate([np.flatnonzero(m), np.flatnonzero(~m)]) for _, m in worlds]
    first, *more = [e.take(rows) for (e, _), rows in zip(worlds, order, strict=True)]
    both = replace(first, views=tuple(View("flip", e.target, e.shadows) for e in more))
    truth = members[order[0]]
    single = auc(Lira().score(first, "offline-global").score, truth)
    several = auc(over_views(Lira(), ("flip",) * 3).score(both, "offline-global+flip").score, truth)
    assert single < 0.82
    assert several > 0.87


def test_thresholds_are_learned_over_views_too(world_of: MakeWorld) -> None:
    world = world_of(3, n=200, shift=2.0)
    many = over_views(find_attack("yeom")(), NAMES)
    reference = shown_as_it_is(world.reference)
    variant = many.spec.variants[0]
    threshold = learn_threshold(many, variant, reference)
    plain = learn_threshold(find_attack("yeom")(), variant.partition("+")[0], world.reference)
    assert threshold.value == pytest.approx(plain.value)


def test_take_and_play_carry_views(evidence_of: MakeEvidence) -> None:
    evidence, other = evidence_of(0, n=30, k=4)[0], evidence_of(1, n=30, k=4)[0]
    both = replace(evidence, views=(View("flip", other.target, other.shadows),))
    taken = both.take(np.array([3, 5]))
    np.testing.assert_array_equal(taken.views[0].target, other.target[[3, 5]])
    played, _ = both.play(1)
    np.testing.assert_array_equal(played.views[0].target, other.shadows[1])
    np.testing.assert_array_equal(played.views[0].shadows, other.shadows[[0, 2, 3]])


def test_only_evidence_with_views_has_variants_over_views(evidence_of: MakeEvidence) -> None:
    evidence = evidence_of(0, n=20)[0]
    assert len(with_views(CmMia(), evidence)) == 1
    plain, many = with_views(CmMia(d0=16), shown_as_it_is(evidence))
    assert plain.spec.variants[0] == "t"
    assert many.spec.variants[:2] == ("t+flip+shift-1", "ecdf+flip+shift-1")
    assert many.spec.calibrated_p == ("t+flip+shift-1", "ecdf+flip+shift-1", "pchip+flip+shift-1")
    assert many.spec.threshold_of("calibrated+flip+shift-1") == 0.0
    assert queries_of(many.spec.needs_of("t+flip+shift-1"), shown_as_it_is(evidence)) == 4
    assert queries_of(plain.spec.needs_of("t"), shown_as_it_is(evidence)) == 1
    missing = many.inapplicable(evidence, None, "t+flip+shift-1")
    assert missing is not None
    assert "needs answers on transformed records, which cost queries: set threat.views" in missing


def test_mismatched_views_are_rejected(evidence_of: MakeEvidence) -> None:
    evidence = evidence_of(0, n=20, k=3)[0]
    with pytest.raises(AttackError, match="the view 'flip': target must have shape"):
        replace(evidence, views=(View("flip", evidence.target[:5], evidence.shadows),))
    with pytest.raises(AttackError, match="contain NaN or infinity"):
        replace(evidence, views=(View("flip", evidence.target * np.nan, evidence.shadows),))
    with pytest.raises(AttackError, match="do not match: views are"):
        Lira().inapplicable(shown_as_it_is(evidence), evidence, "offline-global")
