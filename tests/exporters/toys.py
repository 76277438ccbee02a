"""Small networks, trained to overfit some digits, and what it takes to push them through passes and runtimes."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

from edgeaudit.config.entries import PassEntry
from edgeaudit.digests import file_sha256
from edgeaudit.exporters import ExportJob, PassResult, find_pass
from edgeaudit.filetypes.artifact import Artifact, Manifest, PassRecord
from edgeaudit.recipes import base as recipes

FloatArray = npt.NDArray[np.float32]

MEMBERS, CALIBRATION, OTHERS = 120, 96, 120
_ROOT = tempfile.TemporaryDirectory(prefix="edgeaudit-toys-")
atexit.register(_ROOT.cleanup)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(inputs, outputs, 3, stride), nn.ReLU(), conv(outputs, outputs))
        self.skip = conv(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class Pooled(nn.Module):
    """Convolutions, a global average, a linear layer."""

    def __init__(self, body: nn.Sequential, width: int, n_classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, n_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.body(x).mean((2, 3)))
        return answer


def mlp(shape: tuple[int, ...], n_classes: int, hidden: int = 128) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[0], hidden), nn.ReLU(), nn.Linear(hidden, n_classes))


def cnn(shape: tuple[int, ...], n_classes: int, width: int = 16) -> nn.Module:
    body = nn.Sequential(conv(shape[0], width), nn.ReLU(), conv(width, 2 * width, stride=2), nn.ReLU())
    return Pooled(body, 2 * width, n_classes)


def residual(shape: tuple[int, ...], n_classes: int, width: int = 16) -> nn.Module:
    widths = width, width * 3 // 2, 2 * width
    blocks = Residual(widths[0], widths[1], 2), Residual(widths[1], widths[2], 2)
    return Pooled(nn.Sequential(conv(shape[0], width, stride=2), nn.ReLU(), *blocks), 2 * width, n_classes)


def separable(shape: tuple[int, ...], n_classes: int, width: int = 16) -> nn.Module:
    """Depthwise separable, with the activations of MobileNets."""
    a, b, c = width, 2 * width, 3 * width
    body = nn.Sequential(
        conv(shape[0], a, stride=2), nn.Hardswish(), conv(a, a, groups=a), nn.ReLU6(), conv(a, b, 1), nn.Hardswish(),
        conv(b, b, stride=2, groups=b), nn.ReLU6(), conv(b, c, 1), nn.ReLU6(),
    )  # fmt: skip
    return Pooled(body, c, n_classes)


@dataclass(frozen=True)
class Recipe:
    """builder: the function in this module that makes the network."""

    builder: str
    shape: tuple[int, ...]
    epochs: int

    @property
    def whole(self) -> recipes.Recipe:
        """As edgeaudit knows it; training as in `train`."""
        training = recipes.Training(epochs=self.epochs, batch=30, weight_decay=0.0)
        return recipes.Recipe(f"{__name__}:{self.builder}", self.shape, 10, training=training)

    def build(self) -> nn.Module:
        return recipes.build(self.whole, seed=1)


RECIPES = {
    "mlp": Recipe("mlp", (64,), 150),
    "cnn-8x8x1": Recipe("cnn", (1, 8, 8), 60),
    "residual-32x32x3": Recipe("residual", (3, 32, 32), 8),
    "separable-32x32x3": Recipe("separable", (3, 32, 32), 15),
}

_RESHAPED: dict[Path, recipes.Recipe] = {}
"""State dict -> what builds its module, where a pass made another architecture."""


def train(module: nn.Module, x: FloatArray, y: npt.NDArray[np.int64], epochs: int, lr: float = 0.05) -> None:
    """Train in place, deterministically but for dropout, which draws from torch's global generator."""
    records, labels = torch.from_numpy(x), torch.from_numpy(y)
    order = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(module.parameters(), lr, momentum=0.9, nesterov=True)
    module.train()
    for _ in range(epochs):
        shuffled = torch.randperm(len(x), generator=order)
        for start in range(0, len(x), 30):
            batch = shuffled[start : start + 30]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(records[batch]), labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]  # torch 2.14
            optimizer.step()
    module.eval()


