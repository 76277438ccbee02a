from __future__ import annotations

from pathlib import Path

import pytest

from edgeaudit.attacks import registry
from edgeaudit.attacks.base import Attack
from edgeaudit.errors import AttackError

OWN = [
    "cm-mia", "lira", "rmia", "bavaria", "info-rmia", "watson", "attack-r", "attack-p", "song-mittal", "shokri",
    "ml-leaks", "samia", "loss-trajectory", "quantile-regression", "yeom", "label-only", "gap",
]  # fmt: skip


def test_built_in_attacks_are_listed_and_found() -> None:
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


def test_all_expands_to_every_attack() -> None:
    assert registry.chosen_attacks(["gap", "cm-mia", "gap"]) == ("gap", "cm-mia")
    assert list(registry.chosen_attacks(["all"])) == OWN
    assert list(registry.chosen_attacks(["gap", "all"])) == ["gap", *OWN[:-1]]


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(AttackError, match=r"no attack 'lyra'\. Did you mean 'lira'\? There are: cm-mia, lira, rmia"):
        registry.find_attack("lyra")
