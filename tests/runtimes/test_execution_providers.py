"""ONNX Runtime's execution providers: none stands in for another without a word.

What ONNX Runtime does where a provider is missing or fails was found out with its builds for CUDA and TensorRT (1.31.1,
on a machine without a GPU) and for OpenVINO (1.23.0, 1.24.1). Here there is the build for the CPU, which has a second
provider, Azure's, that takes no node of any file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeaudit.agent.served import Served
from edgeaudit.config.formats import FormatUse
from edgeaudit.errors import ArtifactError, MissingToolchain
from edgeaudit.formats.presets import tolerance_of
from edgeaudit.formats.resolve import computed_precision, find_format
from edgeaudit.runtimes.base import RuntimeSpec
from edgeaudit.runtimes.execution_providers import (
    CPU,
    TENSORRT,
    chosen,
    engine_facts,
    profiled_nodes,
    reduced_precisions,
    require_used,
    with_engine_cache,
)
from edgeaudit.runtimes.onnxruntime import OnnxRuntime
from tests.runtimes.served import onnx_artifact, steep_int8_artifact

CUDA = "CUDAExecutionProvider"
JETSON = [{TENSORRT: {"trt_fp16_enable": True, "trt_max_workspace_size": 1 << 30}}, CUDA, CPU]


@pytest.mark.toolchain
def test_the_cpu_is_the_default(tmp_path: Path) -> None:
    served = onnx_artifact(tmp_path, layout="flat")
    given: tuple[object, ...] = (CPU, [CPU], [{CPU: {}}], {CPU: {}})
    for providers in given:
        runtime = OnnxRuntime(served, {"providers": providers})
        assert runtime.engaged() == (CPU,)
        assert runtime.engines() == ()
    assert OnnxRuntime(served).options["providers"] == [CPU]


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("providers", "message"),
    [
        (
            [CUDA],
            "no execution provider 'CUDAExecutionProvider', and would silently compute on the CPU; it has",
        ),
        ([CUDA, CPU], r"it has: .*CPUExecutionProvider\. GPUs and NPUs need a separate build"),
        (["CUDAExectionProvider"], r"Did you mean 'CUDAExecutionProvider'\?"),
        ([{TENSORRT: {"trt_fp16_enable": True}}, CPU], "no execution provider 'TensorrtExecutionProvider'"),
        (["AzureExecutionProvider", CPU], "AzureExecutionProvider took no node of the graph, so the CPU would"),
        ([{"AzureExecutionProvider": {"a": [1]}}], r"the option 'a' of AzureExecutionProvider is \[1\]; it can be"),
        ([{CPU: {"arena": 1}}], r"CPUExecutionProvider has no options \(it would ignore 'arena'\)"),
        ([CPU, CPU], "names 'CPUExecutionProvider' twice"),
        ([], r"'providers' of 'onnxruntime' is \[\]; it can be a list of names, or of {name: {option: value}}"),
        (None, "'providers' of 'onnxruntime' is None"),
        ([3], "'providers' of 'onnxruntime' has 3; it can be"),
        ([{CPU: 1}], "has {'CPUExecutionProvider': 1}; it can be"),
    ],
    ids=str,
)
def test_unavailable_providers_are_refused(tmp_path: Path, providers: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        OnnxRuntime(onnx_artifact(tmp_path, layout="flat"), {"providers": providers})


def test_options_as_onnx_runtime_parses_them() -> None:
    available = [TENSORRT, CUDA, CPU]
    assert chosen(JETSON, available, available) == {
        TENSORRT: {"trt_fp16_enable": "1", "trt_max_workspace_size": "1073741824"}, CUDA: {}, CPU: {},
    }  # fmt: skip
    assert list(chosen([CPU, CUDA], available, available)) == [CPU, CUDA]  # the order is who comes first
    assert chosen({CUDA: {"use_tf32": False}}, available, available) == {CUDA: {"use_tf32": "0"}}


def test_a_provider_that_did_not_start() -> None:
    choice: dict[str, dict[str, str]] = {
        CUDA: {},
        CPU: {},
    }  # as onnxruntime-gpu 1.31.1 does without CUDA: the session is there, on the CPU
    with pytest.raises(
        ArtifactError, match="could not start the execution provider 'CUDAExecutionProvider' and continued"
    ):
        require_used(choice, [CPU], {CPU: 4})
    with pytest.raises(ArtifactError, match="CUDAExecutionProvider took no node"):
        require_used(choice, [CUDA, CPU], {CPU: 4})
    require_used(choice, [CUDA, CPU], {CUDA: 3, CPU: 1})
    require_used({TENSORRT: {}, CUDA: {}}, [TENSORRT, CUDA, CPU], {CUDA: 3})  # one of them computes; `engaged` says it
    require_used({CPU: {}}, [CPU], {CPU: 4})


@pytest.mark.toolchain
def test_a_profile_agrees_with_the_session(tmp_path: Path) -> None:
    """Two independent accounts by ONNX Runtime of the same session; releases before 1.24 have the profile alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    path = steep_int8_artifact(tmp_path).path
    session = onnxruntime.InferenceSession(str(path), options, providers=[CPU])
    for _ in range(3):  # nodes are counted, not calls
        session.run(None, {"input": np.zeros((1, 8), np.float32)})
    told = [node.name for part in session.get_provider_graph_assignment_info() for node in part.get_nodes()]
    assert profiled_nodes(Path(session.end_profiling())) == {CPU: len(told)}


