"""audit.yaml: what is wrong is named by key, with the remedy; relative paths belong to the file's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import edgeaudit.devices.profiles  # noqa: F401  its sections are tested, too
from edgeaudit.attacks.registry import find_attack
from edgeaudit.config.audit import AuditSpec, load_spec, recorded_spec, spec_of
from edgeaudit.config.base import PlainNumbers
from edgeaudit.config.entries import AttackEntry, PassEntry, RuntimeEntry
from edgeaudit.config.target import TargetSpec
from edgeaudit.errors import SpecError


def _load(tmp_path: Path, text: str) -> AuditSpec:
    path = tmp_path / "audit.yaml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle: {}", "'modle' is not a known key; did you mean 'model'?"),
        ("target: {artifact: a.onnx, checkpoint: a.pt}", "did you mean 'model.checkpoint'?"),
        ("data: {preprocessing: 3}", "data.preprocessing: must be 'standardise'"),
        ("data: {memebrs: 3}", "'data.memebrs' is not a known key; did you mean 'members'?"),
        ("data: {calibration: {recrods: 9}}", "'data.calibration.recrods' is not a known key; did you mean 'records'?"),
        ("formats: [{format: x, calibratoin: members}]", "did you mean 'calibration'?"),
        ("limits: {job-minuts: 3}", "'limits.job-minuts' is not a known key; did you mean 'job-minutes'?"),
        ("report: {writer: [html]}", "'report.writer' is not a known key; did you mean 'writers'?"),
        ("data: {members: -3}", "data.members: must be 2 or more (it is -3)"),
        ("data: {members: a.txt}", "members and nonmembers must both be counts, files with record ids, or {path: ...}"),
        ("threat: {shadows: many}", "threat.shadows: must be a whole number"),
        ("threat: {shadow_match: other}", "threat.shadow_match"),
        ("formats: []", "formats: "),
        ("formats: [torch-fp32, torch-fp32]", "'torch-fp32' appears twice"),
        ("budgets: {auc: error}", "'auc' must be [warn | error, {max: ...}]"),
        ("budgets: {auc: [eror, {max: 0.9}]}", "budgets.auc.0.level: must be 'warn' or 'error'"),
        ("budgets: {auc: [error, {}]}", "exactly one of 'max' and 'max-increase'"),
        ("budgets: {auc: [error, {max-increase: 0.1}]}", "belong together"),
        ("model: {checkpoint: m.pt}", "data.members and data.nonmembers must be files"),
        ("data: {path: '${EDGEAUDIT_NO_SUCH_VARIABLE}/x'}", "data.path: the environment variable"),
        ("[1, 2]", "must be a mapping"),
        ("seed: 1\nseed: 2", "the key 'seed' is given twice"),
        (
            "model: {train: m:f, privacy: {epsilon: 8}}",
            "privacy is done by the built-in training loop, and 'train' names",
        ),
        ("model: {train: m:f, early_stopping: {}}", "early_stopping is done by the built-in training loop"),
        ("model: {early_stopping: {}, privacy: {epsilon: 8}}", "the epoch that early_stopping keeps is chosen by"),
        ("model: {precision: bfloat16, privacy: {epsilon: 8}}", "remove 'precision: bfloat16'"),
        ("model: {privacy: {clip: 1}}", "model.privacy.epsilon"),
        ("model: {epochs: 1, epochs: 2}", "the key 'epochs' is given twice"),
        ("model:", "model: must be a mapping of keys; remove it to use the defaults"),
        ("formats:", "formats: must be a list"),
        ("formats: [{softmax: inside}]", "formats.0: give 'format' (an id of `edgeaudit formats`) or 'passes'"),
        ("formats: [{format: onnx-fp32, passes: [onnx.export]}]", "but not both"),
        ("formats: [{passes: [onnx.export]}]", "needs a 'name'"),
        ("formats: [{format: onnx-fp32, runtime: {onnxruntime: {batch: 1}}}]", "needs a 'name'"),
        ("formats: [{name: a, passes: []}]", "formats.0.passes: must have at least one entry"),
        ("formats: [{name: a, passes: onnx.export}]", "formats.0.passes: must be a list (it is 'onnx.export')"),
        ("formats: [{name: a, passes: [onnx.export], runtime: 3}]", "formats.0.runtime: a runtime is a name, or a map"),
        ("attacks: [yeom, yeom]", "attacks: 'yeom' appears twice"),
        ("attacks: [yeom, {yeom: {power: 2}}]", "attacks: 'yeom' appears twice"),
        ("attacks: []", "attacks: must have at least one entry"),
        (
            "attacks: {yeom: , gap: }",
            "attacks.0: an attack is a mapping of one key, its name, and this one has yeom, gap; w",
        ),
        ("attacks: [{all: {power: 2}}]", "attacks: 'all' means every attack and has no settings"),
        (
            "attacks: [{cm-mia: {fraction: 0.2}}]",
            "have their own section of audit.yaml: write cm-mia: {fraction: 0.2} there",
        ),
        ("attacks: [{label-only: {queries: 99}}]", "write label-only: {queries: 99} there"),
        ("attacks: [{loss-trajectory: {epochs: 9}}]", "write loss-trajectory: {epochs: 9} there"),
        ("model: {options: {width: .inf}}", "model.options: 'width' is inf; a finite number is needed"),
        ("formats: [{name: a, passes: [onnx.export], tolerance: 2}]", "formats.0.tolerance: must be 1 or less"),
        ("formats: [{name: a/b, format: onnx-fp32}]", "formats.0.name: has a character that no name may have"),
        ("formats: [{name: a, pases: [onnx.export]}]", "did you mean 'passes'?"),
        ("formats: []", "formats: must have at least one entry"),
        ("a: [", "is not valid YAML"),
        (
            "threat: {exposure: logits}\nformats: [{format: litert-int8, softmax: inside}]",
            "a format with softmax: inside outputs probabilities",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        _load(tmp_path, text)
    assert message in str(caught.value)
    assert "audit.yaml" in str(caught.value) or "data.path" in str(caught.value)


def test_a_missing_file_points_to_init(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="edgeaudit init"):
        load_spec(tmp_path / "none.yaml")


def test_truth_values_may_be_the_words_of_yaml_1_1(tmp_path: Path) -> None:
    assert _load(tmp_path, "controls: {shift: off}").controls.shift is False
    assert _load(tmp_path, "controls: {shift: yes}").controls.shift is True


def test_a_null_target_is_audited_unless_disabled(tmp_path: Path) -> None:
    assert _load(tmp_path, "seed: 1").null_targets == 1
    assert _load(tmp_path, "controls: {null-targets: 0}").controls.null_targets == 0


def test_reject_several_trained_targets(tmp_path: Path) -> None:
    text = "model: {checkpoint: m.pt}\ndata: {members: m.txt, nonmembers: n.txt}\ntargets: 2"
    with pytest.raises(SpecError, match="one trained target"):
        _load(tmp_path, text)


def test_the_stated_accuracy_of_a_trained_model_or_a_file(tmp_path: Path) -> None:
    stated = _load(tmp_path, "model: {accuracy: 0.9}").model.stated
    assert (stated.train, stated.test) == (None, 0.9)
    stated = _load(tmp_path, "model: {accuracy: {train: 1.0, test: 0.8}}").model.stated
    assert (stated.train, stated.test) == (1.0, 0.8)
    with pytest.raises(SpecError, match=r"write 'model.accuracy' as target.accuracy"):
        _load(tmp_path, "target: {artifact: a.onnx}\nmodel: {accuracy: 0.9}")
    with pytest.raises(SpecError, match=r"model\.accuracy"):
        _load(tmp_path, "model: {accuracy: 90}")
    for accuracy in ("94", "{test: 94}"):
        with pytest.raises(SpecError, match=r"target\.accuracy.* 94 looks like a percentage: write 0\.94"):
            _load(tmp_path, f"target: {{artifact: a.onnx, accuracy: {accuracy}}}")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    spec = _load(tmp_path, "data: {source: npz, path: d.npz, members: m.txt, nonmembers: n.txt}")
    assert spec.data.path == tmp_path / "d.npz"
    assert spec.data.members == tmp_path / "m.txt"


def test_environment_variables_and_their_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "data: {source: npz, path: '${EDGEAUDIT_TEST_DATA:-fallback}/d.npz'}"
    monkeypatch.delenv("EDGEAUDIT_TEST_DATA", raising=False)
    assert _load(tmp_path, text).data.path == tmp_path / "fallback/d.npz"
    monkeypatch.setenv("EDGEAUDIT_TEST_DATA", "/there")
    assert _load(tmp_path, text).data.path == Path("/there/d.npz")


def test_one_metric_can_have_several_budgets(tmp_path: Path) -> None:
    text = """
