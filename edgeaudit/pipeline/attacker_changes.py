"""Where two runs had attackers of another strength, and which figures that concerns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgeaudit.attacks.needs import Needs
from edgeaudit.attacks.registry import attack_names, find_attack
from edgeaudit.report.model import Audit
from edgeaudit.report.words import counted, printable

__all__ = ["AttackerChange", "Strength", "attacker_changes"]

Strength = Literal["stronger", "weaker", "other"]
"""Of the attacker of NEW beside that of OLD; `other`: which of them finds more is not known."""

_SECTIONS = {
    "cm-mia": {"d0": False},
    "label-only": {"queries": True, "shadows": True},
    "loss-trajectory": {"epochs": True, "records": True, "shadows": True},
}
"""Settings that change scores of all records, and whether more of them is a stronger attack. Others of these sections
choose subsets, cutoffs, or how many records are searched."""


@dataclass(frozen=True)
class AttackerChange:
    """What made the attacker another. said: a clause. covers: whether it concerns a figure, by series and metric."""

    said: str
    strength: Strength
    covers: Callable[[str, str], bool]


def attacker_changes(old: Audit, new: Audit) -> tuple[AttackerChange, ...]:
    """Return what changed the attacker's strength. What a run did not record is not taken for a change."""
    shadows = _shadows(old), _shadows(new)
    found = list(_shadow_changes(old, new))
    if any(shadows):
        found += _records_of_a_shadow(old, new)
    found += [*_views(old, new), *_floor(old, new), *_sections(old, new), *_settings(old, new)]
    return tuple(found)


# ---- shadows


def _shadow_changes(old: Audit, new: Audit) -> Iterator[AttackerChange]:
    first, second = _shadows(old), _shadows(new)
    if first is not None and second is not None and first != second:
        yield AttackerChange(f"OLD has {counted(first, 'shadow')} and NEW {second}", _by(first, second), _uses_shadows)


def _shadows(audit: Audit) -> int | None:
    """Shadows that were trained and those that were given."""
    trained, given = audit.threat.get("shadows"), audit.threat.get("given_shadows")
    if not isinstance(trained, int):
        return None
    return trained + (len(given) if isinstance(given, list | tuple) else 0)


def _records_of_a_shadow(old: Audit, new: Audit) -> Iterator[AttackerChange]:
    """Beside those of the target: with more audited records both grow, and the attacker is the same."""
    records = [audit.threat.get("records_per_model") for audit in (old, new)]
    first, second = records
    if not isinstance(first, int) or not isinstance(second, int):
        return
    shares = first / old.population.members, second / new.population.members
    if first * new.population.members == second * old.population.members:
        return
    # A shadow with more records than the target memorises less of each than the target does.
    strength: Strength = "other" if max(shares) > 1 else _by(*shares)
    sizes = f"OLD {shares[0]:.0%} and in NEW {shares[1]:.0%} as many records as the target"
    yield AttackerChange(f"a shadow trains in {sizes}", strength, _uses_shadows)


def _uses_shadows(series: str, metric: str) -> bool:
    """Whether a figure depends on shadows: its scores do, or the threshold that is learned on them."""
    attack, _, variant = series.partition("/")
    about = find_attack(attack).spec
    ranked = metric == "auc" or metric.startswith("tpr@")
    return _reads_shadows(about.needs_of(variant)) or (not ranked and about.threshold_of(variant) is None)


def _reads_shadows(needs: Needs) -> bool:
    return bool(needs.shadows or needs.out or needs.inside or needs.examples or needs.variance or needs.trace)


# ---- settings


def _views(old: Audit, new: Audit) -> Iterator[AttackerChange]:
    lists = [audit.threat.get("views") for audit in (old, new)]
    if not all(isinstance(one, list | tuple) for one in lists):
        return
    first, second = (frozenset(map(str, one or ())) for one in lists)
    if first != second:
        strength: Strength = "stronger" if first < second else "weaker" if second < first else "other"
        said = f"threat.views is {_text(sorted(first))} in OLD and {_text(sorted(second))} in NEW"
        yield AttackerChange(said, strength, lambda series, _: bool(_needs(series).views))


def _needs(series: str) -> Needs:
    attack, _, variant = series.partition("/")
    return find_attack(attack).spec.needs_of(variant)


def _floor(old: Audit, new: Audit) -> Iterator[AttackerChange]:
    first, second = (audit.threat.get("probability_floor") for audit in (old, new))
    if first is not None and second is not None and first != second:
        said = f"the probability floor is {_text(first)} in OLD and {_text(second)} in NEW"
        yield AttackerChange(said, "other", lambda *_: True)


def _sections(old: Audit, new: Audit) -> Iterator[AttackerChange]:
    """Yield changes in the sections of single attacks."""
    for attack, keys in _SECTIONS.items():
        first, second = (_mapping(audit.spec.get(attack)) for audit in (old, new))
        for key, more_is_stronger in keys.items():
            if key in first and key in second and first[key] != second[key]:
                strength = _by(first[key], second[key]) if more_is_stronger else "other"
                yield _setting(attack, f"{attack}.{key}", first[key], second[key], strength)


def _settings(old: Audit, new: Audit) -> Iterator[AttackerChange]:
    """Yield changes in settings that stand in the list of attacks."""
    first, second = (_listed(audit) for audit in (old, new))
    known = attack_names()
    for attack in dict.fromkeys((*first, *second)):
        if attack not in known:
            continue
        defaults = _json(find_attack(attack).spec.defaults)
        before, after = ({**defaults, **entries.get(attack, {})} for entries in (first, second))
        for key in dict.fromkeys((*before, *after)):
            if key in before and key in after and before[key] != after[key]:
                yield _setting(attack, f"attacks.{attack}.{key}", before[key], after[key], "other")


def _listed(audit: Audit) -> dict[str, dict[str, Any]]:
    """Settings of each attack that has any in the spec's list."""
    entries = audit.spec.get("attacks")
    named = [one for one in entries if isinstance(one, Mapping)] if isinstance(entries, list | tuple) else []
    return {str(name): _mapping(settings) for entry in named for name, settings in entry.items()}


def _setting(attack: str, name: str, old: Any, new: Any, strength: Strength) -> AttackerChange:
    said = f"{name} is {_text(old)} in OLD and {_text(new)} in NEW"
    return AttackerChange(said, strength, lambda series, _: series.partition("/")[0] == attack)


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as audit.json has them, where tuples are lists."""
    found: dict[str, Any] = json.loads(json.dumps(dict(values), default=str))
    return found


def _by(first: Any, second: Any) -> Strength:
    """The strength where more is stronger."""
    if not isinstance(first, int | float) or not isinstance(second, int | float):
        return "other"
    return "stronger" if second > first else "weaker"


def _text(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False).replace('"', "")
    return printable(text)