@dataclass(frozen=True)
class Toy:
    """A trained network. `queries` are half members, half not; `logits` are torch's answers to them."""

    name: str
    recipe: Recipe
    state: Path
    x: FloatArray
    y: npt.NDArray[np.int64]
    queries: FloatArray

    @property
    def calibration(self) -> FloatArray:
        return self.x[MEMBERS : MEMBERS + CALIBRATION]

    @property
    def logits(self) -> FloatArray:
        return self.answers(self.state)

    def recipe_of(self, state: Path) -> recipes.Recipe:
        return _RESHAPED.get(state, self.recipe.whole)

    def module(self, state: Path) -> nn.Module:
        return recipes.module_from_manifest(self.recipe_of(state).to_dict(), state)

    def members(self) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        return self.x[:MEMBERS], self.y[:MEMBERS]

    def answers(self, state: Path) -> FloatArray:
        """Torch's logits for `queries` with the weights in `state`."""
        with torch.inference_mode():
            return np.asarray(self.module(state)(torch.from_numpy(self.queries)).numpy())

    def finetune(self, module: nn.Module, epochs: int) -> None:
        train(module, *self.members(), epochs, lr=0.01)


def _records(shape: tuple[int, ...]) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))[: MEMBERS + CALIBRATION + OTHERS]
    x = (digits.data[order] / 16).astype(np.float32)
    if len(shape) == 3:
        scale = shape[1] // 8
        x = x.reshape(-1, 1, 8, 8).repeat(scale, 2).repeat(scale, 3).repeat(shape[0], 1)
        tint = np.linspace(0.5, 1, shape[0], dtype=np.float32)  # channels differ, so that mixing them up shows
        x = np.ascontiguousarray(x * tint[:, None, None])
    return x, digits.target[order].astype(np.int64)


@cache
def toy(name: str) -> Toy:
    recipe = RECIPES[name]
    x, y = _records(recipe.shape)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = recipe.build()
        train(module, x[:MEMBERS], y[:MEMBERS], recipe.epochs)
    state = Path(_ROOT.name) / f"{name}.safetensors"
    save_file(module.state_dict(), state)
    return Toy(name, recipe, state, x, y, np.concatenate([x[:MEMBERS], x[-OTHERS:]]))


def apply(toy: Toy, use: PassEntry, source: Path, seed: int = 0) -> tuple[Path, PassResult]:
    """One pass, in a folder of its own."""
    step = find_pass(use.name)
    folder = Path(tempfile.mkdtemp(dir=_ROOT.name))
    product = step.apply(
        ExportJob(
            source=source,
            workdir=folder,
            params=step.parameters(use.params),
            input_shape=toy.recipe.shape,
            n_classes=10,
            seed=seed,
            calibration=toy.calibration if step.spec.calibrates else None,
            module=(lambda: toy.module(source)) if step.spec.consumes == "torch" else None,
            finetune=toy.finetune if step.spec.trains else None,
            recipe=toy.recipe_of(source) if step.spec.consumes == "torch" else None,
            training_records=toy.members if step.spec.trains else None,
        )
    )
    if step.spec.produces == "torch":
        _RESHAPED[folder / product.file] = product.recipe or toy.recipe_of(source)
    return folder / product.file, product


_DONE: dict[tuple[str, str], tuple[Path, PassResult]] = {}


def pushed(toy: Toy, passes: Sequence[PassEntry]) -> tuple[Path, PassResult]:
    """The passes in order; what was made once is used again."""
    made: tuple[Path, PassResult] = toy.state, PassResult(toy.state.name)
    for i, use in enumerate(passes):
        key = toy.name, repr(passes[: i + 1])
        if key not in _DONE:
            _DONE[key] = apply(toy, use, made[0])
        made = _DONE[key]
    return made


def sealed(made: tuple[Path, PassResult], passes: Sequence[PassEntry]) -> Artifact:
    """The file with a manifest, as a runtime takes it."""
    path, product = made
    assert product.input is not None
    assert product.output is not None
    spec = find_pass(passes[-1].name).spec
    manifest = Manifest(
        kind=spec.produces,
        file=path.name,
        sha256=file_sha256(path),
        bytes=sum((path.parent / name).stat().st_size for name in (path.name, *product.companions)),
        input=product.input,
        output=product.output,
        softmax_inside=product.softmax_inside,
        passes=tuple(PassRecord(use.name, dict(use.params), {}) for use in passes),
        companions={name: file_sha256(path.parent / name) for name in product.companions},
    )
    return Artifact(path.parent, manifest)


def artifact(toy: Toy, passes: Sequence[PassEntry]) -> Artifact:
    return sealed(pushed(toy, passes), passes)
