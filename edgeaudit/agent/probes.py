"""Probes: inputs whose outputs reveal which kernels a runtime uses on this CPU.

Two tiny models for each file type, in `probe_files/` (tests/agent/probe_files.py makes them):

- int8: 127 times the sum of 8 numbers from 0 to 255, u8 or s8 by s8. For 255 throughout that is 259,080. Kernels that
  add pairs of products in 16 bits return at most 4 * 32,767 = 131,068; a runtime configured to compute in float16
  returns infinity, since the largest float16 is 65,504.
- float: the sum of 2 numbers. 2049 + 0 is 2049 with float32's 24 bits, 2048 with the 11 of float16; 257 + 0 is 257 with
  either, and 256 or 258 with the 8 of bfloat16. This detects kernels that round their inputs as well as those that
  round their sums: OpenVINO on x86 multiplies in bfloat16 and adds in float32, so 2048 + 1 is 2049.
"""

from __future__ import annotations

import math
import pkgutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeaudit.agent.messages import ProbeResult
from edgeaudit.agent.served import runtime_class
from edgeaudit.errors import EdgeAuditError
from edgeaudit.filetypes.artifact import Artifact, Manifest

__all__ = ["FOLDER", "PROBES", "run_probes"]

FOLDER = "probe_files"

PROBES: Mapping[str, npt.NDArray[np.float32]] = {
    "int8": np.full((1, 8), 255, np.float32),
    "float": np.array([[2049, 0], [257, 0]], np.float32),
}
"""Name -> the input records."""

_EXACT_SUM = 259_080
_STEP = 1_296
"""The coarsest output step of the int8 models."""


def run_probes(runtime: str, options: Mapping[str, object]) -> dict[str, ProbeResult]:
    """Name -> the first output of each record and their interpretation, or the error if it cannot run.

    options: of the runtime, as for its artifacts. NaN and infinity are strings, since JSON cannot represent them.
    """
    cls = runtime_class(runtime)
    results: dict[str, ProbeResult] = {}
    for name, records in PROBES.items():
        try:
            with tempfile.TemporaryDirectory(prefix="edgeaudit-probe-") as folder:
                artifact = _unpacked(f"{cls.spec.serves}-{name}", Path(folder))
                answers = [float(value) for value in cls(artifact, options).query(records)[:, 0]]
        except (EdgeAuditError, OSError) as exc:
            results[name] = {"error": str(exc)}
        else:
            numbers = [value if math.isfinite(value) else str(value) for value in answers]
            results[name] = {"answers": numbers, "kernels": _int8(answers) if name == "int8" else _float(answers)}
    return results


def _unpacked(name: str, folder: Path) -> Artifact:
    """Copy the probe's files out of the package, which may be a zip file."""
    manifest = Manifest.from_json(_content(name, "manifest.json").decode("utf-8"))
    for file in (manifest.file, *manifest.companions):
        (folder / file).write_bytes(_content(name, file))
    return Artifact(folder, manifest)


def _content(name: str, file: str) -> bytes:
    content = pkgutil.get_data(__package__, f"{FOLDER}/{name}/{file}")
    if content is None:
        raise OSError(f"the package has no probe file {name}/{file}")
    return content


def _int8(answers: list[float]) -> str:
    if not math.isfinite(answers[0]):
        return "overflow"  # beyond float16's 65,504: OpenVINO with precision f16, on ARM
    if abs(answers[0] - _EXACT_SUM) <= _STEP / 2:
        return "exact"
    return "saturating" if 0 < answers[0] < _EXACT_SUM else "wrong"


def _float(answers: list[float]) -> str:
    if answers == [2049, 257]:
        return "float32"
    if answers[0] in (2048, 2050) and answers[1] == 257:
        return "float16"
    if answers[0] in (2048, 2064) and answers[1] in (256, 258):
        return "bfloat16"
    return "wrong"
