"""The attacks that a budget is judged on, and the variant that stands for each."""

from __future__ import annotations

from collections.abc import Callable, Collection

from edgeaudit.attacks.registry import ALL, chosen_attacks, find_attack
from edgeaudit.attacks.spec import Mode
from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.budgets import BudgetLimit

__all__ = ["Mode", "attacks_of", "judging", "set_of", "standing_for"]


def attacks_of(spec: AuditSpec) -> tuple[str, ...]:
    """Return every attack that the audit runs, whether or not it then can be run."""
    names = chosen_attacks(spec.attacks)
    if ALL in spec.attacks and not spec.shadow_count:
        # Without a recipe there are no shadows, and `all` stands for the attacks that need none.
        return tuple(name for name in names if _least_shadows(name) == 0)
    return names


def set_of(spec: AuditSpec, budget: BudgetLimit) -> tuple[str, ...]:
    """Return the attack set of a budget, as `attack` or `attack/variant`."""
    named = budget.named_attacks
    return attacks_of(spec) if named is None else named


def judging(attack: str, mode: Mode) -> tuple[str, ...]:
    """Return the variants that may stand for an attack, in order; in auditor mode online ones alone, if it has any."""
    about = find_attack(attack).spec
    variants = about.headlines_in(mode)
    if mode == "auditor":
        return tuple(variant for variant in variants if about.is_online(variant)) or variants
    return variants


def standing_for(name: str, mode: Mode, ran: Callable[[str], bool], tried: Collection[str]) -> str:
    """Return the variant that an entry of an attack set means, as `attack/variant`.

    By default the first of the attack's headline variants that ran. In auditor mode, the worst case, an attack with
    online variants is judged by them alone: with 3 shadows an offline variant would pass what an online one with 4
    shows to leak. If none ran, it is the first that was tried: its row gives the reason, and it blocks a pass.

    Args:
        name: `attack` or `attack/variant`.
        mode: `threat.mode`.
        ran: whether `attack/variant` could be run on everything that is judged.
        tried: every `attack/variant` that has a row.
    """
    attack, _, variant = name.partition("/")
    if variant:
        return name
    headlines = [f"{attack}/{variant}" for variant in judging(attack, mode)]
    first_tried = next((headline for headline in headlines if headline in tried), headlines[0])
    return next((headline for headline in headlines if ran(headline)), first_tried)


def _least_shadows(name: str) -> int:
    about = find_attack(name).spec
    return min(about.needs_of(variant).shadows for variant in about.variants)
