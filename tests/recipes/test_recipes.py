"""Recipes: a model is a pure function of (records, seed, recipe), whatever ran before in the process."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeaudit.errors import MissingToolchain, RecipeError, TrainingError
from edgeaudit.graph.closure import closure
from edgeaudit.recipes.base import Recipe, Training, build, recipe_modules
from edgeaudit.recipes.frameworks import require_zoo
from edgeaudit.recipes.registry import ARCHITECTURES
from edgeaudit.recipes.resizing import resize
from edgeaudit.recipes.training import distil, distil_model, distillation_loss, logits, train, trains_channels_last

X = np.random.default_rng(0).normal(size=(48, 1, 8, 8)).astype(np.float32)
Y = np.arange(48) % 3
FEW = Training(epochs=2, batch=16)


def _recipe(name: str = "cnn", **more: Any) -> Recipe:
    return replace(Recipe(name, (1, 8, 8), 3, training=FEW), **more)


def _trained(recipe: Recipe, seed: int) -> dict[str, torch.Tensor]:
    module = build(recipe, seed)
    train(module, X, Y, recipe, seed)
    return {name: value.clone() for name, value in module.state_dict().items()}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES.own if not name.startswith("keras:")])
def test_the_same_seed_gives_the_same_bits(name: str) -> None:
    first = _trained(_recipe(name), 1)
    torch.manual_seed(99)
    torch.randn(7)  # whatever else the process drew
    assert _same(first, _trained(_recipe(name), 1))
    assert not _same(first, _trained(_recipe(name), 2))


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    _trained(_recipe("mlp"), 1)
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize(
    "change",
    [{"lr": 0.01}, {"epochs": 3}, {"augment": "flip-shift"}, {"precision": "bfloat16"}, {"optimizer": "adam"}],
)
def test_every_setting_changes_the_model(change: dict[str, Any]) -> None:
    recipe = _recipe()
    other = replace(recipe, training=replace(FEW, **change))
    assert not _same(_trained(recipe, 1), _trained(other, 1))


def test_training_learns() -> None:
    recipe = _recipe("mlp", training=Training(epochs=40, batch=16))
    module = build(recipe, 0)
    loss = train(module, X, Y, recipe, 0)
    assert loss < 0.1
    assert (logits(module, X).argmax(axis=1) == Y).mean() > 0.95


HERE = __name__


def _fit(module: nn.Module, epochs: int) -> nn.Module:
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(epochs):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(torch.from_numpy(X)), torch.from_numpy(Y)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return module


def in_place(module: nn.Module, x: Any, y: Any, *, seed: int, epochs: int) -> None:
    _fit(module, epochs)


def in_place_with_history(module: nn.Module, x: Any, y: Any, *, seed: int, epochs: int) -> tuple[nn.Module, float]:
    return _fit(module, epochs), 0.1


def best_copy(module: nn.Module, x: Any, y: Any, *, seed: int, epochs: int) -> nn.Module:
    return _fit(copy.deepcopy(module), epochs)


def best_copy_with_history(module: nn.Module, x: Any, y: Any, *, seed: int, epochs: int) -> tuple[nn.Module, float]:
    return _fit(copy.deepcopy(module), epochs), 0.1


def best_state(module: nn.Module, x: Any, y: Any, *, seed: int, epochs: int) -> dict[str, torch.Tensor]:
    return _fit(copy.deepcopy(module), epochs).state_dict()


def dropped_copy(module: nn.Module, x: Any, y: Any, *, seed: int, epochs: int) -> None:
    module.train()(torch.from_numpy(x))  # statistics of BatchNorm change, and no weight
    _fit(copy.deepcopy(module), epochs)


def another_model(module: nn.Module, x: Any, y: Any, *, seed: int, epochs: int) -> nn.Module:
    return _fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), epochs)


@pytest.mark.parametrize("function", ["best_copy", "best_copy_with_history", "best_state", "in_place_with_history"])
def test_the_model_that_a_training_function_returns_is_the_model(function: str) -> None:
    in_place = _trained(_recipe(train_function=f"{HERE}:in_place"), 1)
    assert _same(_trained(_recipe(train_function=f"{HERE}:{function}"), 1), in_place)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("dropped_copy", r"model.train: '.*:dropped_copy' left every weight as it was. Does it train a copy\?"),
        ("another_model", r"'.*:another_model' returned another model than it was given \(Sequential, whose weights"),
    ],
)
def test_a_training_function_that_trains_something_else_is_refused(function: str, message: str) -> None:
    recipe = _recipe(train_function=f"{HERE}:{function}")
    with pytest.raises(TrainingError, match=message):
        _trained(recipe, 1)


def unchanged(module: nn.Module, x: Any, y: Any, *, seed: int, epochs: int) -> None:
    """What early stopping does where no epoch was better than the start."""


def test_fine_tuning_may_leave_the_weights_as_they_were() -> None:
    recipe = _recipe(train_function=f"{HERE}:unchanged")
    train(build(recipe, 0), X, Y, recipe, 0, epochs=1)
    with pytest.raises(TrainingError, match="left every weight as it was"):
        train(build(recipe, 0), X, Y, recipe, 0)


def test_a_recipe_round_trips_through_json() -> None:
    recipe = _recipe("mlp", options={"hidden": [5]})
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_a_loss_that_explodes_names_the_remedy() -> None:
    recipe = _recipe(training=Training(epochs=3, batch=16, lr=1e20))
    with pytest.raises(TrainingError, match=r"lower model\.lr"):
        train(build(recipe, 0), X, Y, recipe, 0)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (_recipe("resnet9"), "'resnet9' is not known. Did you mean 'resnet8'?"),
        (_recipe("cnn", input_shape=(12,)), "needs images"),
        (
            _recipe("mlp", options={"hiden": [3]}),
            r"the architecture 'mlp' has no option 'hiden'; it has: hidden\. Did you mean 'hidden'\?",
        ),
        (_recipe("mlp", options={"hidden": [-3]}), "cannot be built"),
        (
            _recipe("torchvision:resnet99"),
            r"has no classifier 'resnet99'\. Did you mean 'resnet50'\? Among others it has: .*resnet101",
        ),
        (_recipe("torchvision:resnet18"), r"cannot take records of shape \(1, 8, 8\)"),
        (_recipe("no_such_module:make"), "no_such_module"),
        (_recipe("./mine.py:make"), "is not of the form module:function"),
        (_recipe("math:"), "is not of the form module:function"),
        (_recipe("math:no_such_function"), "has no 'no_such_function'"),
        (_recipe("builtins:dict"), "cannot be built"),
        (_recipe("torch.nn:Identity"), "cannot be built|returns"),
    ],
)
def test_unbuildable_recipes_are_named(recipe: Recipe, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        build(recipe, 0)


def test_any_torchvision_classifier() -> None:
    recipe = Recipe("torchvision:mobilenet_v3_small", (3, 32, 32), 7, {"dropout": 0.0})
    assert build(recipe, 0)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_narrow_strided_shortcuts_are_not_trained_channels_last() -> None:
    # With channels last, oneDNN's weight gradient of such a layer is wrong and ends the process (see the function).
    narrow = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 1, stride=2), nn.Flatten(), nn.Linear(128, 3))
    assert not trains_channels_last(narrow)
    assert trains_channels_last(nn.Conv2d(4, 8, 1)), "no stride"
    assert trains_channels_last(nn.Conv2d(4, 8, 3, stride=2)), "not 1x1"
    assert trains_channels_last(nn.Conv2d(16, 32, 1, stride=2)), "a whole block of channels"
    assert not trains_channels_last(nn.Conv2d(16, 32, 1, stride=2, groups=2)), "8 channels a group"
    # One step from the same weights, by a gradient of the plain layout.
    x, y = torch.from_numpy(X[:16].repeat(3, axis=1)), torch.from_numpy(Y[:16])
    expected = copy.deepcopy(narrow)
    nn.functional.cross_entropy(expected(x), y).backward()  # type: ignore[no-untyped-call]
    setting = Training(epochs=1, batch=16, lr=0.1, momentum=0.9, weight_decay=0)
    layer, reference = narrow[1], expected[1]
    assert isinstance(layer, nn.Conv2d)
    assert isinstance(reference, nn.Conv2d)
    assert reference.weight.grad is not None
    before = layer.weight.detach().clone()
    train(narrow, x.numpy(), Y[:16], Recipe("cnn", (3, 8, 8), 3, training=setting), 0)
    # Nesterov's first step is 1 + momentum times the gradient.
    np.testing.assert_allclose(layer.weight.detach(), before - 0.1 * 1.9 * reference.weight.grad, atol=1e-6)


def test_finetuning_is_gentler_than_training() -> None:
    recipe = _recipe("mlp", training=Training(epochs=40, batch=16))
    module = build(recipe, 0)
    train(module, X, Y, recipe, 0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    train(module, X, Y, recipe, 1, epochs=1)
    moved = max(float((value - before[name]).abs().max()) for name, value in module.state_dict().items())
    assert 0 < moved < 0.05


def test_evaluating_a_student_does_not_change_it() -> None:
    # A cnn has BatchNorm, whose running means a forward pass in training mode would move. A training function of the
    # user's own takes labels, so it is not asked.
    recipe, answers = _recipe(train_function="no_such_module:train"), np.eye(3, dtype=np.float32)[Y]
    seen: list[np.ndarray[Any, Any]] = []
    looked, blind = build(recipe, 1), build(recipe, 1)
    assert distil(looked, X, answers, recipe, 1, 3, lambda module: seen.append(logits(module, X))) < 1.1
    distil(blind, X, answers, recipe, 1, 3, lambda _: None)
    assert _same(*({name: value.clone() for name, value in one.state_dict().items()} for one in (looked, blind)))
    assert len(seen) == 3
    np.testing.assert_allclose(seen[-1], logits(looked, X), atol=1e-5)
    assert not np.allclose(seen[0], seen[1], atol=1e-3)


def test_one_hot_answers_train_like_labels() -> None:
    # Label smoothing and augmentation are for labels, so a student has neither.
    recipe, noisy = _recipe(), replace(FEW, label_smoothing=0.3, augment="flip-shift")
    taught, trained = build(recipe, 1), build(recipe, 1)
    one_hot = np.eye(3, dtype=np.float32)[Y]
    distil(taught, X, one_hot, replace(recipe, training=noisy), 1, FEW.epochs, lambda _: None)
    train(trained, X, Y, recipe, 1)
    np.testing.assert_allclose(logits(taught, X), logits(trained, X), atol=1e-4)


@pytest.mark.parametrize("name", ["no_such_package.module", "./mine.py", ".mine", ""])
def test_missing_code_is_named(name: str) -> None:
    with pytest.raises(RecipeError, match=f"'{name}' cannot be found; write module:function"):
        closure(recipe_modules(f"{name}:make"))


def test_the_modules_that_recipes_run() -> None:
    assert recipe_modules("cnn", None) == ("edgeaudit.recipes.architectures",)
    assert recipe_modules("keras:mlp") == ("edgeaudit.recipes.keras_models",)
    assert recipe_modules("mine:make", "mine.training:train") == ("mine", "mine.training")
    assert recipe_modules("keras:theirs.models:make") == ("theirs.models",)
    assert recipe_modules("torchvision:resnet18") == ("edgeaudit.recipes.torchvision_models",)
    assert recipe_modules("timm:resnet18") == ("edgeaudit.recipes.timm_models",)


def test_the_distillation_loss_by_hand() -> None:
    """Two classes, T = 2, alpha = 3/4, labels 0 and 1.

    Record 1: the student's logits are (0, 0) and the teacher's (2 ln 3, 0), so at T = 2 the student says (1/2, 1/2) and
    the teacher (3/4, 1/4): KL = 3/4 ln(3/2) + 1/4 ln(1/2). Its cross-entropy, at T = 1, is ln 2.
    Record 2: both have (0, 0): KL = 0, cross-entropy ln 2. So the mean is 3/4 x 4 x KL / 2 + 1/4 ln 2.
    """
    student = torch.zeros(2, 2, dtype=torch.float64)
    teacher = torch.tensor([[2 * np.log(3), 0], [0, 0]], dtype=torch.float64)
    divergence = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    found = distillation_loss(student, teacher, nn.CrossEntropyLoss()(student, torch.tensor([0, 1])), 2.0, 0.75)
    assert float(found) == pytest.approx(0.75 * 4 * divergence / 2 + 0.25 * np.log(2), rel=1e-12)


def test_the_distillation_loss_against_torchs_own_functions() -> None:
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(5, 4) * 3, torch.randn(5, 4) * 3, torch.arange(5) % 4
    soft = nn.KLDivLoss(reduction="sum")(nn.LogSoftmax(1)(student / 4), nn.Softmax(1)(teacher / 4)) / 5 * 16
    hard = nn.CrossEntropyLoss(label_smoothing=0.1)(student, labels)
    found = distillation_loss(student, teacher, nn.CrossEntropyLoss(label_smoothing=0.1)(student, labels), 4.0, 0.9)
    torch.testing.assert_close(found, 0.9 * soft + 0.1 * hard)
    torch.testing.assert_close(
        distillation_loss(student, teacher, nn.CrossEntropyLoss()(student, labels), 4.0, 0.0),
        nn.CrossEntropyLoss()(student, labels),
    )


def test_without_weight_on_the_teacher_distilling_is_training() -> None:
    recipe = _recipe(training=replace(FEW, augment="flip-shift", label_smoothing=0.1))
    student, teacher = build(recipe, 1), build(recipe, 2)
    distil_model(student, teacher, X, Y, recipe, 1, temperature=4.0, alpha=0.0)
    assert _same(dict(student.state_dict()), _trained(recipe, 1))


@pytest.mark.parametrize(("augment", "likeness"), [("none", 0.8), ("flip-shift", 0.4)])
def test_a_student_comes_to_answer_like_its_teacher(augment: Any, likeness: float) -> None:
    """Labels have no weight. An MLP that sees its 8x8 records shifted by up to half of them learns less about them."""
    recipe = _recipe("mlp", training=Training(epochs=30, batch=16, augment=augment))
    teacher, student = build(recipe, 5), build(recipe, 6)
    with torch.no_grad():
        for value in teacher.parameters():
            value.mul_(3)  # an untrained network says nearly the same to all
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    taught = logits(teacher, X)
    first = np.corrcoef(logits(student, X).ravel(), taught.ravel())[0, 1]
    distil_model(student, teacher, X, Y, recipe, 1, temperature=4.0, alpha=1.0)
    last = np.corrcoef(logits(student, X).ravel(), taught.ravel())[0, 1]
    assert last > likeness > first
    assert _same(before, dict(teacher.state_dict()))


def test_layers_take_the_shapes_of_a_state_dict() -> None:
    """Every kind of layer that keeps its size beside its tensors, made at 8 channels and resized to 4."""

    def made(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.PReLU(width),
            nn.Conv2d(width, width, 3, groups=width), nn.BatchNorm2d(width, affine=False), nn.GroupNorm(2, width),
            nn.InstanceNorm2d(width, affine=True),
            nn.Conv2d(width, 2 * width, 1, groups=2), nn.Flatten(), nn.LayerNorm(2 * width * 4),
            nn.Linear(2 * width * 4, 3),
        )  # fmt: skip

    whole, narrow = made(8), made(4)
    resize(whole, narrow.state_dict())
    whole.load_state_dict(narrow.state_dict())
    assert repr(whole) == repr(narrow)
    x = torch.randn(2, 1, 6, 6)
    assert torch.equal(whole.eval()(x), narrow.eval()(x))
    assert all(parameter.requires_grad for parameter in whole.parameters())


def test_reject_a_state_that_lacks_a_tensor() -> None:
    module, state = nn.Linear(3, 2), {"weight": torch.zeros(2, 2)}
    resize(module, state)
    with pytest.raises(RuntimeError, match="Missing key"):
        module.load_state_dict(state)


class Heads(nn.Module):
    """Logits, and those of an auxiliary head while it trains."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.main, self.other, self.form = nn.Linear(64, 3), nn.Linear(64, 3), form

    def forward(self, x: torch.Tensor) -> Any:
        x = x.flatten(1)
        main, other = self.main(x), self.other(x)
        forms: dict[str, Any] = {
            "tuple": (main, other), "mapping": {"out": main, "aux": other}, "off": (main, None), "both": (main, other),
            "features": (main, x),
        }  # fmt: skip
        return forms[self.form] if self.training or self.form == "both" else main


