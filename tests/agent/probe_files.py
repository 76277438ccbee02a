"""Makes the files of the agent's probes: `python -m tests.agent.probe_files edgeaudit/agent/probe_files`.

They are committed, because a device has no converters; test_probes.py makes them anew and compares.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from edgeaudit.artifact import Artifact
from tests.runtimes.served import converted, steep_artifact, steep_int8_artifact, steep_openvino_artifact


def summing() -> nn.Module:
    """Two equal answers: the sum of 2 values."""
    module = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.fill_(1)
    return module.eval()


MAKERS: Mapping[str, Callable[[Path], Artifact]] = {
    "onnx-int8": steep_int8_artifact,
    "onnx-float": lambda folder: converted(folder, ["onnx.export"], summing),
    "tflite-int8": lambda folder: steep_artifact(folder, ["litert.export", "aeq.static-int8"]),
    "tflite-float": lambda folder: converted(folder, ["litert.export"], summing),
    "openvino-int8": lambda folder: steep_openvino_artifact(folder, signed=False),
    "openvino-float": lambda folder: converted(folder, ["openvino.export"], summing),
    "executorch-int8": lambda folder: steep_artifact(folder, ["executorch.static-int8"]),
    "executorch-float": lambda folder: converted(folder, ["executorch.export"], summing),
}
"""Kind of file and probe -> what makes it."""


def make(name: str, folder: Path) -> None:
    """Write one probe's files into the folder, which is made."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as workdir:
        made = MAKERS[name](Path(workdir))
        for file in ("manifest.json", made.manifest.file, *made.manifest.companions):
            shutil.copyfile(made.folder / file, folder / file)


if __name__ == "__main__":
    for each in MAKERS:
        make(each, Path(sys.argv[1]) / each)
