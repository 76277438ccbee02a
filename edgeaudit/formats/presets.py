"""Preset formats: names for a list of passes and a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from edgeaudit.config.entries import Params, PassEntry
from edgeaudit.filetypes.agreement import RANGE_TOLERANCE

__all__ = ["FORMATS", "REFERENCES", "Format", "tolerance_of"]


_TOLERANCES = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
_INTEGERS = 0.2


def tolerance_of(precision: str) -> float:
    """The default tolerance of a format of that precision; integers of any width share one.

    About three times the largest error seen on honest int8 artifacts (.061), ten times on float16 (.0018) and bfloat16
    (.011); edgeaudit/filetypes/agreement.py has the table.
    """
    return _TOLERANCES.get(precision, _INTEGERS)


@dataclass(frozen=True)
class Format:
    """A deployment format.

    passes: applied in order to the trained model; empty for a reference, the trained model itself.
    runtime, runtime_options: of the result. Options that change answers (batch, delegates) belong to
        the format.
    precision: of the weights in the file.
    tolerance: largest relative RMS error of the answers (RMS of the difference over the standard deviation of
        torch's answers) at which artifact and torch model still count as agreeing; 0, or left out, for that of the
        precision (`tolerance_of`).
    range_tolerance: by how much the answers' reach may differ from torch's, 1 - reach being what clipping takes
        away. Honest int8 lost up to .081 (mostly .03), clipped artifacts .323 and more.
    """

    id: str
    passes: tuple[PassEntry, ...]
    runtime: str
    summary: str
    precision: str
    runtime_options: Params = field(default_factory=dict)
    tolerance: float = 0.0
    range_tolerance: float = RANGE_TOLERANCE

    def __post_init__(self) -> None:
        if not self.tolerance:
            object.__setattr__(self, "tolerance", tolerance_of(self.precision))

    @property
    def batch(self) -> int | None:
        """Records per query, if the format fixes it; None for the runtime's default."""
        batch = self.runtime_options.get("batch")
        return batch if isinstance(batch, int) else None


def _onnx(*after: PassEntry) -> tuple[PassEntry, ...]:
    return (PassEntry("onnx.export"), *after)


def _litert(*after: PassEntry) -> tuple[PassEntry, ...]:
    return (PassEntry("litert.export"), *after)


def _executorch(step: str, *before: PassEntry) -> tuple[PassEntry, ...]:
    return (*before, PassEntry(f"executorch.{step}"))


def _openvino(*after: PassEntry, **params: str) -> tuple[PassEntry, ...]:
    return (PassEntry("openvino.export", params), *after)


def _pruned(ratio: float) -> PassEntry:
    return PassEntry("nncf.prune", {"ratio": ratio})


# Moving averages clip, so the limits of other int8 formats reject such files, which are usually unintended. But they
# are the default of AI Edge Quantizer 0.10, so such files ship, and their leakage needs to be known. The preset with
# this name therefore has its own limits: beyond the .36 and .68 that honest
# conversions lost (runtimes/agreement.py), short of two classes swapped (.59) and unrelated answers (a reach near 0). A
# dead class among ten (.30) is accepted; `litert-int8`, the same converter with the usual limits, would detect it.
_AVERAGED, _AVERAGED_RANGE = 0.45, 0.75


# Thresholds of trees are float32 in ONNX, and scalers before them compute in it. A record that lies on a threshold, as
# happens where columns have few values, takes another branch: boosted trees on digits differed by .013 on 64 records.
_THRESHOLDS = 0.05


def _families(name: str, source: PassEntry, how: str) -> tuple[Format, ...]:
    """Formats converted from a smaller model, with which their answers have to agree."""
    return (
        Format(f"{name}-onnx", (source, *_onnx()), _ORT, f"{how}, ONNX", "float32"),
        Format(f"{name}-onnx-int8", (source, *_onnx(_STATIC)), _ORT, f"{how}, then ONNX QDQ int8", "int8"),
        Format(
            f"{name}-litert-int8",
            (source, *_litert(PassEntry("aeq.static-int8"))),
            _LITERT,
            f"{how}, then LiteRT full integer",
            "int8",
        ),
    )


def _tflite(fid: str, summary: str, precision: str, weights: str, **params: JsonValue) -> Format:
    """A format of the TensorFlow Lite Converter for Keras models."""
    step = PassEntry("tflite.convert", {"precision": precision, **params})
    return Format(fid, (step,), _LITERT, f"TFLite from Keras, {summary}", weights, {}, tolerance_of(weights))


_ORT = "onnxruntime"
_LITERT = "litert"
_TFLITE = "tflite-runtime"
_EXECUTORCH = "executorch"
_OPENVINO = "openvino"
_STATIC = PassEntry("ort.static-int8")
_PTQ = PassEntry("nncf.ptq-openvino")
_QAT = PassEntry("nncf.qat")


def _static(fid: str, summary: str, **params: JsonValue) -> Format:
    """ONNX Runtime's static quantisation with parameters other than its defaults."""
    return Format(fid, _onnx(PassEntry("ort.static-int8", params)), _ORT, f"ONNX {summary}", "int8")


FORMATS: Mapping[str, Format] = {
    f.id: f
    for f in (
        Format("torch-fp32", (), "torch", "the trained model itself, the reference", "float32"),
        Format("onnx-fp32", _onnx(), _ORT, "ONNX, ONNX Runtime", "float32"),
        Format(
            "onnx-int8-dynamic",
            _onnx(PassEntry("ort.dynamic-int8")),
            _ORT,
            "ONNX, weights int8, activations quantised per query",
            "int8",
            {"batch": 1},  # the scale is taken over the batch: with more than one record answers depend on the rest
        ),
        Format("onnx-int8-static", _onnx(_STATIC), _ORT, "ONNX QDQ, per channel, u8s8", "int8"),
        _static("onnx-int8-qop", "QOperator, per tensor, u8s8", quant_format="QOperator", per_channel=False),
        _static("onnx-int8-per-tensor", "QDQ, per tensor, u8s8", per_channel=False),
        _static("onnx-int8-s8s8", "QDQ, per channel, s8s8", activation_type="s8"),
        _static("onnx-int8-u8u8", "QDQ, per channel, u8u8", weight_type="u8"),
        _static("onnx-int8-reduced", "QDQ, per channel, u8s8, weights of 7 bits", reduce_range=True),
        _static(
            "onnx-int8-percentile",
            "QDQ, per channel, u8s8, 0.01% of the values clipped",
            calibration="percentile",
            percentile=99.99,
        ),
        Format("onnx-fp16", _onnx(PassEntry("ort.fp16")), _ORT, "ONNX, float16", "float16"),
        Format("litert-fp32", _litert(), _LITERT, "LiteRT (TFLite), XNNPACK", "float32"),
        Format("litert-fp16", _litert(PassEntry("aeq.fp16")), _LITERT, "LiteRT, weights float16", "float16"),
        Format(
            "litert-int8-dynamic",
            _litert(PassEntry("aeq.dynamic-int8")),
            _LITERT,
            "LiteRT, weights int8, activations quantised per query",
            "int8",
        ),
        Format(
            "litert-int8-weights",
            _litert(PassEntry("aeq.weight-only-int8")),
            _LITERT,
            "LiteRT, weights int8, computed in float32",
            "int8",
        ),
        Format("litert-int8", _litert(PassEntry("aeq.static-int8")), _LITERT, "LiteRT, full integer", "int8"),
        Format(
            "litert-int8-float-io",
            _litert(PassEntry("aeq.static-int8", {"interface": "float"})),
            _LITERT,
            "LiteRT, full integer between float input and output",
            "int8",
        ),
        Format(
            "litert-int8-pt2e", (PassEntry("litert.pt2e-int8"),), _LITERT, "LiteRT, int8 by PT2E, per channel", "int8"
        ),
        Format(
            "litert-int8-reference",
            _litert(PassEntry("aeq.static-int8")),
            _LITERT,
            "LiteRT, full integer, without XNNPACK: the built-in kernels round otherwise",
            "int8",
            {"xnnpack": False},
        ),
        Format(
            "litert-int8-averaged",
            _litert(PassEntry("aeq.static-int8", {"calibration": "moving-average"})),
            _LITERT,
            "LiteRT, full integer, AI Edge Quantizer's default ranges, which clip",
            "int8",
            {},
            _AVERAGED,
            _AVERAGED_RANGE,
        ),
        Format(
            "litert-int16x8",
            _litert(PassEntry("aeq.static-int16x8")),
            _LITERT,
            "LiteRT, full integer, weights int8, activations int16",
            "int8",
        ),
        Format("litert-fp32-tflite-runtime", _litert(), _TFLITE, "TFLite, tflite-runtime 2.14, XNNPACK", "float32"),
        Format(
            "litert-fp16-tflite-runtime",
            _litert(PassEntry("aeq.fp16")),
            _TFLITE,
            "TFLite, weights float16, tflite-runtime 2.14, XNNPACK",
            "float16",
        ),
        Format(
            "litert-int8-tflite-runtime",
            _litert(PassEntry("aeq.static-int8")),
            _TFLITE,
            "TFLite, full integer, tflite-runtime 2.14, whose XNNPACK leaves integers to the built-in kernels",
            "int8",
        ),
        Format("executorch-fp32", _executorch("export"), _EXECUTORCH, "ExecuTorch, XNNPACK", "float32"),
        Format(
            "executorch-int8",
            _executorch("static-int8"),
            _EXECUTORCH,
            "ExecuTorch, XNNPACK, int8 by PT2E, per channel",
            "int8",
        ),
        Format(
            "executorch-int8-dynamic",
            _executorch("dynamic-int8"),
            _EXECUTORCH,
            "ExecuTorch, XNNPACK, linear layers int8, activations quantised per query",
            "int8",
        ),
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
        ),
        Format(
            "nncf-pruned-70-executorch-int8",
            _executorch("static-int8", _pruned(0.7)),
            _EXECUTORCH,
            "70% pruned, fine-tuned, then ExecuTorch int8",
            "int8",
        ),
        Format(
            "onnx-int8-nncf", _onnx(PassEntry("nncf.ptq-onnx")), _ORT, "ONNX QDQ int8 by NNCF, min-max ranges", "int8"
        ),
        Format("onnx-int8-qat", (_QAT, *_onnx()), _ORT, "ONNX QDQ int8, trained with its rounding by NNCF", "int8"),
        Format(
            "openvino-int8-qat",
            (_QAT, *_openvino()),
            _OPENVINO,
            "OpenVINO IR, int8, trained with its rounding by NNCF",
            "int8",
        ),
        Format("openvino-fp32", _openvino(), _OPENVINO, "OpenVINO IR, computed in float32", "float32"),
        Format(
            "openvino-fp16",
            _openvino(weights="float16"),
            _OPENVINO,
            "OpenVINO IR, weights float16, computed in float32",
            "float16",
        ),
        Format(
            "openvino-bf16",
            _openvino(),
            _OPENVINO,
            "OpenVINO IR, computed in bfloat16 as OpenVINO does by default on x86 CPUs that have it",
            "float32",
            {"precision": "bf16"},
            tolerance_of("bfloat16"),
        ),
        *(
            Format(
                f"openvino-nncf-pruned-{percent}",
                (_pruned(percent / 100), *_openvino()),
                _OPENVINO,
                f"{percent}% of the weights pruned by global magnitude, fine-tuned, OpenVINO IR",
                "float32",
            )
            for percent in (50, 70, 90)
        ),
        Format("openvino-int8-nncf", _openvino(_PTQ), _OPENVINO, "OpenVINO IR, int8 by NNCF, min-max ranges", "int8"),
        Format(
            "openvino-nncf-pruned-70-int8",
            (_pruned(0.7), *_openvino(_PTQ)),
            _OPENVINO,
            "70% pruned, fine-tuned, then OpenVINO IR int8 by NNCF",
            "int8",
        ),
        *_families(
            "channels-pruned-50",
            PassEntry("torch-pruning.structured", {"ratio": 0.5}),
            "half of the channels of every layer pruned by magnitude, fine-tuned",
        ),
        Format("keras-fp32", (), "keras", "the trained Keras model itself, the reference", "float32"),
        _tflite("tflite-fp32", "XNNPACK", "float32", "float32"),
        _tflite("tflite-fp16", "weights float16", "float16", "float16"),
        _tflite("tflite-int8-dynamic", "weights int8, activations quantised per query", "dynamic-int8", "int8"),
        _tflite("tflite-int8", "full integer", "int8", "int8"),
        _tflite(
            "tflite-int8-float-io", "full integer between float input and output", "int8", "int8", interface="float"
        ),
        _tflite("tflite-int8-per-tensor", "full integer, one scale a tensor", "int8", "int8", per_channel=False),
        _tflite("tflite-int16x8", "full integer, weights int8, activations int16", "int16x8", "int8"),
        Format("sklearn-fp64", (), "sklearn", "the fitted scikit-learn estimator itself, the reference", "float64"),
        Format(
            "sklearn-onnx",
            (PassEntry("skl2onnx.export"),),
            _ORT,
            "ONNX from scikit-learn, LightGBM or XGBoost",
            "float32",
            tolerance=_THRESHOLDS,
        ),
        *_families("distilled", PassEntry("distil"), "a student of half the width, distilled from the trained model"),
    )
}

REFERENCES: Mapping[str, str] = {"torch": "torch-fp32", "keras": "keras-fp32", "sklearn": "sklearn-fp64"}
"""Kind of trained model -> the format that is the trained model itself, which is not deployed."""
