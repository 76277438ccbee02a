"""Requirements of attack variants, and checks of shadows' and targets' answers against them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeaudit.attacks.evidence import Evidence, ShadowAnswers
from edgeaudit.errors import AttackError

__all__ = ["Needs", "examples_of", "missing", "missing_of_shadows", "require_same_models", "require_same_shadows"]

_LEAST_TRACED = 10
_TRACES = {
    "boundary": "distances to the decision boundary, which cost hundreds of queries a record: add 'label-only' to "
    "attacks (with threat.mode: adversary)",
    "trajectory": "losses of a student distilled from each model, which cost a training run: add 'loss-trajectory' to "
    "attacks (with threat.mode: adversary)",
}


@dataclass(frozen=True)
class Needs:
    """Requirements of one variant of an attack; readable without running it.

    shadows: minimum number K of shadows.
    out, inside: minimum number of OUT and of IN shadows for every scored record.
    variance: two OUT shadows on at least one scored record; also two IN shadows where `inside` is above 0.
    reference: minimum number of reference records that have `out` OUT shadows each and the target's answers.
    examples: minimum number of (shadow, reference record) pairs in which the shadow trained on the record, and of pairs
        in which it did not. Where the shadows trained on no reference record (auditor mode) and the target's answers on
        those are not needed (`reference` is 0), pairs with audited records count instead.
    inputs: the records themselves, audited and (where `reference` is above 0) reference ones.
    classes: a number for each class, of which one is right; other tasks have none (`edgeaudit.tasks`).
    grid: answers on the grid of an integer output.
    views: answers on transformed records: of any kind (`any`) or of the named one; also on reference records where
        `reference` or `examples` is above 0.
    trace: the trace of every scored record, of ten or more (shadow, reference record) pairs in which the shadow
        trained on the record, and of ten in which it did not.
    """

    shadows: int = 0
    out: int = 0
    inside: int = 0
    variance: bool = False
    reference: int = 0
    examples: int = 0
    inputs: bool = False
    classes: bool = False
    grid: bool = False
    views: Literal["", "any", "noise"] = ""
    trace: Literal["", "boundary", "trajectory"] = ""


def examples_of(needs: Needs, shadows: ShadowAnswers, reference: ShadowAnswers) -> bool:
    """Return whether a variant takes its examples from the audited records, for lack of any on the reference records.

    Neither reveals the target's memberships: a shadow's mask states what the shadow trained on.
    """
    return bool(needs.examples and not needs.reference and reference.out.all() and not shadows.out.all())


def require_same_shadows(shadows: ShadowAnswers, reference: ShadowAnswers) -> None:
    """Raise `AttackError` where the two are visibly not from the same shadows, queried alike."""
    layouts = [(len(a.shadows), a.shadows.shape[2], a.exposure, a.floor) for a in (shadows, reference)]
    if layouts[0] != layouts[1]:
        raise AttackError(
            f"evidence and reference do not match: shadows, classes, exposure and floor are {layouts[0]} and "
            f"{layouts[1]}"
        )
    if shadows.grid is not reference.grid and not (shadows.grid and shadows.grid.same_as(reference.grid)):
        raise AttackError("evidence and reference do not match: their answers lie on different grids")
    if shadows.inputs is not None and reference.inputs is not None:
        size, reference_size = shadows.inputs.shape[1], reference.inputs.shape[1]
        if size != reference_size:
            raise AttackError(f"evidence and reference do not match: inputs of {size} and {reference_size} values")
    names = [tuple(view.name for view in a.views) for a in (shadows, reference)]
    if names[0] != names[1]:
        raise AttackError(f"evidence and reference do not match: views are {names[0]} and {names[1]}")


def require_same_models(evidence: Evidence, reference: Evidence) -> None:
    """Raise `AttackError` where the two are visibly not from the same target and shadows."""
    require_same_shadows(evidence.shadow_answers, reference.shadow_answers)
    if evidence.grid is not reference.grid and not (evidence.grid and evidence.grid.same_as(reference.grid)):
        raise AttackError("evidence and reference do not match: their answers lie on different grids")


def missing(needs: Needs, evidence: Evidence, reference: Evidence) -> Iterator[str]:
    """Yield a phrase for each requirement that the target's or the shadows' answers do not meet."""
    yield from _missing_classes(needs, evidence.shadow_answers)
    if needs.grid and evidence.grid is None:
        yield "needs answers on the grid of an integer output; these answers are continuous"
    trace = evidence.traces.get(needs.trace)
    if needs.trace and (trace is None or not trace.taken.all()):
        yield f"needs {_TRACES[needs.trace]}"
    yield from missing_of_shadows(needs, evidence.shadow_answers, reference.shadow_answers)


def missing_of_shadows(needs: Needs, shadows: ShadowAnswers, reference: ShadowAnswers) -> Iterator[str]:
    """Yield a phrase for each requirement that the shadows' answers do not meet, so that nothing can be fitted."""
    yield from _missing_classes(needs, shadows)
    yield from _missing_kinds(needs, shadows, reference)
    k, n = shadows.out.shape
    if k < needs.shadows:
        yield f"needs at least {needs.shadows} shadows and has {k}"
    outside = shadows.out.sum(axis=0)
    for name, count, least, remedy in (
        ("OUT", outside, needs.out, "Add shadows, or make them train on fewer records"),
        ("IN", k - outside, needs.inside, "Only shadows that train on audited records (auditor mode) give them"),
    ):
        short = int((count < least).sum())
        if short:
            yield f"needs {least} or more {name} shadows per record; {short} of {n} records have fewer. {remedy}"
        if needs.variance and least and n and not (count > 1).any():
            yield f"needs two {name} shadows on at least one record, to estimate a variance. Add shadows"
    served = int((reference.out.sum(axis=0) >= needs.out).sum())
    if served < needs.reference:
        which = f" with {needs.out} or more OUT shadows" if needs.out else ""
        yield f"needs the target's answers on {needs.reference} or more reference records{which}; there are {served}"
    out = (shadows if examples_of(needs, shadows, reference) else reference).out
    inside = int((~out).sum())
    if min(inside, out.size - inside) < needs.examples:
        yield (
            f"learns from shadows' answers on reference records: {needs.examples} or more on records they trained on "
            f"and as many on other records; there are {inside} and {out.size - inside}"
        )


def _missing_classes(needs: Needs, shadows: ShadowAnswers) -> Iterator[str]:
    if needs.classes and not shadows.task.has_classes:
        yield f"reads an answer for each class, and a model for {shadows.task.name} has no classes"


def _missing_kinds(needs: Needs, shadows: ShadowAnswers, reference: ShadowAnswers) -> Iterator[str]:
    """Yield a phrase for each required kind of evidence of which there is none."""
    if needs.inputs and (shadows.inputs is None or (needs.reference and reference.inputs is None)):
        yield "reads the records themselves, and only answers are available"
    if needs.views == "any" and not shadows.views:
        yield "needs answers on transformed records, which cost queries: set threat.views"
    if needs.views not in {"", "any"} and not any(view.is_of(needs.views) for view in shadows.views):
        yield f"needs answers on records with {needs.views}, which cost queries: set threat.views: [{needs.views}-1]"
    if needs.trace:
        trace = reference.traces.get(needs.trace)
        members = np.empty(0, dtype=np.bool_) if trace is None else trace.examples(reference.out)[1]
        inside, outside = int(members.sum()), int((~members).sum())
        if min(inside, outside) < _LEAST_TRACED:
            yield (
                f"learns from shadows' traces on reference records: {_LEAST_TRACED} or more on records they trained on "
                f"and as many on other records; there are {inside} and {outside}"
            )
