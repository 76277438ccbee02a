"""ONNX Runtime's execution providers, as an option says them: which computes, with what, and whether it really does.

ONNX Runtime falls back to the CPU without an error where a provider cannot be had (1.32, Python):

- one that the build does not have, or that nobody has: a warning, and the session computes on the CPU;
- one that the build has and that cannot start (CUDA without its libraries): a line on standard error, likewise;
- one whose creation or graph fails: a message on standard output, and the session is made again for the CPU, unless
  `enable_fallback=0` is given; a failure while it computes does the same;
- one that takes no node of the graph: it is in `get_providers()` all the same;
- options that the CPU's provider does not know: nothing.

Answers would be another processor's, so each of these is an error here. Device side: Python 3.9, standard library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeaudit.errors import ArtifactError, did_you_mean
from edgeaudit.filetypes.artifact import file_sha256

__all__ = [
    "CPU",
    "TENSORRT",
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
    "a list of names, or of {name: {option: value}}, the first that can compute a node first: "
    "[{TensorrtExecutionProvider: {trt_fp16_enable: true}}, CUDAExecutionProvider]"
)

Choice = Mapping[str, Mapping[str, str]]
"""Provider -> its options, in order."""


def chosen(given: object, available: Sequence[str], known: Sequence[str]) -> dict[str, dict[str, str]]:
    """What the option `providers` says, checked against the providers that this build of ONNX Runtime has.

    given: a name, or a list of names and of mappings name -> {option: value}. Values are texts, numbers or booleans.
    available: providers of this build. known: of any build.
    Raises `ArtifactError` for what cannot be meant, with the form, and for a provider that there is not, with those
    that there are.
    """
    entries = [given] if isinstance(given, (str, Mapping)) else given
    if not isinstance(entries, Sequence) or not entries:
        raise ArtifactError(f"the option 'providers' of 'onnxruntime' is {given!r}; it can be {_FORM}")
    found: dict[str, dict[str, str]] = {}
    for entry in entries:
        for name, options in (entry if isinstance(entry, Mapping) else {entry: {}}).items():
            if not isinstance(name, str) or not isinstance(options, Mapping):
                raise ArtifactError(f"the option 'providers' of 'onnxruntime' has {entry!r}; it can be {_FORM}")
            if name in found:
                raise ArtifactError(f"the option 'providers' of 'onnxruntime' names '{name}' twice")
            found[name] = {str(key): _text(name, str(key), value) for key, value in options.items()}
    for name, options in found.items():
        if name not in available:
            hint = "" if name in known else did_you_mean(name, known)
            raise ArtifactError(
                f"this ONNX Runtime has no execution provider '{name}', and would compute on the CPU without an error; "
                f"it has: {', '.join(available)}.{hint} GPUs and NPUs need a build of their own, as onnxruntime-gpu is"
            )
        if name == CPU and options:
            raise ArtifactError(f"{CPU} has no options (it would ignore '{next(iter(options))}'); leave them out")
    return found


def reduced_precisions(given: object) -> set[str]:
    """Of `f16` and `bf16`, those in which the option `providers` lets TensorRT compute."""
    entries = [given] if isinstance(given, Mapping) else given if isinstance(given, Sequence) else ()
    found: set[str] = set()
    for entry in entries:
        options = entry.get(TENSORRT) if isinstance(entry, Mapping) else None
        if isinstance(options, Mapping):
            enabled = {key for key, value in options.items() if value is True or str(value) in _TRUE}
            found |= {name for name, key in _REDUCED.items() if key in enabled}
    return found


def profiled_nodes(path: Path) -> dict[str, int]:
    """Provider -> how many nodes it computed, by a profile of ONNX Runtime: all that releases before 1.24 tell."""
    events = json.loads(path.read_text(encoding="utf-8"))
    nodes = {(event["args"]["provider"], event["name"]) for event in events if event.get("args", {}).get("provider")}
    providers = [provider for provider, _ in nodes]
    return {provider: providers.count(provider) for provider in providers}


def require_used(choice: Choice, started: Sequence[str], nodes: Mapping[str, int]) -> None:
    """`ArtifactError` where a provider that was asked for is not in the session, or none but the CPU's computes.

    started: the session's providers. nodes: how many nodes of the graph each has.
    """
    if missing := [name for name in choice if name not in started]:
        test = f"import onnxruntime as o; o.InferenceSession('model.onnx', providers=['{missing[0]}'])"
        raise ArtifactError(
            f"ONNX Runtime could not start the execution provider '{missing[0]}' and went on with "
            f'{", ".join(started)}: its libraries or its device are missing. On the device, python3 -c "{test}" says '
            "which"
        )
    wanted = [name for name in choice if name != CPU]
    if wanted and not any(nodes.get(name) for name in wanted):
        raise ArtifactError(
            f"{', '.join(wanted)} took no node of the graph, so that the CPU would compute everything; leave the "
            "option 'providers' out, or export a file that the provider can compute"
        )


def with_engine_cache(choice: Choice, artifact: str, batch: int, spare: Path) -> tuple[dict[str, dict[str, str]], Path]:
    """(the choice with TensorRT told to write its engines, the folder where it does).

    artifact: SHA-256 of the file. An engine is built on the device, from kernels that TensorRT chose by timing them:
    another build of the same file may answer otherwise. So it is written to disk and its SHA-256 goes on record.
    """
    options = dict(choice[TENSORRT])
    if options.get(_CACHE, "1") not in _TRUE:
        raise ArtifactError(
            f"the option '{_CACHE}' of {TENSORRT} is always on: the engine's SHA-256 is recorded. Leave it out"
        )
    root = options.pop(_CACHE_PATH, None)
    options.pop(_CACHE, None)
    # A folder for each file, batch and set of options: whatever is in it is this session's.
    identity = json.dumps([artifact, batch, options], sort_keys=True)
    folder = (Path(root).expanduser() if root else spare) / hashlib.sha256(identity.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ArtifactError(
            f"the folder {folder} for TensorRT's engines cannot be made: {exc.strerror or exc}"
        ) from exc
    told = {name: dict(given) for name, given in choice.items()}
    told[TENSORRT] = {**options, _CACHE: "1", _CACHE_PATH: str(folder)}
    return told, folder


def engine_facts(folder: Path, options: Mapping[str, str]) -> tuple[dict[str, Any], ...]:
    """Each engine in a folder: {"file", "sha256", "bytes", "precision"}, by name.

    options: of TensorRT's provider. precision: what layers may be computed in beside float32, "fp16+int8" or so.
    Raises `ArtifactError` where there is no engine: TensorRT took no part of the graph.
    """
    files = sorted(folder.glob("*.engine"))
    if not files:
        raise ArtifactError(
            f"TensorRT built no engine in {folder}: it took no node of the graph, or could not write there; name the "
            f"folder by '{_CACHE_PATH}', or leave {TENSORRT} out"
        )
    named = (name for name in ("bf16", "fp16", "int8") if options.get(f"trt_{name}_enable") in _TRUE)
    precision = "+".join(named) or "float32"
    return tuple(
        {"file": file.name, "sha256": file_sha256(file), "bytes": file.stat().st_size, "precision": precision}
        for file in files
    )


def _text(provider: str, option: str, value: object) -> str:
    """A value as ONNX Runtime parses it: it knows 1 and 0 for booleans, in every provider."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ArtifactError(f"the option '{option}' of {provider} is {value!r}; it can be a text, a number, true or false")