def heads(_: tuple[int, ...], __: int, form: str = "tuple") -> nn.Module:
    return Heads(form)


@pytest.mark.parametrize(("form", "weight"), [("tuple", 0.5), ("mapping", 0.5), ("off", 0.5), ("tuple", 0.0)])
def test_auxiliary_heads_are_trained_by_a_weighted_loss(form: str, weight: float) -> None:
    """One step of plain SGD: each head moves by the learning rate times its gradient, the auxiliary one's weighted."""
    setting = Training(epochs=1, batch=48, lr=0.1, momentum=0.0, weight_decay=0.0, auxiliary_weight=weight)
    setting = replace(setting, momentum=1e-12)  # torch's Nesterov needs one above 0
    recipe = _recipe(f"{HERE}:heads", options={"form": form}, training=setting)
    module, same = build(recipe, 1), build(recipe, 1)
    train(module, X, Y, recipe, 1)
    x, y = torch.from_numpy(X).flatten(1), torch.from_numpy(Y)
    for name, share in (("main", 1.0), ("other", 0.0 if form == "off" else weight)):
        layer, moved = getattr(same, name), getattr(module, name)
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(layer(x), y), layer.weight)
        torch.testing.assert_close(moved.weight, layer.weight - 0.1 * share * gradient, atol=1e-6, rtol=1e-5)


