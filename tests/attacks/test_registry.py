from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest

from edgeaudit.attacks import registry
from edgeaudit.attacks.base import Attack, AttackSpec, Evidence, Scores
from edgeaudit.errors import AttackError

Offer = Callable[..., None]
OWN = [
    "cm-mia", "lira", "rmia", "info-rmia", "watson", "attack-r", "attack-p", "song-mittal", "shokri", "ml-leaks",
    "samia", "loss-trajectory", "quantile-regression", "yeom", "label-only", "gap",
]  # fmt: skip


class Loud(Attack):
    spec: ClassVar[AttackSpec] = AttackSpec("loud", ("only",), "", "")

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:  # there is one variant
        return Scores(np.ones(len(evidence.labels)))


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Pretend that another package offers these entry points (name -> value)."""
    module = ModuleType("other_package")
    module.Loud = Loud  # type: ignore[attr-defined]
    module.text = "no attack"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "other_package", module)

    def pretend(*pairs: tuple[str, str]) -> None:
        points = EntryPoints(EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in pairs)
        monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))

    return pretend


def test_own_attacks_are_listed_and_found() -> None:
    specs = registry.attack_specs()
    assert [spec.name for spec in specs] == OWN
    assert tuple(spec.name for spec in specs) == registry.attack_names()
    for spec in specs:
        attack = registry.find_attack(spec.name)
        assert attack.spec is spec
        assert isinstance(attack(), Attack)
        assert spec.variants
        assert spec.summary
        assert spec.paper
        assert set(spec.calibrated_p) <= set(spec.variants)
        assert set(spec.variant_needs) <= set(spec.variants)
        assert set(spec.reads_labels) <= set(spec.variants)


def test_every_attack_has_its_page(root_folder: Path) -> None:
    pages = {page.stem for page in (root_folder / "docs" / "attacks").glob("*.md")}
    # GMIA is a setting of cm-mia, and has a page to say so.
    assert pages == {*OWN, "gmia"}
    for spec in registry.attack_specs():
        text = (root_folder / "docs" / "attacks" / f"{spec.name}.md").read_text(encoding="utf-8")
        assert all(f"`{variant}`" in text for variant in spec.variants), spec.name


def test_all_stands_for_every_attack() -> None:
    assert registry.chosen_attacks(["gap", "cm-mia", "gap"]) == ("gap", "cm-mia")
    assert list(registry.chosen_attacks(["all"])) == OWN
    assert list(registry.chosen_attacks(["gap", "all"])) == ["gap", *OWN[:-1]]


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(AttackError, match=r"no attack 'lyra'\. Did you mean 'lira'\? There are: cm-mia, lira, rmia"):
        registry.find_attack("lyra")


def test_other_packages_attacks_are_imported_when_asked_for(offer: Offer) -> None:
    offer(("loud", "other_package:Loud"), ("absent", "no_such_package:Attack"))
    assert registry.attack_names()[len(OWN) :] == ("absent", "loud")
    assert registry.find_attack("loud") is Loud
    with pytest.raises(AttackError, match="cannot be imported"):
        registry.find_attack("absent")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("yeom", "other_package:Loud", "name that is taken"),
        ("quiet", "other_package:Loud", "calls itself 'loud'"),
        ("loud", "other_package:text", "not a subclass"),
        ("loud", "other_package:missing", "cannot be imported"),
    ],
)
def test_faulty_offers_are_refused(offer: Offer, name: str, value: str, message: str) -> None:
    offer((name, value))
    with pytest.raises(AttackError, match=message):
        registry.attack_specs()
