"""The syntax that audit.yaml once had is refused with the YAML to write, and that YAML is valid."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeaudit.config.audit import load_spec
from edgeaudit.config.call_syntax import refuse_call, refuse_calls
from edgeaudit.config.formats import FormatUse
from edgeaudit.config.yaml_text import read_yaml
from edgeaudit.errors import SpecError
from edgeaudit.formats.resolve import find_format


def _advice(tmp_path: Path, passes: str, runtime: str = "") -> str:
    """The YAML that the message says to write."""
    path = tmp_path / "audit.yaml"
    more = f", runtime: {runtime}" if runtime else ""
    path.write_text(f"formats: [{{name: mine, passes: {passes}{more}}}]", encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    key = "formats.0.runtime" if runtime else "formats.0.passes"
    message = str(caught.value)
    assert message.startswith(f"{path}: {key}: '")
    assert message.count(" has the syntax of an earlier version; write ") == 1
    return message.partition(" version; write ")[2]


@pytest.mark.parametrize(
    ("passes", "plain"),
    [
        ("[nncf.prune(0.7, epochs=3), onnx.export]", "[{nncf.prune: {ratio: 0.7, epochs: 3}}, onnx.export]"),
        ("['nncf.prune(0.7, epochs=3)', onnx.export]", "[{nncf.prune: {ratio: 0.7, epochs: 3}}, onnx.export]"),
        ("[nncf.prune(0.5, 3), onnx.export()]", "[{nncf.prune: {ratio: 0.5, epochs: 3}}, onnx.export]"),
        (
            "[onnx.export, ort.static-int8(QDQ, false, activation_type=s8)]",
            "[onnx.export, {ort.static-int8: {quant_format: QDQ, per_channel: false, activation_type: s8}}]",
        ),
        (
            "['distil(mlp, {hidden: [32, 16]}, alpha=0.5)', onnx.export]",
            "[{distil: {student: mlp, student_options: {hidden: [32, 16]}, alpha: 0.5}}, onnx.export]",
        ),
        ("[{pass: nncf.prune, ratio: 0.7}, onnx.export]", "[{nncf.prune: {ratio: 0.7}}, onnx.export]"),
        ("[{pass: onnx.export}]", "[onnx.export]"),
    ],
)
def test_reject_call_syntax_in_passes_with_the_yaml_to_write(tmp_path: Path, passes: str, plain: str) -> None:
    assert _advice(tmp_path, passes) == plain
    find_format(FormatUse.model_validate({"name": "mine", "passes": read_yaml(plain)}))


@pytest.mark.parametrize(
    ("runtime", "plain"),
    [
        ("onnxruntime(batch=1)", "{onnxruntime: {batch: 1}}"),
        ("onnxruntime(8)", "{onnxruntime: {batch: 8}}"),
        (
            "'onnxruntime(batch=8, providers=[CUDAExecutionProvider])'",
            "{onnxruntime: {batch: 8, providers: [CUDAExecutionProvider]}}",
        ),
        ("{name: onnxruntime, batch: 1}", "{onnxruntime: {batch: 1}}"),
        ("{name: onnxruntime}", "onnxruntime"),
        ("onnxruntime()", "onnxruntime"),
    ],
)
def test_reject_call_syntax_in_a_runtime_with_the_yaml_to_write(tmp_path: Path, runtime: str, plain: str) -> None:
    assert _advice(tmp_path, "[onnx.export]", runtime) == plain
    find_format(FormatUse.model_validate({"name": "mine", "passes": ["onnx.export"], "runtime": read_yaml(plain)}))


@pytest.mark.parametrize(
    ("passes", "plain"),
    [
        (["loud.pass(2, steps=3)"], '[{loud.pass: {"<parameter>": 2, steps: 3}}]'),
        (["onnx.export(", "finetune"], '[{onnx.export: {"<parameter>": "<value>"}}]'),
        (["finetune(epochs=)"], "[{finetune: {epochs: null}}]"),
        (["finetune(epochs=@)"], '[{finetune: {epochs: "<value>"}}]'),
    ],
)
def test_missing_values_of_a_call_have_a_placeholder(passes: list[str], plain: str) -> None:
    with pytest.raises(ValueError, match="syntax of an earlier version") as caught:
        refuse_calls(passes)
    assert str(caught.value).endswith(f"; write {plain}")


def test_a_python_object_beside_a_call_does_not_crash() -> None:
    with pytest.raises(ValueError, match=r"write \[\{finetune: \{epochs: 3\}\}, \"<object"):
        refuse_calls(["finetune(3)", object()])


_KEYS = st.text().filter(lambda key: key not in {"pass", "name"})
_ENTRIES = st.lists(st.text() | st.integers() | st.dictionaries(_KEYS, st.text()))


@settings(deadline=None)
@given(_ENTRIES)
def test_accept_current_entries(entries: list[object]) -> None:
    former = [isinstance(entry, str) and "(" in entry for entry in entries]
    today = [entry for entry, is_call in zip(entries, former, strict=True) if not is_call]
    refuse_calls(today)
    for entry in today:
        refuse_call(entry)


@settings(deadline=None)
@given(st.lists(st.text() | st.integers()).map(lambda entries: ["a(b", *entries]))
def test_reject_any_call_with_yaml(entries: list[object]) -> None:
    with pytest.raises(ValueError, match="syntax of an earlier version") as caught:
        refuse_calls(entries)
    assert isinstance(read_yaml(str(caught.value).rpartition("; write ")[2]), list)
