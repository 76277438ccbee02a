"""Trained Keras models: a .keras file of Keras 3, a zip with the layers in config.json and the weights in an HDF5 file.

Read without TensorFlow, so that it works in any process.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from edgeaudit.filetypes.base import FileType, FileTypeSpec, Head, WeightTensor, stored_zero

__all__ = ["Keras"]

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_OPTIMIZER = "optimizer"
_TRANSPARENT = {"Activation", "Dropout", "InputLayer"}
"""Layers that do not change the meaning of the output; for Activation it depends on the function."""


class Keras(FileType):
    """A whole model. Its operators are its layers, those of nested models included."""

    spec = FileTypeSpec(
        name="keras",
        title="Keras",
        suffixes=(".keras",),
        extra="tensorflow",
        packages=("keras", "h5py"),
        layouts=("NHWC", "NCHW", "HW", "flat"),
        unreadable={
            "contract": "a .keras file does not declare the shape of its outputs; set it as model.checkpoint",
            "traits": "a .keras file is the trained model itself, which no toolchain has made",
        },
    )

    def _weights(self, path: Path) -> Iterator[WeightTensor]:
        import h5py

        tensors: list[WeightTensor] = []

        def visit(name: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset) and name.split("/", maxsplit=1)[0] != _OPTIMIZER:
                values = np.asarray(node)
                tensors.append(WeightTensor(name, values, stored_zero(values)))

        with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read(_WEIGHTS)), "r") as file:
            file.visititems(visit)
        yield from tensors

    def _head(self, path: Path, output: int) -> Head:
        del output  # a model with several outputs has them by name, each behind a layer of its own
        for layer in reversed(list(_layers(_config(path)))):
            activation = layer.get("config", {}).get("activation")
            if layer["class_name"] == "Softmax" or activation == "softmax":
                return "softmax"
            if activation == "sigmoid":
                return "sigmoid"
            if layer["class_name"] not in _TRANSPARENT or activation not in (None, "linear"):
                return "other"
        return "other"

    def _state(self, path: Path) -> Iterator[str]:
        layers = _layers(_config(path))
        return (str(layer["config"].get("name")) for layer in layers if layer.get("config", {}).get("stateful"))

    def _operators(self, path: Path) -> Iterator[str]:
        return (layer["class_name"] for layer in _layers(_config(path)))


class _LayerConfig(TypedDict, total=False):
    """activation: its name, null, or the description of an object. layers: of a nested model."""

    name: str
    stateful: bool
    activation: object
    layers: list[_Layer]


class _Layer(TypedDict):
    """A layer or a model in Keras's configuration, as far as it is read here."""

    class_name: str
    config: NotRequired[_LayerConfig]


def _config(path: Path) -> _Layer:
    with zipfile.ZipFile(path) as archive:
        config: _Layer = json.loads(archive.read(_CONFIG))
    return config


def _layers(model: _Layer) -> Iterator[_Layer]:
    """The layers of a model's config in their order, those of a nested model in its place."""
    for layer in model["config"].get("layers", ()):
        if "layers" in layer.get("config", {}):
            yield from _layers(layer)
        else:
            yield layer
