"""SAMIA: the tokens by hand, leakage through sensitivity alone, and bit-identical repetition."""

from __future__ import annotations

import builtins
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.samia import Samia, _tokens
from edgeaudit.attacks.views import View
from edgeaudit.errors import AttackError, MissingToolchain
from edgeaudit.leakage.roc import auc
from edgeaudit.tasks.classification import softmax

from .conftest import MakeWorld


def test_tokens_by_hand() -> None:
    # p = (.7, .3) and, with noise, (.6, .4) and (.9, .1): s = (.1 + .2) / 2 of both classes; the label is 1.
    answers, noisy = np.array([[0.7, 0.3]]), [np.array([[0.6, 0.4]]), np.array([[0.9, 0.1]])]
    evidence = Evidence(answers, answers[None], np.ones((1, 1), dtype=np.bool_), np.array([1]), "probabilities")
    np.testing.assert_allclose(_tokens(answers, noisy, evidence), [[[0.7, 0.15, 0], [0.3, 0.15, 1]]])


def trembling(seed: int, n: int, k: int = 4) -> tuple[Evidence, Evidence, np.ndarray[Any, Any]]:
    """Answers that say nothing, and whose sensitivity is 2.5 times as large off the training set."""
    rng = np.random.default_rng(seed)
    members, trained = rng.random(n) < 0.5, rng.random((k, n)) < 0.5
    labels = rng.integers(0, 3, n)

    def asked(inside: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        logits = rng.normal(size=(*inside.shape, 3))
        tremble = np.where(inside, 0.2, 0.5)[..., None]
        return softmax(logits), softmax(logits + tremble * rng.normal(size=logits.shape))

    def part(target: np.ndarray[Any, Any], shadows: np.ndarray[Any, Any]) -> Evidence:
        (one, one_noisy), (many, many_noisy) = asked(target), asked(shadows)
        view = View("noise-1", one_noisy, many_noisy)
        return Evidence(one, many, ~shadows, labels, "probabilities", 1e-6, views=(view,))

    nobody = np.zeros((k, n), dtype=np.bool_)
    return part(members, nobody), part(nobody[0], trained), members


def test_sensitivity_alone_gives_members_away() -> None:
    # A best guess from three |N| of scale .2 or .5 has an AUC of about .85; without noise there is nothing to see.
    audited, known, members = trembling(0, 500)
    found = Samia().score(audited, "attention", known).score
    assert auc(found, members) > 0.7
    balanced = ((found >= 0)[members].mean() + (found < 0)[~members].mean()) / 2
    assert balanced > 0.6
    np.testing.assert_array_equal(Samia().score(audited, "attention", known).score, found)


def test_other_views_are_not_noise(world_of: MakeWorld) -> None:
    world = world_of(0, n=20, views=("flip",))
    reason = Samia().inapplicable(world.evidence, world.reference, "attention")
    assert reason == ("'samia' needs answers on records with noise, which cost queries: set threat.views: [noise-1]")
    with pytest.raises(AttackError, match="learns from shadows' answers"):
        noisy = world_of(0, n=20, views=("noise-1",))
        Samia().score(noisy.evidence, "attention", replace(noisy.reference, out=np.ones_like(noisy.reference.out)))


def test_a_missing_torch_is_named_with_its_extra(world_of: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world, real = world_of(0, n=20, views=("noise-1",)), builtins.__import__

    def without_torch(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "torch":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(MissingToolchain, match=r"pip install 'edgeaudit\[torch\]'"):
        Samia().score(world.evidence, "attention", world.reference)
