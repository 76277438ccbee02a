"""Built-in architectures. Each answers logits; sizes follow the networks of MLPerf Tiny where one exists."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import torch
from torch import nn

from edgeaudit.errors import RecipeError
from edgeaudit.recipes.base import Architecture, ArchitectureSpec

__all__ = ["Cnn", "DsCnn", "Mlp", "MobileNetV2", "ResNet8"]


def _channels(input_shape: tuple[int, ...], name: str) -> int:
    if len(input_shape) != 3:
        raise RecipeError(
            f"model.recipe '{name}' needs images (C, H, W); these records have shape {input_shape}. "
            "Use 'mlp', or set data.layout"
        )
    return input_shape[0]


def _mlp(input_shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...] = (128, 64)) -> nn.Module:
    sizes = [prod(input_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], n_classes))


def _conv_bn(inputs: int, outputs: int, stride: int = 1, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


class _GlobalMean(nn.Module):
    """Mean over height and width; every converter has a native operator for it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


def _cnn(input_shape: tuple[int, ...], n_classes: int, width: int = 16) -> nn.Module:
    channels = _channels(input_shape, "cnn")
    return nn.Sequential(
        _conv_bn(channels, width),
        nn.ReLU(),
        _conv_bn(width, 2 * width, stride=2),
        nn.ReLU(),
        _conv_bn(2 * width, 4 * width, stride=2),
        nn.ReLU(),
        _GlobalMean(),
        nn.Linear(4 * width, n_classes),
    )


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv_bn(inputs, outputs, stride), nn.ReLU(), _conv_bn(outputs, outputs))
        same = stride == 1 and inputs == outputs
        self.shortcut: nn.Module = nn.Identity() if same else _conv_bn(inputs, outputs, stride, kernel=1)
        self.activation = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.activation(self.body(x) + self.shortcut(x))
        return out


def _resnet8(input_shape: tuple[int, ...], n_classes: int, width: int = 16) -> nn.Module:
    channels = _channels(input_shape, "resnet8")
    return nn.Sequential(
        _conv_bn(channels, width),
        nn.ReLU(),
        _ResidualBlock(width, width, 1),
        _ResidualBlock(width, 2 * width, 2),
        _ResidualBlock(2 * width, 4 * width, 2),
        _GlobalMean(),
        nn.Linear(4 * width, n_classes),
    )


def _ds_cnn(input_shape: tuple[int, ...], n_classes: int, width: int = 64, blocks: int = 4) -> nn.Module:
    channels = _channels(input_shape, "ds-cnn")
    layers: list[nn.Module] = [_conv_bn(channels, width, stride=2), nn.ReLU()]
    for _ in range(blocks):
        layers += [_conv_bn(width, width, groups=width), nn.ReLU(), _conv_bn(width, width, kernel=1), nn.ReLU()]
    return nn.Sequential(*layers, _GlobalMean(), nn.Linear(width, n_classes))


class _InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, depthwise, project; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        layers: list[nn.Module] = []
        if expand != 1:
            layers += [_conv_bn(inputs, hidden, kernel=1), nn.ReLU6()]
        layers += [_conv_bn(hidden, hidden, stride, groups=hidden), nn.ReLU6(), _conv_bn(hidden, outputs, kernel=1)]
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x)
        return x + out if self.residual else out


def _mobilenet_v2(input_shape: tuple[int, ...], n_classes: int, width: float = 0.35) -> nn.Module:
    # Strides of the first stages are 1 for small images, as is usual for CIFAR-sized inputs.
    channels = _channels(input_shape, "mobilenet-v2")
    stages = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 2, 2), (6, 64, 2, 2), (6, 96, 1, 1)]

    def scaled(size: int) -> int:
        return max(8, int(size * width + 4) // 8 * 8)

    inputs = scaled(32)
    layers: list[nn.Module] = [_conv_bn(channels, inputs, stride=2 if input_shape[1] > 64 else 1), nn.ReLU6()]
    for expand, size, repeats, first_stride in stages:
        for index in range(repeats):
            layers.append(_InvertedResidual(inputs, scaled(size), first_stride if index == 0 else 1, expand))
            inputs = scaled(size)
    layers += [_conv_bn(inputs, 4 * inputs, kernel=1), nn.ReLU6(), _GlobalMean(), nn.Linear(4 * inputs, n_classes)]
    return nn.Sequential(*layers)


class Mlp(Architecture):
    """See the spec."""

    spec = ArchitectureSpec("mlp", "fully connected, hidden: [128, 64]")
    build = staticmethod(_mlp)


class Cnn(Architecture):
    """See the spec."""

    spec = ArchitectureSpec("cnn", "three convolutions with BatchNorm, width: 16")
    build = staticmethod(_cnn)


class ResNet8(Architecture):
    """See the spec."""

    spec = ArchitectureSpec("resnet8", "ResNet-8 of MLPerf Tiny (image classification), width: 16")
    build = staticmethod(_resnet8)


class DsCnn(Architecture):
    """See the spec."""

    spec = ArchitectureSpec("ds-cnn", "depthwise-separable CNN of MLPerf Tiny (keyword spotting), width: 64")
    build = staticmethod(_ds_cnn)


class MobileNetV2(Architecture):
    """See the spec."""

    spec = ArchitectureSpec("mobilenet-v2", "MobileNetV2 blocks for small images, width: 0.35")
    build = staticmethod(_mobilenet_v2)
