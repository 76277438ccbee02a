"""A recipe: (records, seed) -> trained model, as plain data that can be hashed, stored and sent to a worker."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from edgeaudit.errors import RecipeError, did_you_mean
from edgeaudit.settings import checked_settings
from edgeaudit.tasks import TaskName, find_task

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "BOOSTERS", "BUILDS", "PRIVATE_LOOP", "TRAINS", "ZOOS", "Architecture", "ArchitectureSpec", "EarlyStopping",
    "Privacy", "Recipe", "Training", "build", "import_function", "is_own_recipe", "module_from_manifest",
    "recipe_modules", "require_signature", "shape_problem",
]  # fmt: skip

ZOOS: Mapping[str, str] = {
    "timm": "edgeaudit.recipes.timm_models",
    "torchvision": "edgeaudit.recipes.torchvision_models",
}
"""Package of ready-made architectures, as in `timm:<name>` -> the module whose `build_named` builds them."""

BOOSTERS: Mapping[str, str] = {"LGBMClassifier": "lightgbm", "XGBClassifier": "xgboost"}
"""Classifiers with scikit-learn's interface that `sklearn:<name>` takes, too -> their modules."""

BUILDS = "function(input_shape, n_classes, **options)"
TRAINS = "function(module, x, y, *, seed, epochs)"
"""How functions of the user's are called, for messages."""

PRIVATE_LOOP = "edgeaudit.recipes.private_training"
"""The module that trains with `Training.privacy`. It is imported for such recipes alone, so that the keys of others do
not depend on Opacus."""


@dataclass(frozen=True)
class EarlyStopping:
    """When the loop stops before its last epoch.

    share: of the training records, drawn by the model's seed, that are held out. patience: epochs without a lower loss
        on them after which it stops. The weights of the epoch with the lowest loss are kept.

    Source: Goodfellow, Bengio & Courville, "Deep Learning" (2016), algorithm 7.1.
    """

    patience: int = 5
    share: float = 0.1


@dataclass(frozen=True)
class Privacy:
    """Differentially private training: epsilon at delta, and the L2 norm to which a record's gradient is clipped."""

    epsilon: float
    delta: float = 1e-5
    clip: float = 1.0


@dataclass(frozen=True)
class Training:
    """The training loop's settings. lr follows one cosine from `lr` to 0 over all steps.

    auxiliary_weight: of the loss of each auxiliary head, for models that answer (logits, auxiliary logits, ...) while
        they train; 0.3 as in GoogLeNet (Szegedy et al., "Going deeper with convolutions", 2015, section 5).
    augment: `flip-shift` mirrors half of the images and shifts all by up to 4 pixels, or `none`.
    precision: `bfloat16` trains under CPU autocast (faster where the CPU has bf16); weights stay float32.
    early_stopping, privacy: of the torch loop; None for neither.
    """

    epochs: int = 30
    batch: int = 64
    lr: float = 0.05
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    augment: Literal["none", "flip-shift"] = "none"
    precision: Literal["float32", "bfloat16"] = "float32"
    auxiliary_weight: float = 0.3
    early_stopping: EarlyStopping | None = None
    privacy: Privacy | None = None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Training:
        """Inverse of `dataclasses.asdict`."""
        parts = {"early_stopping": EarlyStopping, "privacy": Privacy}
        made = {name: kind(**raw[name]) for name, kind in parts.items() if raw.get(name) is not None}
        return cls(**{**raw, **made})


@dataclass(frozen=True)
class Recipe:
    """How a model is built and trained.

    name: a built-in architecture, `torchvision:<name>`, `timm:<name>`, or the user's `module:function`, called as
        function(input_shape, n_classes, **options) -> torch.nn.Module that answers logits.
    n_classes: classes, labels or values that a model answers; of two classes it may have one logit, for the second.
    train_function: the user's `module:function`, called as function(module, x, y, *, seed, epochs) and training in
        place; None for the built-in loop.
    input_shape: of one record, (C, H, W) or (d,).
    resized: the weights determine the width of each layer (after channel pruning), so
        `module_from_manifest` resizes the module that `build` returns.
    task: what the model is for, as `task` of audit.yaml.
    """

    name: str
    input_shape: tuple[int, ...]
    n_classes: int
    options: Mapping[str, object] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    train_function: str | None = None
    resized: bool = False
    task: TaskName = "classification"

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return asdict(self) | {"input_shape": list(self.input_shape), "options": dict(self.options)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, object]) -> Recipe:
        """Inverse of `to_dict`."""
        fields: dict[str, Any] = dict(raw)
        fields["input_shape"] = tuple(fields["input_shape"])
        fields["training"] = Training.from_dict(fields["training"])
        return cls(**fields)


