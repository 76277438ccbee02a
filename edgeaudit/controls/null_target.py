"""Null targets: models trained on none of the audited records. Attacks on them must do no better than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from edgeaudit.controls.base import Control
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.rows import NullControlRow, TogetherNullRow

__all__ = ["NAME", "null_target", "null_target_together"]

NAME = "null target"

NullRow: TypeAlias = NullControlRow | TogetherNullRow

# A tenth of the other controls' level: every audit has a null target, and a real fault gives a far smaller p-value.
_ALARM = 0.001


def null_target(
    rows: Sequence[NullControlRow], null_targets: int, shadow_match: str, *, recipe_known: bool = True
) -> list[Control]:
    """Return one finding a format and null target, for CM-MIA t or else the audit's first attack that could be run.

    A null target fails where its AUC differs from 0.5 with p below 0.1%, two-sided, after Holm over formats and null
    targets. An AUC below 0.5 is as wrong as one above, since members and nonmembers are the same to this model.

    rows: in the order of the audit's attacks.
    shadow_match: the one that the audit reports; rows with another are ablations.
    recipe_known: whether models can be trained at all.
    """
    if not recipe_known:
        return [
            Control(NAME, "not run", "no model without the audited members can be trained: model.recipe is not set")
        ]
    if null_targets == 0:
        return [Control(NAME, "not run", "controls.null-targets is 0, so no model without members was attacked")]
    headline_rows = _headline([row for row in rows if row.shadow_match == shadow_match])
    if not headline_rows:
        return [Control(NAME, "not run", "no attack could be run on a null target; the attacks' rows give the reason")]
    return _findings(headline_rows)


def null_target_together(rows: Sequence[NullRow]) -> list[Control]:
    """Return one finding a set of formats, multi-version attack and null target, at the same level after Holm over all.

    rows: as in `null_target`; `format` names the whole set.
    """
    return _findings([row for row in rows if row.p_value is not None])


def _findings(rows: Sequence[NullRow]) -> list[Control]:
    if not rows:
        return []
    corrected = holm(np.array([row.p_value for row in rows], dtype=np.float64)).tolist()
    return [_finding(row, p, len(rows)) for row, p in zip(rows, corrected, strict=True)]


def _headline(rows: Sequence[NullRow]) -> list[NullRow]:
    """Return the rows of CM-MIA t if it has p-values, else of the first attack and variant that has."""
    names = list(dict.fromkeys((row.attack, row.variant) for row in rows))
    for name in sorted(names, key=lambda pair: pair != ("cm-mia", "t")):
        tested = [row for row in rows if (row.attack, row.variant) == name and row.p_value is not None]
        if tested:
            return tested
    return []


def _finding(row: NullRow, p: float, count: int) -> Control:
    failed = p < _ALARM
    attack = f"{row.attack} {row.variant}".rstrip()
    result = "finds members of" if failed else "finds no members of"
    return Control(
        NAME,
        "failed" if failed else "holds",
        f"{attack} {result} {row.target}, which trained on none of the audited records",
        row.value,
        row.low,
        row.high,
        p,
        int(row.n_members) + int(row.n_nonmembers),
        str(row.format),
        f"p-value after Holm over {count} tests" if count > 1 else None,
    )
