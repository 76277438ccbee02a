"""The built-in training loop: one thread, deterministic, a pure function of (records, seed, recipe)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgeaudit.errors import TrainingError
from edgeaudit.optimizers import AdamW, Nesterov, Optimizer, cosine
from edgeaudit.recipes.auxiliary import logits_and_auxiliary
from edgeaudit.recipes.base import (
    PRIVATE_LOOP,
    TRAINS,
    EarlyStopping,
    Recipe,
    Training,
    build,
    import_function,
    require_signature,
)
from edgeaudit.recipes.heads import as_written
from edgeaudit.recipes.losses import Loss, distillation_loss, loss_of

__all__ = [
    "Fitted", "build", "distil", "distil_model", "distillation_loss", "fit", "logits", "train", "trains_channels_last",
]  # fmt: skip

_SHIFT = 4
_ONEDNN_BLOCK = 16
_BLOCK = 256


class Stopped(NamedTuple):
    """What early stopping did. epochs: that were trained. best_epoch: the one that was kept, from 1 on.

    held_out: records that were not trained on, and their mean loss after the best epoch.
    """

    epochs: int
    best_epoch: int
    held_out: int
    held_out_loss: float


@dataclass(frozen=True)
class Fitted:
    """A finished training. loss: the mean of the last epoch, NaN for a user's own loop.

    privacy: what was spent, as `edgeaudit.recipes.private_training.Spent`; None without privacy.
    """

    loss: float
    stopped: Stopped | None = None
    privacy: Mapping[str, object] | None = None

    def about(self) -> dict[str, object]:
        """What early stopping and privacy did, as JSON values; empty without them."""
        stopped = {} if self.stopped is None else {"early_stopping": self.stopped._asdict()}
        return {**stopped, **({} if self.privacy is None else {"privacy": dict(self.privacy)})}


def train(
    module: nn.Module,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[Any],
    recipe: Recipe,
    seed: int,
    epochs: int | None = None,
) -> float:
    """Train in place as `fit` does; returns the mean loss of the last epoch (NaN for a user's own loop)."""
    return fit(module, x, y, recipe, seed, epochs).loss


def fit(
    module: nn.Module,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[Any],
    recipe: Recipe,
    seed: int,
    epochs: int | None = None,
) -> Fitted:
    """Train in place.

    A user's own loop may return the trained module or its `state_dict` instead, as early stopping does with the best
    one: the module is then given these weights.

    x: float32 [n, *input_shape]; y: what the task compares answers with (`Population.truth`): int64 [n], classes, or
    float32 [n, outputs]. `epochs` overrides the recipe's (fine-tuning), and the learning rate is then a tenth;
    fine-tuning neither stops early nor is private. Raises `TrainingError` where the loss or a weight is no longer
    finite, where a user's own loop returns a model of another layout, and where it leaves all weights as they were (but
    for fine-tuning).
    """
    setting = recipe.training
    if epochs is not None:
        setting = replace(setting, early_stopping=None, privacy=None)
    n_epochs = setting.epochs if epochs is None else epochs
    with _reproducible(module, recipe, seed, "training"):
        if recipe.train_function is not None:
            before = {name: value.clone() for name, value in module.state_dict().items()}
            function = import_function(recipe.train_function)
            what = f"model.train: '{recipe.train_function}'"
            require_signature(function, what, TRAINS, module, x, y, seed=seed, epochs=n_epochs)
            with as_written(module):
                returned = function(module, x, y, seed=seed, epochs=n_epochs)
            _take(module, returned, recipe)
            if epochs is None:
                _require_changed(module, before, recipe)
            return Fitted(math.nan)
        criterion = loss_of(recipe, torch.from_numpy(y))
        if setting.privacy is not None:
            loss, spent = import_module(PRIVATE_LOOP).train_privately(
                module, torch.from_numpy(x), recipe, seed, criterion
            )
            return Fitted(loss, privacy=spent._asdict())
        lr = setting.lr if epochs is None else setting.lr / 10
        return _loop(module, torch.from_numpy(x), setting, n_epochs, lr, seed, criterion)


def _take(module: nn.Module, returned: object, recipe: Recipe) -> None:
    """Give the module the weights of the model that a user's loop returned, if it returned another one."""
    found = returned if isinstance(returned, tuple | list) else [returned]
    models = [one for one in found if (isinstance(one, nn.Module) and one is not module) or _is_state(one)]
    if not models or any(one is module for one in found):
        return
    first, own = models[0], module.state_dict()
    state = first.state_dict() if isinstance(first, nn.Module) else first
    if len(models) > 1 or {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
        raise TrainingError(
            f"model.train: '{recipe.train_function}' returned another model than it was given "
            f"({type(first).__name__}, whose weights are not those of model.recipe '{recipe.name}'); train the "
            "module in place, or return one of the same layers"
        )
    module.load_state_dict(state)


def _is_state(value: object) -> TypeGuard[Mapping[str, torch.Tensor]]:
    """Whether it is a `state_dict`, as loops return that keep the best one."""
    return isinstance(value, Mapping) and bool(value) and all(isinstance(one, torch.Tensor) for one in value.values())


def _require_changed(module: nn.Module, before: Mapping[str, torch.Tensor], recipe: Recipe) -> None:
    """Raise `TrainingError` where no parameter is another one; statistics alone, as of BatchNorm, are no training."""
    names = [name for name, _ in module.named_parameters()] or list(before)
    after = module.state_dict()
    if names and all(name in before and torch.equal(before[name], after[name]) for name in names):
        raise TrainingError(
            f"model.train: '{recipe.train_function}' left every weight as it was. Does it train a copy? Train the "
            "module in place, or return the trained one"
        )


def distil(
    student: nn.Module,
    x: npt.NDArray[np.float32],
    answers: npt.NDArray[np.float32],
    recipe: Recipe,
    seed: int,
    epochs: int,
    after_epoch: Callable[[nn.Module], None],
) -> float:
    """Train a student in place on a teacher's answers; returns the mean loss of the last epoch.

    The built-in loop with the recipe's batch, learning rate, optimiser and precision, also where the recipe brings a
    training function of its own, since that takes labels and not answers. No augmentation, because the teacher answered
    about the records as they are, and no label smoothing, because its answers are smooth already. All epochs are
    trained, on all records, since each is a point of the student's trajectory.

    Args:
        student: untrained.
        x: float32 [n, *input_shape].
        answers: float32 [n, classes], rows that sum to 1; the loss is the cross-entropy of the student's softmax with
            them, the same as Kullback-Leibler but for the teacher's entropy, and takes exact zeros.
        recipe: of the student.
        seed: of the order of records.
        epochs: how many; the learning rate falls to 0 over them.
        after_epoch: called with the student in eval mode after each; it must not change it.

    Raises:
        TrainingError: the loss or a weight is no longer finite.
    """
    setting = replace(recipe.training, label_smoothing=0.0, augment="none", early_stopping=None, privacy=None)
    with _reproducible(student, recipe, seed, "distillation"):
        criterion = loss_of(replace(recipe, training=setting), torch.from_numpy(answers))
        return _loop(student, torch.from_numpy(x), setting, epochs, setting.lr, seed, criterion, after_epoch).loss


def distil_model(
    student: nn.Module,
    teacher: nn.Module,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[Any],
    recipe: Recipe,
    seed: int,
    temperature: float,
    alpha: float,
) -> float:
    """Train a student in place on records, their labels and what a teacher answers; returns the last epoch's mean loss.

    The built-in loop with all of the recipe's settings and `distillation_loss`, also where the recipe brings a training
    function of its own, since that takes labels and no teacher; but for `privacy`, which a student is trained without
    (the control `privacy` says so of its format). Where images are augmented, the teacher answers the
    images that the student sees.

    Args:
        student: untrained.
        teacher: it is put in eval mode and not changed.
        x: float32 [n, *input_shape].
        y: as in `train`.
        recipe: of the student.
        seed: of the order of records, of augmentation and of dropout.
        temperature: above 0.
        alpha: weight of the teacher's answers, 0 to 1.

    Raises:
        TrainingError: the loss or a weight is no longer finite.
    """
    setting = replace(recipe.training, privacy=None)
    with _reproducible(student, recipe, seed, "distillation"):
        taught, labels = _taught(teacher, x, setting), torch.from_numpy(y)

        def criterion(answer: torch.Tensor, inputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            known = taught(inputs, rows)
            hard = loss_of(recipe, labels)(answer, inputs, rows)
            return distillation_loss(answer, known, hard, temperature, alpha, recipe.task)

        return _loop(student, torch.from_numpy(x), setting, setting.epochs, setting.lr, seed, criterion).loss


def _taught(
    teacher: nn.Module, x: npt.NDArray[np.float32], setting: Training
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """(inputs, row numbers) -> the teacher's logits; asked once where the inputs are the records themselves."""
    teacher.eval()
    if not _augments(setting, x.ndim):
        known = torch.from_numpy(logits(teacher, x))
        return lambda _, rows: known[rows]

    def ask(inputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            answer: torch.Tensor = teacher(inputs).float()
        return answer

    return ask


@contextmanager
def _reproducible(module: nn.Module, recipe: Recipe, seed: int, what: str) -> Iterator[None]:
    """Seeded and deterministic inside, and the process's random state as before; eval mode and finite weights after."""
    # As torch.use_deterministic_algorithms(True), which imports torch._inductor and torch._dynamo (torch 2.14).
    torch.set_deterministic_debug_mode("error")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
    module.eval()
    if not all(bool(torch.isfinite(value).all()) for value in module.state_dict().values()):
        raise TrainingError(
            f"{recipe.name}: a weight is not finite after {what}; lower model.lr (it is {recipe.training.lr})"
        )


def _optimizer(module: nn.Module, setting: Training) -> Optimizer:
    if setting.optimizer == "adam":
        return AdamW(module.parameters(), setting.weight_decay)
    return Nesterov(module.parameters(), setting.momentum, setting.weight_decay)


def _loop(
    module: nn.Module,
    x: torch.Tensor,
    setting: Training,
    epochs: int,
    lr: float,
    seed: int,
    criterion: Loss,
    after_epoch: Callable[[nn.Module], None] | None = None,
) -> Fitted:
    """Every training but a private one runs through here; its loss is the last epoch's, auxiliary heads included."""
    generator = torch.Generator().manual_seed(seed)
    stopping = None if setting.early_stopping is None else _Stopping(setting.early_stopping, x, seed, criterion)
    own = torch.arange(len(x)) if stopping is None else stopping.trained
    batch = min(setting.batch, len(own))
    steps = len(own) // batch  # BatchNorm cannot take a last batch of one, so the rest of each epoch waits for the next
    if x.ndim == 4 and trains_channels_last(module):
        x = x.contiguous(memory_format=torch.channels_last)
        module.to(memory_format=torch.channels_last)
    optimizer = _optimizer(module, setting)
    mean = math.nan
    for epoch in range(epochs):
        module.train()
        order = own[torch.randperm(len(own), generator=generator)]
        total = 0.0
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            inputs = augmented(x[rows], setting, generator)
            optimizer.clear()
            with torch.autocast("cpu", torch.bfloat16, enabled=setting.precision == "bfloat16"):
                loss = loss_with_auxiliary(module, inputs, rows, setting, criterion)
            loss.backward()  # type: ignore[no-untyped-call]  # torch 2.14
            optimizer.step(cosine(lr, epoch * steps + step, epochs * steps))
            total += float(loss.detach())
        mean = total / steps
        require_finite(mean, epoch, epochs, setting)
        module.eval()
        if after_epoch is not None:
            after_epoch(module)
        if stopping is not None and stopping.ends_with(module):
            break
    stopped = None if stopping is None else stopping.restore(module)
    module.to(memory_format=torch.contiguous_format)
    return Fitted(mean, stopped)


def loss_with_auxiliary(
    module: nn.Module, inputs: torch.Tensor, rows: torch.Tensor, setting: Training, criterion: Loss
) -> torch.Tensor:
    """Loss of a module in training mode on inputs, auxiliary heads included."""
    answer, *others = logits_and_auxiliary(module(inputs))
    loss = criterion(answer.float(), inputs, rows)
    for other in others:
        loss = loss + setting.auxiliary_weight * criterion(other.float(), inputs, rows)
    return loss


def require_finite(mean: float, epoch: int, epochs: int, setting: Training) -> None:
    """Raise `TrainingError` where the mean loss of an epoch, counted from 0, is not finite."""
    if not math.isfinite(mean):
        raise TrainingError(f"the loss is {mean} in epoch {epoch + 1} of {epochs}; lower model.lr (it is {setting.lr})")


class _Stopping:
    """Early stopping: holds records out, and keeps the weights of the epoch after which their loss was the lowest.

    trained: row numbers of the records that are trained on, int64. The draw has a generator of its own, so that the
    order of records and their augmentation do not depend on it.
    """

    def __init__(self, setting: EarlyStopping, x: torch.Tensor, seed: int, criterion: Loss) -> None:
        n = len(x)
        count = max(1, round(setting.share * n))
        if n - count < 2:
            raise TrainingError(
                f"model.early_stopping: {count} of {n} training records are held out, which leaves {n - count}; lower "
                "'share', or train on more records"
            )
        drawn = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        self.trained = drawn[count:].sort().values
        self._held = drawn[:count].sort().values
        self._x, self._criterion, self._patience = x, criterion, setting.patience
        self._best, self._best_epoch, self._epochs = math.inf, 0, 0
        self._state: dict[str, torch.Tensor] = {}

    def ends_with(self, module: nn.Module) -> bool:
        """Whether the epoch that has ended, of a module in eval mode, was the last."""
        self._epochs += 1
        loss = self._loss(module)
        if loss < self._best:
            self._best, self._best_epoch = loss, self._epochs
            self._state = {name: value.detach().clone() for name, value in module.state_dict().items()}
        return self._epochs - self._best_epoch >= self._patience

    def _loss(self, module: nn.Module) -> float:
        """Mean loss on the held-out records as they are."""
        total = 0.0
        with torch.no_grad():
            for rows in torch.split(self._held, _BLOCK):
                inputs = self._x[rows]
                total += float(self._criterion(module(inputs).float(), inputs, rows)) * len(rows)
        return total / len(self._held)

    def restore(self, module: nn.Module) -> Stopped:
        """Give the module the weights of the best epoch."""
        if not self._state:
            raise TrainingError(
                "model.early_stopping: the loss on the held-out records is never finite; lower model.lr"
            )
        module.load_state_dict(self._state)
        return Stopped(self._epochs, self._best_epoch, len(self._held), self._best)


def trains_channels_last(module: nn.Module) -> bool:
    """Return whether images may be trained on with channels last, which is faster.

    Not where a 1x1 convolution has a stride and fewer input channels than a block of oneDNN (8 with AVX2, 16 with
    AVX-512), as the shortcuts of a pruned ResNet have: the gradient of its weights is then wrong, and computing it
    writes past its workspace, so that the process ends later, anywhere (torch 2.14.1, oneDNN issue 6035).
    """
    return not any(
        isinstance(layer, nn.Conv2d)
        and set(layer.kernel_size) == {1}
        and max(layer.stride) > 1
        and layer.in_channels // layer.groups < _ONEDNN_BLOCK
        for layer in module.modules()
    )


def _augments(setting: Training, ndim: int) -> bool:
    """Whether records of as many axes, the batch's among them, are changed before they are shown."""
    return setting.augment != "none" and ndim == 4


def augmented(x: torch.Tensor, setting: Training, generator: torch.Generator) -> torch.Tensor:
    """Records as the loop shows them; the call advances the generator where they are augmented."""
    if not _augments(setting, x.ndim):
        return x
    mirrored = torch.rand(len(x), generator=generator) < 0.5
    x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    down, right = (int(torch.randint(-_SHIFT, _SHIFT + 1, (1,), generator=generator)) for _ in range(2))
    return torch.roll(nn.functional.pad(x, (_SHIFT,) * 4), (down, right), (2, 3))[..., _SHIFT:-_SHIFT, _SHIFT:-_SHIFT]


def logits(module: nn.Module, x: npt.NDArray[np.float32], batch: int = _BLOCK) -> npt.NDArray[np.float32]:
    """Answers of a module in eval mode, float32 [n, classes]."""
    module.eval()
    with torch.no_grad():
        blocks = [module(torch.from_numpy(x[i : i + batch])).float().numpy() for i in range(0, len(x), batch)]
    return np.concatenate(blocks) if blocks else np.empty((0, 0), np.float32)
