"""Final sigmoids are taken off, and what the built-in loop minimises by task."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeaudit.errors import RecipeError
from edgeaudit.recipes.base import Recipe, Training, build
from edgeaudit.recipes.heads import TakenOff, as_written, without_sigmoid
from edgeaudit.recipes.losses import distillation_loss, loss_of
from edgeaudit.recipes.training import logits, train

X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int64)
HERE = __name__


def one_logit(shape: tuple[int, ...], n: int) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[0], 8), nn.ReLU(), nn.Linear(8, 1))


def one_sigmoid(shape: tuple[int, ...], n: int) -> nn.Module:
    return nn.Sequential(one_logit(shape, n), nn.Sigmoid())


def squeezed(shape: tuple[int, ...], n: int) -> nn.Module:
    return nn.Sequential(one_logit(shape, n), nn.Flatten(0))


def gated(shape: tuple[int, ...], n: int) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[0], 8), nn.Sigmoid(), nn.Linear(8, n))


def as_many(shape: tuple[int, ...], n: int) -> nn.Module:
    return nn.Linear(shape[0], n)


def own_loop(
    module: nn.Module, x: npt.NDArray[np.float32], y: npt.NDArray[np.int64], *, seed: int, epochs: int
) -> None:
    """A loop as people write it for a sigmoid: nn.BCELoss, which takes nothing outside of [0, 1]."""
    torch.manual_seed(seed)
    optimizer, loss = torch.optim.Adam(module.parameters(), 0.05), nn.BCELoss()
    for _ in range(40 * epochs):
        optimizer.zero_grad()
        loss(module(torch.from_numpy(x))[:, 0], torch.from_numpy(y).float()).backward()
        optimizer.step()


def _recipe(name: str, outputs: int = 2, task: str = "classification", train_function: str | None = None) -> Recipe:
    settings = Training(epochs=20, batch=20, lr=0.05, optimizer="adam", weight_decay=0.0)
    return Recipe(f"{HERE}:{name}", (4,), outputs, {}, settings, train_function, task=task)  # type: ignore[arg-type]


def test_a_final_sigmoid_is_taken_off_and_another_is_not() -> None:
    module = build(_recipe("one_sigmoid"), 0)
    body, head = module.children()
    assert isinstance(head, TakenOff)
    torch.testing.assert_close(module(torch.from_numpy(X)), body(torch.from_numpy(X)))
    assert isinstance(list(build(_recipe("gated"), 0).children())[1], nn.Sigmoid)


def test_the_weights_are_named_as_before() -> None:
    written = one_sigmoid((4,), 2)
    assert list(build(_recipe("one_sigmoid"), 0).state_dict()) == list(written.state_dict())


def test_a_sigmoid_that_is_used_twice_stays() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.sigmoid = nn.Linear(4, 1), nn.Sigmoid()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.sigmoid(self.sigmoid(self.linear(x)))
            return answer

    assert not without_sigmoid(Twice(), torch.from_numpy(X))


def test_a_loop_of_the_users_sees_the_sigmoid_and_the_audit_does_not() -> None:
    recipe = _recipe("one_sigmoid", train_function=f"{HERE}:own_loop")
    module = build(recipe, 0)
    train(module, X, Y, recipe, 0)
    answers = logits(module, X)
    assert answers.min() < -1
    assert answers.max() > 1
    assert ((answers[:, 0] > 0) == Y).mean() > 0.95
    with as_written(module):
        torch.testing.assert_close(module(torch.from_numpy(X)), torch.sigmoid(torch.from_numpy(answers)))


@pytest.mark.parametrize("name", ["one_logit", "one_sigmoid"])
def test_the_built_in_loop_trains_one_logit(name: str) -> None:
    recipe = _recipe(name)
    module = build(recipe, 0)
    train(module, X, Y, recipe, 0)
    assert ((logits(module, X)[:, 0] > 0) == Y).mean() > 0.95


def test_a_squeezed_logit_is_refused_with_the_remedy() -> None:
    with pytest.raises(RecipeError, match=r"one logit a record is \[2, 1\]"):
        build(_recipe("squeezed"), 0)


def test_one_logit_of_three_classes_is_refused() -> None:
    with pytest.raises(RecipeError, match="3 logits are expected"):
        build(_recipe("one_logit", outputs=3), 0)


def test_the_loss_of_one_logit_is_that_of_two() -> None:
    answers, targets = torch.tensor([[0.3], [-1.2]]), torch.tensor([1, 0])
    rows = torch.tensor([0, 1])
    of_two = torch.cat((torch.zeros(2, 1), answers), dim=1)
    one = loss_of(_recipe("one_logit"), targets)(answers, answers, rows)
    torch.testing.assert_close(one, functional.cross_entropy(of_two, targets))
    soft = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    one = loss_of(_recipe("one_logit"), soft)(answers, answers, rows)
    torch.testing.assert_close(one, functional.cross_entropy(of_two, soft))


def test_values_are_compared_in_deviations_of_the_training_records() -> None:
    # Deviations 1 and 100; off by one deviation in one of two values: a mean square of 1/2.
    targets = torch.tensor([[1.0, 100.0], [-1.0, -100.0]])
    loss = loss_of(_recipe("as_many", 2, "regression"), targets)
    found = loss(torch.tensor([[2.0, 100.0], [-1.0, 0.0]]), targets, torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor(0.5))


def test_reconstructions_are_compared_with_what_was_shown() -> None:
    shown = torch.ones(3, 1, 2, 2)
    loss = loss_of(_recipe("as_many", 4, "reconstruction"), torch.zeros(3, 4))
    torch.testing.assert_close(loss(torch.zeros(3, 4), shown, torch.arange(3)), torch.tensor(1.0))


@pytest.mark.parametrize("task", ["multi-label", "regression", "reconstruction"])
def test_the_built_in_loop_learns_every_task(task: str) -> None:
    y = X if task != "multi-label" else (X > 0).astype(np.float32)
    recipe = _recipe("as_many", 4, task)
    module = build(recipe, 0)
    train(module, X, y, recipe, 0)
    answers = logits(module, X)
    assert ((answers > 0) == (X > 0)).mean() > 0.95


def test_a_teacher_with_one_logit_teaches_a_student_with_two() -> None:
    student, teacher = torch.tensor([[0.0, 0.5]]), torch.tensor([[0.5]])
    found = distillation_loss(student, teacher, torch.tensor(7.0), 2.0, 1.0)
    torch.testing.assert_close(found, torch.tensor(0.0))


def test_a_student_that_answers_as_its_teacher_is_not_apart() -> None:
    answers, hard = torch.tensor([[0.7, -1.0]]), torch.tensor(2.0)
    for task in ("multi-label", "regression", "reconstruction"):
        found = distillation_loss(answers, answers, hard, 4.0, 0.75, task)
        torch.testing.assert_close(found, torch.tensor(0.5))
