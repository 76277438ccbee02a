"""Formats: a name for a list of passes and the runtime that serves what they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeaudit.runtimes.agreement import RANGE_TOLERANCE

__all__ = ["FORMATS", "Format", "PassUse"]


@dataclass(frozen=True)
class PassUse:
    """One pass in a format: its registered name and the parameters that differ from the pass's defaults."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """A deployment format.

    passes: applied in order to the trained torch model; empty for the torch reference.
    runtime, runtime_options: what serves the result. Options that change answers (batch, delegates) belong to
        the format.
    precision: of the weights in the file.
    tolerance: largest relative RMS error of the answers (RMS of the difference over the standard deviation of
        torch's answers) at which artifact and torch model still count as agreeing. About three times the
        largest seen on honest int8 artifacts (.061), ten times on float16 (.0018); runtimes/agreement.py has the table.
    range_tolerance: by how much the answers' reach may differ from torch's, 1 - reach being what clipping takes
        away. Honest int8 lost up to .081 (mostly .03), clipped artifacts .323 and more.
    """

    id: str
    passes: tuple[PassUse, ...]
    runtime: str
    summary: str
    precision: str
    runtime_options: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-3
    range_tolerance: float = RANGE_TOLERANCE


def _onnx(*after: PassUse) -> tuple[PassUse, ...]:
    return (PassUse("onnx.export"), *after)


def _litert(*after: PassUse) -> tuple[PassUse, ...]:
    return (PassUse("litert.export"), *after)


def _pruned(ratio: float) -> PassUse:
    return PassUse("nncf.prune", {"ratio": ratio})


def _families(name: str, made: PassUse, how: str) -> tuple[Format, ...]:
    """The files that ship from a model that was made smaller first; it is itself what they have to agree with."""
    return (
        Format(f"{name}-onnx", (made, *_onnx()), _ORT, f"{how}, ONNX", "float32"),
        Format(f"{name}-onnx-int8", (made, *_onnx(_STATIC)), _ORT, f"{how}, then ONNX QDQ int8", "int8", {}, _INT8),
        Format(
            f"{name}-litert-int8",
            (made, *_litert(PassUse("aeq.static-int8"))),
            _LITERT,
            f"{how}, then LiteRT full integer",
            "int8",
            {},
            _INT8,
        ),
    )


_INT8, _FLOAT16 = 0.2, 0.02
_ORT = "onnxruntime"
_LITERT = "litert"
_STATIC = PassUse("ort.static-int8")

FORMATS: Mapping[str, Format] = {
    f.id: f
    for f in (
        Format("torch-fp32", (), "torch", "the trained model itself, the reference", "float32"),
        Format("onnx-fp32", _onnx(), _ORT, "ONNX, ONNX Runtime", "float32"),
        Format(
            "onnx-int8-dynamic",
            _onnx(PassUse("ort.dynamic-int8")),
            _ORT,
            "ONNX, weights int8, activations quantised per query",
            "int8",
            {"batch": 1},  # the scale is taken over the batch: with more than one record answers depend on the rest
            _INT8,
        ),
        Format("onnx-int8-static", _onnx(_STATIC), _ORT, "ONNX QDQ, per channel, u8s8", "int8", {}, _INT8),
        Format(
            "onnx-int8-qop",
            _onnx(PassUse("ort.static-int8", {"quant_format": "QOperator", "per_channel": False})),
            _ORT,
            "ONNX QOperator, per tensor, u8s8",
            "int8",
            {},
            _INT8,
        ),
        Format("litert-fp32", _litert(), _LITERT, "LiteRT (TFLite), XNNPACK", "float32"),
        Format(
            "litert-fp16", _litert(PassUse("aeq.fp16")), _LITERT, "LiteRT, weights float16", "float16", {}, _FLOAT16
        ),
        Format(
            "litert-int8-dynamic",
            _litert(PassUse("aeq.dynamic-int8")),
            _LITERT,
            "LiteRT, weights int8, activations quantised per query",
            "int8",
            {},
            _INT8,
        ),
        Format("litert-int8", _litert(PassUse("aeq.static-int8")), _LITERT, "LiteRT, full integer", "int8", {}, _INT8),
        *(
            Format(
                f"nncf-pruned-{percent}",
                (_pruned(percent / 100), *_onnx()),
                _ORT,
                f"{percent}% of the weights pruned by global magnitude, fine-tuned, ONNX",
                "float32",
            )
            for percent in (50, 70, 90)
        ),
        Format(
            "nncf-pruned-70-int8",
            (_pruned(0.7), *_onnx(_STATIC)),
            _ORT,
            "70% pruned, fine-tuned, then ONNX QDQ int8",
            "int8",
            {},
            _INT8,
        ),
        *_families(
            "channels-pruned-50",
            PassUse("torch-pruning.structured", {"ratio": 0.5}),
            "half of the channels of every layer pruned by magnitude, fine-tuned",
        ),
        *_families("distilled", PassUse("distil"), "a student of half the width, distilled from the trained model"),
    )
}
