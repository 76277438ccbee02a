"""Optimizers and rates, held against torch.optim."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgeaudit.optimizers import AdamW, Nesterov, cosine, one_cycle

STEPS = 30


class Net(nn.Module):
    """Convolutions with channels last, a frozen layer, one that is not used at first, and an embedding."""

    def __init__(self, *, sparse: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 4, sparse=sparse)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2)
        )
        self.frozen, self.late, self.never = nn.Linear(4, 4), nn.Linear(4, 5), nn.Linear(4, 5)
        self.head = nn.Linear(4, 5)
        self.frozen.requires_grad_(requires_grad=False)
        self.body.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor, words: torch.Tensor, *, late: bool) -> torch.Tensor:
        seen = self.frozen(self.body(x).mean(dim=(2, 3)) + self.words(words))
        answer: torch.Tensor = self.head(seen) + (self.late(seen) if late else 0)
        return answer


def _trained(steps: Callable[[nn.Module], Callable[[int], None]], *, sparse: bool = False) -> torch.Tensor:
    torch.manual_seed(0)
    net = Net(sparse=sparse)
    step = steps(net)
    x = torch.randn(STEPS, 16, 3, 8, 8)
    words, labels = torch.randint(12, (STEPS, 16)), torch.randint(5, (STEPS, 16))
    for number in range(STEPS):
        inputs = x[number].contiguous(memory_format=torch.channels_last)
        answer = net(inputs, words[number], late=number > STEPS // 2)
        nn.functional.cross_entropy(answer, labels[number]).backward()  # type: ignore[no-untyped-call]
        step(number)
    return torch.cat([one.detach().flatten() for one in net.parameters()])


def _ours(optimizer: Nesterov | AdamW) -> Callable[[int], None]:
    def step(number: int) -> None:
        optimizer.step(cosine(0.05, number, STEPS))
        optimizer.clear()

    return step


def _theirs(optimizer: torch.optim.Optimizer) -> Callable[[int], None]:
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)

    def step(_: int) -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()

    return step


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_sgd_is_that_of_torch(momentum: float) -> None:
    ours = _trained(lambda net: _ours(Nesterov(net.parameters(), momentum, 5e-4)))
    nesterov = momentum > 0
    theirs = _trained(
        lambda net: _theirs(
            torch.optim.SGD(net.parameters(), lr=0.05, momentum=momentum, weight_decay=5e-4, nesterov=nesterov)
        )
    )
    start = _trained(lambda _: lambda _: None)
    assert torch.allclose(ours, theirs, atol=2e-5)
    assert not torch.allclose(ours, start, atol=1e-2)


def test_adam_is_that_of_torch() -> None:
    ours = _trained(lambda net: _ours(AdamW(net.parameters(), 0.01)))
    theirs = _trained(lambda net: _theirs(torch.optim.AdamW(net.parameters(), lr=0.05, weight_decay=0.01)))
    assert torch.allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("kind", [lambda p: Nesterov(p, 0.9, 5e-4), lambda p: AdamW(p, 0.01)])
def test_sparse_gradients_are_taken_as_dense_ones(kind: Callable[..., Nesterov | AdamW]) -> None:
    dense, sparse = (_trained(lambda net: _ours(kind(net.parameters())), sparse=one) for one in (False, True))
    assert torch.allclose(dense, sparse, atol=1e-5)


def test_without_any_gradient_nothing_changes() -> None:
    layer = nn.Linear(2, 2)
    before = layer.weight.clone()
    Nesterov(layer.parameters(), 0.9, 0.1).step(1.0)
    AdamW(layer.parameters(), 0.1).step(1.0)
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_the_cosine_is_that_of_torch(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        assert cosine(0.3, step, steps) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("steps", [4, 10, 100, 333])
def test_one_cycle_is_that_of_torch(steps: int) -> None:
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=steps)
    for step in range(steps):
        group = optimizer.param_groups[0]
        assert one_cycle(0.3, step, steps) == pytest.approx((group["lr"], group["betas"][0]), rel=1e-6)
        optimizer.step()
        if step + 1 < steps:
            schedule.step()


def test_training_does_not_import_what_takes_longer_than_it() -> None:
    """torch._dynamo costs a worker process two CPU seconds."""
    program = """
import sys
import numpy as np
from edgeaudit.attacks.play_learners import Network
from edgeaudit.recipes.base import Recipe, Training, build
from edgeaudit.recipes.training import train
rng = np.random.default_rng(0)
for optimizer in ("sgd", "adam"):
    recipe = Recipe("cnn", (1, 8, 8), 3, {}, Training(epochs=1, batch=16, optimizer=optimizer), None)
    train(build(recipe, 0), rng.random((64, 1, 8, 8), np.float32), rng.integers(3, size=64), recipe, 0)
Network.fit(rng.random((500, 4), np.float32), rng.random(500) < 0.5)
print("torch._dynamo" in sys.modules, "torch._inductor" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "False"], done.stderr
