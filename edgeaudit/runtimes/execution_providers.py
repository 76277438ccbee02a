"""ONNX Runtime's execution providers: parse the option, check that they are available and that they are really used.

ONNX Runtime silently falls back to the CPU if a provider is unavailable (1.32, Python):

- not in this build, or unknown: a warning, and the session computes on the CPU;
- in this build but unable to start (CUDA without its libraries): a line on standard error, likewise;
- its creation or graph fails: a message on standard output, and the session is recreated for the CPU, unless
  `enable_fallback=0` is set; a failure during computation has the same effect;
- it takes no node of the graph: `get_providers()` lists it nevertheless;
- unknown options of the CPU's provider: ignored.

The outputs would be those of another processor, so each of these is an error here. Device side: Python 3.9, standard
library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from edgeaudit.digests import file_sha256
from edgeaudit.errors import ArtifactError, did_you_mean

__all__ = [
    "CPU",
    "TENSORRT",
    "EngineFile",
    "chosen",
    "engine_facts",
    "profiled_nodes",
    "reduced_precisions",
    "require_used",
    "with_engine_cache",
]

CPU = "CPUExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
_CACHE, _CACHE_PATH = "trt_engine_cache_enable", "trt_engine_cache_path"
_TRUE = ("1", "true", "True")
_REDUCED = {"f16": "trt_fp16_enable", "bf16": "trt_bf16_enable"}
_FORM = (
    "a list of names, or of {name: {option: value}}, in order of preference: "
    "[{TensorrtExecutionProvider: {trt_fp16_enable: true}}, CUDAExecutionProvider]"
)

Choice = Mapping[str, Mapping[str, str]]
"""Provider -> its options, in order."""


class EngineFile(TypedDict):
    """A file that a runtime compiled on this device and uses.

    sha256: hex. bytes: its size. precision: enabled in addition to float32, as in "fp16+int8"; else "float32".
    """

    file: str
    sha256: str
    bytes: int
    precision: str


def chosen(option: object, available: Sequence[str], known: Sequence[str]) -> dict[str, dict[str, str]]:
    """Parse the option `providers` and check it against the providers in this build of ONNX Runtime.

    option: a name, or a list of names and of mappings name -> {option: value}. Values are texts, numbers or booleans.
    available: providers of this build. known: of any build.
    Raises `ArtifactError` with the expected form for an invalid option, and with the available providers for one that
    is not available.
    """
    entries = [option] if isinstance(option, (str, Mapping)) else option
    if not isinstance(entries, Sequence) or not entries:
        raise ArtifactError(f"the option 'providers' of 'onnxruntime' is {option!r}; it can be {_FORM}")
    choice: dict[str, dict[str, str]] = {}
    for entry in entries:
        for name, options in (entry if isinstance(entry, Mapping) else {entry: {}}).items():
            if not isinstance(name, str) or not isinstance(options, Mapping):
                raise ArtifactError(f"the option 'providers' of 'onnxruntime' has {entry!r}; it can be {_FORM}")
            if name in choice:
                raise ArtifactError(f"the option 'providers' of 'onnxruntime' names '{name}' twice")
            choice[name] = {str(key): _text(name, str(key), value) for key, value in options.items()}
    for name, options in choice.items():
        if name not in available:
            hint = "" if name in known else did_you_mean(name, known)
            raise ArtifactError(
                f"this ONNX Runtime has no execution provider '{name}', and would silently compute on the CPU; "
                f"it has: {', '.join(available)}.{hint} GPUs and NPUs need a separate build, such as onnxruntime-gpu"
            )
        if name == CPU and options:
            raise ArtifactError(f"{CPU} has no options (it would ignore '{next(iter(options))}'); remove them")
    return choice


def reduced_precisions(option: object) -> set[str]:
    """The reduced precisions, of `f16` and `bf16`, that the option `providers` enables in TensorRT."""
    entries = [option] if isinstance(option, Mapping) else option if isinstance(option, Sequence) else ()
    precisions: set[str] = set()
    for entry in entries:
        options = entry.get(TENSORRT) if isinstance(entry, Mapping) else None
        if isinstance(options, Mapping):
            enabled = {key for key, value in options.items() if value is True or str(value) in _TRUE}
            precisions |= {name for name, key in _REDUCED.items() if key in enabled}
    return precisions


def profiled_nodes(path: Path) -> dict[str, int]:
    """Provider -> number of nodes it computed, from a profile: ONNX Runtime before 1.24 reports nothing else."""
    events = json.loads(path.read_text(encoding="utf-8"))
    nodes = {(event["args"]["provider"], event["name"]) for event in events if event.get("args", {}).get("provider")}
    providers = [provider for provider, _ in nodes]
    return {provider: providers.count(provider) for provider in providers}


def require_used(choice: Choice, started: Sequence[str], nodes: Mapping[str, int]) -> None:
    """`ArtifactError` if a requested provider is not in the session, or only the CPU's is used.

    started: the session's providers. nodes: how many nodes of the graph each has.
    """
    if missing := [name for name in choice if name not in started]:
        test = f"import onnxruntime as o; o.InferenceSession('model.onnx', providers=['{missing[0]}'])"
        raise ArtifactError(
            f"ONNX Runtime could not start the execution provider '{missing[0]}' and continued with "
            f'{", ".join(started)}: its libraries or its device are missing. On the device, python3 -c "{test}" says '
            "which"
        )
    requested = [name for name in choice if name != CPU]
    if requested and not any(nodes.get(name) for name in requested):
        raise ArtifactError(
            f"{', '.join(requested)} took no node of the graph, so the CPU would compute everything; remove the "
            "option 'providers', or export a file that the provider can compute"
        )


def with_engine_cache(choice: Choice, artifact: str, batch: int, spare: Path) -> tuple[dict[str, dict[str, str]], Path]:
    """The choice with TensorRT's engine cache enabled, and the folder of the cache.

    artifact: SHA-256 of the file. TensorRT builds an engine on the device from the kernels it measured as fastest, so
    another build of the same file may give other outputs. So it is written to disk and its SHA-256 is recorded.
    """
    options = dict(choice[TENSORRT])
    if options.get(_CACHE, "1") not in _TRUE:
        raise ArtifactError(
            f"the option '{_CACHE}' of {TENSORRT} is always on: the engine's SHA-256 is recorded. Remove it"
        )
    root = options.pop(_CACHE_PATH, None)
    options.pop(_CACHE, None)
    # A separate folder for each file, batch and set of options.
    identity = json.dumps([artifact, batch, options], sort_keys=True)
    folder = (Path(root).expanduser() if root else spare) / hashlib.sha256(identity.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ArtifactError(
            f"the folder {folder} for TensorRT's engines cannot be created: {exc.strerror or exc}"
        ) from exc
    cached = {name: dict(settings) for name, settings in choice.items()}
    cached[TENSORRT] = {**options, _CACHE: "1", _CACHE_PATH: str(folder)}
    return cached, folder


def engine_facts(folder: Path, options: Mapping[str, str]) -> tuple[EngineFile, ...]:
    """Each engine in a folder, by name.

    options: of TensorRT's provider. Raises `ArtifactError` if there is no engine, because TensorRT took no part of the
    graph.
    """
    files = sorted(folder.glob("*.engine"))
    if not files:
        raise ArtifactError(
            f"TensorRT built no engine in {folder}: it took no node of the graph, or could not write there; set "
            f"'{_CACHE_PATH}' to another folder, or remove {TENSORRT}"
        )
    named = (name for name in ("bf16", "fp16", "int8") if options.get(f"trt_{name}_enable") in _TRUE)
    precision = "+".join(named) or "float32"
    return tuple(
        {"file": file.name, "sha256": file_sha256(file), "bytes": file.stat().st_size, "precision": precision}
        for file in files
    )


def _text(provider: str, option: str, value: object) -> str:
    """A value as ONNX Runtime parses it: 1 and 0 for booleans, in every provider."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ArtifactError(
        f"the option '{option}' of {provider} is {value!r}; it can be a string, a number, true or false"
    )
