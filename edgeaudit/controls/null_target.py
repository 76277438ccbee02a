"""Null targets: models that trained on none of the audited records, in which every attack must find nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from edgeaudit.controls.base import Finding
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.rows import NullControlRow, TogetherNullRow

__all__ = ["NAME", "null_target", "null_target_together"]

NAME = "null target"

NullRow: TypeAlias = NullControlRow | TogetherNullRow

# A tenth of the other controls' level: every audit has a null target, and what is broken shows far beyond it.
_ALARM = 0.001


def null_target(
    rows: Sequence[NullControlRow], null_targets: int, shadow_match: str, *, recipe_known: bool = True
) -> list[Finding]:
    """One finding a format and null target, of CM-MIA t, or of the audit's first attack that could be run.

    A null target fails where its AUC differs from 0.5 with p below 0.1%, two-sided, after Holm over formats and null
    targets: below 0.5 is as wrong as above, since members and nonmembers are the same to this model.

    rows: in the order of the audit's attacks.
    shadow_match: the audit's own; rows of others are ablations.
    recipe_known: whether models can be trained at all.
    """
    if not recipe_known:
        return [Finding(NAME, "not run", "no recipe is named that could train a model without the audited members")]
    if null_targets == 0:
        return [Finding(NAME, "not run", "controls.null-targets is 0, so no model without members was attacked")]
    own = [row for row in rows if row.shadow_match == shadow_match]
    judged = _headline(own)
    if not judged:
        return [Finding(NAME, "not run", "no attack could be run on a null target; the attacks' own rows say why")]
    return _judged(judged)


def null_target_together(rows: Sequence[NullRow]) -> list[Finding]:
    """One finding a set of formats, combined attack and null target; Holm over all of them, the level as above.

    rows: as in `null_target`, `format` naming the whole set.
    """
    return _judged([row for row in rows if row.p_value is not None])


def _judged(rows: Sequence[NullRow]) -> list[Finding]:
    if not rows:
        return []
    corrected = holm(np.array([row.p_value for row in rows], dtype=np.float64)).tolist()
    return [_finding(row, p, len(rows)) for row, p in zip(rows, corrected, strict=True)]


def _headline(rows: Sequence[NullRow]) -> list[NullRow]:
    """The rows of the first attack and variant that has figures, CM-MIA t before all others."""
    names = list(dict.fromkeys((row.attack, row.variant) for row in rows))
    for name in sorted(names, key=lambda one: one != ("cm-mia", "t")):
        found = [row for row in rows if (row.attack, row.variant) == name and row.p_value is not None]
        if found:
            return found
    return []


def _finding(row: NullRow, p: float, count: int) -> Finding:
    failed = p < _ALARM
    attack = f"{row.attack} {row.variant}".rstrip()
    found = "finds members of" if failed else "finds nothing in"
    return Finding(
        NAME,
        "failed" if failed else "holds",
        f"{attack} {found} {row.target}, which trained on none of the audited records",
        row.value,
        row.low,
        row.high,
        p,
        int(row.n_members) + int(row.n_nonmembers),
        str(row.format),
        f"p-value after Holm over {count} tests" if count > 1 else None,
    )
