"""Stored responses as the attacks' evidence: one format, all its shadows, one target at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.base import Evidence, Exposure, Grid
from edgeaudit.attacks.exposure import Seen
from edgeaudit.attacks.signals import probabilities
from edgeaudit.attacks.trace_files import TRACE
from edgeaudit.attacks.traces import Trace
from edgeaudit.attacks.views import View
from edgeaudit.config.exposures import Level
from edgeaudit.config.views import parse_view
from edgeaudit.errors import AttackError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.job import JobContext
from edgeaudit.leakage.outputs import OutputGrid, output_grid
from edgeaudit.population.base import NULL, Population, Role
from edgeaudit.stages.query import RESPONSES
from edgeaudit.stages.view import VIEWS

__all__ = ["Answers", "Case", "accuracy"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """One target's evidence.

    reference: on the reference records that the target did not train on (all of them, but for a null target).
    members: bool [audited], which side of the audit a record is on; for a null target the first target's sides, of
    which it trained on neither. trained: bool [queried]. calibration: ids that a quantiser saw.
    """

    role: Role
    whole: Evidence
    audited: Evidence
    reference: Evidence
    members: BoolArray
    trained: BoolArray
    calibration: IntArray

    @property
    def is_null(self) -> bool:
        """Whether the target trained on none of the audited records."""
        return self.role.startswith(NULL)

    def traced(self, trace: str) -> tuple[Case, BoolArray]:
        """The case on the audited records that have this trace, and which they are; all where `trace` is empty."""
        rows = np.ones(len(self.members), dtype=np.bool_)
        if trace not in self.audited.traces:
            return self, rows
        rows = self.audited.traces[trace].taken
        return replace(self, audited=self.audited.take(rows), members=self.members[rows]), rows


class Answers:
    """What one format's models answered, at the audit's exposure or a weaker level. The shadows' are held once."""

    def __init__(self, context: JobContext, level: Level | None = None) -> None:
        self._context = context
        self._inputs = context.inputs
        self._level = level
        self._population: Population = context.population()
        self.queried = self._population.queried
        self.labels = self._population.labels[self.queried]
        self.n_audited = len(self._population.audited)
        self._records = self._population.take(self.queried).reshape(len(self.queried), -1)
        self._shadow_grids: list[OutputGrid] = []
        if not self._inputs["shadows"]:
            _, first = self._inputs["targets"][0]
            self._shadows = np.empty((0, *self._responses(first)[0].shape))
        for k, ref in enumerate(self._inputs["shadows"]):
            answers, grid = self._responses(ref)
            if k == 0:
                # Filled in place: a list to stack would be the largest array of an audit twice.
                self._shadows = np.empty((len(self._inputs["shadows"]), *answers.shape))
            self._shadows[k] = answers
            self._shadow_grids.append(grid)
        outside = [~self._trained(role) for role in self._inputs["shadow_roles"]]
        self._out = np.array(outside, np.bool_).reshape(len(outside), len(self.queried))
        shown = [self._shown(ref) for ref in self._inputs["shadows"]]
        self._shown_shadows = [np.stack(one) for one in zip(*shown, strict=True)]

    @property
    def records(self) -> IntArray:
        """Ids of the audited records, in the order of every score."""
        return self.queried[: self.n_audited]

    def case(self, role: Role, query: list[str]) -> Case:
        """The evidence on one target, from its query job."""
        (answers, own), trained = self._responses(query), self._trained(role)
        shown, traces = self._shown(query), self._traces(query)
        inside = self._artifact(query).manifest.softmax_inside
        grid = Grid.joined("probabilities" if inside else "logits", [own, *self._shadow_grids])
        grid = self._seen.grid(grid, 1 + len(self._shadow_grids), answers.shape[1])
        whole = self._evidence(answers, shown, {}, grid, slice(None))
        outside = np.flatnonzero(~trained[self.n_audited :]) + self.n_audited
        everything = len(outside) == len(self.queried) - self.n_audited
        # A slice is a view: only a null target, which trained on some of them, needs a copy of the shadows' answers.
        reference = self._evidence(answers, shown, traces, grid, slice(self.n_audited, None) if everything else outside)
        sides = self._trained("target") if role.startswith(NULL) else trained
        calibration = np.array(self._artifact(query).manifest.calibration_ids, np.int64)
        audited = self._evidence(answers, shown, traces, grid, slice(0, self.n_audited))
        return Case(role, whole, audited, reference, sides[: self.n_audited], trained, calibration)

    def _evidence(
        self,
        answers: FloatArray,
        shown: list[FloatArray],
        traces: Mapping[str, Trace],
        grid: Grid | None,
        where: slice | IntArray,
    ) -> Evidence:
        named = zip(self._view_names, shown, self._shown_shadows, strict=True)
        return Evidence(
            answers[where],
            self._shadows[:, where],
            self._out[:, where],
            self.labels[where],
            self._seen.read_as,
            self._seen.floor(self._inputs["floor"]),
            self._records[where],
            grid,
            views=tuple(View(name, target[where], shadows[:, where]) for name, target, shadows in named),
            traces={name: trace.take(where) for name, trace in traces.items()},
        )

    def _trained(self, role: Role) -> BoolArray:
        return np.isin(self.queried, self._population.training_ids(role, self._inputs["seed"]))

    def _artifact(self, query: list[str]) -> Artifact:
        """The artifact that a query asked."""
        store = self._context.store
        return Artifact.load(store.entry(*store.entry(*query).about["inputs"]["source"]).folder)

    def _responses(self, query: list[str]) -> tuple[FloatArray, OutputGrid]:
        """float64 [records, classes] at the audit's exposure, and the grid of what the artifact itself answered."""
        raw = np.load(self._context.store.entry(*query).folder / RESPONSES)
        return self._exposed(raw, query), output_grid(raw)

    def _shown(self, query: list[str]) -> list[FloatArray]:
        """Answers of the artifact that `query` asked to each query of each view, float64 [records, classes]."""
        folders = [self._context.store.entry(*refs[query[1]]).folder for _, refs in self._views]
        return [self._exposed(one, query) for folder in folders for one in np.load(folder / VIEWS)]

    @cached_property
    def _views(self) -> list[tuple[str, dict[str, list[str]]]]:
        """View -> the key of a query -> the job that asked the same artifact about the view's records."""
        return [(view, dict(refs)) for view, refs in self._inputs["views"]]

    @property
    def _view_names(self) -> list[str]:
        """The view of each query, in the order of `_shown`."""
        return [view for view, _ in self._views for _ in range(parse_view(view).queries)]

    def _traces(self, query: list[str]) -> dict[str, Trace]:
        """What else was found out about every record by the target that `query` asked, and by its shadows."""
        found = {}
        for name, pairs in self._inputs["traces"]:
            own, queries = self._trace(dict(pairs).get(query[1]))
            found[name] = Trace(own, self._shadow_traces[name], queries)
        return found

    @cached_property
    def _shadow_traces(self) -> dict[str, dict[int, FloatArray]]:
        """Name -> the number of a shadow that was looked at -> its rows. Held once, since they are every target's."""
        numbers = {query[1]: number for number, query in enumerate(self._inputs["shadows"])}
        return {
            name: {numbers[key]: self._trace(ref)[0] for key, ref in pairs if key in numbers}
            for name, pairs in self._inputs["traces"]
        }

    def _trace(self, ref: list[str] | None) -> tuple[FloatArray, FloatArray]:
        """Values [queried, d] and their queries [queried] from a job; NaN and 0 where it did not look."""
        n = len(self.queried)
        if ref is None:
            return np.full((n, 1), np.nan), np.zeros(n)
        with np.load(self._context.store.entry(*ref).folder / TRACE) as arrays:
            values, queries = np.full((n, arrays["values"].shape[1]), np.nan), np.zeros(n)
            values[arrays["places"]], queries[arrays["places"]] = arrays["values"], arrays["queries"]
        return values, queries

    @property
    def _seen(self) -> Seen:
        return Seen(self._inputs["exposure"], self._level)

    def _exposed(self, stored: npt.NDArray[np.float32], query: list[str]) -> FloatArray:
        """Stored answers of the artifact that `query` asked, float64 as the attacker sees them."""
        artifact, exposure = self._artifact(query), self._inputs["exposure"]
        given: Exposure = "probabilities" if artifact.manifest.softmax_inside else "logits"
        if given == "probabilities" and exposure == "logits":
            raise AttackError(f"{artifact.path.name} answers probabilities; threat.exposure cannot be logits")
        answers = stored.astype(np.float64)
        exposed = answers if exposure == given else probabilities(answers, given)
        return self._seen.of(exposed)


def accuracy(case: Case, n_audited: int) -> Mapping[str, Any]:
    """Target: on what it trained on, and on audited records that it did not. Shadows: the same, averaged."""
    whole = case.whole
    audited = np.arange(len(case.trained)) < n_audited
    correct = whole.target.argmax(axis=1) == whole.labels
    found: dict[str, Any] = {
        "train": float(correct[case.trained].mean()),
        "test": float(correct[audited & ~case.trained].mean()),
    }
    if not len(whole.shadows):
        return found
    shadow_correct = whole.shadows.argmax(axis=2) == whole.labels
    return found | {
        "shadow_train": float(np.mean([row[~out].mean() for row, out in zip(shadow_correct, whole.out, strict=True)])),
        "shadow_test": float(shadow_correct[:, audited][whole.out[:, audited]].mean()),
    }
