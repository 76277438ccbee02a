"""Differentially private training in torch, by Opacus: DP-SGD with Poisson sampling, or DP-Adam.

The noise comes from a seeded generator, so that an audit can be repeated: whoever knows the seed can take the noise off
again. Such a run measures what a training leaks; a model that is released with a claim of privacy must draw its noise
from a secret source (`secure_mode` of Opacus).

Imported for recipes with `Training.privacy` alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

import torch
from opacus import GradSampleModule
from opacus.accountants import RDPAccountant
from opacus.accountants.utils import get_noise_multiplier
from opacus.optimizers import DPOptimizer
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from opacus.validators import ModuleValidator
from torch import nn

from edgeaudit.errors import RecipeError, TrainingError
from edgeaudit.optimizers import cosine
from edgeaudit.recipes.auxiliary import logits_and_auxiliary
from edgeaudit.recipes.base import Privacy, Recipe, Training
from edgeaudit.recipes.losses import Loss
from edgeaudit.recipes.training import augmented, loss_with_auxiliary, require_finite

__all__ = ["Spent", "train_privately"]

_REMEDY = (
    "use a recipe without it, such as a module:function of your own with nn.GroupNorm in the place of BatchNorm, or "
    "remove model.privacy"
)


class Spent(NamedTuple):
    """The privacy that a training spent.

    epsilon: at `delta`, of adding or removing one training record, by the accountant. noise_multiplier: standard
    deviation of the noise in units of `clip`. sample_rate: probability with which a step draws a record. accountant:
    `rdp`, Renyi differential privacy of the sampled Gaussian mechanism.
    """

    epsilon: float
    delta: float
    clip: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    accountant: str = "rdp"


def train_privately(
    module: nn.Module, x: torch.Tensor, recipe: Recipe, seed: int, criterion: Loss
) -> tuple[float, Spent]:
    """Train in place; returns the mean loss of the last epoch's records, and what was spent.

    As many steps as the loop without privacy takes. Each draws every record with the same probability, so that batches
    differ in size; gradients of single records are clipped, summed, noised and divided by the expected size. Learning
    rate, momentum and weight decay are those of the recipe.

    Args:
        module: to train; its random state is the caller's.
        x: float32 [n, *input_shape].
        recipe: with `training.privacy`.
        seed: of the draws and, by another stream, of the noise.
        criterion: a mean over records.

    Raises:
        RecipeError: a layer mixes records or keeps statistics of them, or Opacus has no gradients of single records
            for it. TrainingError: epsilon or delta cannot be met, or the loss is not finite.

    Source: Abadi et al., "Deep Learning with Differential Privacy" (CCS 2016), algorithm 1; Mironov, Talwar & Zhang,
    "Renyi Differential Privacy of the Sampled Gaussian Mechanism" (2019).
    """
    setting, privacy = recipe.training, recipe.training.privacy
    if privacy is None:
        raise TrainingError("model.privacy is not set")
    n = len(x)
    batch = min(setting.batch, n)
    steps = n // batch
    rate, total_steps = batch / n, steps * setting.epochs
    noise = _noise(privacy, n, rate, total_steps)
    draws, noises = (torch.Generator().manual_seed(one) for one in _seeds(seed))
    sampler = UniformWithReplacementSampler(num_samples=n, sample_rate=rate, generator=draws, steps=steps)
    accountant, mean = RDPAccountant(), 0.0
    statistics = {name: value.clone() for name, value in module.named_buffers()}
    module.train()
    _require_supported(module, recipe)
    _require_independent(module, x, recipe)
    _require_no_statistics(module, statistics, recipe)
    wrapped = _wrapped(module, recipe)
    optimizer = DPOptimizer(
        _optimizer(module, setting),
        noise_multiplier=noise,
        max_grad_norm=privacy.clip,
        expected_batch_size=batch,
        generator=noises,
    )
    optimizer.attach_step_hook(accountant.get_optimizer_hook_fn(sample_rate=rate))
    try:
        for epoch in range(setting.epochs):
            total, seen = 0.0, 0
            for step, drawn in enumerate(sampler):
                rows = torch.tensor(drawn, dtype=torch.int64)
                optimizer.zero_grad(set_to_none=True)
                if drawn:
                    inputs = augmented(x[rows], setting, draws)
                    loss = loss_with_auxiliary(wrapped, inputs, rows, setting, criterion)
                    with warnings.catch_warnings():
                        # Records need no gradient, which the first layer's hook warns of (torch 2.14, Opacus 1.6).
                        warnings.filterwarnings("ignore", message="Full backward hook is firing")
                        loss.backward()  # type: ignore[no-untyped-call]  # torch 2.14
                    total, seen = total + float(loss.detach()) * len(drawn), seen + len(drawn)
                _fill_in(module, len(drawn))
                for group in optimizer.param_groups:
                    group["lr"] = cosine(setting.lr, epoch * steps + step, total_steps)
                optimizer.step()
            mean = total / max(1, seen)
            require_finite(mean, epoch, setting.epochs, setting)
    finally:
        wrapped.to_standard_module()
        _forget(module)
    _require_no_statistics(module, statistics, recipe)
    spent = float(_quietly(lambda: accountant.get_epsilon(privacy.delta)))
    return mean, Spent(spent, privacy.delta, privacy.clip, noise, rate, total_steps)


def _seeds(seed: int) -> tuple[int, int]:
    """Seeds of the draws of records and of the noise."""
    draws, noises = torch.randint(2**62, (2,), generator=torch.Generator().manual_seed(seed)).tolist()
    return draws, noises


@cache
def _noise(privacy: Privacy, n: int, rate: float, steps: int) -> float:
    """The smallest noise multiplier, within the tolerance of Opacus, that spends no more than is allowed."""
    if privacy.delta >= 1 / n:
        raise TrainingError(
            f"model.privacy.delta: {privacy.delta:g} is 1/{1 / privacy.delta:.0f}, and a model trains on {n} records: "
            "from 1/records on, publishing a record is private; use less"
        )
    try:
        return float(
            _quietly(
                lambda: get_noise_multiplier(
                    target_epsilon=privacy.epsilon,
                    target_delta=privacy.delta,
                    sample_rate=rate,
                    steps=steps,
                    accountant="rdp",
                    epsilon_tolerance=min(0.01, privacy.epsilon / 100),
                )
            )
        )
    except ValueError as exc:
        raise TrainingError(
            f"model.privacy.epsilon: no noise spends as little as {privacy.epsilon:g} in {steps} steps ({exc}); raise "
            "it, or lower model.epochs"
        ) from exc


def _quietly(count: Callable[[], float]) -> float:
    """Count privacy. At the ends of its list of orders the accountant warns that its bound, which holds, is loose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the")
        return count()