def test_answers_that_are_no_heads_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"answers \(48, 3\), \(48, 64\) while it trains; expected logits"):
        recipe = _recipe(f"{HERE}:heads", options={"form": "features"}, training=replace(FEW, batch=48))
        train(build(recipe, 0), X, Y, recipe, 0)
    with pytest.raises(RecipeError, match=r"returns a tuple in eval mode; .* only while it trains"):
        build(_recipe(f"{HERE}:heads", options={"form": "both"}), 0)


def with_a_loader(module: nn.Module, loader: object) -> None: ...


def without_classes(shape: tuple[int, ...]) -> nn.Module:
    return nn.Linear(shape[0], 3)


def test_a_function_with_another_signature_is_shown_the_expected_one() -> None:
    recipe = _recipe(train_function=f"{HERE}:with_a_loader")
    expected = r"is defined as function\(module, loader\), but is called as function\(module, x, y, \*, seed, epochs\)"
    with pytest.raises(RecipeError, match=expected):
        train(build(recipe, 0), X, Y, recipe, 0)
    expected = r"defined as function\(shape\), but is called as function\(input_shape, n_classes, \*\*options\)"
    with pytest.raises(RecipeError, match=expected):
        build(_recipe(f"{HERE}:without_classes"), 0)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.table(x).mean(1)
        return answer


