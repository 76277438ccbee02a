"""Attacks by name. Other packages register theirs in the entry-point group `edgeaudit.attacks`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from edgeaudit.errors import AttackError
from edgeaudit.registry import Registry
from edgeaudit.settings import Settings, checked_settings

if TYPE_CHECKING:
    from edgeaudit.attacks.base import Attack, AttackSpec

__all__ = [
    "ALL",
    "ATTACKS",
    "attack_names",
    "attack_specs",
    "chosen_attacks",
    "find_attack",
    "make_attack",
    "settings_of",
]

ALL = "all"
"""The name that selects every registered attack in audit.yaml."""

ATTACKS: Registry[Attack, AttackSpec] = Registry(
    noun="attack",
    group="edgeaudit.attacks",
    base="edgeaudit.attacks.base:Attack",
    own={
        "cm-mia": "edgeaudit.attacks.cm_mia:CmMia",
        "lira": "edgeaudit.attacks.lira:Lira",
        "rmia": "edgeaudit.attacks.rmia:Rmia",
        "bavaria": "edgeaudit.attacks.bavaria:Bavaria",
        "info-rmia": "edgeaudit.attacks.info_rmia:InfoRmia",
        "watson": "edgeaudit.attacks.watson:Watson",
        "attack-r": "edgeaudit.attacks.attack_r:AttackR",
        "attack-p": "edgeaudit.attacks.attack_p:AttackP",
        "song-mittal": "edgeaudit.attacks.song_mittal:SongMittal",
        "shokri": "edgeaudit.attacks.shokri:Shokri",
        "ml-leaks": "edgeaudit.attacks.ml_leaks:MlLeaks",
        "samia": "edgeaudit.attacks.samia:Samia",
        "loss-trajectory": "edgeaudit.attacks.loss_trajectory:LossTrajectory",
        "quantile-regression": "edgeaudit.attacks.quantile_regression:QuantileRegression",
        "yeom": "edgeaudit.attacks.yeom:Yeom",
        "label-only": "edgeaudit.attacks.label_only:LabelOnly",
        "gap": "edgeaudit.attacks.gap:Gap",
    },
    error=AttackError,
)


def attack_names() -> tuple[str, ...]:
    """Return all names, built-in attacks first; imports no attack."""
    return ATTACKS.names()


def attack_specs() -> tuple[AttackSpec, ...]:
    """Return the spec of every attack, in the order of `attack_names`; imports all attacks."""
    return ATTACKS.specs()


def chosen_attacks(names: Iterable[str]) -> tuple[str, ...]:
    """Return the attacks that audit.yaml lists, without repeats and in its order; `all` expands to `attack_names`."""
    return tuple(dict.fromkeys(attack for name in names for attack in (attack_names() if name == ALL else (name,))))


def find_attack(name: str) -> type[Attack]:
    """Return the class of the attack `name`. Raises `AttackError` as `Registry.find` does."""
    return ATTACKS.find(name)


def settings_of(name: str, overrides: Mapping[str, object]) -> Settings:
    """Return all settings of an attack: its spec's defaults, replaced by `overrides`.

    Raises `AttackError` for an unknown attack or setting, and for a value whose type differs from the default's.
    """
    defaults = find_attack(name).spec.defaults
    return checked_settings(f"attacks: '{name}'", "setting", overrides, defaults, AttackError)


def make_attack(name: str, overrides: Mapping[str, object]) -> Attack:
    """Construct the attack `name` with these settings as arguments. Raises `AttackError` as `settings_of` does."""
    return find_attack(name)(**settings_of(name, overrides))
