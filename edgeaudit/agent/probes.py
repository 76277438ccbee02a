"""Probes: input vectors whose answers tell which kernels a runtime really uses on this CPU.

Two tiny models for each kind of file, in `probe_files/` (tests/agent/probe_files.py makes them):

- int8: 127 times the sum of 8 numbers from 0 to 255, u8 or s8 by s8. For 255 throughout that is 259,080. Kernels that
  add pairs of products in 16 bits answer at most 4 * 32,767 = 131,068; a runtime that was told to compute in float16
  answers infinity, since that ends at 65,504.
- float: the sum of 2 numbers. 2049 + 0 is 2049 with float32's 24 bits, 2048 with the 11 of float16; 257 + 0 is 257 with
  either, and 256 or 258 with the 8 of bfloat16. Kernels that round what they read are found as well as those that round
  their sums: OpenVINO on x86 takes bfloat16 and adds in float32, 2048 + 1 being 2049.
"""

from __future__ import annotations

import math
import pkgutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.agent.served import runtime_class
from edgeaudit.errors import EdgeAuditError
from edgeaudit.filetypes.artifact import Artifact, Manifest

__all__ = ["FOLDER", "PROBES", "run_probes"]

FOLDER = "probe_files"

PROBES: Mapping[str, npt.NDArray[np.float32]] = {
    "int8": np.full((1, 8), 255, np.float32),
    "float": np.array([[2049, 0], [257, 0]], np.float32),
}
"""Name -> the records that are asked."""

_EXACT_SUM = 259_080
_STEP = 1_296
"""The largest step in which one of the int8 models answers."""


def run_probes(runtime: str, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name -> {"answers": first output of each record, "kernels": what they tell}, or {"error"} where it cannot be run.

    options: of the runtime, as its artifacts are served. Answers that are not finite are texts, since JSON has no such
    numbers.
    """
    cls = runtime_class(runtime)
    found: dict[str, dict[str, Any]] = {}
    for name, records in PROBES.items():
        try:
            with tempfile.TemporaryDirectory(prefix="edgeaudit-probe-") as folder:
                artifact = _unpacked(f"{cls.spec.serves}-{name}", Path(folder))
                answers = [float(value) for value in cls(artifact, options).query(records)[:, 0]]
        except (EdgeAuditError, OSError) as exc:
            found[name] = {"error": str(exc)}
        else:
            told = [value if math.isfinite(value) else str(value) for value in answers]
            found[name] = {"answers": told, "kernels": _int8(answers) if name == "int8" else _float(answers)}
    return found


def _unpacked(name: str, folder: Path) -> Artifact:
    """The probe's files, copied out of the package, which may be a zip file."""
    manifest = Manifest.from_json(_content(name, "manifest.json").decode("utf-8"))
    for file in (manifest.file, *manifest.companions):
        (folder / file).write_bytes(_content(name, file))
    return Artifact(folder, manifest)


def _content(name: str, file: str) -> bytes:
    content = pkgutil.get_data(__package__, f"{FOLDER}/{name}/{file}")
    if content is None:
        raise OSError(f"there is no {name}/{file} among the probes")
    return content


def _int8(answers: list[float]) -> str:
    if not math.isfinite(answers[0]):
        return "overflow"  # float16 ends at 65,504: OpenVINO with precision f16, on ARM
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
