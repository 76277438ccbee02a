"""Which variant stands for an attack and for an audit."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.attacks.arrays import attack
from edgeaudit.attacks.evidence import FloatArray
from edgeaudit.attacks.headline import LEADING, headline_order
from edgeaudit.attacks.needs import Needs
from edgeaudit.attacks.registry import attack_names, attack_specs
from edgeaudit.attacks.spec import AttackSpec, Mode


def test_online_variants_go_first_where_they_can_run_and_last_where_they_cannot() -> None:
    online = Needs(shadows=2, inside=1)
    spec = AttackSpec("a", ("x", "y", "z"), "", "", Needs(shadows=1), {"y": online}, headline=("z", "y", "x"))
    assert spec.headlines_in("auditor") == ("y", "z", "x")
    assert spec.headlines_in("adversary") == ("z", "x", "y")


@pytest.mark.parametrize("spec", attack_specs(), ids=lambda spec: spec.name)
def test_the_modes_order_the_same_variants(spec: AttackSpec) -> None:
    modes: tuple[Mode, ...] = ("adversary", "auditor")
    assert {frozenset(spec.headlines_in(mode)) for mode in modes} == {frozenset(spec.headlines)}


def test_the_calibrated_online_test_leads_an_auditor_s_audit_wherever_it_is_listed() -> None:
    for names in (("cm-mia", "lira"), ("lira", "cm-mia"), ("gap", "rmia", "cm-mia", "lira"), attack_names()):
        assert headline_order(names, "auditor")[0] == "cm-mia/calibrated-online"


def test_without_cm_mia_an_online_variant_of_another_attack_leads() -> None:
    assert headline_order(("yeom", "rmia", "lira"), "auditor")[0] == "lira/online-global"
    assert headline_order(("yeom", "info-rmia", "rmia"), "auditor")[0] == "rmia/online"
    # No attack has an online variant: the order of audit.yaml.
    assert headline_order(("gap", "yeom"), "auditor")[0] == "gap/label"
    # Where no online variant can be run (too few shadows), the leading attack's others come before the other attacks.
    order = headline_order(("rmia", "lira", "cm-mia"), "auditor")
    online = ("cm-mia/calibrated-online", "lira/online-global", "lira/online-per-record", "rmia/online")
    assert order[:4] == online
    assert order[4] == "cm-mia/calibrated"


def test_cm_mia_leads_an_adversary_s_audit_and_the_others_follow_as_listed() -> None:
    order = headline_order(("yeom", "lira", "cm-mia"), "adversary")
    assert order[:5] == ("cm-mia/calibrated", "cm-mia/t", "cm-mia/ecdf", "cm-mia/calibrated-online", "yeom/loss")
    assert order[-2:] == ("lira/online-global", "lira/online-per-record")


@pytest.mark.parametrize("mode", LEADING)
def test_the_leading_attacks_exist(mode: Mode) -> None:
    assert set(LEADING[mode]) <= set(attack_names())


def answers(rng: np.random.Generator, trained: FloatArray) -> FloatArray:
    p = 1 / (1 + np.exp(-rng.normal(1 + trained, 1)))
    return np.stack((p, 1 - p), axis=1)


@pytest.mark.parametrize(("share", "variant"), [(0.5, "online-global"), (0.0, "offline-global")])
def test_brought_answers_have_the_headline_of_their_shadows(share: float, variant: str) -> None:
    rng = np.random.default_rng(0)
    out = rng.permuted(np.repeat(np.arange(8)[:, None] >= 8 * share, 60, axis=1), axis=0)
    shadows = np.array([answers(rng, ~row) for row in out])
    result = attack(answers(rng, rng.random(60)), shadows, out, np.zeros(60, np.int64), attacks="lira")
    np.testing.assert_array_equal(result.scores("lira").score, result.scores("lira", variant).score)
