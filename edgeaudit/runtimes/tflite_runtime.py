"""TFLite files in tflite-runtime, the package for boards before LiteRT: on the CPU, one thread.

Its last release, 2.14, was built against numpy 1 and for Python 3.9 to 3.11. With numpy 2 the import
succeeds, but creating an interpreter fails. So it has a separate environment, in which the agent serves it
(`edgeaudit/devices`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeaudit.errors import ArtifactError
from edgeaudit.runtimes.base import RuntimeSpec
from edgeaudit.runtimes.litert import LiteRT

__all__ = ["TfliteRuntime"]

_PER_CHANNEL = (
    "tflite-runtime 2.14 supports only one scale for a layer's int8 weights if activations are float, and uses 0 if a "
    "fully connected layer has one per channel: the output of every record is the layer's bias"
)
_REMEDY = "Quantise activations, too (aeq.static-int8), or serve the file with LiteRT"


class TfliteRuntime(LiteRT):
    """The interpreter of tflite-runtime 2.14.

    xnnpack: as for LiteRT. XNNPACK of 2.14 takes float graphs only, so a full-integer file runs in the built-in
    kernels either way: bit for bit as LiteRT 2.3 does without XNNPACK (docs/agent.md has the figures).
    """

    spec = RuntimeSpec(
        name="tflite-runtime",
        extra="litert",
        packages=("tflite-runtime", "numpy"),
        serves="tflite",
        summary="tflite-runtime 2.14 (TFLite before LiteRT), one thread, in a separate environment",
        defaults={"batch": 64, "xnnpack": True},
        refuses={"aeq.dynamic-int8": f"{_PER_CHANNEL}. {_REMEDY}"},
        code=("edgeaudit.runtimes.litert",),
    )

    @classmethod
    def _library(cls) -> Any:
        from tflite_runtime import interpreter

        return interpreter

    def _open(self) -> None:
        super()._open()
        self._require_no_hybrid_per_channel()

    def _require_no_hybrid_per_channel(self) -> None:
        """Detect the fault of `refuses` in the file, since a file may come without a list of passes."""
        tensors = {tensor["index"]: tensor for tensor in self._interpreter.get_tensor_details()}
        for node in self._interpreter._get_ops_details():  # noqa: SLF001  # there is no public API
            if node["op_name"] != "FULLY_CONNECTED":
                continue
            source, weights = (tensors.get(index) for index in list(node["inputs"])[:2])
            if source is None or weights is None:
                continue
            scales = weights["quantization_parameters"]["scales"]
            if source["dtype"] == np.float32 and weights["dtype"] == np.int8 and len(scales) > 1:
                raise ArtifactError(f"{self.artifact.path.name} cannot be served here: {_PER_CHANNEL}. {_REMEDY}")