budgets:
  auc: [[warn, {max: 0.6}], [error, {max: 0.8}]]
  tpr@fpr=0.01: [error, {max-increase: 0.1, against: torch-fp32}]
"""
    budgets = _load(tmp_path, text).budgets
    assert [b.level for b in budgets["auc"]] == ["warn", "error"]
    assert budgets["tpr@fpr=0.01"][0].max_increase == 0.1


def test_variants_of_a_format_have_distinct_names(tmp_path: Path) -> None:
    spec = _load(tmp_path, "formats: [litert-int8, {format: litert-int8, calibration: members}]")
    assert [f.id for f in spec.formats] == ["litert-int8", "litert-int8@members"]


def test_a_composition_is_recorded_as_it_was_written(tmp_path: Path) -> None:
    text = """
formats:
  - name: mine
    passes: [{nncf.prune: {ratio: 0.7, epochs: 3}}, onnx.export, {ort.static-int8: }]
    runtime: {onnxruntime: {batch: 1}}
    tolerance: 0.3
    range-tolerance: 0.5
"""
    spec = _load(tmp_path, text)
    (use,) = spec.formats
    assert use.id == "mine"
    prune = PassEntry("nncf.prune", {"ratio": 0.7, "epochs": 3})
    assert use.passes == (prune, PassEntry("onnx.export"), PassEntry("ort.static-int8"))
    assert use.runtime == RuntimeEntry("onnxruntime", {"batch": 1})
    assert (use.tolerance, use.range_tolerance) == (0.3, 0.5)
    recorded = spec.model_dump(mode="json", by_alias=True)
    assert recorded["formats"][0]["passes"] == [
        {"nncf.prune": {"ratio": 0.7, "epochs": 3}}, "onnx.export", "ort.static-int8"
    ]  # fmt: skip
    assert recorded["formats"][0]["runtime"] == {"onnxruntime": {"batch": 1}}
    assert AuditSpec.model_validate(recorded) == spec


def test_attack_settings_are_given_with_their_names(tmp_path: Path) -> None:
    spec = _load(tmp_path, "attacks: [all, {loud: {power: 2, steps: [1, 2]}}, {quiet: }]")
    assert spec.attacks == ("all", "loud", "quiet")
    assert spec.attack_settings == {"loud": {"power": 2, "steps": [1, 2]}}
    recorded = spec.model_dump(mode="json", by_alias=True)
    assert recorded["attacks"] == ["all", {"loud": {"power": 2, "steps": [1, 2]}}, "quiet"]
    assert AuditSpec.model_validate(recorded) == spec
    assert _load(tmp_path, "attacks: {loud: {power: 2}}").attack_settings == {"loud": {"power": 2}}


def test_attacks_chosen_later_keep_their_settings(tmp_path: Path) -> None:
    spec = _load(tmp_path, "attacks: [lira, {loud: {power: 2}}]").with_attacks(["loud", "yeom"])
    assert spec.attack_entries == (AttackEntry("loud", {"power": 2}), AttackEntry("yeom"))


def test_one_attack_or_all_need_no_list(tmp_path: Path) -> None:
    assert _load(tmp_path, "attacks: all").attacks == ("all",)
    assert _load(tmp_path, "attacks: [lira, rmia]").attacks == ("lira", "rmia")
    assert _load(tmp_path, "seed: 1").attacks == ("cm-mia", "lira", "yeom", "gap")


def test_one_set_of_formats_or_all_of_them_need_no_list(tmp_path: Path) -> None:
    formats = "formats: [torch-fp32, litert-int8, onnx-fp32]\ntogether: "
    assert _load(tmp_path, formats + "[litert-int8, torch-fp32]").together == (("litert-int8", "torch-fp32"),)
    two = (("torch-fp32", "onnx-fp32"), ("torch-fp32", "onnx-fp32", "litert-int8"))
    spec = _load(tmp_path, formats + "[[torch-fp32, onnx-fp32], [torch-fp32, onnx-fp32, litert-int8]]")
    assert spec.together == two
    assert AuditSpec.model_validate(spec.model_dump(mode="json", by_alias=True)) == spec
    assert _load(tmp_path, formats + "all").together == "all"
    assert _load(tmp_path, "seed: 1").together == ()


@pytest.mark.parametrize(
    ("together", "said"),
    [
        (
            "[torch-fp32, litert-int]",
            r"'litert-int' is not a format of this audit\. Did you mean 'litert-int8'\? There are: ",
        ),
        ("[[torch-fp32]]", r"a set needs two or more different formats; got \[torch-fp32\]"),
        ("[[torch-fp32, torch-fp32]]", "two or more different formats"),
        ("[[]]", "two or more different formats"),
        (
            "[[torch-fp32, litert-int8], [litert-int8, torch-fp32]]",
            r"the set \[litert-int8, torch-fp32\] is listed twice",
        ),
        ("some", "together: "),
    ],
)
def test_reject_invalid_sets(tmp_path: Path, together: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        _load(tmp_path, f"formats: [torch-fp32, litert-int8]\ntogether: {together}")
    with pytest.raises(SpecError, match="together: all needs two or more formats"):
        _load(tmp_path, "formats: [torch-fp32]\ntogether: all")


def test_the_spec_round_trips_through_json(tmp_path: Path) -> None:
    spec = _load(tmp_path, "budgets: {auc: [error, {max-increase: 0.1, against: torch-fp32}]}\ntargets: 2")
    assert AuditSpec.model_validate(spec.model_dump(mode="json", by_alias=True)) == spec


def test_a_recorded_spec_of_another_version_is_named(tmp_path: Path) -> None:
    spec = _load(tmp_path, "seed: 1")
    recorded = spec.model_dump(mode="json", by_alias=True)
    assert recorded_spec(recorded, tmp_path / "audit.json") == spec
    with pytest.raises(
        SpecError,
        match=r"audit\.json: this version .* cannot read its spec: 'modle' is not a known key.* Run the audit again",
    ):
        recorded_spec({**recorded, "modle": {}}, tmp_path / "audit.json")


def _subclasses(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in base.__subclasses__():
        yield one
        yield from _subclasses(one)


def _numeric_keys(model: type[BaseModel]) -> Iterator[str]:
    """Keys whose schema has a number and no truth value."""
    for key, schema in model.model_json_schema()["properties"].items():
        text = json.dumps(schema)
        if ('"number"' in text or '"integer"' in text) and '"boolean"' not in text:
            yield key


_NUMERIC = [(model, key) for model in _subclasses(PlainNumbers) for key in _numeric_keys(model)]


def test_the_numbers_of_all_sections_are_found() -> None:
    found = {(model.__name__, key) for model, key in _NUMERIC}
    assert {("FormatUse", "tolerance"), ("DeviceSpec", "max_time"), ("DataSpec", "members"), ("Cpu", "cores")} <= found
    assert ("BudgetSpec", "max") in found
    assert len(found) > 40


@pytest.mark.parametrize(("model", "key"), _NUMERIC, ids=[f"{model.__name__}.{key}" for model, key in _NUMERIC])
@pytest.mark.parametrize("value", [True, [False]])
def test_true_and_false_are_no_numbers_anywhere(model: type[BaseModel], key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({key: value})
    said = [error["msg"] for error in caught.value.errors() if error["loc"][:1] == (key,)]
    assert any("must be a number, which true and false are not" in message for message in said)


def test_a_truth_value_for_a_number_is_one_sentence() -> None:
    with pytest.raises(
        SpecError, match=r"^model\.epochs: must be a number, which true and false are not \(it is True\)$"
    ):
        spec_of({"model": {"epochs": True}}, Path.cwd())
    with pytest.raises(SpecError, match=r"^formats\.0\.tolerance: must be a number"):
        spec_of({"formats": [{"name": "mine", "passes": ["onnx.export"], "tolerance": True}]}, Path.cwd())


def test_stated_accuracies_by_side() -> None:
    def stated(accuracy: object) -> tuple[float | None, float | None]:
        spec = TargetSpec.model_validate({"artifact": "a.onnx", "accuracy": accuracy})
        return spec.stated.train, spec.stated.test

    assert stated(0.9) == (None, 0.9)
    assert stated({"train": 0.95, "test": 0.9}) == (0.95, 0.9)
    assert stated(None) == (None, None)
    for wrong in (90, {"train": 95, "test": 90}, True, {"train": True}):
        with pytest.raises(ValidationError):
            stated(wrong)


@pytest.mark.parametrize("task", ["multi-label", "regression", "reconstruction"])
def test_default_attacks_of_a_task_without_classes_can_all_run(task: str) -> None:
    """One that cannot run keeps every budget from a pass."""
    raw: dict[str, Any] = {"task": task, "data": {"source": "npz", "path": "x.npz"}}
    spec = AuditSpec.model_validate(raw)
    assert spec.attacks == ("cm-mia", "lira", "yeom")
    sides = {"preprocessing": "raw", "members": {"path": "m.npz"}, "nonmembers": {"path": "n.npz"}}
    target = {"artifact": "x.onnx", "softmax": "outside"} if task == "multi-label" else {"artifact": "x.onnx"}
    foreign = AuditSpec.model_validate({**raw, "data": {"source": "npz", **sides}, "target": target})
    assert foreign.attacks == ("yeom", "attack-p", "quantile-regression")
    named = AuditSpec.model_validate({**raw, "attacks": ["gap"]})
    assert named.attacks == ("gap",)
    assert not any(find_attack(name).spec.needs.classes for name in (*spec.attacks, *foreign.attacks))
