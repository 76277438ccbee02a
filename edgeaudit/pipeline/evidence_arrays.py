"""The arrays of a run's evidence: answers, memberships, scores. No record itself is among them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.graph.store import Store
from edgeaudit.pipeline.audit import Prepared
from edgeaudit.pipeline.plan import FormatPlan
from edgeaudit.population.base import NULL, Role
from edgeaudit.stages.measure import Measure, MeasureResult
from edgeaudit.stages.query import Query
from edgeaudit.stages.scores import TargetScores

__all__ = ["Documented", "Evidence", "collect"]

Array = npt.NDArray[Any]

_NOT_INCLUDED = (
    "records (inputs of the models)",
    "answers on transformed records (threat.views); the scores of attacks that read them are included",
    "distances to the decision boundary and losses of distilled students; the scores are included",
    "scores at weaker exposures (threat.weaker) and of several formats together, which follow from the answers",
)


@dataclass(frozen=True)
class Documented:
    """An array of the file and what it means. parts: its slices along the first axis, read when they are written."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    unit: str
    meaning: str
    parts: Callable[[], Iterable[Array]]

    @classmethod
    def of(cls, name: str, values: Array, unit: str, meaning: str) -> Documented:
        """Build from an array in memory."""
        return cls(name, values.shape, values.dtype, unit, meaning, lambda: (values,))

    @property
    def bytes(self) -> int:
        """Size before compression."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def row(self) -> dict[str, object]:
        """Its row of the manifest."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype.name if self.dtype.kind != "U" else "str",
            "unit": self.unit,
            "meaning": self.meaning,
        }


_PLANTED = "canaries_planted"


@dataclass(frozen=True)
class Evidence:
    """What a file of evidence holds. arrays: without the shadows' answers. shadows: their answers, by array.

    about: of the manifest, except for the rows of the arrays.
    """

    arrays: tuple[Documented, ...]
    shadows: tuple[Documented, ...]
    about: Mapping[str, object]

    def manifest(self, *, shadows: bool) -> str:
        """The manifest as JSON. shadows: whether the file has the shadows' answers."""
        left_out = _NOT_INCLUDED if shadows else (*_NOT_INCLUDED, "answers of the shadows")
        rows = [array.row() for array in (*self.arrays, *(self.shadows if shadows else ()))]
        return json.dumps({**self.about, "not_included": left_out, "arrays": rows}, allow_nan=False)


def collect(prepared: Prepared, store: Store, planned: Sequence[FormatPlan], about: Mapping[str, object]) -> Evidence:
    """Describe the evidence of a finished run; answers are read when they are written.

    Args:
        prepared: the run's plan.
        store: has the results.
        planned: the formats that were audited, of the run's plan; at least one.
        about: first entries of the manifest.

    Raises:
        DamagedEntry: a result is missing, or a file of it damaged.
    """
    return _Collection(prepared, store).evidence(planned, about)


