"""A file into which weights were written is the file of a conversion, byte for byte, or there is none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeaudit.exporters import litert
from edgeaudit.exporters.base import ExportJob
from edgeaudit.exporters.folding import fold_normalisation, weights_of
from edgeaudit.exporters.registry import find_pass
from edgeaudit.exporters.weight_swap import Templates
from edgeaudit.recipes.base import Recipe, build
from edgeaudit.settings import Settings


def random_weights(module: nn.Module, seed: int) -> nn.Module:
    """As training leaves them: no two numbers alike, statistics and biases that are none of the start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                drawn = torch.rand(value.shape, generator=generator)
                value.copy_(drawn + 0.5 if name.endswith("running_var") else drawn - 0.5)
    return module.eval()


class Mixed(nn.Module):
    """Grouped, depthwise and 1 x 1 convolutions, hard swish, a gate, and a linear layer without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.Hardsigmoid())
        self.wide = nn.Conv2d(8, 12, 1)
        self.last = nn.Linear(12, 4, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.first(x)
        found = self.wide(found * self.deep(found)).mean(dim=(2, 3))
        answer: torch.Tensor = self.last(found)
        return answer


class Folding(nn.Module):
    """The converter computes with a weight before it stores it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.layer.weight * 0.3, self.layer.bias)


def _of(recipe: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: build(Recipe(recipe, (3, 32, 32), 10, options), 0)


def _job(folder: Path, module: nn.Module, shape: tuple[int, ...], outputs: int, name: str) -> ExportJob:
    folder.mkdir()
    params = Settings({"softmax": "outside"})
    recipe = Recipe(name, shape, outputs)
    return ExportJob(
        folder / "none", folder, params, shape, outputs, 0, module=lambda: copy.deepcopy(module), recipe=recipe
    )


CASES: list[tuple[str, Callable[[], nn.Module], tuple[int, ...], int]] = [
    ("mlp", lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)), (6,), 4),
    ("one output", lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 1)), (6,), 1),
    ("mixed", Mixed, (3, 16, 16), 4),
    ("resnet8", _of("resnet8"), (3, 32, 32), 10),
]


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The conversions of this test, with no template of another one."""
    calls: list[str] = []
    real = litert._convert

    def counted(module: nn.Module, shape: tuple[int, ...], job: ExportJob, **options: Any) -> None:
        calls.append(job.torch_recipe().name)
        real(module, shape, job, **options)

    monkeypatch.setattr(litert, "TEMPLATES", Templates())
    monkeypatch.setattr(litert, "_convert", counted)
    return calls


def _exported(folder: Path, module: nn.Module, shape: tuple[int, ...], outputs: int, name: str) -> bytes:
    job = _job(folder, module, shape, outputs, name)
    find_pass("litert.export").apply(job)
    return (folder / litert.FILE).read_bytes()


@pytest.mark.toolchain
@pytest.mark.parametrize(("name", "make", "shape", "outputs"), CASES, ids=[case[0] for case in CASES])
def test_from_the_third_model_on_files_are_rewritten_and_those_of_a_conversion(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    converted: list[str],
    name: str,
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    outputs: int,
) -> None:
    models = [random_weights(make(), seed) for seed in range(4)]
    files = [_exported(tmp_path / f"a{k}", model, shape, outputs, name) for k, model in enumerate(models)]
    assert len(converted) == 2
    assert len(set(files)) == 4
    for k in (2, 3):
        monkeypatch.setattr(litert, "TEMPLATES", Templates())
        assert _exported(tmp_path / f"b{k}", models[k], shape, outputs, name) == files[k]
    assert len(converted) == 4


@pytest.mark.toolchain
@pytest.mark.matrix
def test_mobilenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, converted: list[str]) -> None:
    make = _of("torchvision:mobilenet_v3_small")
    models = [random_weights(make(), seed) for seed in range(3)]
    files = [_exported(tmp_path / f"a{k}", model, (3, 32, 32), 10, "m") for k, model in enumerate(models)]
    assert len(converted) == 2
    monkeypatch.setattr(litert, "TEMPLATES", Templates())
    assert _exported(tmp_path / "b", models[2], (3, 32, 32), 10, "m") == files[2]


@pytest.mark.toolchain
def test_weights_that_the_converter_folds_are_converted_each_time(tmp_path: Path, converted: list[str]) -> None:
    models = [random_weights(Folding(), seed) for seed in range(3)]
    for k, model in enumerate(models):
        _exported(tmp_path / f"a{k}", model, (6,), 4, "folding")
    assert len(converted) == 3


@pytest.mark.toolchain
def test_another_module_of_the_same_recipe_and_shapes_is_another_architecture(
    tmp_path: Path, converted: list[str]
) -> None:
    """As a pass leaves it that changes how a layer computes."""
    for k in range(3):
        _exported(tmp_path / f"a{k}", random_weights(nn.Sequential(nn.Linear(6, 4), nn.ReLU()), k), (6,), 4, "same")
    other = random_weights(nn.Sequential(nn.Linear(6, 4), nn.Tanh()), 9)
    before = len(converted)
    made = _exported(tmp_path / "other", other, (6,), 4, "same")
    assert len(converted) == before + 1
    assert made != (tmp_path / "a2" / litert.FILE).read_bytes()


@pytest.mark.toolchain
def test_a_bias_of_zeros_is_converted(tmp_path: Path, converted: list[str]) -> None:
    """The converter may drop it, and then the file has no place for the bias of another model."""
    for k in range(3):
        model = random_weights(nn.Linear(6, 4), k)
        if k == 0:
            nn.init.zeros_(model.bias)  # type: ignore[arg-type]
        _exported(tmp_path / f"a{k}", model, (6,), 4, "zeros")
    _exported(tmp_path / "a3", random_weights(nn.Linear(6, 4), 3), (6,), 4, "zeros")
    assert len(converted) == 3  # the first teaches nothing


def _file(weights: np.ndarray[Any, Any], tail: bytes = b"end") -> bytes:
    return b"head" + weights.astype(np.float32).tobytes() + tail


def test_a_second_file_that_differs_elsewhere_ends_it() -> None:
    first, second = np.array([1.5, 2.5], np.float32), np.array([3.5, 4.5], np.float32)
    templates = Templates()
    templates.converted("a", {"w": first}, _file(first))
    assert templates.rewritten("a", {"w": second}) is None
    templates.converted("a", {"w": second}, _file(second, b"END"))
    assert templates.rewritten("a", {"w": second}) is None
    templates.converted("a", {"w": second}, _file(second))
    assert templates.rewritten("a", {"w": second}) is None


def test_a_number_that_occurs_twice_by_chance_is_told_by_the_second_file() -> None:
    """The head has the bytes of the first model's only weight; they are no weight."""
    first, second = np.array([1.5], np.float32), np.array([2.5], np.float32)
    head = first.tobytes()
    templates = Templates()
    templates.converted("a", {"w": first}, head + _file(first))
    templates.converted("a", {"w": second}, head + _file(second))
    assert templates.rewritten("a", {"w": np.array([7.5], np.float32)}) == head + _file(np.array([7.5]))


