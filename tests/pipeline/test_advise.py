"""Measured advice: which figures are compared, what helps, what is enough, and which changes do not fit."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console
from statsmodels.stats.multitest import multipletests

import edgeaudit
from edgeaudit.config.audit import spec_of
from edgeaudit.config.changes import with_changes
from edgeaudit.controls.base import Control
from edgeaudit.errors import SpecError
from edgeaudit.leakage.paired import auc_difference
from edgeaudit.leakage.rows import CanaryResult
from edgeaudit.pipeline.advise import Tried, advice, is_worth_changing
from edgeaudit.pipeline.compare_runs import FinishedRun
from edgeaudit.pipeline.training_changes import CHANGES, PlannedChange, planned_changes, require_trainable
from edgeaudit.report.advice import render_advice, write_advice
from edgeaudit.report.model import Budget, JudgedAttack, Verdict
from edgeaudit.report.model.advice import Advice, AdvisedFigure, TriedChange
from edgeaudit.report.schema import read_audit
from tests.pipeline.finished_runs import GAP, LIRA, MEMBERS, YEOM, Series, finished, rows_of, scores_of

FP32, INT8 = "torch-fp32", "int8"
Outcome = Literal["pass", "fail", "inconclusive"]
Array = npt.NDArray[np.float64]


def _budget(verdict: Outcome, decided_by: str = LIRA, **changes: Any) -> Budget:
    judged = [
        JudgedAttack(attack=name, subset="all", value=value, low=None, high=None)
        for name, value in ((LIRA, 0.7), (YEOM, 0.6))
    ]
    fields = {
        "metric": "auc", "level": "error", "limit": "<= 0.55", "format": INT8, "device": "local",
        "attack": decided_by, "decided_by": decided_by, "subset": "all", "verdict": verdict, "value": 0.7, "low": 0.65,
        "high": 0.75, "attacks": judged,
    }  # fmt: skip
    return Budget.model_validate(fields | changes)


def _verdict(*budgets: Budget) -> Verdict:
    found = {budget.counted for budget in budgets}
    if "fail" in found:
        return Verdict(outcome="budget exceeded", exit_code=1, reasons=("over",), budgets=budgets)
    if "inconclusive" in found:
        return Verdict(outcome="inconclusive", exit_code=3, reasons=("open",), budgets=budgets)
    return Verdict(outcome="within budget", exit_code=0, reasons=("held",), budgets=budgets)


class Bench:
    """A folder of runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, name: str, scores: Series, *budgets: Budget, **changes: Any) -> FinishedRun:
        made = finished(self.folder / name, {INT8: scores}, verdict=_verdict(*budgets), **changes)
        return FinishedRun(made, read_audit(made / "audit.json"))

    def tried(self, name: str, scores: Series, *budgets: Budget, **changes: Any) -> Tried:
        planned = PlannedChange(name, f"{name} in words", (f"model.{name}=1",))
        return Tried(planned, self.run(name, scores, *budgets, **changes), name)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


BASE = scores_of(0.8, seed=1)
LESS = scores_of(0.3, seed=2)
SAME = scores_of(0.8, seed=3)
MORE = scores_of(1.2, seed=4)


def _figures(change: TriedChange) -> tuple[AdvisedFigure, ...]:
    (one,) = change.formats
    return one.figures


# ---- figures


