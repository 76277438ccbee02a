"""responses -> what is left of the leakage where a device returns less of them; nothing is asked again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.base import Attack, FloatArray
from edgeaudit.attacks.exposure import unreadable
from edgeaudit.attacks.many_queries import queries_of
from edgeaudit.attacks.signals import probabilities
from edgeaudit.config.exposures import Level, parse_level
from edgeaudit.graph.job import JobContext
from edgeaudit.leakage.comparisons import METRICS
from edgeaudit.leakage.metrics import figures, unresolved
from edgeaudit.leakage.outputs import granularity
from edgeaudit.stages.evidence import Answers, Case
from edgeaudit.stages.measure import SCORES, attack_of, with_queries

__all__ = ["EXPOSED", "expose"]

EXPOSED = "exposure.json"
"""{outputs, leakage}: granularity of the true class's value, and rows. Scores are in files as those of `measure`."""

_PLACE = ("format", "device", "shadow_match")


def expose(context: JobContext) -> Mapping[str, Any]:
    """Run every attack on one format's responses as one weaker level shows them.

    Of an attack the first headline variant that can be run is, and beside it those that read answers as intervals
    (`Needs.grid`) where the level rounds. An attack that can make nothing of the level has a row that says why.
    """
    inputs = context.inputs
    level = parse_level(inputs["level"])
    answers = Answers(context, level)
    first, *others = inputs["targets"]
    case = answers.case(*first)
    head = {**{name: inputs[name] for name in _PLACE}, "exposure": level.name, "subset": "all"}
    chosen, rows = _choose(inputs, case, level, head)
    rows += _score(chosen, case, context.draft / f"{SCORES}.npz", head)
    rows.sort(key=lambda row: inputs["attacks"].index(row["attack"]))
    true_class = probabilities(case.audited.target, case.audited.exposure)
    outputs = granularity(true_class[np.arange(len(true_class)), case.audited.labels])
    for asked in others:
        case = answers.case(*asked)
        _score(chosen, case, context.draft / f"{SCORES}-{case.role}.npz", head)
    found = {"outputs": asdict(outputs), "leakage": rows}
    (context.draft / EXPOSED).write_text(json.dumps(found, allow_nan=False), "utf-8")
    return {"rows": len(rows)}


def _choose(
    inputs: Mapping[str, Any], case: Case, level: Level, head: Mapping[str, Any]
) -> tuple[list[tuple[Attack, str]], list[dict[str, Any]]]:
    """What is run, and a row for each attack that is not."""
    chosen: list[tuple[Attack, str]] = []
    rows: list[dict[str, Any]] = []
    for name in inputs["attacks"]:
        attack = attack_of(name, inputs)
        found = _variants(attack, case, level)
        if isinstance(found, str):
            place = {**head, "attack": name, "variant": attack.spec.headlines[0]}
            rows.append(place | asdict(unresolved("auc", case.members, f"not applicable: {found}")))
        else:
            chosen += [(attack, variant) for variant in found]
    return chosen, rows


def _score(
    chosen: Sequence[tuple[Attack, str]], case: Case, path: Path, head: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Write one target's scores and give its rows. Attacks that asked about some of the records only write none."""
    arrays: dict[str, npt.NDArray[Any]] = {"members": case.members}
    rows: list[dict[str, Any]] = []
    for attack, variant in chosen:
        name, needs = attack.spec.name, attack.spec.needs_of(variant)
        part, asked = case.traced(needs.trace)
        score = attack.score(part.audited, variant, part.reference).score
        if asked.all():
            arrays[f"{name}/{variant}"] = score
        place, queries = {**head, "attack": name, "variant": variant}, queries_of(needs, part.audited)
        rows += [with_queries({**place, **row}, queries) for row in _figures(score, part)]
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return rows


def _variants(attack: Attack, case: Case, level: Level) -> tuple[str, ...] | str:
    """The variants that are run, or why none of the attack's headline variants can be."""
    reasons: list[str] = []
    headline = next((v for v in attack.spec.headlines if _can(attack, v, case, level, reasons)), None)
    if headline is None:
        return reasons[0]
    gridded = [v for v in attack.spec.variants if attack.spec.needs_of(v).grid and v != headline]
    return headline, *(v for v in gridded if level.kind == "rounded" and _can(attack, v, case, level, []))


def _can(attack: Attack, variant: str, case: Case, level: Level, reasons: list[str]) -> bool:
    reason = unreadable(attack.spec, variant, level)
    if reason is None:
        part, _ = case.traced(attack.spec.needs_of(variant).trace)
        reason = attack.inapplicable(part.audited, part.reference, variant)
    if reason is not None:
        reasons.append(reason)
    return reason is None


def _figures(score: FloatArray, case: Case) -> Iterator[dict[str, Any]]:
    """AUC and TPR at low FPR. The figures at a threshold are those of the full exposure alone."""
    for figure in figures(score, case.members, None):
        if figure.metric in METRICS:
            yield asdict(figure)