@dataclass(frozen=True)
class ArchitectureSpec:
    """name: as in model.recipe; `keras:...` where it builds a keras.Model. summary: one line, with its options."""

    name: str
    summary: str


class Architecture:
    """A named architecture. Subclasses set `spec` and `build`.

    build: (input_shape, n_classes, **options) -> torch.nn.Module or keras.Model that answers logits. input_shape is
        (C, H, W) or (d,) for torch and (H, W, C) or (d,) for Keras; an option that makes the model narrower is called
        `width` or `hidden`, so that a student of half the width can be made.
    """

    spec: ClassVar[ArchitectureSpec]
    build: ClassVar[Callable[..., Any]]


def build(recipe: Recipe, seed: int) -> nn.Module:
    """An untrained module; its initial weights depend on `seed` alone. A final sigmoid is taken off (`heads`).

    Raises `RecipeError` where the architecture is unknown or does not fit records of `input_shape`.
    """
    import torch

    from edgeaudit.recipes.registry import ARCHITECTURES

    known = [name for name in ARCHITECTURES.names() if not name.startswith("keras:")]
    module: nn.Module
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            if recipe.name in known:
                architecture = ARCHITECTURES.find(recipe.name)
                _, _, *options = inspect.signature(architecture.build).parameters
                checked_settings(
                    f"the architecture '{recipe.name}'", "option", recipe.options, dict.fromkeys(options), RecipeError
                )
                module = architecture.build(recipe.input_shape, recipe.n_classes, **recipe.options)
            elif (zoo := recipe.name.partition(":")[0]) in ZOOS:
                module = importlib.import_module(ZOOS[zoo]).build_named(recipe)
            elif ":" in recipe.name:
                module = _users_function(recipe)(recipe.input_shape, recipe.n_classes, **recipe.options)
            else:
                raise RecipeError(
                    f"model.recipe: '{recipe.name}' is not known.{did_you_mean(recipe.name, known)} "
                    f"Built in: {', '.join(known)}; or torchvision:<name>, timm:<name>, or module:function of your own"
                )
            _check_fit(module, recipe)
        except (TypeError, ValueError, RuntimeError) as exc:
            raise RecipeError(f"model.recipe '{recipe.name}' cannot be built: {exc}") from exc
    return module


def _users_function(recipe: Recipe) -> Callable[..., Any]:
    function = import_function(recipe.name)
    given = (recipe.input_shape, recipe.n_classes)
    require_signature(function, f"model.recipe: '{recipe.name}'", BUILDS, *given, **recipe.options)
    return function


