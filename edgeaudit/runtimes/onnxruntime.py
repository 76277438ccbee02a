"""ONNX files in ONNX Runtime, on the CPU, one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.runtimes.base import Runtime, RuntimeSpec
from edgeaudit.runtimes.quiet import quiet

__all__ = ["OnnxRuntime"]


class OnnxRuntime(Runtime):
    """ONNX Runtime with its default graph optimisations, as a deployed application gets them."""

    spec = RuntimeSpec(
        name="onnxruntime",
        extra="onnx",
        packages=("onnxruntime",),
        serves="onnx",
        summary="ONNX Runtime, CPU execution provider, one thread",
        defaults={"batch": 64},
    )

    def _open(self) -> None:
        with quiet():
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
            options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(
                str(self.artifact.path), options, providers=["CPUExecutionProvider"]
            )

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        manifest = self.artifact.manifest
        (answer,) = self._session.run([manifest.output.name], {manifest.input.name: block})
        return np.asarray(answer)
