"""Files of every type, made by the real toolchains of one small network that is known by heart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from edgeaudit.recipes.sklearn_models import save_model
from tests.filetypes.keras_file import keras_file
from tests.keras_process import in_tensorflow
from tests.runtimes.served import converted

__all__ = ["IMAGES", "Sample", "sample", "sparse_module", "with_softmax"]

IMAGES = np.random.default_rng(0).normal(size=(32, 1, 6, 6)).astype(np.float32)


def sparse_module() -> nn.Module:
    """3x1x3x3 and 2x48 weights, 123 in all; the first 5 of the kernel and the first 40 of the matrix are zero."""
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    for index, zeros in ((0, 5), (3, 40)):
        weight = module[index].weight
        assert isinstance(weight, torch.Tensor)
        with torch.no_grad():
            # Far from zero, so that eight bits keep apart what is zero and what is not.
            weight.copy_(torch.sign(weight) * (0.5 + weight.abs()))
            weight.view(-1)[:zeros] = 0
    return module.eval()


def with_softmax() -> nn.Module:
    """The same with a softmax behind it."""
    return nn.Sequential(sparse_module(), nn.Softmax(dim=1)).eval()


@dataclass(frozen=True)
class Sample:
    """A real file and what is known of it.

    inputs, outputs: (shape, dtype) of each tensor; None where such a file does not state them.
    zeros: (weights, zeros among them). operators: those that it has, with how many there are.
    """

    kind: str
    path: Path
    companions: tuple[str, ...]
    inputs: tuple[tuple[tuple[int, ...], str], ...] | None
    outputs: tuple[tuple[tuple[int, ...], str], ...] | None
    zeros: tuple[int, int] | None
    softmax: bool | None
    operators: Mapping[str, int] | None


@dataclass(frozen=True)
class _Row:
    passes: tuple[str, ...]
    entry: tuple[int, ...]
    operators: Mapping[str, int]
    zeros: tuple[int, int] | None = (123, 45)
    softmax: bool | None = False
    batch: int = -1


_CONVERTED: Mapping[str, _Row] = {
    "onnx": _Row(("onnx.export",), (1, 6, 6), {"Conv": 1, "Relu": 1, "Flatten": 1, "Gemm": 1}),
    "tflite": _Row(("litert.export",), (6, 6, 1), {"DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1}),
    "openvino": _Row(("openvino.export",), (1, 6, 6), {"Convolution": 1, "Relu": 1, "MatMul": 1}),
    "executorch": _Row(("executorch.export",), (1, 6, 6), {"XnnpackBackend": 2}, zeros=None, softmax=None, batch=64),
}


def sample(kind: str, folder: Path) -> Sample:
    """The network as a file of that type."""
    if kind == "torch":
        path = folder / "model.safetensors"
        save_file(sparse_module().state_dict(), path)
        return Sample("torch", path, (), None, None, (123, 45), None, None)
    if kind == "keras":
        in_tensorflow(keras_file, folder)
        layers = {"InputLayer": 1, "Conv2D": 1, "ReLU": 1, "Flatten": 1, "Dense": 1}
        return Sample("keras", folder / "model.keras", (), None, None, (123, 45), False, layers)
    if kind == "sklearn":
        path = folder / "model.pickle"
        labels = np.arange(len(IMAGES)) % 2
        save_model(LogisticRegression().fit(IMAGES.reshape(len(IMAGES), -1), labels), path)
        return Sample("sklearn", path, (), None, None, None, None, None)
    row = _CONVERTED[kind]
    artifact = converted(folder, row.passes, sparse_module, IMAGES)
    return Sample(
        kind,
        artifact.path,
        tuple(artifact.manifest.companions),
        (((row.batch, *row.entry), "float32"),),
        (((row.batch, 2), "float32"),),
        row.zeros,
        row.softmax,
        row.operators,
    )
