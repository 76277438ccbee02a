"""responses -> attacks -> leakage: pure functions of stored arrays from here on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.artifact import Artifact
from edgeaudit.attacks.base import Attack, Evidence, Scores
from edgeaudit.attacks.calibrated import set_aside
from edgeaudit.attacks.cm_mia import CmMia, check_cutoff, decide
from edgeaudit.attacks.registry import find_attack
from edgeaudit.attacks.selection import SelectionRule, select
from edgeaudit.attacks.signals import probabilities
from edgeaudit.attacks.threshold import Threshold, learn_threshold
from edgeaudit.errors import AttackError
from edgeaudit.jobs.base import JobContext
from edgeaudit.jobs.query import RESPONSES
from edgeaudit.leakage.metrics import Figure, figures
from edgeaudit.leakage.outputs import granularity
from edgeaudit.leakage.roc import roc, thin
from edgeaudit.leakage.verdicts import verdict_figures

__all__ = ["measure"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

_NULL_BINS = 20
_MOST_EXPOSED = 20
_SELECTIONS = {"fraction": "fraction", "alpha-beta": "alpha_beta", "hardness": "hardness"}


@dataclass(frozen=True)
class _Case:
    """One format's evidence.

    reference: on the reference records that the target did not train on (all of them, but for a null target).
    playground: records of which shadows trained on some, so that they can play the target there: the reference
    records, or in auditor mode the audited ones (whose memberships of the target are not looked at).
    members: bool [audited]. calibration: ids that a quantiser saw. subsets: name -> bool [audited].
    """

    audited: Evidence
    reference: Evidence
    playground: Evidence
    members: BoolArray
    records: npt.NDArray[np.int64]
    calibration: npt.NDArray[np.int64]
    subsets: Mapping[str, BoolArray]
    facts: Mapping[str, Any]


def measure(context: JobContext) -> Mapping[str, Any]:
    """Run every attack on one format's responses; write measurement.json and scores.npz."""
    case = _case(context)
    found: dict[str, list[Any]] = {"leakage": [], "curves": [], "null_p_values": [], "exposed": []}
    arrays: dict[str, npt.NDArray[Any]] = {"members": case.members, "records": case.records}
    arrays["calibrated"] = np.isin(case.records, case.calibration)
    arrays |= {name: mask for name, mask in case.subsets.items() if name != "all"}
    for name in context.inputs["attacks"]:
        attack = _attack(name, context.inputs["cm_mia"])
        for variant in attack.spec.variants:
            head = _head(context.inputs, name, variant)
            missing = attack.inapplicable(case.audited, case.reference, variant)
            if missing is not None:
                unresolved = _unresolved("auc", case.members, f"not applicable: {missing}")
                found["leakage"].append({**head, "subset": "all", **asdict(unresolved)})
                continue
            scores = attack.score(case.audited, variant, case.reference)
            arrays[f"{name}/{variant}"] = scores.score
            if scores.p_value is not None:
                arrays[f"p_value.{name}.{variant}"] = scores.p_value
            threshold = learn_threshold(attack, variant, case.playground, seed=context.inputs["seed"])
            found["leakage"] += _leakage(case, threshold, scores, head)
            found["curves"] += _curves(case, scores, head)
            if isinstance(attack, CmMia) and scores.p_value is not None:
                cutoffs = context.inputs["cm_mia"]["cutoffs"]
                found["leakage"] += _verdicts(case, variant, scores.p_value, cutoffs, head)
                found["null_p_values"].append(_null_histogram(case, variant, scores.p_value, head))
    found["exposed"] = _exposed(case, context.inputs, arrays)
    result = {**found, **case.facts}
    (context.draft / "measurement.json").write_text(json.dumps(result, allow_nan=False), encoding="utf-8")
    np.savez_compressed(context.draft / "scores.npz", **arrays)  # type: ignore[arg-type]
    return {"rows": len(found["leakage"])}


def _attack(name: str, cm_mia: Mapping[str, Any]) -> Attack:
    kind = find_attack(name)
    if issubclass(kind, CmMia):
        return kind(d0=None if cm_mia["d0"] == "eb" else float(cm_mia["d0"]))
    return kind()


def _case(context: JobContext) -> _Case:
    """Load responses, derive the exposure, split audited from reference records, select abnormal records."""
    population, inputs = context.population(), context.inputs
    queried, split = population.queried, population.split
    n_audited = len(split.members) + len(split.nonmembers)
    labels = population.labels[queried]
    target = _responses(context, inputs["target"])
    shadows = np.stack([_responses(context, ref) for ref in inputs["shadows"]])
    out = np.stack([~np.isin(queried, population.training_ids(r, inputs["seed"])) for r in inputs["shadow_roles"]])
    whole = Evidence(target, shadows, out, labels, inputs["exposure"], inputs["floor"])
    audited, reference = whole.take(np.arange(n_audited)), whole.take(np.arange(n_audited, len(queried)))
    trained = np.isin(queried, population.training_ids(inputs["target_role"], inputs["seed"]))
    members = np.arange(n_audited) < len(split.members)
    n_target = int(trained.sum())
    true_class = probabilities(target, inputs["exposure"])[np.arange(len(labels)), labels]
    facts = {
        "accuracy": _accuracy(whole, trained, n_audited),
        "outputs": asdict(granularity(true_class[:n_audited])),
    }
    subsets = _subsets(audited, reference, n_target, inputs["cm_mia"])
    known_outside = reference.take(~trained[n_audited:])
    calibration = np.array(_artifact(context, inputs["target"]).manifest.calibration_ids, np.int64)
    playground = audited if inputs["mode"] == "auditor" else known_outside
    return _Case(audited, known_outside, playground, members, queried[:n_audited], calibration, subsets, facts)


