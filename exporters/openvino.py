"""OpenVINO: export from torch to its intermediate representation (IR), an .xml and a .bin.

What openvino 2026.4 does that is undone or said here:

* Nodes that its transformations make are named after a counter of the process (`Multiply_3359`), so the .xml differed
  from one export to the next, in names and in nothing else; the .bin never did. `save` numbers them anew, in the
  order of the graph, and the same module gives the same two files in every process.
* Importing it, and every conversion, sends usage statistics and leaves a client id in ~/intel (`NO_TELEMETRY`).
* `save_model` stores weights as float16 unless told otherwise; here that is a parameter, and off by default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgeaudit.exporters.base import ExportJob, Pass, PassResult, PassSpec
from edgeaudit.exporters.read_back import read_back
from edgeaudit.host.quiet import NO_TELEMETRY, quiet

__all__ = ["Export", "save"]

_FILE = "model.xml"
_COUNTED = re.compile(r"[A-Za-z]+_\d+")


class Export(Pass):
    """torch -> IR, through the TorchScript graph.

    weights: `float32`, or `float16` as `save_model` does by default: stored as float16, computed with as the runtime's
        precision says.
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

    def precision(self, params: Mapping[str, Any]) -> str | None:
        """float16 where `weights` says so; else the weights stay what they were, also trained to be integers."""
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
    """Write an `openvino.Model` into the job's folder, the same bytes for the same model; say what it is."""
    import openvino

    model.set_friendly_name("model")
    for i, node in enumerate(model.get_ordered_ops()):
        if _COUNTED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}_{i}")
    openvino.save_model(model, job.workdir / _FILE, compress_to_fp16=half)
    return read_back(job, "openvino", _FILE)
