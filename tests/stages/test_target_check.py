"""The check of a target: what is asked, what is refused, and what the refusal names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.data import DataSpec
from edgeaudit.errors import ArtifactError, EdgeAuditError
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
from edgeaudit.pipeline.measurement import choose_attacks
from edgeaudit.pipeline.plan import make_plan
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population
from edgeaudit.recipes.base import build
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.target_check import Door, Examined, Stated, is_probability, require_model, require_steady

FloatArray = npt.NDArray[np.float32]
CLASSES, SIDE = 3, 5
HERE = __name__
GIVEN = Door("model.pt", Stated("model.accuracy"))


def _population(folder: Path, preprocessing: str, labels: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Population:
    """Colour images whose first, second or third row is bright in red, and dark in blue."""
    rng = np.random.default_rng(0)
    y = np.arange(600) % CLASSES
    x = rng.integers(110, 141, (600, SIDE, SIDE, 3), dtype=np.uint8)
    x[np.arange(600), y, :, 0] += np.uint8(40)
    x[np.arange(600), y, :, 2] -= np.uint8(40)
    np.savez(folder / "data.npz", x=x, y=labels(y))
    np.savetxt(folder / "m.txt", np.arange(200), "%d")
    np.savetxt(folder / "n.txt", np.arange(200, 400), "%d")
    data = DataSpec.model_validate({
        "source": "npz", "path": folder / "data.npz", "members": folder / "m.txt", "nonmembers": folder / "n.txt",
        "preprocessing": preprocessing,
    })  # fmt: skip
    (folder / "population").mkdir()
    build_population(data, 0, folder / "population")
    return Population(folder / "population")


def _same(y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return y


def _bright(x: FloatArray) -> FloatArray:
    """A model of images in 0..1: how near red is, in each of the first three rows, to the red of bright ones."""
    off = (x[:, 0].mean(axis=2)[:, :CLASSES] - 165 / 255) / 0.04
    return np.asarray(20 * np.exp(-(off**2)), np.float32)


@pytest.mark.parametrize("declared", ["raw", "symmetric", "imagenet", "standardise"])
def test_inputs_other_than_the_models_are_refused_by_name(tmp_path: Path, declared: str) -> None:
    population = _population(tmp_path, declared, _same)
    with pytest.raises(
        ArtifactError, match=r"data.preprocessing does not fit model.pt: .* with data.preprocessing: unit .* Set data"
    ):
        Examined(_bright, population, GIVEN).require_fitting(inside=False)


def test_a_good_model_is_accepted(tmp_path: Path) -> None:
    population = _population(tmp_path, "unit", _same)
    said = Examined(_bright, population, GIVEN).require_fitting(inside=False)
    assert said == "correct on 100.0% of 200 nonmembers; no other common preprocessing is better"


def test_channels_in_the_reverse_order(tmp_path: Path) -> None:
    population = _population(tmp_path, "unit", _same)
    with pytest.raises(
        ArtifactError,
        match=r"the order of channels does not fit model.pt: .*reverse order .* Set data.channels: reversed",
    ):
        Examined(lambda x: _bright(x[:, ::-1]), population, GIVEN).require_fitting(inside=False)


def test_statistics_of_the_data_turn_with_its_channels(tmp_path: Path) -> None:
    """A model of standardised images in the order in which it was trained, which is not that of the data."""
    population = _population(tmp_path, "standardise", _same)
    red = population.about["mean"][0], population.about["deviation"][0]

    def ask(x: FloatArray) -> FloatArray:
        return _bright(np.asarray((x[:, 2:] * red[1] + red[0]) / 255, np.float32))

    with pytest.raises(ArtifactError, match=r"the order of channels does not fit .* 100\.0% with channels"):
        Examined(ask, population, GIVEN).require_fitting(inside=False)


def test_both_at_once(tmp_path: Path) -> None:
    population = _population(tmp_path, "standardise", _same)
    with pytest.raises(
        ArtifactError,
        match=r"with data.preprocessing: unit and with channels in the reverse .* Set data.prepro.* Set data.channels",
    ):
        Examined(lambda x: _bright(x[:, ::-1]), population, GIVEN).require_fitting(inside=False)


def test_labels_in_another_order(tmp_path: Path) -> None:
    population = _population(tmp_path, "unit", lambda y: np.array([0, 2, 1])[y])
    with pytest.raises(ArtifactError, match=r"the labels do not fit model.pt: .* 33\.\d%.* outputs \[0, 2, 1\]"):
        Examined(_bright, population, GIVEN).require_fitting(inside=False)
    file = Door("made.onnx", Stated("target.accuracy"), outputs=(4, 5, 7))
    with pytest.raises(ArtifactError, match=r"set target.outputs: \[4, 7, 5\]"):
        Examined(_bright, population, file).require_fitting(inside=False)


def test_a_network_that_learned_nothing_is_not_explained_by_another_way(tmp_path: Path) -> None:
    """20% right, and 45% in another order, as it happens to random features."""
    population = _population(tmp_path, "unit", _same)
    rng = np.random.default_rng(0)

    def ask(x: FloatArray) -> FloatArray:
        said = _bright(x).argmax(axis=1) + rng.choice(3, len(x), p=[0.2, 0.45, 0.35])
        return np.asarray(5 * np.eye(CLASSES)[said % CLASSES], np.float32)

    with pytest.raises(ArtifactError, match="it is not a model of these records"):
        Examined(ask, population, GIVEN).require_fitting(inside=False)


def test_nothing_else_is_tried_for_what_was_trained_here(tmp_path: Path) -> None:
    population, asked = _population(tmp_path, "symmetric", _same), []

    def ask(x: FloatArray) -> FloatArray:
        asked.append(len(x))
        return _bright(np.asarray((x + 1) / 2, np.float32))

    known = Door("the target", Stated("model.accuracy"), "built-in loop")
    Examined(ask, population, known).require_fitting(inside=False)
    assert asked == [400]


@pytest.mark.parametrize(("stated", "refused"), [(Stated("a.b"), True), (Stated("a.b", test=0.7), False)])
def test_a_weak_model_is_accepted_where_its_accuracy_is_as_stated(
    tmp_path: Path, stated: Stated, refused: bool
) -> None:
    """It is more accurate at inputs of more contrast, as weakly trained models are."""
    population = _population(tmp_path, "unit", _same)
    rng = np.random.default_rng(5)

    def ask(x: FloatArray) -> FloatArray:
        right = rng.random(len(x)) < (0.7 if x.max() <= 1 and x.min() >= 0 else 0.85)
        labels = x[:, 0].mean(axis=2)[:, :CLASSES].argmax(axis=1)  # the row that is bright in red, however it is scaled
        answers = np.zeros((len(x), CLASSES), np.float32)
        answers[np.arange(len(x)), np.where(right, labels, (labels + rng.integers(1, CLASSES, len(x))) % CLASSES)] = 2
        return answers

    examined = Examined(ask, population, Door("model.pt", stated))
    if not refused:
        examined.require_fitting(inside=False)
        return
    with pytest.raises(ArtifactError, match=r"does not fit .* state its accuracy on nonmembers in a\.b"):
        examined.require_fitting(inside=False)


def test_other_inputs_are_asked_in_two_steps(tmp_path: Path) -> None:
    """Raw, symmetric, imagenet, standardise, and all five with channels reversed: clearly worse on the first 256."""
    population, asked = _population(tmp_path, "unit", _same), []

    def ask(x: FloatArray) -> FloatArray:
        asked.append(len(x))
        inside = bool((x >= 0).all() and (x <= 1).all()) and x[:, 0].mean() > x[:, 2].mean()
        return _bright(x) if inside else np.zeros((len(x), CLASSES), np.float32)

    Examined(ask, population, GIVEN).require_fitting(inside=False)
    assert asked == [400] + 9 * [256]


def test_a_stated_accuracy_by_side(tmp_path: Path) -> None:
    population = _population(tmp_path, "unit", _same)
    for stated, message in (
        (Stated("model.accuracy", test=0.7), r"model.accuracy is 70.0%, but model.pt classifies 100.0% \[.*nonmembers"),
        (Stated("model.accuracy", train=0.7), r"model.accuracy.train is 70.0%, but .* of 200 members correctly"),
    ):
        with pytest.raises(ArtifactError, match=message):
            Examined(_bright, population, Door("model.pt", stated)).require_fitting(inside=False)
    fitting = Door("model.pt", Stated("model.accuracy", train=1.0, test=0.99))
    Examined(_bright, population, fitting).require_fitting(inside=False)


def test_answers_that_are_not_finite(tmp_path: Path) -> None:
    population = _population(tmp_path, "unit", _same)
    with pytest.raises(ArtifactError, match=r"model.pt returns NaN or infinity for 400 of 400 records, record 0 first"):
        Examined(lambda x: np.full((len(x), CLASSES), np.nan, np.float32), population, GIVEN)


def test_members_decide_and_not_others(tmp_path: Path) -> None:
    population = _population(tmp_path, "unit", _same)
    answers = 9 * np.eye(CLASSES, dtype=np.float32)[population.labels[population.queried]]
    answers[200:] = np.roll(answers[200:], 1, axis=1)  # wrong on all others: learned by heart, and a model all the same
    assert not require_model(population, answers, "made.onnx", inside=False, refuse=True)
    wrong = np.roll(answers, 1, axis=1)
    wrong[200:] = 0
    with pytest.raises(ArtifactError, match=r"made.onnx classifies 0.0% of the 200 records that it trained on and"):
        require_model(population, wrong, "made.onnx", inside=False, refuse=True)
    assert require_model(population, wrong, "made.onnx", inside=False, refuse=False)


X = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)


def test_steady_answers() -> None:
    require_steady(lambda x: x, lambda x: x + np.float32(1e-6), X, "it")


def test_answers_that_change_from_call_to_call() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ArtifactError, match=r"it answers the same records differently .* dropout .* state"):
        require_steady(lambda x: x + rng.normal(size=x.shape).astype(np.float32), None, X, "it")
    state = [np.float32(0)]

    def stateful(x: FloatArray) -> FloatArray:
        answers = []
        for record in x:
            answers.append(record + state[0])
            state[0] = record[0]
        return np.stack(answers)

    with pytest.raises(ArtifactError, match="state between calls"):
        require_steady(stateful, None, X, "it")


def test_answers_that_depend_on_the_batch() -> None:
    def normed(x: FloatArray) -> FloatArray:
        return np.asarray((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3), np.float32)

    with pytest.raises(ArtifactError, match=r"depending on the records that are asked together .*BatchNorm"):
        require_steady(normed, lambda x: np.concatenate([normed(one[None]) for one in x]), X, "it")
    require_steady(normed, None, X, "it")  # as for dynamic quantisation with a batch that audit.yaml sets

    def ordered(x: FloatArray) -> FloatArray:
        return x + np.arange(len(x), dtype=np.float32)[:, None]

    with pytest.raises(ArtifactError, match="asked together"):
        require_steady(ordered, ordered, X, "it")


@pytest.mark.parametrize(("off", "step", "probable"), [(0.0, 0.0, True), (0.02, 0.0, False), (0.002, 1 / 256, True)])
def test_probabilities_sum_to_one_up_to_rounding(off: float, step: float, probable: bool) -> None:
    answers = np.array([[0.5, 0.25, 0.25 + off], [1.0, 0.0, 0.0]], np.float32)
    assert is_probability(answers, step) is probable
    assert not is_probability(answers - 1)


def linear(shape: tuple[int, ...], n: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n))


def ending_in_softmax(shape: tuple[int, ...], n: int) -> nn.Module:
    return nn.Sequential(linear(shape, n), nn.Softmax(1))


def ending_in_sigmoid(shape: tuple[int, ...], n: int) -> nn.Module:
    return nn.Sequential(linear(shape, n), nn.Sigmoid())


def with_batch_statistics(shape: tuple[int, ...], n: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, track_running_stats=False), nn.Linear(64, n))


class _AlwaysDropout(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, 0.2)


def with_dropout_at_inference(shape: tuple[int, ...], n: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), _AlwaysDropout(), nn.Linear(64, n))


def _audited(tmp_path: Path, preprocessing: str | None = None, **model: object) -> EdgeAuditError | None:
    """What the target's training says; the jobs before it must have worked."""
    data: dict[str, object] = {"reference": 300, "calibration": {"records": 8}, "members": 100, "nonmembers": 100}
    if "checkpoint" in model:
        for name, start in (("members", 0), ("nonmembers", 400)):
            np.savetxt(tmp_path / f"{name}.txt", np.arange(start, start + 400), "%d")
            data[name] = tmp_path / f"{name}.txt"
        data["reference"] = "rest"
    spec = AuditSpec.model_validate({
        "data": {**data, "preprocessing": preprocessing},
        "model": {"batch": 16, "epochs": 20, **model},
        "threat": {"shadows": 2},
        "formats": ["torch-fp32"],
        "controls": {"null-targets": 0, "shift": False},
    })  # fmt: skip
    store = Store(tmp_path / "store")
    drawn = DrawPopulation(content={"test": 1}, seed=spec.seed, data=spec.data)
    assert execute(drawn, store).error is None
    plan = make_plan(spec, store.read(drawn), drawn, choose_attacks(spec))
    error = execute(plan.formats[0].artifact, store).error
    assert error is None or isinstance(error, EdgeAuditError)
    return error


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("linear", None),
        ("ending_in_softmax", "returns probabilities (values in [0, 1] that sum to 1), but a model must return logits"),
        ("ending_in_sigmoid", "returns values in [0, 1] alone, as a sigmoid does, but a model must return logits"),
        ("with_batch_statistics", "cannot answer one record at a time"),
        ("with_dropout_at_inference", "answers the same records differently when they are asked again"),
    ],
)
def test_recipes_that_cannot_be_audited_are_refused_by_name(tmp_path: Path, recipe: str, message: str | None) -> None:
    error = _audited(tmp_path, recipe=f"{HERE}:{recipe}")
    if message is None:
        assert error is None
    else:
        assert isinstance(error, ArtifactError)
        assert message in str(error)
        assert f"the target of model.recipe '{HERE}:{recipe}'" in str(error)