class _Collection:
    def __init__(self, prepared: Prepared, store: Store) -> None:
        self.prepared, self.store = prepared, store
        population = prepared.population
        self.queried, self.n_audited = population.queried, len(population.audited)
        self.arrays: list[Documented] = []
        self.shadows: dict[tuple[str, ...], Documented] = {}

    def evidence(self, planned: Sequence[FormatPlan], about: Mapping[str, object]) -> Evidence:
        self._records(planned[0].measure)
        deployments = [row for one in planned for row in self._format(one)]
        shadows = tuple(self.shadows.values())
        return Evidence(tuple(self.arrays), shadows, {**about, "deployments": deployments})

    def _add(self, name: str, values: Array, unit: str, meaning: str) -> str:
        self.arrays.append(Documented.of(name, values, unit, meaning))
        return name

    def _trained(self, roles: Sequence[Role]) -> npt.NDArray[np.bool_]:
        """Bool [roles, queried]: what each model trained on."""
        population, seed = self.prepared.population, self.prepared.spec.seed
        rows = [np.isin(self.queried, population.training_ids(role, seed)) for role in roles]
        return np.array(rows, np.bool_).reshape(len(rows), len(self.queried))

    def _records(self, measure: Measure) -> None:
        """Arrays that all deployments share."""
        population, settings = self.prepared.population, measure.settings.evidence
        targets = [role for role, _ in (*settings.targets, *settings.nulls)]
        null = np.array([role.startswith(NULL) for role in targets])
        trained = self._trained(targets)
        # A null target trained on neither side; its scores are compared on those of the first target.
        members = np.where(null[:, None], trained[:1], trained)[:, : self.n_audited]
        audited = np.arange(len(self.queried)) < self.n_audited
        self._add("records", self.queried, "id", "record [n]: its number in the data source; audited ones come first")
        self._add("audited", audited, "", "record [n]: audited (True), or of the reference pool (False)")
        self._add("labels", population.labels[self.queried], "class", "record [n]: its label")
        groups = population.groups[self.queried]
        self._add("groups", groups, "", "record [n]: related records have the same number")
        for name, values in population.slices.items():
            self._add(f"slices/{name}", values[self.queried], "", f"record [n]: the value of the user's column {name}")
        self._add("targets", np.array(targets, np.str_), "", "target [t]: its name; the first is the audit's own")
        self._add("null_targets", null, "", "target [t]: trained on none of the audited records (a control)")
        self._add("target_trained", trained, "", "target, record [t, n]: the target trained on the record")
        self._add(
            "members",
            members,
            "",
            "target, audited record [t, a]: which side the figures count it on, member (True) or nonmember; of a null "
            "target the sides of the first",
        )
        shadows = list(settings.shadow_roles)
        self._add("shadows", np.array(shadows, np.str_), "", "shadow [k]: its name")
        self._add("shadow_trained", self._trained(shadows), "", "shadow, record [k, n]: IN (True) or OUT (False)")

    def _format(self, planned: FormatPlan) -> Iterator[dict[str, object]]:
        """One format on one device: its rows of the manifest, one for each kind of shadows."""
        where = f"{planned.use.id}@{planned.device}"
        settings = planned.measure.settings.evidence
        targets = [query for _, query in (*settings.targets, *settings.nulls)]
        answers = self._answers(f"{where}/targets", targets, "target [t, n, c]")
        self.arrays.append(answers)
        softmax = self._softmax(f"{where}/targets", targets)
        # Of the audit's own shadows alone, whose match is the first.
        planted = () if planned.canaries is None else (self.store.read(planned.canaries).scores,)
        for match, measure in planned.measures.items():
            shadows = self._shadows(f"{where}/{match}/shadows", measure.settings.evidence.shadows)
            yield {
                "format": planned.use.id,
                "device": planned.device,
                "shadow_match": match,
                "exposure": measure.settings.evidence.exposure,
                "common_floor": settings.common_floor,
                "attack_settings": {name: dict(of) for name, of in measure.settings.settings.items()},
                "targets": answers.name,
                "targets_softmax": softmax,
                "shadows": None if shadows is None else shadows.name,
                "shadows_softmax": None if shadows is None else f"{shadows.name}_softmax",
                **self._measured(f"{where}/{match}", measure),
                **(self._on_canaries(f"{where}/{match}", *planted) if planted and measure is planned.measure else {}),
            }

    def _on_canaries(self, name: str, canaries: TargetScores) -> dict[str, str]:
        """Scores of the variants that ran on canaries, of the first target."""
        if all(array.name != _PLANTED for array in self.arrays):  # once for all deployments
            planted = canaries.members
            self._add(_PLANTED, planted, "", "canary [c]: the first target trained on it (True), or it was held out")
        names = np.array(list(canaries.scores), np.str_)
        scores = np.array(list(canaries.scores.values()), np.float64).reshape(len(names), len(canaries.members))
        meaning = "variant, canary [v, c]: higher = planted"
        return {
            "canary_attacks": self._add(f"{name}/canary_attacks", names, "", "variant [v]: attack/variant"),
            "canary_scores": self._add(f"{name}/canary_scores", scores, "attack's own", meaning),
        }

    def _answers(self, name: str, queries: Sequence[Query], what: str) -> Documented:
        """Stored answers, stacked; one model at a time is in memory."""
        first = self.store.read(queries[0]).responses
        return Documented(
            name,
            (len(queries), *first.shape),
            first.dtype,
            "probability or logit",
            f"answers, model by record by class, as the file returned them: {what}",
            lambda: (np.asarray(self.store.read(query).responses)[None] for query in queries),
        )

    def _softmax(self, name: str, queries: Sequence[Query]) -> str:
        inside = [self.store.read(query.source).artifact.manifest.softmax_inside for query in queries]
        meaning = f"model: {name} are probabilities (True) or logits (False)"
        return self._add(f"{name}_softmax", np.array(inside, np.bool_), "", meaning)

    def _shadows(self, name: str, queries: Sequence[Query]) -> Documented | None:
        """The shadows' answers, once for all formats that are attacked with the same."""
        if not queries:
            return None
        key = tuple(query.key for query in queries)
        if key not in self.shadows:
            self.shadows[key] = self._answers(name, queries, "shadow [k, n, c]")
            self._softmax(name, queries)
        return self.shadows[key]

    def _measured(self, name: str, measure: Measure) -> dict[str, str]:
        """Scores of every variant on every target: the names of their arrays."""
        result = self.store.read(measure)
        roles = [role for role, _ in (*measure.settings.evidence.targets, *measure.settings.evidence.nulls)]
        targets = [result.scores[role] for role in roles]
        attacks = measure.settings.attacks
        variants = list(dict.fromkeys(_variant(key, attacks) for target in targets for key in target.scores))
        scored = [{_variant(key, attacks): values for key, values in target.scores.items()} for target in targets]
        subsets = dict(targets[0].subsets or {})
        added = {
            "attacks": (np.array(variants, np.str_), "", "variant [v]: attack/variant"),
            "scores": (
                self._stacked(scored, variants),
                "attack's own",
                "target, variant, audited record [t, v, a]: higher = member; NaN where the variant did not run",
            ),
            "p_values": (
                self._stacked([_p_values(target, "p_value", attacks) for target in targets], variants),
                "probability",
                "target, variant, audited record [t, v, a]: conformal p-value of 'not a member'; NaN where none",
            ),
            "nominal": (
                self._stacked([_p_values(target, "nominal", attacks) for target in targets], variants),
                "probability",
                "target, variant, audited record [t, v, a]: p-value under the test's own model; NaN where none",
            ),
            "thresholds": (
                _thresholds(result, roles, variants),
                "as scores",
                "target, variant [t, v]: member where score >= threshold, learned without memberships; NaN where none",
            ),
            "floors": (
                np.array([result.findings.floors[role] for role in roles]),
                "probability",
                "target [t]: probabilities are clipped to [floor, 1 - floor] by the attacks",
            ),
            "calibrated": (
                np.array([target.calibrated for target in targets], np.bool_),
                "",
                "target, audited record [t, a]: the quantiser of the target's file saw the record",
            ),
            "subsets": (np.array(list(subsets), np.str_), "", "subset [s]: its name in audit.json"),
            "subset_records": (
                np.array(list(subsets.values()), np.bool_).reshape(len(subsets), self.n_audited),
                "",
                "subset, audited record [s, a]: the record is in the subset",
            ),
        }
        return {key: self._add(f"{name}/{key}", *documented) for key, documented in added.items()}

    def _stacked(self, targets: Sequence[Mapping[str, Array]], variants: Sequence[str]) -> npt.NDArray[np.float64]:
        none = np.full(self.n_audited, np.nan)
        rows = [[target.get(variant, none) for variant in variants] for target in targets]
        return np.array(rows, np.float64).reshape(len(targets), len(variants), self.n_audited)


def _variant(key: str, attacks: Sequence[str]) -> str:
    """`attack/variant` of stored scores: a variant that scored some records only is stored as `attack.variant`."""
    if "/" in key:
        return key
    attack = next(name for name in sorted(attacks, key=len, reverse=True) if key.startswith(f"{name}."))
    return f"{attack}/{key.removeprefix(f'{attack}.')}"


def _p_values(target: TargetScores, kind: str, attacks: Sequence[str]) -> dict[str, Array]:
    found = {key.removeprefix(f"{kind}."): p for key, p in target.p_values.items() if key.startswith(f"{kind}.")}
    return {_variant(key, attacks): p for key, p in found.items()}


def _thresholds(result: MeasureResult, roles: Sequence[Role], variants: Sequence[str]) -> npt.NDArray[np.float64]:
    learned = result.findings.thresholds
    rows = [[learned.get(role, {}).get(variant) for variant in variants] for role in roles]
    return np.array([[np.nan if one is None else one for one in row] for row in rows], np.float64).reshape(
        len(roles), len(variants)
    )
