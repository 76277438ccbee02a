"""ONNX files in ONNX Runtime: one thread on the CPU, or other execution providers."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.host.fingerprint import int8_sums_saturate
from edgeaudit.host.quiet import NO_TELEMETRY, quiet
from edgeaudit.runtimes.base import Runtime, RuntimeSpec
from edgeaudit.runtimes.execution_providers import (
    CPU,
    TENSORRT,
    EngineFile,
    chosen,
    engine_facts,
    profiled_nodes,
    require_used,
    with_engine_cache,
)

__all__ = ["OnnxRuntime"]

_EXACT_SUMS = "session.x64quantprecision"


class OnnxRuntime(Runtime):
    """ONNX Runtime with its default graph optimisations, as in a deployed application.

    session: ONNX Runtime's own session configuration entries. x86 CPUs without VNNI add int8 products in 16 bits and
    saturate, which ARM boards and newer x86 CPUs do not: on such a CPU ONNX Runtime 1.32 cut the logits of a static
    u8s8 CNN to 81% of their reach and was off by 21% of their spread, at the same top class on 97% of records.
    `session.x64quantprecision` makes it use kernels that do not saturate (answers then equal, bit for bit, those of
    the QDQ graph computed in floats, at the same speed), so that this machine can stand for a device. `auto` is "1" on
    such a CPU and no entry on others, whose answers are the same with and without it: with VNNI it would turn fused
    integer kernels off, at half the speed.

    providers: execution providers by name, or {name: {option: value}}, in order of preference; by default only the
    CPU's (docs/devices.md). One that is unavailable or takes no node of the graph is an error here, while ONNX Runtime
    would silently compute on the CPU. TensorRT's engines are written to disk (`trt_engine_cache_path`, or a temporary
    folder), and their hashes are among the facts of an artifact.
    """

    spec = RuntimeSpec(
        name="onnxruntime",
        extra="onnx",
        packages=("onnxruntime",),
        serves="onnx",
        summary="ONNX Runtime, one thread, CPU execution provider by default",
        defaults={"batch": 64, "session": {_EXACT_SUMS: "auto"}, "providers": [CPU]},
        deployed={"session": {}},
        code=("edgeaudit.runtimes.execution_providers",),
        builds={"onnxruntime": ("onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-qnn")},
    )

    def _open(self) -> None:
        self._engines: tuple[EngineFile, ...] = ()
        with quiet(NO_TELEMETRY):
            import onnxruntime

            available, known = onnxruntime.get_available_providers(), onnxruntime.get_all_providers()
            choice = chosen(self.options["providers"], available, known)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
            options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
            options.log_severity_level = 3
            self.options["session"] = _for_this_cpu(self.options["session"])
            for entry, value in self.options["session"].items():
                options.add_session_config_entry(entry, value)
            if list(choice) == [CPU]:
                self._session = onnxruntime.InferenceSession(str(self.artifact.path), options, providers=[CPU])
                self._engaged: tuple[str, ...] = tuple(self._session.get_providers())
            else:
                self._open_elsewhere(choice, options)

    def _open_elsewhere(self, choice: dict[str, dict[str, str]], options: Any) -> None:
        """Open it with other providers than the CPU's, and check that they are used."""
        import onnxruntime

        spare = Path(tempfile.mkdtemp(prefix="edgeaudit-providers-"))
        weakref.finalize(self, shutil.rmtree, spare, ignore_errors=True)
        engines = None
        if TENSORRT in choice:
            choice, engines = with_engine_cache(choice, self.artifact.manifest.sha256, self.batch, spare)
        reports_nodes = hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")  # from 1.24 on
        if reports_nodes:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        else:
            options.enable_profiling, options.profile_file_prefix = True, str(spare / "profile")
        self._session = onnxruntime.InferenceSession(
            str(self.artifact.path), options, providers=list(choice.items()), enable_fallback=0
        )
        started = self._session.get_providers()
        # If the batch is dynamic, TensorRT builds its engine at the first call; and a profile needs a call.
        spec = self.artifact.manifest.input
        self._answer(np.zeros((self.batch, *spec.shape[1:]), spec.dtype))
        nodes = self._nodes() if reports_nodes else profiled_nodes(Path(self._session.end_profiling()))
        require_used(choice, started, nodes)
        self._engaged = tuple(name for name in started if nodes.get(name))
        if engines is not None:
            self._engines = engine_facts(engines, self._session.get_provider_options()[TENSORRT])

    def _nodes(self) -> dict[str, int]:
        """How many nodes of the graph each provider has."""
        counts: dict[str, int] = {}
        for part in self._session.get_provider_graph_assignment_info():
            counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
        return counts

    def engaged(self) -> tuple[str, ...]:
        """The execution providers that have nodes of the graph, in the session's order."""
        return self._engaged

    def engines(self) -> tuple[EngineFile, ...]:
        """TensorRT's engines."""
        return self._engines

    def _answer(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        manifest = self.artifact.manifest
        (answer,) = self._session.run([manifest.output.name], {manifest.input.name: block})
        if isinstance(answer, list):  # ZipMap: class -> score, for each record; classes are sorted in scikit-learn
            return np.array([[row[label] for label in sorted(row)] for row in answer], np.float32)
        return np.asarray(answer)


def _for_this_cpu(session: Mapping[str, str]) -> dict[str, str]:
    """Settle the entry that is `auto`."""
    settled = dict(session)
    if settled.get(_EXACT_SUMS) == "auto":
        del settled[_EXACT_SUMS]
        if int8_sums_saturate():
            settled[_EXACT_SUMS] = "1"
    return settled
