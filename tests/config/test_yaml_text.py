"""YAML as people mean it: the core schema of YAML 1.2, keys once, and one line that reads back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeaudit.config.yaml_text import flow_yaml, lines_of, read_yaml

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_KEYS = st.text(max_size=80)  # YAML allows 1,024 characters in a key on one line, escapes included
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner))


@settings(deadline=None)
@given(_VALUES)
def test_one_line_round_trips(value: Any) -> None:
    text = flow_yaml(value)
    assert "\n" not in text
    assert read_yaml(text) == value
    assert yaml.safe_load(text) == value  # which reads YAML 1.1, as other tools do


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"nncf.prune": {"ratio": 0.7, "epochs": 3}}, "{nncf.prune: {ratio: 0.7, epochs: 3}}"),
        (["onnx.export", {"a": None}], "[onnx.export, {a: null}]"),
        (True, "true"),
        ("yes", '"yes"'),
        ("1e3", '"1e3"'),
        ("keras:mlp", '"keras:mlp"'),
        (1e-3, "0.001"),
        ((), "[]"),
    ],
)
def test_one_line_is_what_a_person_would_write(value: object, text: str) -> None:
    assert flow_yaml(value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("No", "No"), ("on", "on"), ("off", "off"), ("y", "y"), ("true", True), ("False", False),
        ("1e3", 1000.0), ("1e-3", 0.001), ("5E-1", 0.5), (".5", 0.5), ("5.", 5.0), ("-.inf", -math.inf),
        ("010", 10), ("0o10", 8), ("0x1F", 31), ("-7", -7), ("+7", 7), ("1_000", "1_000"), ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"), ("1.2.3", "1.2.3"), ("~", None), ("null", None), ("", None), ("nul", "nul"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = read_yaml(text)
    assert found == value
    assert type(found) is type(value)


def test_every_yaml_of_the_repository_is_the_same_in_both_versions(root_folder: Path) -> None:
    """So that no file changes its meaning with the tool that reads it."""
    files = [*root_folder.glob("*/*.yaml"), *root_folder.glob("*/*/*.yaml"), *root_folder.glob(".*.yaml")]
    assert len(files) > 20
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert read_yaml(text) == yaml.safe_load(text), path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "the key 'a' is given twice"),
        ("{a: {b: 1, b: 2}}", "the key 'b' is given twice"),
        ("a: [", "expected"),
        ("!!int many", "invalid literal"),
        ("!!python/object:os.system x", "could not determine a constructor"),
    ],
)
def test_reject_unsupported_yaml(text: str, message: str) -> None:
    with pytest.raises(yaml.YAMLError, match=message):
        read_yaml(text)


def test_merge_keys_are_read() -> None:
    assert read_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}")["b"] == {"x": 1, "y": 2}


@pytest.mark.parametrize("text", ["a: &x {b: *x}", "a: &x [1, [*x]]", "&x {a: {b: [*x]}}"])
def test_a_value_that_contains_itself_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match=r"an anchor .* has an alias .* within its own value"):
        read_yaml(text)


def test_an_anchor_that_is_used_twice_is_read() -> None:
    assert read_yaml("a: &x {c: &y [1]}\nb: [*x, *y, *x]") == {"a": {"c": [1]}, "b": [{"c": [1]}, [1], {"c": [1]}]}


def test_a_text_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="nested too deeply"):
        read_yaml("[" * 5000 + "]" * 5000)


def test_lines_of_formats_and_budgets() -> None:
    text = (
        "formats:\n  - torch-fp32\n  - {format: onnx-int8-static, name: small}\nbudgets:\n  auc: [error, {max: .7}]\n"
    )
    assert lines_of(text) == {
        "formats.torch-fp32": 2,
        "formats.onnx-int8-static": 3,
        "formats.small": 3,
        "budgets.auc": 5,
    }
    assert lines_of("budgets: strict\n") == {"budgets": 1}
    assert lines_of("[1]") == lines_of("a: b: c") == lines_of("") == {}
