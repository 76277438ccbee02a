"""Attacks by name: those of edgeaudit, and those of other packages.

Another package offers an attack through an entry point of the group `edgeaudit.attacks`, whose name is the
attack's and whose object is a subclass of `Attack`. It is imported when it is asked for, not before.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from edgeaudit.attacks.attack_p import AttackP
from edgeaudit.attacks.attack_r import AttackR
from edgeaudit.attacks.base import Attack, AttackSpec
from edgeaudit.attacks.cm_mia import CmMia
from edgeaudit.attacks.gap import Gap
from edgeaudit.attacks.info_rmia import InfoRmia
from edgeaudit.attacks.label_only import LabelOnly
from edgeaudit.attacks.lira import Lira
from edgeaudit.attacks.loss_trajectory import LossTrajectory
from edgeaudit.attacks.ml_leaks import MlLeaks
from edgeaudit.attacks.quantile_regression import QuantileRegression
from edgeaudit.attacks.rmia import Rmia
from edgeaudit.attacks.samia import Samia
from edgeaudit.attacks.shokri import Shokri
from edgeaudit.attacks.song_mittal import SongMittal
from edgeaudit.attacks.watson import Watson
from edgeaudit.attacks.yeom import Yeom
from edgeaudit.errors import AttackError, did_you_mean

__all__ = ["ALL", "ENTRY_POINT_GROUP", "attack_names", "attack_specs", "chosen_attacks", "find_attack"]

ALL = "all"
"""In audit.yaml, stands for every known attack."""

ENTRY_POINT_GROUP = "edgeaudit.attacks"

# In the order of the report.
_OWN: dict[str, type[Attack]] = {
    attack.spec.name: attack
    for attack in (
        CmMia, Lira, Rmia, InfoRmia, Watson, AttackR, AttackP, SongMittal, Shokri, MlLeaks, Samia,
        LossTrajectory, QuantileRegression, Yeom, LabelOnly, Gap,
    )
}  # fmt: skip


def _foreign() -> dict[str, EntryPoint]:
    """Entry points of other packages by name. Raises `AttackError` where a name is claimed twice."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name in _OWN or point.name in found:
            package = point.dist.name if point.dist else "an unknown package"
            raise AttackError(
                f"the attack '{point.name}' of {package} ({point.value}) has a name that is taken; remove it"
            )
        found[point.name] = point
    return found


def attack_names() -> tuple[str, ...]:
    """All known names, edgeaudit's own first; imports nothing."""
    return (*_OWN, *sorted(_foreign()))


def attack_specs() -> tuple[AttackSpec, ...]:
    """The spec of every known attack, in the order of `attack_names`; imports those of other packages."""
    return tuple(find_attack(name).spec for name in attack_names())


def chosen_attacks(names: Iterable[str]) -> tuple[str, ...]:
    """The names that audit.yaml chose, each once and in its order; `all` stands for `attack_names`."""
    return tuple(dict.fromkeys(known for name in names for known in (attack_names() if name == ALL else (name,))))


def find_attack(name: str) -> type[Attack]:
    """The attack called `name`.

    Raises:
        AttackError: there is none (the message lists those that there are), or another package's cannot be
            imported, is no `Attack`, or calls itself by another name.
    """
    if name in _OWN:
        return _OWN[name]
    foreign = _foreign()
    if name not in foreign:
        known = (*_OWN, *sorted(foreign))
        raise AttackError(f"there is no attack '{name}'.{did_you_mean(name, known)} There are: {', '.join(known)}")
    value = foreign[name].value
    try:
        attack = foreign[name].load()
    except (ImportError, AttributeError) as exc:
        raise AttackError(f"the attack '{name}' ({value}) cannot be imported: {exc}") from exc
    if not (isinstance(attack, type) and issubclass(attack, Attack)):
        raise AttackError(f"the attack '{name}' ({value}) is not a subclass of edgeaudit.attacks.base.Attack")
    if attack.spec.name != name:
        raise AttackError(f"the attack '{name}' ({value}) calls itself '{attack.spec.name}'; the two must agree")
    return attack
