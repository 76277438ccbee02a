"""ExecuTorch files (.pte) in ExecuTorch's own runtime, on the CPU, one thread.

The Python runtime of executorch 1.5.1 is linked against libtorch and takes torch tensors, so it imports torch,
unlike all other runtimes for devices. On a device the same C++ runtime and the same XNNPACK run without it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.host.quiet import quiet
from edgeaudit.runtimes.base import Runtime, RuntimeSpec

__all__ = ["ExecuTorch"]

# c10::ScalarType, which is how a .pte file writes dtypes.
_DTYPES = {0: "uint8", 1: "int8", 6: "float32"}


class ExecuTorch(Runtime):
    """The method `forward` of a program. One that keeps a state between calls is loaded anew before each of them.

    batch: at most the one that the file was exported for (64 in files of `executorch.export`).
    """

    spec = RuntimeSpec(
        name="executorch",
        extra="executorch",
        packages=("executorch",),
        serves="executorch",
        summary="ExecuTorch runtime with XNNPACK, one thread",
        defaults={"batch": 64},
    )

    def _open(self) -> None:
        # Keep the program alive: the method belongs to it.
        self._program, self._method = _loaded(self.artifact.path)
        self._asked = False
        meta = self._method.metadata
        self._check_contract(meta.input_tensor_meta(0), meta.output_tensor_meta(self.artifact.manifest.place))

    def _check_contract(self, entry: Any, exit_: Any) -> None:
        """The manifest's shapes and dtypes must be the file's, and the batch must fit."""
        manifest, name = self.artifact.manifest, self.artifact.path.name
        for tensor, spec in ((entry, manifest.input), (exit_, manifest.output)):
            sizes = tuple(tensor.sizes()[1:])
            if spec is manifest.output:  # its other axes have length 1
                sizes = (max(sizes, default=1),)
            actual = _DTYPES.get(tensor.dtype(), f"ScalarType {tensor.dtype()}"), sizes
            if actual != (spec.dtype, spec.shape[1:]):
                raise ArtifactError(
                    f"{name} has a tensor '{spec.name}' of {actual[0]} {actual[1]}, but its manifest says {spec.dtype} "
                    f"{spec.shape[1:]}; recreate the artifact"
                )
        largest = entry.sizes()[0]
        if self.batch > largest:
            raise ArtifactError(
                f"the option 'batch' of 'executorch' is {self.batch}, but {name} was exported for at most {largest} "
                "records at a time; lower it"
            )

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        import torch

        if self.artifact.manifest.stateful and self._asked:
            # Its buffers belong to the program: a method that is loaded again finds them as they were left.
            self._program, self._method = _loaded(self.artifact.path)
        self._asked = True
        with quiet():  # an error is printed from C++, and raised with an error number only
            answers = self._method.execute([torch.from_numpy(block)])
        return np.asarray(answers[self.artifact.manifest.place].numpy())

    def _bare_call(self, block: npt.NDArray[Any]) -> Callable[[], object]:
        import torch

        tensors = [torch.from_numpy(block)]
        return lambda: self._method.execute(tensors)  # `quiet` would take longer than a small model


def _loaded(path: Path) -> tuple[Any, Any]:
    """The program in a file and its method `forward`."""
    with quiet():
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime as Libraries
        from executorch.runtime import Verification

        # The thread pool belongs to the process and starts with one thread for each core. It must not be replaced
        # under a loaded XNNPACK graph, which keeps a pointer to it ("unsafe"), so the first artifact replaces it.
        if portable_lib._threadpool_get_thread_count() != 1:  # noqa: SLF001  # there is no public API
            portable_lib._unsafe_reset_threadpool(1)  # noqa: SLF001
        try:
            # Minimal verification crashes with a segmentation fault if the program's part of a file is damaged.
            program = Libraries.get().load_program(path.read_bytes(), verification=Verification.InternalConsistency)
            return program, program.load_method("forward")
        except RuntimeError as exc:  # an error number; its meaning is printed to the terminal
            raise ArtifactError(
                f"executorch cannot load {path}: {exc}. The file is truncated, damaged or not a .pte file; recreate "
                "the "
                "artifact"
            ) from exc
