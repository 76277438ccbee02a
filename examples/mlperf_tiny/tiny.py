"""Models and records of the four tasks of MLPerf Tiny, as the audit.yaml files beside this one name them.

Architectures are those of MLPerf Tiny, narrower where noted so that an audit takes minutes; ResNet-8 and the
depthwise-separable CNN are built in (`resnet8`, `ds-cnn`). The folder of the data sets is that of EDGEAUDIT_DATA.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

Records = tuple[npt.NDArray[np.generic], npt.NDArray[np.int64]]

DATA = Path(os.environ.get("EDGEAUDIT_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
ANIMALS = (2, 3, 4, 5, 6, 7)
"""Bird, cat, deer, dog, frog and horse among CIFAR-10's classes."""


def _arrays(name: str) -> dict[str, npt.NDArray[np.generic]]:
    with np.load(DATA / name, allow_pickle=False) as found:
        return {key: found[key] for key in found.files if found[key].dtype != object}


def spoken_digits() -> Records:
    """Log-mel spectrograms [n, 32 frames, 32 bands] of spoken digits, with the digit: ten keywords."""
    found = _arrays("fsdd_logmel32.npz")
    return found["x"].astype(np.float32), found["y"].astype(np.int64)


def animal_or_not() -> Records:
    """CIFAR-10's images, with 1 where an animal is on them; in the place of Visual Wake Words, person or not."""
    found = _arrays("cifar10_train20k.npz")
    return found["x"], np.isin(found["y"], ANIMALS).astype(np.int64)


def machine_spectra(bands: int = 64) -> npt.NDArray[np.float32]:
    """Log spectra [n, bands] of a bearing's vibration; in the place of ToyADMOS's sounds of a toy car.

    Windows of 256 samples at 12 kHz, as they were recorded. An autoencoder of anomalies learns how a machine sounds
    as it is, so no label is used.
    """
    windows = _arrays("cwru_de12k_w256.npz")["x"].astype(np.float32)
    power = np.abs(np.fft.rfft(windows * np.hanning(windows.shape[1]), axis=1))[:, 1:] ** 2
    grouped = power.reshape(len(power), bands, -1).mean(axis=2)
    return np.asarray(np.log10(grouped + 1e-6), np.float32)


def _separable(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
    pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
    return [depthwise, nn.BatchNorm2d(inputs), nn.ReLU(), pointwise, nn.BatchNorm2d(outputs), nn.ReLU()]


def wake_words(input_shape: tuple[int, ...], n_classes: int, width: int = 16) -> nn.Module:  # noqa: ARG001
    """MobileNetV1 of MLPerf Tiny's visual wake words (96 x 96 there), of eight blocks, with one sigmoid."""
    layers: list[nn.Module] = [nn.Conv2d(input_shape[0], width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for factor, stride in ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), (16, 1), (16, 1)):
        layers += _separable(channels, factor * width, stride)
        channels = factor * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1), nn.Sigmoid())


def autoencoder(input_shape: tuple[int, ...], outputs: int, width: int = 64, code: int = 8) -> nn.Module:
    """The autoencoder of MLPerf Tiny's anomaly detection, which is 640 and 128 wide there."""
    layers: list[nn.Module] = []
    inputs = input_shape[0]
    for size in (width, width, width, width, code, width, width, width, width):
        layers += [nn.Linear(inputs, size), nn.BatchNorm1d(size), nn.ReLU()]
        inputs = size
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
