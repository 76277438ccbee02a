"""Known incompatibilities of toolchains, settings and runtimes, with the reason and a remedy.

Combinations visible in audit.yaml are rejected here by name, before anything runs; those that depend on the model or
the CPU are rejected by the runtime or when answers are compared. docs/formats.md ends with this table, and
tests/exporters/test_incompatibilities.py converts the files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeaudit.exporters import find_pass

if TYPE_CHECKING:
    from edgeaudit.formats.presets import Format

__all__ = ["INCOMPATIBILITIES", "Incompatibility", "refusal"]

Refused = Literal["by name", "by the runtime", "by its answers"]


@dataclass(frozen=True)
class Incompatibility:
    """One pair.

    pair: the combination. reason: what happens, with the version. instead: the remedy.
    refused: `by name` before anything runs (`shows` checks a format); `by the runtime`, which knows the CPU and the
        file; `by its answers`, if they clip or differ beyond the format's limits.
    """

    pair: str
    reason: str
    instead: str
    refused: Refused
    shows: Callable[[Format], bool] | None = None


def refusal(resolved: Format) -> str | None:
    """Why a format is rejected by name; None if no incompatibility is known."""
    for entry in INCOMPATIBILITIES:
        if entry.shows is not None and entry.shows(resolved):
            return f"{entry.pair}: {entry.reason}. {entry.instead}"
    return None


def _has(resolved: Format, name: str, **values: object) -> bool:
    """Whether the format has the pass with one of these values."""
    for use in resolved.passes:
        if use.name == name:
            params = find_pass(name).parameters(use.params)
            return any(params[key] == value for key, value in values.items())
    return False


def _follows(resolved: Format, first: str, *later: str) -> bool:
    """Whether one of the later passes comes after the first."""
    names = [use.name for use in resolved.passes]
    return first in names and any(name in names[names.index(first) :] for name in later)


INCOMPATIBILITIES: tuple[Incompatibility, ...] = (
    Incompatibility(
        "`litert.pt2e-int8` with `activations: dynamic` or `per_channel: false`",
        "litert-torch's dynamic per-tensor files answer garbage that differs from run to run (litert-torch 0.10)",
        "Leave 'activations' static and 'per_channel' true, or use 'aeq.dynamic-int8'",
        "by name",
        lambda found: _has(found, "litert.pt2e-int8", activations="dynamic", per_channel=False),
    ),
    Incompatibility(
        "`nncf.qat` before `litert.*` or `executorch.*`",
        "neither converter has an operator for a torch model that rounds in its forward: 'Lowering not found: "
        "aten._fake_quantize_per_tensor_affine' (litert-torch 0.10), 'UnsupportedOperatorException' (executorch 1.5)",
        "Use 'onnx.export' or 'openvino.export' after it",
        "by name",
        lambda found: _follows(
            found,
            "nncf.qat",
            "litert.export",
            "litert.pt2e-int8",
            "executorch.export",
            "executorch.static-int8",
            "executorch.dynamic-int8",
        ),
    ),
    Incompatibility(
        "`nncf.qat` before a pass that quantises the file",
        "the file is int8 already; a second quantiser rounds again in ranges of its own (relative RMS error .01 to .04 "
        "instead of .002 on a CNN), or fails",
        "Leave out one of the two",
        "by name",
        lambda found: _follows(
            found, "nncf.qat", "ort.static-int8", "ort.dynamic-int8", "nncf.ptq-onnx", "nncf.ptq-openvino"
        ),
    ),
    Incompatibility(
        "`ort.static-int8` with `activation_type: s8` and `weight_type: u8`",
        "ONNX Runtime has no such kernel, and its quantiser refuses to make the file (1.32)",
        "Use u8s8, s8s8 or u8u8",
        "by name",
        lambda found: (
            _has(found, "ort.static-int8", activation_type="s8") and _has(found, "ort.static-int8", weight_type="u8")
        ),
    ),
    Incompatibility(
        "`aeq.dynamic-int8` in `tflite-runtime`",
        "it takes 0 where a fully connected layer has a scale for each channel: every record gets the layer's bias for "
        "an answer (tflite-runtime 2.14); the runtime finds such layers in files of any origin, too",
        "Quantise activations, too, or serve the file with LiteRT",
        "by name",
        lambda found: found.runtime == "tflite-runtime" and any(use.name == "aeq.dynamic-int8" for use in found.passes),
    ),
    Incompatibility(
        "`openvino` with `precision: bf16` or `f16` on a CPU that lacks it",
        "OpenVINO accepts the hint and computes in float32 without a warning (2026.4, docs/decisions/0006)",
        "Audit on a device that has it, or say f32",
        "by the runtime",
    ),
    Incompatibility(
        "`executorch` with a `batch` above the one that the file was exported for",
        "the file has room for 64 records at a time (executorch 1.5)",
        "Ask 64 at a time, or fewer",
        "by the runtime",
    ),
    Incompatibility(
        "`aeq.static-int8` with `calibration: moving-average`",
        "AI Edge Quantizer's default averages the extremes away: answers reach .32 to .68 as far as torch's while the "
        "top class stays (0.10)",
        "Calibrate with min-max; 'litert-int8-averaged' has limits of its own for who ships such a file",
        "by its answers",
    ),
    Incompatibility(
        "`nncf.ptq-onnx`, `nncf.ptq-openvino` with `calibration: nncf-default`",
        "NNCF's default ranges are means of the records' extremes, and shorten the reach of the answers (3.4)",
        "Calibrate with min-max",
        "by its answers",
    ),
    Incompatibility(
        "`nncf.ptq-openvino` with `bias_correction: fast`",
        "relative RMS error .27 instead of .03 on a CNN (nncf 3.4)",
        "Leave it out",
        "by its answers",
    ),
    Incompatibility(
        "int8 calibrated on fewer than 16 records",
        "ranges that miss what is rare: answers reached .65 to .99 as far as torch's",
        "Raise data.calibration.records",
        "by its answers",
    ),
    Incompatibility(
        "`onnxruntime` with its own `session` settings, on x86 without VNNI",
        "int8 sums saturate at 16 bits: answers reached .81 as far as torch's (onnxruntime 1.32, docs/decisions/0005)",
        "Leave 'session' as it is; `edgeaudit doctor` tells of the CPU",
        "by its answers",
    ),
    Incompatibility(
        "`openvino` with `integer_kernels: true`, on x86 without VNNI",
        "int8 sums saturate at 16 bits (openvino 2026.4, docs/decisions/0006)",
        "Leave 'integer_kernels' at auto",
        "by its answers",
    ),
)