def test_a_recipe_that_is_less_accurate_than_stated(tmp_path: Path) -> None:
    assert _audited(tmp_path, recipe="mlp", accuracy={"train": 1.0}) is None
    assert "model.accuracy is 30.0%" in str(_audited(tmp_path, recipe="mlp", accuracy=0.3))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a net for digits in 0..1, trained on the first 400."""
    from sklearn.datasets import load_digits

    from edgeaudit.recipes.base import Recipe

    digits = load_digits()
    x = torch.tensor(np.round(digits.images[:400] * (255 / 16)) / 255, dtype=torch.float32)[:, None]
    y = torch.tensor(digits.target[:400])
    module = build(Recipe("mlp", (1, 8, 8), 10), 0).train()
    optimizer = torch.optim.Adam(module.parameters(), 0.005)
    with torch.random.fork_rng(devices=[]):
        for _ in range(60):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x), y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    path = tmp_path_factory.mktemp("checkpoint") / "unit.pt"
    torch.save(module.state_dict(), path)
    return path


@pytest.mark.parametrize("declared", ["unit", "raw", "symmetric", None])
def test_a_checkpoint_is_asked_with_the_usual_inputs(tmp_path: Path, checkpoint: Path, declared: str | None) -> None:
    error = _audited(tmp_path, declared, recipe="mlp", checkpoint=checkpoint)
    if declared == "unit":
        assert error is None
    else:
        assert isinstance(error, ArtifactError)
        assert "data.preprocessing does not fit model.checkpoint unit.pt" in str(error)
        assert "with data.preprocessing: unit" in str(error)