def words(_: tuple[int, ...], __: int) -> nn.Module:
    return Words()


def test_a_table_of_words_is_told_how_ids_come() -> None:
    with pytest.raises(RecipeError, match=r"Records are float32, token ids too, .* write x\.long\(\)"):
        build(_recipe(f"{HERE}:words", input_shape=(6,)), 0)


def test_any_timm_classifier() -> None:
    pytest.importorskip("timm")
    recipe = Recipe("timm:test_efficientnet", (1, 32, 32), 7)
    assert build(recipe, 0)(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
    for name, message in (
        ("timm:test_eficientnet", "timm has no model 'test_eficientnet'. Did you mean 'test_efficientnet'"),
        (
            "timm:test_efficientnet.r160_in1k",
            "names the weights 'r160_in1k', but recipes are trained anew; write timm:",
        ),
    ):
        with pytest.raises(RecipeError, match=message):
            build(replace(recipe, name=name), 0)


def test_a_package_of_models_that_is_missing_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeaudit.recipes.frameworks.find_spec", lambda _: None)
    for recipe, line in (
        ("timm:mobilenetv4_conv_small", r"pip install 'edgeaudit\[timm\]'"),
        ("sklearn:LGBMClassifier", r"pip install 'edgeaudit\[lightgbm\]'"),
    ):
        with pytest.raises(MissingToolchain, match=line):
            require_zoo(recipe)
    require_zoo("mine:make")