def require_signature(
    function: Callable[..., Any], what: str, expected: str, *arguments: object, **named: object
) -> None:
    """Raise `RecipeError` where a function of the user's cannot be called with these arguments.

    what: the key and the function, for the message. expected: how it is called. What has no signature that Python
    could read (some built-in functions) is taken as it is.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments, **named)
    except TypeError as exc:
        raise RecipeError(f"{what} is defined as {_short(signature)}, but is called as {expected}: {exc}") from exc


def _short(signature: inspect.Signature) -> str:
    """The signature without annotations, which may be long."""
    plain = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    return f"function{signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)}"


def _check_fit(module: nn.Module, recipe: Recipe) -> None:
    import torch

    if not isinstance(module, torch.nn.Module):
        raise RecipeError(f"model.recipe '{recipe.name}' returned {type(module).__name__}, not a torch.nn.Module")
    module.eval()
    try:
        with torch.no_grad():
            answer = module(torch.zeros(2, *recipe.input_shape))
    except RuntimeError as exc:
        first_line = str(exc).splitlines()[0]
        remedy = ""
        if "indices" in first_line and "Float" in first_line:
            remedy = ". Records are float32, token ids too, which float32 holds exactly up to 2^24: write x.long()"
        raise RecipeError(
            f"model.recipe '{recipe.name}' cannot take records of shape {recipe.input_shape}: {first_line}{remedy}"
        ) from exc
    if not isinstance(answer, torch.Tensor):
        raise RecipeError(
            f"model.recipe '{recipe.name}' returns a {type(answer).__name__} in eval mode; expected logits, a tensor "
            f"[2, {recipe.n_classes}] for 2 records. Return auxiliary answers only while it trains (if self.training)"
        )
    if (problem := shape_problem(tuple(answer.shape), recipe)) is not None:
        raise RecipeError(f"model.recipe '{recipe.name}' returns {tuple(answer.shape)} for 2 records; {problem}")
    if not find_task(recipe.task).has_probabilities:
        return
    from edgeaudit.recipes.heads import without_sigmoid

    records = torch.from_numpy(np.random.default_rng(0).normal(size=(2, *recipe.input_shape)).astype(np.float32))
    if recipe.n_classes > 2 and recipe.task == "classification":
        return  # sigmoids of many classes are no probabilities of one class, and are refused where answers are examined
    without_sigmoid(module, records)


def shape_problem(shape: tuple[int, ...] | str, recipe: Recipe) -> str | None:
    """Why a model of the recipe cannot answer 2 records in this shape, and what to do; None where it can.

    shape: of the answers, or what else they are.
    """
    wanted, task = recipe.n_classes, find_task(recipe.task)
    if not isinstance(shape, str) and len(shape) == 2 and shape[0] == 2:
        problem = task.width_problem(shape[1], wanted)
    else:
        problem = f"expected [2, {wanted}]"
    if problem is None:
        return None
    if task.has_classes and shape in ((2,), (2, 1, 1, 1)) and wanted == 2:
        return f"{problem}; one logit a record is [2, 1]: end with nn.Flatten(), or do not squeeze the answer"
    if task.name == "reconstruction":
        return f"{problem}: the record, flattened; end the model with nn.Flatten()"
    return problem


def module_from_manifest(recipe: Mapping[str, object], state: Path) -> nn.Module:
    """Build a manifest's recipe and load the weights in `state` (.safetensors); eval mode."""
    from safetensors.torch import load_file

    from edgeaudit.recipes.resizing import resize

    made, weights = Recipe.from_dict(recipe), load_file(state)
    module = build(made, seed=0)
    if made.resized:
        resize(module, weights)
    module.load_state_dict(weights)
    return module.eval()


def import_function(reference: str) -> Callable[..., Any]:
    """The object that `module:function` names; the folder of audit.yaml is on the import path."""
    module_name, _, attribute = reference.partition(":")
    if not _is_dotted(module_name) or not attribute.isidentifier():
        raise RecipeError(f"'{reference}' is not of the form module:function, as in package.module:function")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except ImportError as exc:
        raise RecipeError(
            f"'{reference}': {exc}. The module must be importable from audit.yaml's folder or be installed"
        ) from exc
    except AttributeError as exc:
        raise RecipeError(f"'{reference}': the module {module_name} has no '{attribute}'") from exc
    if not callable(found):
        raise RecipeError(f"'{reference}' is not a function")
    function: Callable[..., Any] = found
    return function


def recipe_modules(*references: str | None) -> tuple[str, ...]:
    """The modules of architectures by name, and of the user's functions, for the keys of jobs that run them."""
    from edgeaudit.recipes.registry import ARCHITECTURES

    known = ARCHITECTURES.names()
    named = tuple(ARCHITECTURES.module(one) for one in references if one in known)
    own = (_users_part(one).partition(":") for one in references if one and one not in known)
    return (*named, *(ZOOS.get(module, module) for module, separator, _ in own if separator))


def is_own_recipe(*references: str | None) -> bool:
    """Whether no module of the user's or of another package's builds or trains the model."""
    return all(module.partition(".")[0] == "edgeaudit" for module in recipe_modules(*references))


def _users_part(reference: str) -> str:
    """`module:function` of a reference that may begin with its framework; boosters are in modules of their own."""
    part = reference.removeprefix("keras:").removeprefix("sklearn:")
    return f"{BOOSTERS[part]}:{part}" if part in BOOSTERS and part != reference else part


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))