@pytest.mark.toolchain
def test_older_releases_are_profiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.delattr(onnxruntime.InferenceSession.__mro__[1], "get_provider_graph_assignment_info", raising=False)
    monkeypatch.delattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info", raising=False)
    with pytest.raises(ArtifactError, match="AzureExecutionProvider took no node of the graph"):
        OnnxRuntime(onnx_artifact(tmp_path, layout="flat"), {"providers": ["AzureExecutionProvider"]})


def test_engines_of_one_artifact_have_their_own_folder(tmp_path: Path) -> None:
    spare, kept = tmp_path / "spare", tmp_path / "kept"
    choice = {TENSORRT: {"trt_fp16_enable": "1"}, CUDA: {}}
    told, folder = with_engine_cache(choice, "ab" * 32, 8, spare)
    assert folder.parent == spare
    assert folder.is_dir()
    assert told == {
        TENSORRT: {"trt_fp16_enable": "1", "trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)},
        CUDA: {},
    }
    assert with_engine_cache(choice, "ab" * 32, 8, spare)[1] == folder
    others = [
        with_engine_cache(choice, "cd" * 32, 8, spare)[1],  # another file
        with_engine_cache(choice, "ab" * 32, 1, spare)[1],  # another batch, for which another engine is built
        with_engine_cache({TENSORRT: {}}, "ab" * 32, 8, spare)[1],  # another precision
    ]
    assert len({folder, *others}) == 4
    named = {TENSORRT: {**choice[TENSORRT], "trt_engine_cache_path": str(kept), "trt_engine_cache_enable": "1"}}
    assert with_engine_cache(named, "ab" * 32, 8, spare)[1] == kept / folder.name
    with pytest.raises(ArtifactError, match="'trt_engine_cache_enable' of TensorrtExecutionProvider is always on"):
        with_engine_cache({TENSORRT: {"trt_engine_cache_enable": "0"}}, "ab" * 32, 8, spare)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"the folder .*file.* for TensorRT's engines cannot be created"):
        with_engine_cache(named | {TENSORRT: {"trt_engine_cache_path": str(tmp_path / "file")}}, "ab", 8, spare)


def test_an_engine_is_named_by_its_hash_and_precision(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"TensorRT built no engine in .*: it took no node of the graph"):
        engine_facts(tmp_path, {})
    # As ONNX Runtime calls them: the part of the graph, precisions, the GPU's compute capability.
    for number in (1, 0):
        (tmp_path / f"TRTKernel_graph_main_7_{number}_fp16_sm87.engine").write_bytes(bytes([number]) * 9)
    (tmp_path / "TRTKernel_graph_main_7_0_fp16_sm87.profile").write_bytes(b"")
    first, second = engine_facts(tmp_path, {"trt_fp16_enable": "1", "trt_int8_enable": "0"})
    assert first == {
        "file": "TRTKernel_graph_main_7_0_fp16_sm87.engine", "sha256": hashlib.sha256(bytes(9)).hexdigest(), "bytes": 9,
        "precision": "fp16",
    }  # fmt: skip
    assert second["file"].endswith("_1_fp16_sm87.engine")
    assert engine_facts(tmp_path, {"trt_fp16_enable": "1", "trt_int8_enable": "1"})[0]["precision"] == "fp16+int8"
    assert engine_facts(tmp_path, {"trt_fp16_enable": "0"})[0]["precision"] == "float32"


def test_engines_are_among_an_artifacts_facts(tmp_path: Path) -> None:
    served = Served("model", OnnxRuntime(onnx_artifact(tmp_path, layout="flat")))
    assert served.facts()["engines"] == []
    assert served.facts()["engaged"] == [CPU]


def test_a_composition_can_name_providers() -> None:
    options = {"batch": 8, "providers": [{TENSORRT: {"trt_fp16_enable": True}}, CUDA]}
    entry = {"format": "onnx-fp32", "name": "mine", "runtime": {"onnxruntime": options}}
    found = find_format(FormatUse.model_validate(entry))
    assert found.runtime_options == options
    assert found.tolerance == tolerance_of("float16")  # TensorRT may compute float32 weights in it
    assert find_format(FormatUse(format="onnx-fp32")).tolerance == tolerance_of("float32")


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        ({}, "float32"),
        ({"precision": "f16"}, "float16"),
        ({"precision": "bf16"}, "bfloat16"),
        ({"providers": [CUDA]}, "float32"),
        ({"providers": [{TENSORRT: {"trt_fp16_enable": False}}]}, "float32"),
        ({"providers": {TENSORRT: {"trt_fp16_enable": "1"}}}, "float16"),
        ({"providers": [{TENSORRT: {"trt_fp16_enable": True, "trt_bf16_enable": 1}}]}, "bfloat16"),
        ({"providers": [{TENSORRT: None}]}, "float32"),
        ({"providers": CPU}, "float32"),
    ],
    ids=str,
)
def test_the_precision_that_options_enable(options: dict[str, Any], precision: str) -> None:
    assert computed_precision(options) == precision
    assert reduced_precisions(options.get("providers")) <= {"f16", "bf16"}


def test_a_build_of_another_name_is_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jetsons have onnxruntime-gpu, which brings the module `onnxruntime`, and no distribution of that name."""
    spec = RuntimeSpec("a", "onnx", ("no-such",), "onnx", "a fake", {"batch": 1}, builds={"no-such": ("no-such-gpu",)})
    assert spec.installed() == {"no-such": None}
    with pytest.raises(MissingToolchain, match="'no-such'"):
        spec.versions()
    about = tmp_path / "no_such_gpu-1.23.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: no-such-gpu\nVersion: 1.23.0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert spec.installed() == spec.versions() == {"no-such-gpu": "1.23.0"}
    assert "onnxruntime-gpu" in OnnxRuntime.spec.builds["onnxruntime"]
