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

from edgeaudit.filetypes.artifact import Artifact
from tests.runtimes.served import (
    STEEP_RECORDS,
    converted,
    steep,
    steep_artifact,
    steep_int8_artifact,
    steep_openvino_artifact,
)


def summing() -> nn.Module:
    """Two equal answers: the sum of 2 values."""
    module = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.fill_(1)
    return module.eval()


def biased_steep() -> nn.Module:
    """`steep` with a bias, which is too small to change an answer.

    On ARM tflite-runtime 2.14 reads the bias of an int8 FULLY_CONNECTED that has none, at address 0. A bias of 0 the
    converter leaves out.
    """
    module = nn.Linear(8, 2)
    module.load_state_dict({**steep().state_dict(), "bias": torch.full((2,), 0.25)})
    return module.eval()


MAKERS: Mapping[str, Callable[[Path], Artifact]] = {
    "onnx-int8": steep_int8_artifact,
    "onnx-float": lambda folder: converted(folder, ["onnx.export"], summing),
    "tflite-int8": lambda folder: converted(folder, ["litert.export", "aeq.static-int8"], biased_steep, STEEP_RECORDS),
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
