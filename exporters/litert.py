"""LiteRT (TFLite): export from torch, in float32 or quantised by PT2E."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters import pt2e
from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.exporters.folding import architecture_of, fold_normalisation, weights_of
from edgeaudit.exporters.read_back import read_back
from edgeaudit.exporters.weight_swap import Templates
from edgeaudit.filetypes.tflite import unmatched_bias
from edgeaudit.host.quiet import quiet

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FILE", "TEMPLATES", "Export", "Pt2eInt8", "records_channels_last"]

FILE = "model.tflite"
TEMPLATES = Templates()


class Export(Pass):
    """torch -> TFLite. Image inputs are channels last, as TFLite's kernels require.

    The file's batch is 1, and runtimes resize it, which is exact: litert-torch 0.10 fails on dynamic shapes. From the
    third model of an architecture on, a worker writes the weights into an earlier file (`exporters/weight_swap.py`).
    """

    spec = PassSpec(
        name="litert.export",
        extra="litert",
        packages=("torch", "litert-torch", "litert-converter", "ai-edge-litert"),
        consumes="torch",
        produces="tflite",
        summary="TFLite float32 through litert-torch, channels last, BatchNorm folded",
        defaults={"softmax": "outside"},
        choices={"softmax": ("outside", "inside")},
        code=("edgeaudit.exporters.weight_swap", "edgeaudit.exporters.folding"),
        typical_seconds=0.3,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        with quiet():
            module = job.module_to_export()
            name = architecture_of(job, module)
            state = weights_of(fold_normalisation(module, name, job.input_shape))
            content = TEMPLATES.rewritten(name, state)
            if content is None:
                _convert(*_as_tflite_takes_it(module, job.input_shape), job)
                TEMPLATES.converted(name, state, (job.workdir / FILE).read_bytes())
            else:
                (job.workdir / FILE).write_bytes(content)
        return read_back(job, "tflite", FILE)


class Pt2eInt8(Pass):
    """torch -> TFLite with int8 weights (per channel) and activations, by PT2E and litert-torch's quantizer.

    Input and output are int8, since the converter drops the quantisation steps at both ends. It can drop one too many
    (see `pt2e._drop_dropout`), so every file is checked for biases whose scale differs from that of their products.

    calibration: `min-max`, or litert-torch 0.10's own default, `histogram` (see `pt2e.with_ranges`).
    activations, per_channel: only static and per channel are supported. The others of litert-torch are
    explicitly refused: its dynamic per-tensor files give wrong outputs that differ from run to run.
    """

    spec = PassSpec(
        name="litert.pt2e-int8",
        extra="litert",
        packages=("torch", "torchao", "litert-torch", "litert-converter", "ai-edge-litert"),
        consumes="torch",
        produces="tflite",
        summary="TFLite int8 by PT2E, per channel, channels last",
        calibrates=True,
        defaults={"softmax": "outside", "calibration": "min-max", "activations": "static", "per_channel": True},
        choices={
            "softmax": ("outside", "inside"),
            "calibration": pt2e.CALIBRATIONS,
            "activations": ("static", "dynamic"),
        },
        precision="int8",
        code=("edgeaudit.exporters.pt2e",),
        typical_seconds=2.7,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        calibration = str(job.params["calibration"])
        if job.params["activations"] == "dynamic" or not job.params["per_channel"]:
            raise ToolchainError(
                "litert-torch's PT2E files with dynamic activations or per-tensor weights cannot be trusted: dynamic "
                "per-tensor ones answer garbage that differs from run to run. Leave 'activations' static and "
                "'per_channel' true, or use 'aeq.dynamic-int8'"
            )
        records = records_channels_last(job)
        with quiet():
            from litert_torch.quantize import pt2e_quantizer, quant_config

            module, shape = _as_tflite_takes_it(job.module_to_export(), job.input_shape)
            config = pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True)
            quantizer = pt2e_quantizer.PT2EQuantizer().set_global(pt2e.with_ranges(config, calibration))
            # One record at a time, as the file has batch 1; its converter wants weights as floats with their steps.
            module = pt2e.quantised(module, records, quantizer, batch=1, fold=False)
            _convert(module, shape, job, quant_config=quant_config.QuantConfig(pt2e_quantizer=quantizer))
        _require_bias_scales(job.workdir / FILE)
        return read_back(job, "tflite", FILE)


def _as_tflite_takes_it(module: nn.Module, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
    """The module in eval mode with channels-last image inputs, and a record's shape."""
    import litert_torch

    if len(shape) == 3:
        module, shape = litert_torch.to_channel_last_io(module, args=[0]), (*shape[1:], shape[0])
    return module.eval(), shape


def _convert(module: nn.Module, shape: tuple[int, ...], job: ExportJob, **options: Any) -> None:
    import litert_torch
    import torch

    converted = litert_torch.convert(module, (torch.zeros(1, *shape),), **options)
    converted.export(str(job.workdir / FILE))


def records_channels_last(job: ExportJob) -> npt.NDArray[np.float32]:
    """The calibration records as the file takes them, images channels last."""
    records = job.calibration_records()
    return np.ascontiguousarray(records.transpose(0, 2, 3, 1)) if len(job.input_shape) == 3 else records


def _require_bias_scales(path: Path) -> None:
    """Raise `ToolchainError` if the scale of an int8 layer's bias differs from that of its products."""
    if (bias := unmatched_bias(path)) is not None:
        raise ToolchainError(
            f"the converter gave the bias '{bias.name}' the scale {bias.scale:.3g} and its products "
            f"{bias.products:.3g}; the model has no-op operators before a layer; remove them"
        )
