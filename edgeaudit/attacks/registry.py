"""Attacks by name; another package offers one through the entry-point group `edgeaudit.attacks`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edgeaudit.errors import AttackError
from edgeaudit.registry import Registry
from edgeaudit.settings import checked_settings

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
"""In audit.yaml, stands for every known attack."""

ATTACKS: Registry[Attack, AttackSpec] = Registry(
    noun="attack",
    group="edgeaudit.attacks",
    base="edgeaudit.attacks.base:Attack",
    own={
        "cm-mia": "edgeaudit.attacks.cm_mia:CmMia",
        "lira": "edgeaudit.attacks.lira:Lira",
        "rmia": "edgeaudit.attacks.rmia:Rmia",
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
    """All names, edgeaudit's own first; imports nothing."""
    return ATTACKS.names()


def attack_specs() -> tuple[AttackSpec, ...]:
    """The spec of every attack, in the order of `attack_names`; imports all of them."""
    return ATTACKS.specs()


def chosen_attacks(names: Iterable[str]) -> tuple[str, ...]:
    """The names that audit.yaml chose, each once and in its order; `all` stands for `attack_names`."""
    return tuple(dict.fromkeys(known for name in names for known in (attack_names() if name == ALL else (name,))))


def find_attack(name: str) -> type[Attack]:
    """The attack called `name`; `AttackError` as `Registry.find` says."""
    return ATTACKS.find(name)


def settings_of(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of an attack: its spec's defaults overridden by `given`.

    Raises `AttackError` for an unknown attack or setting, and for a value of another type than the default's.
    """
    defaults = find_attack(name).spec.defaults
    return checked_settings(f"attacks: '{name}'", "setting", given, defaults, AttackError)


def make_attack(name: str, given: Mapping[str, Any]) -> Attack:
    """The attack called `name` with these settings, each an argument of its class; errors as `settings_of`."""
    return find_attack(name)(**settings_of(name, given))
