"""responses -> attacks -> leakage: pure functions of stored arrays from here on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.base import Attack, Scores
from edgeaudit.attacks.cm_mia import CmMia
from edgeaudit.attacks.many_queries import queries_of, with_views
from edgeaudit.attacks.registry import find_attack, make_attack
from edgeaudit.attacks.selection import SelectionRule, select
from edgeaudit.attacks.signals import probabilities
from edgeaudit.attacks.threshold import Threshold, learn_threshold
from edgeaudit.graph.job import JobContext
from edgeaudit.leakage.epsilon import split_epsilon_bound
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.metrics import Figure, figures, unresolved
from edgeaudit.leakage.one_run import one_run_pairs
from edgeaudit.leakage.outputs import granularity
from edgeaudit.leakage.paired import chance_p_value
from edgeaudit.leakage.roc import roc, thin
from edgeaudit.population.base import stream
from edgeaudit.stages.calibration import calibration_leaks, uncalibrated
from edgeaudit.stages.evidence import Answers, Case, accuracy
from edgeaudit.stages.p_values import calibrate, claims, histograms, verdicts

__all__ = ["SCORES", "attack_of", "measure", "with_queries"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]

SCORES = "scores"
"""scores.npz is the first target's; scores-<role>.npz another's."""

_MOST_EXPOSED = 20
_LEAST_ONE_RUN = 40
_SELECTIONS = {"fraction": "fraction", "alpha-beta": "alpha_beta", "hardness": "hardness"}


@dataclass
class _Found:
    """What is reported: of the first target everything, of each further one its figures, of a null target its AUC."""

    leakage: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    null_p_values: list[dict[str, Any]] = field(default_factory=list)
    p_calibration: list[dict[str, Any]] = field(default_factory=list)
    exposed: list[dict[str, Any]] = field(default_factory=list)
    calibration: list[dict[str, Any]] = field(default_factory=list)
    targets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    null_control: list[dict[str, Any]] = field(default_factory=list)


def measure(context: JobContext) -> Mapping[str, Any]:
    """Run every attack on one format's responses.

    Writes measurement.json, and one .npz of scores for each target and null target.
    """
    inputs, answers = context.inputs, Answers(context)
    first, *others = (answers.case(*asked) for asked in (*inputs["targets"], *inputs["nulls"]))
    subsets = _subsets(first, inputs["cm_mia"])
    arrays = {case.role: _about(case, answers, subsets) for case in (first, *others)}
    found = _Found()
    for name in inputs["attacks"]:
        for attack in with_views(attack_of(name, inputs), first.audited):
            for variant in attack.spec.variants:
                _run(attack, variant, (first, *others), subsets, inputs, found, arrays)
    found.exposed = _exposed(first, answers, inputs, arrays[first.role], found.p_calibration)
    true_class = probabilities(first.audited.target, inputs["exposure"])
    facts = {
        "accuracy": accuracy(first, answers.n_audited),
        "outputs": asdict(granularity(true_class[np.arange(len(true_class)), first.audited.labels])),
    }
    (context.draft / "measurement.json").write_text(json.dumps(asdict(found) | facts, allow_nan=False), "utf-8")
    for role, kept in arrays.items():
        name = SCORES if role == first.role else f"{SCORES}-{role}"
        np.savez_compressed(context.draft / f"{name}.npz", **kept)  # type: ignore[arg-type]
    return {"rows": len(found.leakage)}


def _run(
    attack: Attack,
    variant: str,
    cases: tuple[Case, ...],
    subsets: Mapping[str, BoolArray],
    inputs: Mapping[str, Any],
    found: _Found,
    arrays: Mapping[str, Arrays],
) -> None:
    """One variant on every target; adds to `found` and to each role's `arrays`."""
    head = _head(inputs, attack.spec.name, variant)
    needs = attack.spec.needs_of(variant)
    scored = [(case, asked, _scores(attack, variant, case)) for case, asked in (w.traced(needs.trace) for w in cases)]
    for case, rows_asked, scores in scored:
        if isinstance(scores, str):
            missing = unresolved("auc", case.members, f"not applicable: {scores}")
            _keep(found, case, [{**head, "subset": "all", **asdict(missing)}])
        else:
            arrays[case.role].update(_score_arrays(head, scores, rows_asked))
    known = [(case, rows_asked, scores) for case, rows_asked, scores in scored if not isinstance(scores, str)]
    # Every known nonmember of the audit is heard before a p-value is used.
    calibration, ranking = calibrate(attack.spec, head, [(case, scores) for case, _, scores in known])
    found.p_calibration += calibration
    threshold: Threshold | None = None
    for case, rows_asked, scores in known:
        if case.is_null:
            found.null_control.append(_null_row(case, scores, head))
            continue
        if threshold is None or threshold.note is not None:
            # Learned from shadows alone, so it is every target's; a fallback is the target's own.
            playground = case.audited if inputs["mode"] == "auditor" else case.reference
            threshold = learn_threshold(attack, variant, playground, seed=inputs["seed"])
        asked = {name: mask[rows_asked] for name, mask in subsets.items()}
        records = arrays[case.role]["records"][rows_asked]
        asked |= uncalibrated(case, records)
        rows = list(_leakage(case, asked, threshold, scores, head))
        if isinstance(attack, CmMia):
            rows += verdicts(case, subsets, scores, ranking, inputs["cm_mia"]["cutoffs"], head)
        if case.role == cases[0].role:
            rows += _guarantees(case, scores, head, inputs)
            found.calibration += calibration_leaks(case, records, scores, head)
            rows += claims(case, scores, ranking, head)
        queries = queries_of(needs, case.audited)
        _keep(found, case, [with_queries(row, queries) for row in rows])
        if case.role == cases[0].role:
            found.curves += _curves(case, scores, head)
            if isinstance(attack, CmMia):
                found.null_p_values += histograms(case, scores, head)


