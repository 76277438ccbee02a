"""A limit that no figure exceeds, or that nothing could be within, is refused with the metric's range and a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeaudit.config.audit import AuditSpec, load_spec, recorded_spec, spec_of
from edgeaudit.config.budgets import METRIC_RANGES, PRESETS, mistake_in
from edgeaudit.errors import BudgetError, SpecError
from edgeaudit.gate.requirements import require_budgets_exist

HERE = Path()


def _budgets(budgets: Any, **more: Any) -> AuditSpec:
    return spec_of({"budgets": budgets, **more}, HERE)


@pytest.mark.parametrize(
    ("metric", "written", "message"),
    [
        (
            "auc",
            "max: 90",
            "could not fail: auc lies in [0, 1], 0.5 is guessing; 90 looks like a percentage: write 0.9",
        ),
        ("tpr@fpr=0.01", "max: 5", "0.01 is guessing; 5 looks like a percentage: write 0.05"),
        ("auc", "max: 5", "write a value above 0.5 and below 1"),  # 5% would be below guessing
        ("auc", "max: 1", "which no figure exceeds, so it could not fail"),
        ("auc", "max: .inf", "which is no limit: auc lies in [0, 1]"),
        ("auc", "max: -.inf", "which is no limit: auc lies in [0, 1]"),
        ("auc", "max: .nan", "which is no limit: auc lies in [0, 1]"),
        ("auc", "max: true", "max is true, which is not a number: auc lies in [0, 1]"),
        ("auc", "max: -1", "so it could not pass: auc lies in [0, 1], 0.5 is guessing; write a value above 0.5 and"),
        ("auc", "max: 0.5", "no more than guessing has, so a model that leaks nothing could not pass"),
        ("tpr@fpr=0.01", "max: 0.01", "no more than guessing has"),
        ("tpr@fpr=0.001", "max: 0.0005", "no more than guessing has"),
        ("balanced_accuracy", "max: 0.4", "no more than guessing has"),
        ("advantage", "max: -0.5", "advantage lies in [-1, 1], 0 is guessing; write a value above 0 and below 1"),
        ("advantage", "max: -2", "which no figure is within, so it could not pass: advantage lies in [-1, 1]"),
        ("auc", "max: '90'", "90 looks like a percentage"),  # as a variable in the file gives it
        ("auc", "max-increase: 2, against: torch-fp32", "2 looks like a percentage: write 0.02"),
        (
            "auc",
            "max-increase: 0, against: torch-fp32",
            "so it could not pass: auc lies in [0, 1]; write a value above 0",
        ),
        ("auc", "max-increase: false, against: torch-fp32", "max-increase is false, which is not a number"),
    ],
)
def test_a_limit_without_sense_is_refused_when_the_file_is_read(
    metric: str, written: str, message: str, tmp_path: Path
) -> None:
    for text in (f"[error, {{{written}}}]", f"[[error, {{{written}}}]]", f"[{{level: warn, {written}}}]"):
        file = tmp_path / "audit.yaml"
        file.write_text(f"budgets:\n  {metric}: {text}\n")
        with pytest.raises(SpecError) as refused:
            load_spec(file)
        assert message in str(refused.value)
        assert f"budgets: '{metric}' {written.partition(':')[0]} is " in str(refused.value)


@pytest.mark.parametrize("metric", METRIC_RANGES)
def test_limits_between_guessing_and_the_largest_value_are_accepted(metric: str) -> None:
    of = METRIC_RANGES[metric]
    for value in (of.guessing + 1e-6, 0.99):
        assert mistake_in(metric, "max", value) is None
        assert _budgets({metric: ["error", {"max": value}]}).budgets[metric][0].max == value
    assert mistake_in(metric, "max-increase", 1e-6) is None


def test_a_spec_that_was_built_otherwise_is_refused_by_the_gate() -> None:
    fine = _budgets({"auc": ["error", {"max": 0.9}]}, attacks=["yeom"])
    (budget,) = fine.budgets["auc"]
    for broken in ({"max": 90.0}, {"max": None, "max_increase": 2.0, "against": "torch-fp32"}):
        spec = fine.model_copy(update={"budgets": {"auc": (budget.model_copy(update=broken),)}})
        with pytest.raises(BudgetError, match="looks like a percentage"):
            require_budgets_exist(spec)


def test_a_format_is_not_compared_with_itself() -> None:
    entry = {"max-increase": 0.1, "against": "torch-fp32", "formats": ["onnx-fp32", "torch-fp32"]}
    with pytest.raises(SpecError, match="'torch-fp32' is compared with itself: remove it from 'formats'"):
        _budgets({"auc": ["error", entry]})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"max": 0.7, "attacks": ["lira"], "attack": "lira"}, "keep 'attacks' alone"),
        ({"max": 0.7, "attacks": ["lira", "lira"]}, "'lira' appears twice"),
        ({"max": 0.7, "attacks": []}, "must have at least one entry"),
        ({"max": 0.7, "formats": []}, r"budgets\.auc\.0\.formats: is empty, so the budget would limit nothing: name a"),
        ({"max": 0.7, "scope": "model"}, "'file' or 'pipeline'"),
        ({"max-increase": 0.1, "against": "torch-fp32", "scope": "pipeline"}, "remove 'scope: pipeline'"),
    ],
)
def test_an_attack_set_and_a_scope_must_make_sense(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        _budgets({"auc": ["error", entry]})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_stands_for_its_budgets(name: Any) -> None:
    whole = _budgets(name).budgets
    assert {metric: (b.level, b.max) for metric, (b,) in whole.items()} == PRESETS[name]
    assert {b.reason for (b,) in whole.values()} == {f"preset {name}"}
    changed = _budgets({"preset": name, "auc": ["error", {"max": 0.66}], "advantage": ["warn", {"max": 0.3}]}).budgets
    assert (changed["auc"][0].max, changed["auc"][0].reason) == (0.66, None)
    assert changed["tpr@fpr=0.01"] == whole["tpr@fpr=0.01"]
    assert set(changed) == {*whole, "advantage"}


@pytest.mark.parametrize("budgets", ["lenient", {"preset": "lenient"}, {"preset": None}, {"preset": []}])
def test_another_preset_is_refused(budgets: Any) -> None:
    with pytest.raises(SpecError, match="is not a preset; there are: strict, recommended, exploratory"):
        _budgets(budgets)


def test_presets_become_stricter() -> None:
    for metric in PRESETS["strict"]:
        limits = [PRESETS[name][metric][1] for name in ("strict", "recommended", "exploratory")]
        assert limits == sorted(limits)
        assert all(mistake_in(metric, "max", limit) is None for limit in limits)


def test_budgets_survive_being_recorded() -> None:
    spec = _budgets({"preset": "strict", "auc": ["error", {"max": 0.7, "attacks": ["yeom"], "scope": "pipeline"}]})
    recorded = spec.model_dump(mode="json", by_alias=True)
    assert recorded_spec(recorded, HERE / "audit.json") == spec


def test_a_default_attack_of_an_older_version_restricts_nothing() -> None:
    """It recorded cm-mia for every budget that named no attack."""
    older = {"level": "error", "max": 0.7, "max-increase": None, "against": None, "formats": None, "attack": "cm-mia",
             "variant": None, "subset": "all"}  # fmt: skip
    (budget,) = recorded_spec({"budgets": {"auc": [older]}}, HERE / "audit.json").budgets["auc"]
    assert budget.named_attacks is None
    chosen = {**older, "attack": "gap"}
    (budget,) = recorded_spec({"budgets": {"auc": [chosen]}}, HERE / "audit.json").budgets["auc"]
    assert budget.named_attacks == ("gap",)
    (budget,) = recorded_spec({"budgets": {"auc": [{**older, "variant": "t"}]}}, HERE / "audit.json").budgets["auc"]
    assert budget.named_attacks == ("cm-mia/t",)
