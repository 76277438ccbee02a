"""What changes of the training do to the formats that fail their budgets. No part of audit.json."""

from __future__ import annotations

from typing import Final, Literal

from edgeaudit.report.model.base import Model
from edgeaudit.report.model.between_runs import AccuracyChange, ChangeOutcome, Method
from edgeaudit.report.model.training import TrainingInfo
from edgeaudit.rows import Rows

__all__ = [
    "ADVICE_VERSION", "Advice", "AdvisedCanaries", "AdvisedFigure", "AdvisedFormat", "FailingFormat", "TriedChange",
]  # fmt: skip

ADVICE_VERSION: Final = "1.0"
"""Of advice.json. Keys are added within a major version, none is renamed."""

Judged = Literal["pass", "inconclusive", "fail", "error"]
"""A format by its budgets of level error, waived ones counting as passed: `fail` where one is exceeded, else
`inconclusive` where one is undecided. `error`: the format could not be made or measured."""


class AdvisedFigure(Model):
    """The leakage figure by which a budget is decided, without the change and with it.

    metric, limit: of the budget. attack, changed_attack: the attack/variant on which it rests without the change and
    with it, with the subset where that is not all records. base, changed: its figure, as runs are compared. value: with
    the change minus without it; negative: the change leaks less. low, high: 95% interval. adjusted_p: by Holm's method
    over all figures of the advice. Values are null where they are not resolvable, and note says why.
    """

    metric: str
    limit: str
    attack: str
    changed_attack: str
    base: float | None
    changed: float | None
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    adjusted_p: float | None
    method: Method | None
    outcome: ChangeOutcome
    note: str | None = None


class AdvisedCanaries(Model):
    """Canaries of a format without the change and with it; the attack is the one that finds most of them without.

    base, changed: AUC of planted against held-out canaries, with 95% intervals; null where not resolvable. ...learned:
    the share of planted canaries that the target predicts with the canary's label.
    """

    attack: str
    base: float | None
    base_low: float | None
    base_high: float | None
    changed: float | None
    changed_low: float | None
    changed_high: float | None
    base_learned: float
    changed_learned: float


class AdvisedFormat(Model):
    """What a change does to one format that fails.

    before, after: by its budgets. outcome: `helps`, where the figure of some budget falls significantly and none rises;
    `leaks more`, where one rises and none falls; `mixed`, both; `not concluded`, where the runs cannot be compared, and
    note says why; else `does not help`, which is not that it has no effect. accuracy: on nonmembers, with the change
    minus without.
    """

    format: str
    device: str
    before: Judged
    after: Judged
    outcome: Literal["helps", "does not help", "leaks more", "mixed", "not concluded"]
    figures: tuple[AdvisedFigure, ...] = ()
    accuracy: AccuracyChange | None = None
    canaries: AdvisedCanaries | None = None
    note: str | None = None


class TriedChange(Model):
    """A change of the training.

    name: as `--changes` has it. about: in a few words. keys: `key=value` of audit.yaml, as `edgeaudit run --set` takes
    them. folder: of its audit, beside advice.json; null where it was not run. status: `measured`; `not
    applied`, where it does not fit this audit, and `failed`, where its audit did: why says it. verdict: the outcome of
    its own audit. enough: every format that failed without it passes.
    """

    name: str
    about: str
    keys: tuple[str, ...]
    folder: str | None = None
    status: Literal["measured", "not applied", "failed"]
    why: str | None = None
    verdict: str | None = None
    enough: bool = False
    training: TrainingInfo | None = None
    formats: tuple[AdvisedFormat, ...] = ()
    warnings: tuple[str, ...] = ()


class FailingFormat(Model):
    """A format that does not pass without a change, and its budgets that do not, in words."""

    format: str
    device: str
    judged: Judged
    budgets: tuple[str, ...]


class Advice(Model):
    """Measured advice: what changes of the training do to formats that fail their budgets.

    outcome: `within budget` (exit code 0), nothing failed and nothing was tried; `a change is enough` (0), with it
    every failing format passes; `no change is enough` (1); `undecided` (3), where an audit is invalid or budgets are
    undecided. reasons: what decided. failing: formats of the base audit that do not pass. changes: those that are
    enough first, then those that help, then others that were measured.
    """

    advice_version: Literal["1.0"] = ADVICE_VERSION
    name: str
    created: str
    version: str
    seed: int
    base: str
    verdict: str
    outcome: Literal["within budget", "a change is enough", "no change is enough", "undecided"]
    exit_code: Literal[0, 1, 3]
    reasons: tuple[str, ...]
    failing: tuple[FailingFormat, ...] = ()
    changes: Rows[TriedChange] = Rows(of=TriedChange)
