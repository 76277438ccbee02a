"""Passes, runtimes and attacks in audit.yaml: plain YAML in, the same YAML out, and each mistake named by its key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from edgeaudit.config.audit import AuditSpec, load_spec
from edgeaudit.config.entries import AttackEntry, AttackItem, PassEntry, PassItem, RuntimeEntry, RuntimeItem
from edgeaudit.config.yaml_text import flow_yaml, read_yaml
from edgeaudit.errors import SpecError

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))
_NAMES = st.text(min_size=1).filter(lambda name: bool(name.strip()))


ADAPTERS: dict[Callable[..., object], TypeAdapter[Any]] = {
    PassEntry: TypeAdapter(PassItem), RuntimeEntry: TypeAdapter(RuntimeItem), AttackEntry: TypeAdapter(AttackItem)
}  # fmt: skip


@settings(deadline=None)
@given(_NAMES, st.dictionaries(st.text(), _VALUES, max_size=3))
def test_an_entry_round_trips_through_yaml(name: str, values: dict[str, Any]) -> None:
    for make, adapter in ADAPTERS.items():
        written = adapter.dump_python(make(name, values), mode="json")
        assert written == ({name: values} if values else name)
        assert adapter.validate_python(written) == make(name, values)


ONE_KEY = "a pass is a mapping of one key, its name, and this one has"


def _mistake(tmp_path: Path, text: str) -> str:
    path = tmp_path / "audit.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "{nncf.prune: , ratio: 0.7}",  # parameters that are not indented below the name
            f"{ONE_KEY} nncf.prune, ratio; indent the parameters below the name, as in {{nncf.prune: {{ratio: 0.7}}}}",
        ),
        (
            "{nncf.prune: {ratio: 0.7}, onnx.export: {}}",
            f"{ONE_KEY} nncf.prune, onnx.export; write each pass as a separate entry, as in {{nncf.prune: ",
        ),
        ("{}", "a pass is a name, or a mapping of the name to its parameters; this mapping is empty"),
        ("7", "a pass is a name, or a mapping of the name to its parameters, as in {nncf.prune: {ratio: 0.7}} (it is"),
        ("true", "a pass is a name, or a mapping of the name to its parameters, as in {nncf.prune: {ratio: 0.7}} (it"),
        ("~", "a pass is a name, or a mapping of the name to its parameters, as in {nncf.prune: {ratio: 0.7}}"),
        ("[onnx.export]", "a pass is a name, or a mapping of the name to its parameters, as in"),
        ("''", "the name of a pass is empty"),
        ("{7: {}}", "the name of a pass must be a string; got 7"),
        ("{true: {}}", "the name of a pass must be a string; got true"),
        (
            "{nncf.prune: [0.7, 3]}",
            "the parameters of 'nncf.prune' are a mapping of names to values, as in {nncf.prune",
        ),
        (
            "{nncf.prune: 0.7}",
            "the parameters of 'nncf.prune' are a mapping of names to values, as in {nncf.prune: {ratio: 0.7}}; got",
        ),
        ("{nncf.prune: {1: 2}}", "the parameters of 'nncf.prune' must have names that are strings; got 1"),
        ("{nncf.prune: {ratio: .nan}}", "'nncf.prune.ratio' is nan; a finite number is needed"),
        ("{distil: {student_options: {hidden: [.inf]}}}", "'distil.student_options.hidden' is inf; a finite number"),
        ("{distil: {student_options: {1: 2}}}", "'distil.student_options' has a key that is not a string"),
    ],
)
def test_an_invalid_pass_is_named_by_its_key(tmp_path: Path, entry: str, message: str) -> None:
    found = _mistake(tmp_path, f"formats: [{{name: a, passes: [onnx.export, {entry}]}}]")
    assert found.startswith(f"formats.0.passes.1: {message}")
    assert "; formats" not in found  # one mistake, one sentence


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "[onnxruntime]",
            "a runtime is a name, or a mapping of the name to its options, as in {onnxruntime: {batch: 1}}",
        ),
        ("{onnxruntime: , batch: 1}", "indent the options below the name, as in {onnxruntime: {batch: 1}}"),
        ("{onnxruntime: [1]}", "the options of 'onnxruntime' are a mapping of names to values"),
    ],
)
def test_reject_an_invalid_runtime(tmp_path: Path, entry: str, message: str) -> None:
    found = _mistake(tmp_path, f"formats: [{{name: a, passes: [onnx.export], runtime: {entry}}}]")
    assert found.startswith("formats.0.runtime: ")
    assert message in found


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("3", "an attack is a name, or a mapping of the name to its settings, as in {some-attack: {power: 2}}"),
        ("{loud: , power: 2}", "indent the settings below the name, as in {loud: {power: 2}}"),
        ("{loud: [2]}", "the settings of 'loud' are a mapping of names to values"),
        ("{3: {power: 2}}", "the name of an attack must be a string; got 3"),
    ],
)
def test_reject_an_invalid_attack(tmp_path: Path, entry: str, message: str) -> None:
    found = _mistake(tmp_path, f"attacks: [yeom, {entry}]")
    assert found.startswith("attacks.1: ")
    assert message in found


def test_no_parameters_can_be_written_in_four_ways() -> None:
    for entry in ("onnx.export", "{onnx.export: }", "{onnx.export: {}}", "{onnx.export: null}"):
        spec = AuditSpec.model_validate(read_yaml(f"formats: [{{name: a, passes: [{entry}]}}]"))
        assert spec.formats[0].passes == (PassEntry("onnx.export"),)


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(ValueError, match=re.escape("got " + flow_yaml(list(range(99)))[:57] + "...")):
        TypeAdapter(PassItem).validate_python({"a": list(range(99))})


def test_a_python_object_is_named_in_the_message() -> None:
    with pytest.raises(ValueError, match='got "<object object'):
        TypeAdapter(PassItem).validate_python({"a": object()})