def test_files_are_kept_up_to_a_size_and_the_one_used_longest_ago_goes() -> None:
    templates = Templates(most_bytes=40)
    values = [np.array([k + 0.5, k + 0.25], np.float32) for k in range(4)]
    for name in ("a", "b"):
        for k in (0, 1):
            templates.converted(name, {"w": values[k]}, _file(values[k]))  # 15 bytes
    assert templates.rewritten("a", {"w": values[2]}) == _file(values[2])
    for k in (0, 1):
        templates.converted("c", {"w": values[k]}, _file(values[k]))
    assert templates.rewritten("b", {"w": values[2]}) is None
    assert templates.rewritten("a", {"w": values[2]}) == _file(values[2])
    templates.converted("d", {"w": values[0]}, _file(values[0], bytes(100)))
    assert templates.rewritten("a", {"w": values[2]}) == _file(values[2])


def test_normalisation_is_folded_only_where_answers_stay() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.norm(self.layer(x)) + self.layer(x)
            return answer

    plain = random_weights(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), 0)
    folded = fold_normalisation(copy.deepcopy(plain), "plain", (3, 5, 5))
    assert sorted(weights_of(folded)) == ["0.bias", "0.weight"]
    records = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(folded(records), plain(records))
    twice = random_weights(Twice(), 0)
    before = list(weights_of(twice))
    assert list(weights_of(fold_normalisation(twice, "twice", (3, 5, 5)))) == before