def test_a_change_that_is_enough(bench: Bench) -> None:
    base = bench.run("base", BASE, _budget("fail"))
    found = advice(base, [bench.tried("decay", LESS, _budget("pass"))])
    assert (found.outcome, found.exit_code) == ("a change is enough", 0)
    assert found.reasons == ("with decay every budget of int8 holds",)
    (change,) = found.changes
    assert (change.status, change.enough, change.folder) == ("measured", True, "decay")
    (one,) = change.formats
    assert (one.before, one.after, one.outcome) == ("fail", "pass", "helps")
    (row,) = one.figures
    expected = auc_difference(LESS[LIRA], BASE[LIRA], MEMBERS)
    assert (row.value, row.low, row.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert (row.attack, row.changed_attack, row.method, row.outcome) == (LIRA, LIRA, "paired", "decrease")
    assert (row.changed or 0) - (row.base or 0) == pytest.approx(expected.value)
    # Nonmembers that are right, of 500.
    right = [float(scores[GAP][~MEMBERS].mean()) for scores in (BASE, LESS)]
    assert one.accuracy is not None
    assert one.accuracy.value == pytest.approx(right[1] - right[0])
    assert one.accuracy.method == "paired"


def test_the_figures_on_which_each_verdict_rests_are_compared(bench: Bench) -> None:
    """An attack that the change does not stop cannot hide behind one that it does."""
    unmoved: Series = {**LESS, YEOM: SAME[YEOM]}
    base = bench.run("base", BASE, _budget("fail"))
    found = advice(base, [bench.tried("decay", unmoved, _budget("fail", YEOM))])
    (row,) = _figures(found.changes[0])
    assert (row.attack, row.changed_attack) == (LIRA, YEOM)
    assert row.value == pytest.approx(auc_difference(SAME[YEOM], BASE[LIRA], MEMBERS).value)


def test_p_values_are_adjusted_over_all_changes(bench: Bench) -> None:
    base = bench.run("base", BASE, _budget("fail"))
    tried = {"one": scores_of(0.72, seed=5), "two": scores_of(0.76, seed=6), "three": SAME}
    found = advice(base, [bench.tried(name, scores, _budget("fail")) for name, scores in tried.items()])
    raw = [auc_difference(scores[LIRA], BASE[LIRA], MEMBERS).p_value for scores in tried.values()]
    expected = dict(zip(tried, multipletests(raw, method="holm")[1], strict=True))
    by_name = {change.name: _figures(change)[0] for change in found.changes}
    assert {name: row.adjusted_p for name, row in by_name.items()} == pytest.approx(expected)
    assert raw[1] != by_name["two"].adjusted_p


def test_what_is_not_significant_does_not_help(bench: Bench) -> None:
    base = bench.run("base", BASE, _budget("fail"))
    found = advice(base, [bench.tried("decay", SAME, _budget("fail"))])
    assert [one.outcome for one in found.changes[0].formats] == ["does not help"]
    assert (found.outcome, found.exit_code) == ("no change is enough", 1)
    assert found.reasons == ("with each change that was tried some of int8 exceeds a budget: none helps",)


def test_those_that_help_come_first(bench: Bench) -> None:
    base = bench.run("base", BASE, _budget("fail"))
    some = scores_of(0.6, seed=7)
    tried = [
        bench.tried("worse", MORE, _budget("fail")),
        bench.tried("same", SAME, _budget("fail")),
        Tried(PlannedChange("unfit", "", why="it has no epochs")),
        bench.tried("some", some, _budget("fail")),
        Tried(PlannedChange("broken", "", ("model.lr=9",)), why="the loss is nan"),
        bench.tried("most", LESS, _budget("fail")),
    ]
    found = advice(base, tried)
    assert [one.name for one in found.changes] == ["most", "some", "same", "worse", "broken", "unfit"]
    outcomes = [one.formats[0].outcome for one in found.changes[:4]]
    assert outcomes == ["helps", "helps", "does not help", "leaks more"]
    assert [(one.status, one.why) for one in found.changes[4:]] == [
        ("failed", "the loss is nan"), ("not applied", "it has no epochs"),
    ]  # fmt: skip
    assert found.reasons[0].endswith("most and some help, and not enough")


def test_one_budget_falls_and_another_rises(bench: Bench) -> None:
    both = {**LESS, YEOM: MORE[YEOM]}
    second = {"metric": "balanced_accuracy", "limit": "<= 0.6"}
    base = bench.run("base", BASE, _budget("fail"), _budget("fail", YEOM, **second))
    found = advice(base, [bench.tried("decay", both, _budget("fail"), _budget("fail", YEOM, **second))])
    assert found.changes[0].formats[0].outcome == "mixed"


def test_an_advantage_is_twice_a_balanced_accuracy(bench: Bench) -> None:
    def found(metric: str, folder: str) -> AdvisedFigure:
        own = Bench(bench.folder / folder)
        judged = _budget("fail", metric=metric)
        return _figures(advice(own.run("base", BASE, judged), [own.tried("decay", LESS, judged)]).changes[0])[0]

    accuracy, advantage = found("balanced_accuracy", "a"), found("advantage", "b")
    assert accuracy.value is not None
    assert accuracy.base is not None
    assert accuracy.value < -0.05
    assert advantage.value == pytest.approx(2 * accuracy.value)
    assert advantage.low == pytest.approx(2 * (accuracy.low or 0))
    assert advantage.base == pytest.approx(2 * accuracy.base - 1)
    rows = {(f"{row.attack}/{row.variant}", row.metric): row for row in rows_of(INT8, BASE, MEMBERS)}
    assert advantage.base == pytest.approx(rows[LIRA, "advantage"].value)


def test_a_class_is_judged_and_not_compared(bench: Bench) -> None:
    own = JudgedAttack(attack=LIRA, subset="class:3", value=0.9, low=0.8, high=0.95)
    judged = _budget("fail", own.name, subset="class:*", attacks=[own])
    found = advice(bench.run("base", BASE, judged), [bench.tried("decay", LESS, judged)])
    (row,) = _figures(found.changes[0])
    assert (row.value, row.base, row.attack) == (None, 0.9, f"{LIRA} on class:3")
    assert row.note == "figures on class:3 are judged in each run, and not compared between runs"
    assert found.changes[0].formats[0].outcome == "not concluded"


def test_an_increase_is_judged_and_not_compared(bench: Bench) -> None:
    """The file's own figure falls, and the increase that the budget limits rises: nothing is said to help."""
    judged = [
        _budget(
            "fail",
            limit="<= torch-fp32 + 0.001",
            attacks=[JudgedAttack(attack=LIRA, subset="all", value=value, low=0.0, high=0.1)],
        )
        for value in (0.01, 0.05)
    ]
    found = advice(bench.run("base", BASE, judged[0]), [bench.tried("decay", LESS, judged[1])])
    (row,) = _figures(found.changes[0])
    assert (row.value, row.base, row.changed) == (None, 0.01, 0.05)
    assert row.note == "the budget limits the increase over torch-fp32, which is not compared between runs"
    assert found.changes[0].formats[0].outcome == "not concluded"


# ---- verdicts


def test_budgets_may_hold_by_chance(bench: Bench) -> None:
    base = bench.run("base", BASE, _budget("fail"))
    found = advice(base, [bench.tried("decay", SAME, _budget("pass")), bench.tried("dp", LESS, _budget("pass"))])
    assert (found.outcome, [one.name for one in found.changes]) == ("a change is enough", ["dp", "decay"])
    assert found.reasons == (
        "with dp and decay every budget of int8 holds",
        "that decay made figures fall is not shown, and other records may decide otherwise",
    )


def test_undecided_budgets_decide_nothing(bench: Bench) -> None:
    base = bench.run("base", BASE, _budget("fail"))
    found = advice(base, [bench.tried("decay", LESS, _budget("inconclusive"))])
    assert (found.outcome, found.exit_code) == ("undecided", 3)
    assert "with decay no budget of int8 is exceeded, and not all hold" in found.reasons[0]


def test_a_control_that_fails_keeps_a_change_from_being_enough(bench: Bench) -> None:
    base = bench.run("base", BASE, _budget("fail"))
    failed = Control("null target", "failed", "it is found out")
    invalid = bench.tried("decay", LESS, _budget("pass"), controls=(failed,))
    found = advice(base, [invalid])
    (change,) = found.changes
    assert not change.enough
    assert (change.formats[0].outcome, found.exit_code) == ("not concluded", 3)
    assert "the audit of NEW is invalid" in (change.formats[0].note or "")


def test_where_nothing_fails_nothing_is_tried(bench: Bench) -> None:
    base = bench.run("base", LESS, _budget("pass"), _budget("fail", level="warn"))
    assert not is_worth_changing(base.audit)
    found = advice(base, [])
    assert (found.outcome, found.exit_code, found.failing) == ("within budget", 0, ())


def test_an_invalid_base_is_no_ground(bench: Bench) -> None:
    base = bench.run("base", BASE, _budget("fail"))
    verdict = base.audit.verdict.model_copy(update={"outcome": "invalid", "exit_code": 3, "reasons": ("null target",)})
    invalid = base._replace(audit=base.audit.model_copy(update={"verdict": verdict}))
    assert not is_worth_changing(invalid.audit)
    found = advice(invalid, [])
    assert (found.outcome, found.exit_code) == ("undecided", 3)
    assert found.reasons == ("the audit without a change is invalid: null target",)


# ---- what is shown


def _canaries(learned: float) -> dict[str, Any]:
    planted = CanaryResult(INT8, "local", "mislabelled", 1, 50, 50, learned, 0.1)
    return {"canaries": (planted,)}


def _with_canaries(bench: Bench) -> Advice:
    runs = []
    for name, scores, learned in (("base", BASE, 0.9), ("decay", LESS, 0.3)):
        rows = [*rows_of(INT8, scores, MEMBERS)]
        rows += [replace(row, subset="canaries") for row in rows if f"{row.attack}/{row.variant}" == LIRA]
        runs.append(bench.run(name, scores, _budget("fail"), leakage=tuple(rows), **_canaries(learned)))
    base, changed = runs
    planned = PlannedChange("dp-sgd", "differential privacy", ("model.privacy={epsilon: 8}",))
    return advice(base, [Tried(planned, changed, "dp-sgd"), Tried(PlannedChange("unfit", "", why="it has no epochs"))])


def test_canaries_stand_beside(bench: Bench) -> None:
    one = _with_canaries(bench).changes[0].formats[0].canaries
    assert one is not None
    assert (one.attack, one.base_learned, one.changed_learned) == (LIRA, 0.9, 0.3)
    assert (one.changed or 1) < (one.base or 0)


def test_every_view_says_the_same(bench: Bench, tmp_path: Path) -> None:
    found = _with_canaries(bench)
    write_advice(found, tmp_path)
    assert Advice.model_validate_json((tmp_path / "advice.json").read_text("utf-8")) == found
    text = StringIO()
    Console(file=text, width=80, force_terminal=False).print(render_advice(found))
    shown = text.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    markdown = (tmp_path / "advice.md").read_text("utf-8")
    value = found.changes[0].formats[0].figures[0].value or 0.0
    for view in (shown, markdown.replace("\\", "")):
        assert f"{value:+.3f}" in view
        for words in ("dp-sgd", "helps", "NO CHANGE IS ENOUGH", "unfit was not applied: it has no epochs", "90.0% -> "):
            assert words in view
    assert "--set 'model.privacy={epsilon: 8}'" in " ".join(shown.split())


@pytest.mark.parametrize("outcome", ["helps", "does not help", "leaks more", "mixed", "not concluded"])
def test_eighty_columns_hold_every_outcome(bench: Bench, outcome: str) -> None:
    """With the longest name of a change, a long name of a format and three-digit intervals."""
    found = _with_canaries(bench)
    (one,) = found.changes[0].formats
    assert one.accuracy is not None
    accuracy = one.accuracy.model_copy(update={"low": -0.466, "high": -0.349})
    update = {"outcome": outcome, "format": "onnx-int8-static", "accuracy": accuracy, "after": "inconclusive"}
    changed = found.changes[0].model_copy(
        update={"name": "label-smoothing", "formats": (one.model_copy(update=update),)}
    )
    text = StringIO()
    Console(file=text, width=80, force_terminal=False).print(
        render_advice(found.model_copy(update={"changes": (changed,)}))
    )
    for whole in (outcome, "undecided", "label-smoothing", "onnx-int8-static", "[-46.6, -34.9]", "offline-global"):
        assert whole in text.getvalue()


# ---- which changes fit


def _planned(**model: Any) -> dict[str, PlannedChange]:
    task = model.pop("task", "classification")
    recipe = str(model.get("recipe", "mlp"))
    named = "keras-fp32" if recipe.startswith("keras") else "sklearn-fp64" if recipe.startswith("skl") else "torch-fp32"
    spec = spec_of({"model": model, "formats": [named], "task": task}, Path.cwd())
    return {one.name: one for one in planned_changes(spec)}


def test_what_each_change_replaces() -> None:
    found = _planned(epochs=31, weight_decay=0.002)
    assert {name: one.keys for name, one in found.items()} == {
        "fewer-epochs": ("model.epochs=15",),
        "early-stopping": ("model.early_stopping={patience: 5, share: 0.1}",),
        "weight-decay": ("model.weight_decay=0.02",),
        "label-smoothing": ("model.label_smoothing=0.1",),
        "dp-sgd": ("model.privacy={epsilon: 8, delta: 1e-05, clip: 1}",),
    }
    assert list(found) == list(CHANGES)


@pytest.mark.parametrize(
    ("model", "unfit"),
    [
        ({}, {}),
        ({"train": "m:f"}, {name: "is given seed and epochs alone" for name in CHANGES if name != "fewer-epochs"}),
        ({"recipe": "keras:mlp"}, {"early-stopping": "torch recipes, and this one is keras", "dp-sgd": "is keras"}),
        (
            {"recipe": "sklearn:SVC"},
            {"fewer-epochs": "fitted without epochs", **dict.fromkeys(list(CHANGES)[1:], "this one is sklearn")},
        ),
        ({"epochs": 1, "label_smoothing": 0.2}, {"fewer-epochs": "is 1 already", "label-smoothing": "is 0.2 already"}),
        ({"privacy": {"epsilon": 3}}, {"early-stopping": "privacy loss", "dp-sgd": "is set already"}),
        ({"early_stopping": {}}, {"early-stopping": "is set already", "dp-sgd": "early_stopping is set"}),
        ({"precision": "bfloat16"}, {"dp-sgd": "bfloat16"}),
        ({"task": "regression"}, {"label-smoothing": "no labels to smooth", "dp-sgd": "deviations"}),
    ],
)
def test_changes_that_do_not_fit_say_why(model: dict[str, Any], unfit: dict[str, str]) -> None:
    found = _planned(**model)
    assert {name for name, one in found.items() if one.why is not None} == set(unfit)
    for name, words in unfit.items():
        assert words in (found[name].why or "")
        assert not found[name].keys


@pytest.mark.parametrize("model", [{}, {"weight_decay": 0}, {"recipe": "keras:mlp"}, {"epochs": 2}])
def test_every_planned_key_is_one_of_audit_yaml(model: dict[str, Any]) -> None:
    named = "keras-fp32" if "recipe" in model else "torch-fp32"
    raw = {"model": model, "formats": [named]}
    for one in _planned(**model).values():
        changed = spec_of(with_changes(raw, one.keys), Path.cwd())
        assert one.why is not None or changed.model != spec_of(raw, Path.cwd()).model


def test_names_of_changes() -> None:
    spec = spec_of({"formats": ["torch-fp32"]}, Path.cwd())
    assert [one.name for one in planned_changes(spec, ["dp-sgd", " weight-decay "])] == ["dp-sgd", "weight-decay"]
    with pytest.raises(SpecError, match=r"'dp-sdg' is no change\. Did you mean 'dp-sgd'\?"):
        planned_changes(spec, ["dp-sdg"])


def test_an_audit_that_is_complete_has_no_keys_to_replace(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="pass a path or a mapping"):
        edgeaudit.advise(spec_of({"formats": ["onnx-fp32"]}, tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


LISTS: dict[str, Any] = {"members": "m.txt", "nonmembers": "n.txt"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"model": {"checkpoint": "m.pt"}, "data": LISTS}, "model.checkpoint: the checkpoint cannot be trained again"),
        (
            {"target": {"artifact": "m.onnx"}, "data": {**LISTS, "preprocessing": "raw"}},
            "target.artifact: the file cannot be trained again",
        ),
        (
            {"devices": {"local": {}, "board": {"via": "oip://board:8000"}}, "formats": ["onnx-fp32"]},
            "devices.board: a server serves the files that it was given",
        ),
    ],
)
def test_what_is_trained_already_is_refused(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as raised:
        require_trainable(spec_of(raw, Path.cwd()))
    assert str(raised.value).startswith(said)
