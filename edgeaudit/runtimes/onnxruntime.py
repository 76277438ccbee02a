"""ONNX files in ONNX Runtime, on the CPU, one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.artifact import TensorSpec
from edgeaudit.runtimes.base import Contract, Runtime, RuntimeSpec
from edgeaudit.runtimes.quiet import quiet

__all__ = ["OnnxRuntime"]


_DTYPES = {"float": "float32", "double": "float64"}
"""ONNX Runtime's names of types that numpy calls otherwise."""


class OnnxRuntime(Runtime):
    """ONNX Runtime with its default graph optimisations, as a deployed application gets them.

    session: ONNX Runtime's own session configuration entries. x86 CPUs without VNNI add int8 products in 16 bits and
    saturate, which ARM boards and newer x86 CPUs do not: on such a CPU ONNX Runtime 1.32 cut the logits of a static
    u8s8 CNN to 81% of their reach and was off by 21% of their spread, at the same top class on 97% of records.
    `session.x64quantprecision` makes it use kernels that do not saturate (answers then equal, bit for bit, those of
    the QDQ graph computed in floats, at the same speed), so that this machine can stand for a device. CPUs with VNNI
    and ARM ignore it.
    """

    spec = RuntimeSpec(
        name="onnxruntime",
        extra="onnx",
        packages=("onnxruntime",),
        serves="onnx",
        summary="ONNX Runtime, CPU execution provider, one thread",
        defaults={"batch": 64, "session": {"session.x64quantprecision": "1"}},
        deployed={"session": {}},
    )

    @classmethod
    def _contract(cls, path: Path) -> Contract:
        with quiet():
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def declared(tensor: Any) -> TensorSpec:
            # tensor(float); sizes that are left open have a name or none.
            kind = tensor.type.removeprefix("tensor(").removesuffix(")")
            shape = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
            return TensorSpec(tensor.name, shape, _DTYPES.get(kind, kind))

        return Contract(
            tuple(declared(tensor) for tensor in session.get_inputs()),
            tuple(declared(tensor) for tensor in session.get_outputs()),
        )

    def _open(self) -> None:
        with quiet():
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
            options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
            options.log_severity_level = 3
            for entry, value in self.options["session"].items():
                options.add_session_config_entry(entry, value)
            self._session = onnxruntime.InferenceSession(
                str(self.artifact.path), options, providers=["CPUExecutionProvider"]
            )

    def engaged(self) -> tuple[str, ...]:
        """The session's execution providers."""
        return tuple(self._session.get_providers())

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        manifest = self.artifact.manifest
        (answer,) = self._session.run([manifest.output.name], {manifest.input.name: block})
        return np.asarray(answer)
