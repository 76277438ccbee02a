"""TFLite files in LiteRT, on the CPU, one thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.host.quiet import quiet
from edgeaudit.runtimes.base import Runtime, RuntimeSpec

__all__ = ["LiteRT"]


class _TensorDetails(TypedDict):
    """What the interpreter says of a tensor, as far as it is read here. shape: int32 [axes]. dtype: a numpy type."""

    index: int
    shape: npt.NDArray[np.int32]
    dtype: npt.DTypeLike


class LiteRT(Runtime):
    """The LiteRT interpreter.

    A file that keeps a state between calls is reset before each of them, so that an answer depends on its batch alone.

    xnnpack: use the default delegates, as in an application; without it the reference kernels give other outputs, so
    the option is part of the format.
    """

    spec = RuntimeSpec(
        name="litert",
        extra="litert",
        packages=("ai-edge-litert",),
        serves="tflite",
        summary="LiteRT (TFLite) interpreter, one thread, XNNPACK by default",
        defaults={"batch": 64, "xnnpack": True},
    )

    def _open(self) -> None:
        with quiet():
            library = self._library()
            resolvers = library.OpResolverType
            kernels = resolvers.AUTO if self.options["xnnpack"] else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES

            def opened(batch: int) -> Any:
                interpreter = library.Interpreter(
                    model_path=str(self.artifact.path), num_threads=1, experimental_op_resolver_type=kernels
                )
                (entry,) = interpreter.get_input_details()
                if _has_resources(interpreter):
                    # Their shapes do not follow the input's: LiteRT 2.3 writes beyond them, and may crash.
                    batch = self.batch = self.options["batch"] = int(entry["shape"][0])
                # litert-torch 0.10 writes batch 1 and refuses dynamic shapes; resizing is exact.
                interpreter.resize_tensor_input(entry["index"], [batch, *entry["shape"][1:].tolist()])
                interpreter.allocate_tensors()
                return interpreter

            try:
                self._interpreter = opened(self.batch)
            except RuntimeError:
                # A flatten is written as a reshape to [1, n], which fits no other batch. Outputs do not depend on the
                # batch here (quantisation is per record), so one record at a time is only slower.
                self._interpreter = opened(1)
                self.batch = self.options["batch"] = 1
        (entry,) = self._interpreter.get_input_details()
        exit_ = self._interpreter.get_output_details()[self.artifact.manifest.place]
        self._check_contract(entry, exit_)
        self._in, self._out = entry["index"], exit_["index"]
        self._reopen = partial(opened, self.batch) if _has_resources(self._interpreter) else None
        self._asked = False

    @classmethod
    def _library(cls) -> Any:
        """The module with `Interpreter` and `OpResolverType`; other packages have the same ones."""
        from ai_edge_litert import interpreter

        return interpreter

    def _check_contract(self, entry: _TensorDetails, exit_: _TensorDetails) -> None:
        """The manifest's dtypes must be the file's: values quantised for another file would be wrong."""
        manifest = self.artifact.manifest
        for detail, spec in ((entry, manifest.input), (exit_, manifest.output)):
            if np.dtype(detail["dtype"]).name != spec.dtype:
                raise ArtifactError(
                    f"{self.artifact.path.name} has a {np.dtype(detail['dtype']).name} tensor '{spec.name}', but its "
                    f"manifest says {spec.dtype}; recreate the artifact"
                )

    def engaged(self) -> tuple[str, ...]:
        """`XNNPACK` if that delegate took over at least one node of the graph, and `built-in kernels`."""
        # Delegated nodes stay in the list, followed by one named DELEGATE; there is no public API.
        nodes = [node["op_name"] for node in self._interpreter._get_ops_details()]  # noqa: SLF001
        return ("XNNPACK", "built-in kernels") if "DELEGATE" in nodes else ("built-in kernels",)

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._reopen is None:
            self._interpreter.reset_all_variables()
        elif self._asked:
            self._interpreter = self._reopen()
        return self._invoke(block)

    def _bare_call(self, block: npt.NDArray[Any]) -> Callable[[], object]:
        """Without the reset: an application does not open its file anew for each call, and time is not an answer."""
        return lambda: self._invoke(block)

    def _invoke(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self._asked = True
        self._interpreter.set_tensor(self._in, block)
        self._interpreter.invoke()
        answer: npt.NDArray[Any] = self._interpreter.get_tensor(self._out)
        return answer


def _has_resources(interpreter: Any) -> bool:
    """Whether the file keeps a state in resource variables, which only a new interpreter resets.

    `reset_all_variables` resets variable tensors alone, as recurrent operators have them (LiteRT 2.3).
    """
    return any(node["op_name"] == "VAR_HANDLE" for node in interpreter._get_ops_details())  # noqa: SLF001
