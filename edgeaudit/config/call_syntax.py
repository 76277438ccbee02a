"""The former call syntax of audit.yaml, `nncf.prune(0.7, epochs=3)`.

It is rejected with the equivalent YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import yaml

from edgeaudit.config.yaml_text import flow_yaml, read_yaml

__all__ = ["refuse_call", "refuse_calls"]

_NAME = r"[A-Za-z][\w.-]*"
_CALL = re.compile(rf"\s*({_NAME})\s*\((.*)\)\s*", re.DOTALL)
_BEGINS = re.compile(rf"\s*{_NAME}\s*\(")
_KEYED = re.compile(r"([A-Za-z_]\w*)\s*=\s*(.*)", re.DOTALL)

_POSITIONS: Mapping[str, tuple[str, ...]] = {
    "nncf.prune": ("ratio", "epochs"),
    "finetune": ("epochs",),
    "nncf.qat": ("epochs", "calibration", "preset"),
    "torch-pruning.structured": ("ratio", "round_to", "epochs"),
    "distil": ("student", "student_options", "temperature", "alpha", "epochs"),
    "onnx.export": ("softmax",),
    "ort.dynamic-int8": ("weight_type", "per_channel"),
    "ort.static-int8": (
        "quant_format", "per_channel", "activation_type", "weight_type", "reduce_range", "calibration", "percentile",
        "operators",
    ),
    "litert.export": ("softmax",),
    "litert.pt2e-int8": ("softmax", "calibration", "activations", "per_channel"),
    "aeq.static-int8": ("calibration", "interface"),
    "aeq.static-int16x8": ("calibration", "interface"),
    "tflite.convert": ("precision", "softmax", "interface", "per_channel"),
    "executorch.export": ("softmax",),
    "executorch.dynamic-int8": ("softmax",),
    "executorch.static-int8": ("softmax", "calibration"),
    "openvino.export": ("softmax", "weights"),
    "nncf.ptq-onnx": ("calibration", "preset", "bias_correction"),
    "nncf.ptq-openvino": ("calibration", "preset", "bias_correction"),
}  # fmt: skip
"""Pass -> parameters of its positional values. The first positional value of a runtime was the batch."""


def refuse_calls(entries: Sequence[object]) -> None:
    """Raise `ValueError` with the list of passes to write if one is a call or a mapping with its name beside keys.

    YAML has split calls at their commas: `[nncf.prune(0.7, epochs=3), onnx.export]` is a list of three texts.
    """
    whole = list(_rejoined(entries))
    call = next((entry for entry in whole if _is_former(entry, "pass")), None)
    if call is not None:
        raise ValueError(_refusal(call, [_plain(entry, "pass") for entry in whole]))


def refuse_call(entry: object) -> None:
    """Raise `ValueError` with the runtime to write if it is a call or a mapping with its name beside keys."""
    if _is_former(entry, "name"):
        raise ValueError(_refusal(entry, _plain(entry, "name")))


def _is_former(entry: object, key: str) -> bool:
    if isinstance(entry, Mapping):
        return isinstance(entry.get(key), str)
    return isinstance(entry, str) and _BEGINS.match(entry) is not None


def _refusal(entry: object, plain: object) -> str:
    original = entry.strip() if isinstance(entry, str) else flow_yaml(entry)
    return f"'{original}' has the syntax of an earlier version; write {flow_yaml(plain)}"


def _rejoined(entries: Sequence[object]) -> Iterator[object]:
    """The entries with split calls joined again: from an open bracket to the text that closes it."""
    pieces: list[str] = []
    for entry in entries:
        if pieces or (isinstance(entry, str) and _BEGINS.match(entry)):
            pieces.append(entry if isinstance(entry, str) else flow_yaml(entry))
            if _depth(", ".join(pieces)) > 0:
                continue
            entry, pieces = ", ".join(pieces), []  # noqa: PLW2901
        yield entry
    if pieces:
        yield ", ".join(pieces)


def _depth(text: str) -> int:
    return sum(text.count(letter) for letter in "([{") - sum(text.count(letter) for letter in ")]}")


def _plain(entry: object, key: str) -> object:
    """The entry in the current syntax; placeholders in angle brackets stand for missing values."""
    if isinstance(entry, Mapping) and isinstance(entry.get(key), str):
        values = {name: value for name, value in entry.items() if name != key}
        return {entry[key]: values} if values else entry[key]
    if not isinstance(entry, str) or not _BEGINS.match(entry):
        return entry
    call = _CALL.fullmatch(entry)
    if call is None:
        return {entry.partition("(")[0].strip(): {"<parameter>": "<value>"}}
    name = call[1]
    positions = iter(_POSITIONS.get(name, ("batch",) if key == "name" else ()))
    values = {}
    for argument in _arguments(call[2]):
        keyed = _KEYED.fullmatch(argument)
        parameter, text = (keyed[1], keyed[2]) if keyed else (next(positions, "<parameter>"), argument)
        values[parameter] = _value(text)
    return {name: values} if values else name


def _value(text: str) -> object:
    try:
        return read_yaml(text)
    except yaml.YAMLError:
        return "<value>"


def _arguments(text: str) -> Iterator[str]:
    """The text between commas outside of brackets."""
    depth, start = 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            yield text[start:at].strip()
            start = at + 1
    if text[start:].strip():
        yield text[start:].strip()
