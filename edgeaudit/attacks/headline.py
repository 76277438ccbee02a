"""Which variant stands for an audit in summaries, comparisons and rankings: the strongest test of its mode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgeaudit.attacks.registry import find_attack
from edgeaudit.attacks.spec import Mode

__all__ = ["LEADING", "headline_order"]

LEADING: Mapping[Mode, tuple[str, ...]] = {
    "adversary": ("cm-mia",),
    "auditor": ("cm-mia", "lira", "bavaria", "rmia", "info-rmia"),
}
"""Mode -> the attacks that lead an audit, the strongest first; all others follow in the order of audit.yaml.

auditor: with one half of the shadows IN, one variance for all records (`lira` `online-global`) is the strongest test at
the numbers of shadows that audits have; docs/headlines.md has figures.
"""


def headline_order(attacks: Iterable[str], mode: Mode) -> tuple[str, ...]:
    """Return every headline variant of these attacks as `attack/variant`; the first that can be run is the headline.

    The attacks of `LEADING` go first. In auditor mode the online variants of all attacks precede the others, so that
    an audit without `lira` is led by the online variant of another attack.

    Raises `AttackError` for an unknown attack.
    """
    leading = LEADING[mode]
    ordered = sorted(attacks, key=lambda name: leading.index(name) if name in leading else len(leading))
    specs = [find_attack(name).spec for name in ordered]
    variants = [(spec, variant) for spec in specs for variant in spec.headlines_in(mode)]
    if mode == "auditor":
        variants.sort(key=lambda pair: not pair[0].is_online(pair[1]))
    return tuple(f"{spec.name}/{variant}" for spec, variant in variants)
