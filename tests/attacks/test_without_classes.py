"""Attacks on models without classes: those that read losses and margins run, and the others say why they do not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from edgeaudit.attacks.evidence import BoolArray, Evidence
from edgeaudit.attacks.registry import attack_specs, find_attack
from edgeaudit.tasks import Task
from edgeaudit.tasks.record_loss import LabelsLoss, squared_error

RUN = (
    ("lira", "offline-global"),
    ("lira", "offline-per-record"),
    ("rmia", "offline-0.3"),
    ("info-rmia", "offline"),
    ("attack-r", "rank"),
    ("attack-p", "quantile"),
    ("yeom", "loss"),
    ("cm-mia", "t"),
    ("cm-mia", "ecdf"),
    ("cm-mia", "calibrated"),
)
CLASSES = ("gap", "song-mittal", "shokri", "ml-leaks", "samia", "label-only", "loss-trajectory")

_N, _POOL, _K = 300, 400, 8


def _world(kind: str, shift: float, seed: int = 0) -> tuple[Evidence, Evidence, BoolArray]:
    """Audited records, reference records and memberships. A model's error on what it trained on shrinks by exp(-shift).

    Each shadow trained on half of the reference records.
    """
    rng = np.random.default_rng(seed)
    members: BoolArray = rng.permutation(_N) < _N // 2
    hard = np.exp(0.7 * rng.normal(size=_N + _POOL))
    trained = np.zeros((1 + _K, _N + _POOL), np.bool_)
    trained[0, :_N] = members
    trained[1:, _N:] = rng.random((_K, _POOL)) < 0.5
    width = 1 if kind == "one value" else 16
    noise = (rng.normal(size=(1 + _K, _N + _POOL, width)) ** 2).mean(axis=2)
    answers = (hard * noise * np.exp(-shift * trained))[..., None]
    task: Task = LabelsLoss() if kind == "labels" else squared_error("regression", answers[1:, :, 0][~trained[1:]])
    labels: npt.NDArray[np.int64] = np.zeros(_N + _POOL, np.int64)
    everything = Evidence(answers[0], answers[1:], ~trained[1:], labels, "logits", 1e-300, task=task)
    audited, pool = np.arange(_N), np.arange(_N, _N + _POOL)
    return everything.take(audited), everything.take(pool), members


@pytest.mark.parametrize("kind", ["one value", "values", "labels"])
@pytest.mark.parametrize(("attack", "variant"), RUN)
def test_members_are_found(attack: str, variant: str, kind: str) -> None:
    evidence, reference, members = _world(kind, shift=2.0)
    chosen = variant if variant in find_attack(attack).spec.variants else find_attack(attack).spec.variants[0]
    scores = find_attack(attack)().score(evidence, chosen, reference)
    assert roc_auc_score(members, scores.score) > 0.65


@pytest.mark.parametrize("kind", ["one value", "labels"])
@pytest.mark.parametrize(("attack", "variant"), [("cm-mia", "t"), ("cm-mia", "calibrated"), ("attack-p", "quantile")])
def test_p_values_hold_where_nothing_leaks(attack: str, variant: str, kind: str) -> None:
    evidence, reference, _ = _world(kind, shift=0.0, seed=3)
    p_value = find_attack(attack)().score(evidence, variant, reference).p_value
    assert p_value is not None
    # 300 p-values, uniform or larger: of those at most .1 there are 30 +- 5.2, and conformal ones vary together.
    assert (p_value <= 0.1).mean() < 0.16


@pytest.mark.parametrize("attack", CLASSES)
def test_what_reads_classes_says_so_in_one_sentence(attack: str) -> None:
    evidence, reference, _ = _world("one value", shift=2.0)
    for variant in find_attack(attack).spec.variants:
        reason = find_attack(attack)().inapplicable(evidence, reference, variant)
        assert reason == f"'{attack}' reads an answer for each class, and a model for regression has no classes"


def test_the_test_of_integer_outputs_needs_classes_whatever_the_grid() -> None:
    evidence, reference, _ = _world("one value", shift=2.0)
    assert "no classes" in str(find_attack("cm-mia")().inapplicable(evidence, reference, "discrete"))


def test_every_attack_either_runs_or_is_known_to_read_classes() -> None:
    evidence, reference, members = _world("values", shift=2.0)
    for spec in attack_specs():
        for variant in spec.variants:
            attack = find_attack(spec.name)()
            reason = attack.inapplicable(evidence, reference, variant)
            if spec.name in CLASSES or variant == "discrete":
                assert "no classes" in str(reason)
            elif reason is None:
                assert len(attack.score(evidence, variant, reference).score) == len(members)
            else:  # online variants, and what reads the records themselves
                assert "no classes" not in reason
