"""OpenVINO IR in OpenVINO's CPU plugin, one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.host.fingerprint import cpu_flags, cpu_name, onednn_flags, onednn_sums_saturate
from edgeaudit.host.quiet import NO_TELEMETRY, quiet
from edgeaudit.runtimes.base import Runtime, RuntimeSpec

__all__ = ["OpenVino"]

_PRECISIONS = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
"""Value of the option -> the CPU plugin's name for it in OPTIMIZATION_CAPABILITIES."""
_DEFAULT = "default"


class OpenVino(Runtime):
    """OpenVINO's CPU plugin, one thread and one stream.

    batch: the model is reshaped to it, so nothing is dynamic.
    precision: of computation outside of int8. OpenVINO's own default is bf16 on x86 CPUs that have it and f16 on ARM,
    so
        outputs would depend on the CPU; therefore it is always set (`default` selects OpenVINO's). If the CPU lacks
        it, the plugin silently uses another: f32 for bf16, and its preferred one of f32 and bf16 for f16 (openvino
        2026.4); that is an error here.
    integer_kernels: whether int8 models run in integers. `auto` disables them on x86 CPUs without VNNI, where the
    plugin's
        integer kernels add products in 16 bits and saturate: 131,068 for 259,080 with unsigned activations, 1,020 for
        129,032 with signed ones (openvino 2026.4, AVX2). Without them the quantised graph is computed in floats,
        rounding where it rounds on a device; that takes two settings, since on CPUs with VNNI the plugin also rounds
        the inputs of layers whose weights alone are int8. `docs/decisions/0006` has the measurements.
    """

    spec = RuntimeSpec(
        name="openvino",
        extra="openvino",
        packages=("openvino",),
        serves="openvino",
        summary="OpenVINO CPU plugin, one thread, float32 by default",
        defaults={"batch": 64, "precision": "f32", "integer_kernels": "auto"},
        deployed={"precision": "default", "integer_kernels": True},
    )

    def _open(self) -> None:
        precision, integers = self.options["precision"], self.options["integer_kernels"]
        if precision not in (*_PRECISIONS, _DEFAULT):
            raise ArtifactError(
                f"the option 'precision' of 'openvino' is {precision!r}; it can be: "
                f"{', '.join((*_PRECISIONS, _DEFAULT))}"
            )
        if integers not in ("auto", True, False):
            raise ArtifactError(
                f"the option 'integer_kernels' of 'openvino' is {integers!r}; it can be: auto, true, false"
            )
        if integers == "auto":
            integers = self.options["integer_kernels"] = not onednn_sums_saturate()
        with quiet(NO_TELEMETRY):
            import openvino

            core = openvino.Core()
            model = core.read_model(self.artifact.path)
            (entry,) = model.inputs
            model.reshape([self.batch, *list(entry.get_partial_shape())[1:]])
            try:
                compiled = core.compile_model(model, "CPU", _settings(precision, integers=integers))
            except RuntimeError as exc:
                if precision == "f32" or onednn_flags() == cpu_flags():
                    raise
                raise ArtifactError(
                    f"OpenVINO cannot compute in {precision} while ONEDNN_MAX_CPU_ISA forbids instructions that "
                    f"{cpu_name()} has; unset it, or set the option 'precision' to f32"
                ) from exc
        actual = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if precision not in (actual, _DEFAULT):
            capable = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            others = ", ".join(name for name, word in _PRECISIONS.items() if word in capable and name != precision)
            raise ArtifactError(
                f"{cpu_name()} cannot compute in {precision}, and OpenVINO would silently use {actual}; set "
                f"the option 'precision' to one that this CPU has ({others}), or audit on a device that has {precision}"
            )
        self._engaged = (*compiled.get_property("EXECUTION_DEVICES"), actual)
        self._request = compiled.create_infer_request()
        self._stateful = bool(self._request.query_state())

    def engaged(self) -> tuple[str, ...]:
        """The devices that execute the model, and the precision outside of int8."""
        return self._engaged

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self._stateful:
            self._request.reset_state()  # an answer depends on its batch alone
        return np.array(self._request.infer([block])[self.artifact.manifest.place])


def _settings(precision: str, *, integers: bool) -> dict[str, int | bool | str]:
    """The CPU plugin's properties."""
    settings: dict[str, int | bool | str] = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # otherwise every worker is pinned to the same core
    }
    if precision != _DEFAULT:
        settings["INFERENCE_PRECISION_HINT"] = precision
    if not integers:
        settings["LP_TRANSFORMS_MODE"] = False  # a property of the CPU plugin that it does not list
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
    return settings