def _artifact(context: JobContext, query: list[str]) -> Artifact:
    """The artifact that a query asked."""
    return Artifact.load(context.store.entry(*context.store.entry(*query).about["inputs"]["source"]).folder)


def _responses(context: JobContext, ref: list[str]) -> FloatArray:
    """float64 [records, classes] at the audit's exposure."""
    answers: FloatArray = np.load(context.store.entry(*ref).folder / RESPONSES).astype(np.float64)
    artifact = _artifact(context, ref)
    if artifact.manifest.softmax_inside:
        if context.inputs["exposure"] == "logits":
            raise AttackError(f"{artifact.path.name} answers probabilities; threat.exposure cannot be logits")
        return answers
    return answers if context.inputs["exposure"] == "logits" else probabilities(answers, "logits")


def _accuracy(whole: Evidence, trained: BoolArray, n_audited: int) -> dict[str, float]:
    """Target: on what it trained on, and on audited records that it did not. Shadows: the same, averaged."""
    audited = np.arange(len(trained)) < n_audited
    correct = whole.target.argmax(axis=1) == whole.labels
    shadow_correct = whole.shadows.argmax(axis=2) == whole.labels
    return {
        "train": float(correct[trained].mean()),
        "test": float(correct[audited & ~trained].mean()),
        "shadow_train": float(np.mean([row[~out].mean() for row, out in zip(shadow_correct, whole.out, strict=True)])),
        "shadow_test": float(shadow_correct[:, audited][whole.out[:, audited]].mean()),
    }


def _subsets(
    audited: Evidence, reference: Evidence, n_target: int, settings: Mapping[str, Any]
) -> dict[str, BoolArray]:
    common = {key: settings[key] for key in ("fraction", "neighbours", "alpha", "beta")}
    subsets = {"all": np.ones(len(audited.labels), dtype=np.bool_)}
    for name, rule in _SELECTIONS.items():
        subsets[f"abnormal:{name}"] = select(
            SelectionRule(rule, **common),  # type: ignore[arg-type]
            audited,
            reference,
            n_target,
        )
    return subsets


def _head(inputs: Mapping[str, Any], attack: str, variant: str) -> dict[str, Any]:
    return {
        "format": inputs["format"],
        "device": inputs["device"],
        "attack": attack,
        "variant": variant,
        "shadow_match": inputs["shadow_match"],
        "exposure": inputs["exposure"],
    }


def _leakage(case: _Case, threshold: Threshold, scores: Scores, head: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for subset, mask in case.subsets.items():
        members = case.members[mask]
        if members.all() or not members.any():
            note = f"the subset has {int(members.sum())} members and {int((~members).sum())} nonmembers"
            yield {**head, "subset": subset, **asdict(_unresolved("auc", members, note))}
            continue
        for figure in figures(scores.score[mask], members, threshold.value, threshold.note):
            yield {**head, "subset": subset, **asdict(figure)}


def _unresolved(metric: str, members: BoolArray, note: str) -> Figure:
    return Figure(metric, None, None, None, int(members.sum()), int((~members).sum()), None, note)


def _verdicts(
    case: _Case, variant: str, p_value: FloatArray, cutoffs: list[float], head: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    k, known = int(case.audited.out.sum(axis=0).min()), set_aside(case.reference)
    for cutoff in cutoffs:
        try:
            check_cutoff(cutoff, k, variant, known)
        except AttackError as exc:
            yield {**head, "subset": "all", **asdict(_unresolved(f"coverage@{cutoff:g}", case.members, str(exc)))}
            continue
        for subset, mask in case.subsets.items():
            for figure in verdict_figures(decide(p_value, mask, cutoff), case.members, cutoff):
                yield {**head, "subset": subset, **asdict(figure)}


def _curves(case: _Case, scores: Scores, head: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    place = {key: value for key, value in head.items() if key != "exposure"}
    fpr, tpr = thin(roc(scores.score, case.members))
    yield {**place, "subset": "all", "fpr": fpr.tolist(), "tpr": tpr.tolist()}


def _null_histogram(case: _Case, test: str, p_value: FloatArray, head: Mapping[str, Any]) -> dict[str, Any]:
    counts, _ = np.histogram(p_value[~case.members], bins=_NULL_BINS, range=(0.0, 1.0))
    place = {key: head[key] for key in ("format", "device", "shadow_match")}
    return {**place, "test": test, "counts": counts.tolist()}


def _exposed(case: _Case, inputs: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> list[dict[str, Any]]:
    """The records ranked highest by the first variant that could be run, earlier record first where scores tie."""
    key = next((key for key in arrays if "/" in key), None)
    if key is None:
        return []
    score, p_value = arrays[key], arrays.get(f"p_value.{key.replace('/', '.')}")
    order = np.argsort(-score, kind="stable")[:_MOST_EXPOSED]
    return [
        {
            "format": inputs["format"],
            "device": inputs["device"],
            "rank": rank,
            "record": int(case.records[i]),
            "label": int(case.audited.labels[i]),
            "score": float(score[i]),
            "p_value": None if p_value is None else float(p_value[i]),
            "member": bool(case.members[i]),
            "calibrated": bool(arrays["calibrated"][i]),
        }
        for rank, i in enumerate(order, 1)
    ]
