"""OpenVINO: export from torch to its intermediate representation (IR), an .xml and a .bin.

Properties of openvino 2026.4 that are worked around here:

* Nodes created by its transformations are named with a per-process counter (`Multiply_3359`), so names in the .xml
  differed between exports; nothing else did, and the .bin never. `save` renumbers them in graph order, so that the same
  module gives the same two files in every process.
* Importing it, and every conversion, sends usage statistics and leaves a client id in ~/intel (`NO_TELEMETRY`).
* `save_model` stores weights as float16 by default; here that is a parameter, off by default.
"""

from __future__ import annotations

import re
from typing import Any

from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.exporters.read_back import read_back
from edgeaudit.host.quiet import NO_TELEMETRY, quiet
from edgeaudit.settings import Settings

__all__ = ["Export", "save"]

_FILE = "model.xml"
_COUNTED = re.compile(r"[A-Za-z]+_\d+")


class Export(Pass):
    """torch -> IR, through the TorchScript graph.

    weights: `float32`, or `float16` as `save_model` does by default: stored as float16; the precision of the
        computation is an option of the runtime.
    """

    spec = PassSpec(
        name="openvino.export",
        extra="openvino",
        packages=("torch", "openvino"),
        consumes="torch",
        produces="openvino",
        summary="OpenVINO IR, dynamic batch, BatchNorm folded",
        defaults={"softmax": "outside", "weights": "float32"},
        choices={"softmax": ("outside", "inside"), "weights": ("float32", "float16")},
        typical_seconds=0.15,
    )

    def precision(self, params: Settings) -> str | None:
        """float16 if `weights` is; otherwise unchanged, also for weights trained to be integers."""
        return "float16" if params["weights"] == "float16" else None

    def _apply(self, job: ExportJob) -> PassResult:
        inside, half = job.params["softmax"] == "inside", job.params["weights"] == "float16"
        module = job.module_to_export()
        with quiet(NO_TELEMETRY):
            import openvino
            import torch

            model = openvino.convert_model(
                module, example_input=torch.zeros(2, *job.input_shape), input=[-1, *job.input_shape]
            )
            (entry,), (answer,) = model.inputs, model.outputs
            entry.get_tensor().set_names({"input"})
            answer.get_tensor().set_names({"probabilities" if inside else "logits"})
            return save(model, job, half=half)


def save(model: Any, job: ExportJob, *, half: bool = False) -> PassResult:
    """Write an `openvino.Model` into the job's folder, with the same bytes for the same model, and describe it."""
    import openvino

    model.set_friendly_name("model")
    for i, node in enumerate(model.get_ordered_ops()):
        if _COUNTED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}_{i}")
    openvino.save_model(model, job.workdir / _FILE, compress_to_fp16=half)
    return read_back(job, "openvino", _FILE)