def _scores(attack: Attack, variant: str, case: Case) -> Scores | str:
    """What the attack answers, or why it cannot be run."""
    missing = attack.inapplicable(case.audited, case.reference, variant)
    return missing if missing is not None else attack.score(case.audited, variant, case.reference)


def _guarantees(
    case: Case, scores: Scores, head: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Lower bounds of epsilon, at 95%: by a threshold fixed on half of the records, and by the one-run audit."""
    place = {**head, "subset": "all"}
    m, n = int(case.members.sum()), int((~case.members).sum())
    if min(m, n) < 2:
        return
    bound = split_epsilon_bound(scores.score, case.members, _rng(inputs, "epsilon"))
    yield {**place, **asdict(Figure("epsilon_lower", bound.epsilon, bound.epsilon, None, m, n, None, bound.note))}
    if not inputs["members_drawn"] or m + n < _LEAST_ONE_RUN:
        note = "the one-run audit needs members that were drawn at random, and enough of them"
        yield {**place, **asdict(unresolved("epsilon_one_run", case.members, note))}
        return
    # A twentieth of the records is guessed: fixed beforehand, since a number chosen by the result would void the bound.
    one = one_run_pairs(scores.score, case.members, (m + n) // 20, _rng(inputs, "one run"))
    yield {**place, **asdict(Figure("epsilon_one_run", one.epsilon, one.epsilon, None, m, n, None, one.note))}


def _rng(inputs: Mapping[str, Any], purpose: str) -> np.random.Generator:
    # One draw for all attacks and formats: what differs between their bounds is not the split.
    return stream(inputs["seed"], purpose)


def _keep(found: _Found, case: Case, rows: list[dict[str, Any]]) -> None:
    if case.role == "target":
        found.leakage += rows
    elif not case.is_null:
        kept = ("attack", "variant", "subset", "metric", "value", "realised_fpr")
        found.targets.setdefault(case.role, []).extend({k: row[k] for k in kept} for row in rows)


def _about(case: Case, answers: Answers, subsets: Mapping[str, BoolArray]) -> Arrays:
    """The first arrays of a target's scores: who is a member, which record is which, which subsets it is in."""
    arrays: Arrays = {"members": case.members, "records": answers.records}
    arrays["calibrated"] = np.isin(answers.records, case.calibration)
    return arrays | {name: mask for name, mask in subsets.items() if name != "all"}


def _score_arrays(head: Mapping[str, Any], scores: Scores, asked: BoolArray) -> Arrays:
    """Scores by `attack/variant`; where only some records were asked about, by `attack.variant`, with NaN elsewhere."""
    if not asked.all():
        partial = np.full(len(asked), np.nan)
        partial[asked] = scores.score
        return {f"{head['attack']}.{head['variant']}": partial}
    arrays: Arrays = {f"{head['attack']}/{head['variant']}": scores.score}
    for kind, p_value in (("p_value", scores.p_value), ("nominal", scores.nominal)):
        if p_value is not None:
            arrays[f"{kind}.{head['attack']}.{head['variant']}"] = p_value
    return arrays


def _null_row(case: Case, scores: Scores, head: Mapping[str, Any]) -> dict[str, Any]:
    """The AUC on a target that trained on neither side, with DeLong's interval and the p-value of AUC = 0.5."""
    area = delong(scores.score, case.members)
    return {
        **{key: value for key, value in head.items() if key != "exposure"},
        "target": case.role,
        "value": area.auc,
        "low": area.low,
        "high": area.high,
        "p_value": chance_p_value(scores.score, case.members),
        "n_members": int(case.members.sum()),
        "n_nonmembers": int((~case.members).sum()),
    }


def attack_of(name: str, inputs: Mapping[str, Any]) -> Attack:
    """The attack of this name, with the settings that audit.yaml gives it."""
    if name == CmMia.spec.name:
        d0 = inputs["cm_mia"]["d0"]
        return CmMia(d0=None if d0 == "eb" else float(d0))
    return make_attack(name, inputs["settings"].get(name, {}))


def _subsets(case: Case, settings: Mapping[str, Any]) -> dict[str, BoolArray]:
    """Name -> bool [audited]. The target has no part in it, so every target has the same."""
    audited, n_target = case.audited, int(case.trained.sum())
    common = {key: settings[key] for key in ("fraction", "neighbours", "alpha", "beta")}
    subsets = {"all": np.ones(len(audited.labels), dtype=np.bool_)}
    if not len(audited.shadows):
        return subsets  # how hard a record is, shadows say
    for name, rule in _SELECTIONS.items():
        subsets[f"abnormal:{name}"] = select(
            SelectionRule(rule, **common),  # type: ignore[arg-type]
            audited,
            case.reference,
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


def _leakage(
    case: Case, subsets: Mapping[str, BoolArray], threshold: Threshold, scores: Scores, head: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for subset, mask in subsets.items():
        members = case.members[mask]
        if members.all() or not members.any():
            note = f"the subset has {int(members.sum())} members and {int((~members).sum())} nonmembers"
            yield {**head, "subset": subset, **asdict(unresolved("auc", members, note))}
            continue
        for figure in figures(scores.score[mask], members, threshold.value, threshold.note):
            yield {**head, "subset": subset, **asdict(figure)}


def with_queries(row: dict[str, Any], queries: int) -> dict[str, Any]:
    """The row with the queries a record in its note, where there is more than one."""
    if queries == 1:
        return row
    said = f"{queries} queries a record"
    return row | {"note": said if row["note"] is None else f"{row['note']}; {said}"}


def _curves(case: Case, scores: Scores, head: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    place = {key: value for key, value in head.items() if key != "exposure"}
    fpr, tpr = thin(roc(scores.score, case.members))
    yield {**place, "subset": "all", "fpr": fpr.tolist(), "tpr": tpr.tolist()}


def _exposed(
    case: Case, answers: Answers, inputs: Mapping[str, Any], arrays: Arrays, calibration: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The records ranked highest by the first headline variant that could be run, earlier record first on ties.

    Their p-values are those of the first test whose p-values are valid and hold here; a ranking's are not shown.
    """
    specs = [find_attack(name).spec for name in inputs["attacks"]]
    keys = [f"{spec.name}/{variant}" for spec in specs for variant in spec.headlines]
    key = next((key for key in keys if key in arrays), None)
    if key is None:
        return []
    holds = {(row["attack"], row["variant"]) for row in calibration if row["is_p_value"]}
    valid = (f"p_value.{spec.name}.{v}" for spec in specs for v in spec.headlines if (spec.name, v) in holds)
    score = arrays[key]
    p_value = next((arrays[name] for name in valid if name in arrays), None)
    order = np.argsort(-score, kind="stable")[:_MOST_EXPOSED]
    return [
        {
            "format": inputs["format"],
            "device": inputs["device"],
            "rank": rank,
            "record": int(answers.records[i]),
            "label": int(case.audited.labels[i]),
            "score": float(score[i]),
            "p_value": None if p_value is None else float(p_value[i]),
            "member": bool(case.members[i]),
            "calibrated": bool(arrays["calibrated"][i]),
        }
        for rank, i in enumerate(order, 1)
    ]