def _optimizer(module: nn.Module, setting: Training) -> torch.optim.Optimizer:
    """As the loop without privacy has it; the rate is set before each step."""
    parameters = [one for one in module.parameters() if one.requires_grad]
    if setting.optimizer == "adam":
        return torch.optim.AdamW(parameters, setting.lr, weight_decay=setting.weight_decay)
    return torch.optim.SGD(
        parameters,
        setting.lr,
        momentum=setting.momentum,
        weight_decay=setting.weight_decay,
        nesterov=setting.momentum > 0,
    )


def _require_supported(module: nn.Module, recipe: Recipe) -> None:
    """Raise `RecipeError` for layers that cannot be trained privately."""
    wrong = next(_unsupported(module), None)
    if wrong is not None:
        name, layer, why = wrong
        raise RecipeError(
            f"model.privacy: the layer '{name}' ({type(layer).__name__}) of model.recipe '{recipe.name}' {why}; "
            f"{_REMEDY}"
        )


def _require_independent(module: nn.Module, x: torch.Tensor, recipe: Recipe) -> None:
    """Raise `RecipeError` where the answer to a record, in training, depends on the record beside it in the batch.

    Of two batches of the same size, with the same random numbers, as of dropout. Buffers may change.
    """
    if len(x) < 3:
        return
    answers: list[torch.Tensor] = []
    for beside in (1, 2):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            answers.append(logits_and_auxiliary(module(x[[0, beside]]))[0][0])
    if not torch.allclose(answers[0], answers[1], rtol=1e-4, atol=1e-6):
        raise RecipeError(
            f"model.privacy: the answer of model.recipe '{recipe.name}' to a record depends on the other records of "
            f"its batch, so that no gradient is of a single record; {_REMEDY}"
        )


def _wrapped(module: nn.Module, recipe: Recipe) -> GradSampleModule:
    """The module with gradients of single records. Raises `RecipeError` where Opacus has none."""
    try:
        return GradSampleModule(module, batch_first=True, loss_reduction="mean", strict=True)
    except (NotImplementedError, ValueError) as exc:
        raise RecipeError(
            f"model.privacy: Opacus has no gradients of single records for model.recipe '{recipe.name}': "
            f"{' '.join(str(exc).split())}; remove model.privacy, or use another recipe"
        ) from exc


def _unsupported(module: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Layers that are not private, with the reason. A frozen BatchNorm keeps statistics of records all the same."""
    for name, layer in module.named_modules():
        validate = ModuleValidator.VALIDATORS.get(type(layer))
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001  the base of all of them
            yield name, layer, "mixes the records of a batch"
        elif validate is not None and validate(layer):
            yield name, layer, "has no gradients of single records"


def _fill_in(module: nn.Module, drawn: int) -> None:
    """Give parameters that took no part in the loss, all of them for an empty draw, gradients of `drawn` records: 0."""
    for one in module.parameters():
        if one.requires_grad and getattr(one, "grad_sample", None) is None:
            vars(one)["grad_sample"] = torch.zeros((drawn, *one.shape))


def _forget(module: nn.Module) -> None:
    for one in module.parameters():
        one.grad = None


def _require_no_statistics(module: nn.Module, before: Mapping[str, torch.Tensor], recipe: Recipe) -> None:
    """Raise `RecipeError` where a buffer has changed: it is made of records, without noise."""
    changed = [
        name for name, value in module.named_buffers() if name in before and not torch.equal(value, before[name])
    ]
    if changed:
        raise RecipeError(
            f"model.privacy: '{changed[0]}' of model.recipe '{recipe.name}' changed in training and is no parameter: "
            f"it keeps statistics of records without noise; {_REMEDY}"
        )
