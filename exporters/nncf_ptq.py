"""Post-training int8 with Intel's NNCF, for OpenVINO IR and ONNX. Neither needs NNCF's C++ extension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from edgeaudit.exporters import onnx as onnx_exporter
from edgeaudit.exporters import openvino as openvino_exporter
from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.host.quiet import NO_TELEMETRY, quiet
from edgeaudit.settings import Settings

__all__ = ["CALIBRATIONS", "PRESETS", "Arguments", "OnnxInt8", "OpenVinoInt8", "settings"]

CALIBRATIONS, PRESETS = ("min-max", "nncf-default"), ("mixed", "performance")
_DEFAULTS: Mapping[str, object] = {"calibration": "min-max", "preset": "mixed", "bias_correction": "none"}
_CHOICES = {"calibration": CALIBRATIONS, "preset": PRESETS, "bias_correction": ("none", "fast")}


class OpenVinoInt8(Pass):
    """Weights and activations of an IR to int8, activation ranges from calibration records.

    calibration: `min-max`, or NNCF's own default (`nncf-default`, means of the records' extremes where it quantises
        asymmetrically), which shortens the logits' range without changing top-1. It is supported because it is what
        a user with default settings deploys.
    bias_correction: `none`, or `fast`, NNCF's default, supported for the same reason. On small networks it increased
        the error: relative RMS .27 instead of .03 on a CNN in OpenVINO, .02 to .04 instead of .016 elsewhere (nncf
        3.4, min-max ranges; independent of integer kernels in NNCF's engine, so saturation is not the cause).
    preset: `mixed` (symmetric weights, asymmetric activations) or `performance` (all symmetric; NNCF's default).
    """

    spec = PassSpec(
        name="nncf.ptq-openvino",
        extra="openvino",
        packages=("nncf", "openvino"),
        consumes="openvino",
        produces="openvino",
        summary="NNCF post-training int8 of OpenVINO IR",
        calibrates=True,
        defaults=_DEFAULTS,
        choices=_CHOICES,
        precision="int8",
        typical_seconds=0.5,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        records = job.calibration_records()
        with quiet(NO_TELEMETRY):
            import openvino

            model = openvino.Core().read_model(job.source)
            (entry,) = model.inputs
            return openvino_exporter.save(_quantised(model, records, entry.get_any_name(), job.params), job)


class OnnxInt8(Pass):
    """Weights and activations of an ONNX file to int8 in QDQ form; parameters as `OpenVinoInt8`."""

    spec = PassSpec(
        name="nncf.ptq-onnx",
        extra="nncf",
        packages=("nncf", "onnx", "onnxruntime"),
        consumes="onnx",
        produces="onnx",
        summary="NNCF post-training int8 of ONNX",
        calibrates=True,
        defaults=_DEFAULTS,
        choices=_CHOICES,
        precision="int8",
        typical_seconds=0.7,
    )

    def _apply(self, job: ExportJob) -> PassResult:
        records = job.calibration_records()
        with quiet(NO_TELEMETRY):
            import onnx

            model = onnx.load(job.source)
            (entry,) = model.graph.input
            onnx.save(_quantised(model, records, entry.name, job.params), job.workdir / onnx_exporter.FILE)
        return onnx_exporter.product(job)


class Arguments(TypedDict):
    """Arguments of `nncf.quantize`. subset_size: calibration records that it reads. The others are NNCF's own types."""

    subset_size: int
    preset: Any
    advanced_parameters: Any


def settings(calibration: str, preset: str, bias_correction: str, records: int) -> Arguments:
    """Arguments of `nncf.quantize` for the parameters of these names; all calibration records are used."""
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    advanced = nncf.AdvancedQuantizationParameters(disable_bias_correction=bias_correction == "none")
    if calibration == "min-max":
        advanced.activations_range_estimator_params = RangeEstimatorParametersSet.MINMAX
    return {
        "subset_size": records,
        "preset": nncf.QuantizationPreset(preset),
        "advanced_parameters": advanced,
    }


def _quantised(model: Any, records: npt.NDArray[np.float32], name: str, params: Settings) -> Any:
    """The quantised model; NNCF gets one record at a time."""
    import nncf

    nncf.set_log_level(40)  # logging.ERROR
    dataset = nncf.Dataset([{name: records[i : i + 1]} for i in range(len(records))])
    chosen = settings(params["calibration"], params["preset"], params["bias_correction"], len(records))
    return nncf.quantize(model, dataset, **chosen)
