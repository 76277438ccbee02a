"""Calls in audit.yaml: what is written is what is meant, and what cannot be meant is said."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeaudit.config.calls import Call, alike, parse_call, rejoined

_NAMES = st.from_regex(r"[a-z]\w{0,5}([.-]\w{1,5})?", fullmatch=True)
_KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8")),
)  # fmt: skip
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3))


@settings(deadline=None)
@given(_NAMES, st.lists(_VALUES, max_size=3), st.dictionaries(_KEYS, _VALUES, max_size=3))
def test_a_call_survives_its_own_text(name: str, values: list[Any], params: dict[str, Any]) -> None:
    call = Call(name, tuple(values), params)
    assert parse_call(call.text(), "pass") == call


@settings(deadline=None)
@given(_NAMES, st.dictionaries(_KEYS.filter(lambda key: key != "pass"), _VALUES, max_size=3))
def test_a_mapping_says_the_same_as_text(name: str, params: dict[str, Any]) -> None:
    call = Call(name, (), params)
    assert parse_call({"pass": name, **params}, "pass") == parse_call(call.text(), "pass") == call


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        call = parse_call(text, "pass")
    except ValueError:
        return
    assert call.name in text


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("onnx.export", Call("onnx.export")),
        (" onnx.export() ", Call("onnx.export")),
        ("nncf.prune(0.7, epochs=3)", Call("nncf.prune", (0.7,), {"epochs": 3})),
        ("a(per_channel=false, form=QDQ)", Call("a", (), {"per_channel": False, "form": "QDQ"})),
        ('a(x=\'1, 2\', y="a\\"b,c")', Call("a", (), {"x": "1, 2", "y": 'a"b,c'})),
        ("a([1, 2], x={b: [3]}, y=~)", Call("a", ([1, 2],), {"x": {"b": [3]}, "y": None})),
        ("a(1e-3)", Call("a", ("1e-3",))),  # YAML 1.1, as PyYAML reads it; a float needs a point
        ("a(1.0e-3)", Call("a", (0.001,))),
    ],
)
def test_what_is_meant(text: str, call: Call) -> None:
    assert parse_call(text, "pass") == call


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7, "7 is not of the form name or name(value, key=value)"),
        ("7up", "'7up' is not of the form"),
        ("a(1", "'a(1' is not of the form"),
        ("a(1))", "'a(1))' has a ')' too many"),
        ("a([1)", "'a([1)' lacks a closing ]"),
        ("a({b: 1])", "'a({b: 1])' has a ']' too many"),
        ("a('b)", "'a('b)' lacks a closing '"),
        ("a([[1])", "'a([[1])' lacks a closing ]"),
        ("a(1,,2)", "'a(1,,2)' has an empty value"),
        ("a(b=)", "'b' has an empty value"),
        ("a(b=1, 2)", "2 stands after a value with a name"),
        ("a(b=1, b=2)", "gives 'b' twice"),
        ("a(b=.nan)", "'b' is nan; a finite number is needed"),
        ("a(b=2020-01-01)", "'b' is datetime.date(2020, 1, 1), a date; put it in quotes if a text is meant"),
        ("a(b=@x)", "'b': @x is not a YAML value"),
        ({"b": 1}, "needs its name under 'pass'"),
        ({"pass": 1}, "needs its name under 'pass'"),
    ],
)
def test_what_cannot_be_meant(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_call(value, "pass")


def test_values_by_position_get_their_names() -> None:
    assert parse_call("p(0.7, epochs=3)", "pass").named(("ratio", "epochs")) == {"ratio": 0.7, "epochs": 3}
    with pytest.raises(ValueError, match="gives 3 values by position, and it has ratio, epochs"):
        parse_call("p(1, 2, 3)", "pass").named(("ratio", "epochs"))
    with pytest.raises(ValueError, match="gives 1 values by position, and it has none"):
        parse_call("p(1)", "pass").named(())
    with pytest.raises(ValueError, match="gives 'ratio' by position and by name"):
        parse_call("p(1, ratio=2)", "pass").named(("ratio", "epochs"))


@pytest.mark.parametrize(
    "text",
    [
        "nncf.prune(0.7, epochs=3)", "p(1, 2, 3)", "p(a, true, null, b)", 'p("a, b", 2)', "p()", "p",
        "p ( 1, k = 2 ) ",
    ],
)  # fmt: skip
def test_calls_that_yaml_split_are_whole_again(text: str) -> None:
    given = yaml.safe_load(f"[onnx.export, {text}, finetune(2), {text}]")
    wanted = [parse_call(entry, "pass") for entry in ("onnx.export", text, "finetune(2)", text)]
    assert [parse_call(entry, "pass") for entry in rejoined(given)] == wanted


@settings(deadline=None)
@given(st.lists(st.one_of(st.text(), st.integers(), st.dictionaries(_KEYS, _SCALARS))))
def test_whole_calls_stay_as_they_are(entries: list[object]) -> None:
    whole = [entry for entry in entries if not isinstance(entry, str) or "(" not in entry]
    assert rejoined(whole) == whole
    assert rejoined(["a(1", 2]) == ["a(1", 2]


def test_underscores_and_hyphens_are_alike() -> None:
    assert alike("ort.static_int8") == alike("ort.static-int8") == "ort.static-int8"
