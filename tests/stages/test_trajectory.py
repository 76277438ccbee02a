"""Students: whom they learn from, what they are scored on, and their losses against a training written out here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.data import DataSpec
from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
from edgeaudit.pipeline.measurement import choose_attacks
from edgeaudit.pipeline.plan import Plan, make_plan
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population
from edgeaudit.recipes.base import build, module_from_manifest
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.traces import StoredTrace
from edgeaudit.stages.train import Train, model_seed
from edgeaudit.stages.trajectory import Trajectory, as_labels, distillation_half, records_to_distil

SPEC = AuditSpec.model_validate(
    {
        "seed": 3,
        "targets": 2,
        "model": {"recipe": "mlp", "options": {"hidden": [24]}, "epochs": 12, "batch": 16},
        "data": {"members": 80, "nonmembers": 80, "reference": 300, "calibration": {"records": 16}},
        "threat": {"shadows": 2},
        "formats": ["torch-fp32"],
        "attacks": ["loss-trajectory"],
        "loss-trajectory": {"epochs": 6},
    }
)


class World:
    """A store in which everything that students need was made, and the students."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        drawn = DrawPopulation(content={"test": 1}, seed=SPEC.seed, data=SPEC.data)
        self._do(drawn)
        self.population = self.store.read(drawn)
        self.plan: Plan = make_plan(SPEC, self.population, drawn, choose_attacks(SPEC))
        for job in self.plan.jobs.values():
            if job.kind in {"train", "query", "trajectory"}:
                self._do(job)
        self.students = {job.role: job for job in self.plan.jobs.values() if isinstance(job, Trajectory)}

    def _do(self, job: AnyJob) -> None:
        outcome = execute(job, self.store)
        assert outcome.error is None, outcome.error

    def trace(self, role: str) -> StoredTrace:
        return self.store.read(self.students[role])

    def trained_model(self, role: str) -> torch.nn.Module:
        train = next(job for job in self.plan.jobs.values() if isinstance(job, Train) and job.role == role)
        artifact = self.store.read(train).artifact
        assert artifact.manifest.recipe is not None
        return module_from_manifest(artifact.manifest.recipe, artifact.path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("store"))


def test_students_do_not_train_on_scored_records(world: World) -> None:
    population, pool = world.population, set(world.population.split.reference.tolist())
    assert set(world.students) == {"target", "target-1", "null-target", "shadow-0"}
    taught, scored = {}, {}
    for role in world.students:
        trace = world.trace(role)
        taught[role], scored[role] = (set(population.queried[ids].tolist()) for ids in (trace.distilled, trace.places))
        # 150 in the half, of which a shadow leaves 150 x 220 / 300 = 110; nine tenths are 99, for every model.
        assert len(taught[role]) == len(trace.distilled) == 99
        trained = set(population.training_ids(role, SPEC.seed).tolist())
        assert taught[role] <= pool - trained - scored[role]
        assert trace.values.shape == (len(scored[role]), 6)
        assert not trace.queries.any()
    for role in ("target", "target-1", "null-target"):
        assert scored[role] == set(population.audited.tolist())
    # The shadow is scored on all of the other half, which it trained on in part; and no student learns from that half.
    assert len(scored["shadow-0"]) == 150
    assert 20 < len(scored["shadow-0"] & set(population.training_ids("shadow-0", SPEC.seed).tolist())) < 60
    assert all(scored["shadow-0"].isdisjoint(one) for one in taught.values())


def test_losses_fall_over_the_epochs(world: World) -> None:
    for role in world.students:
        mean = world.trace(role).values.mean(axis=0)
        assert mean[0] > 1.0  # a guess among ten classes costs 2.3
        assert mean[-1] < 0.6 * mean[0]


def _independent_losses(world: World, role: str, epochs: int) -> np.ndarray[Any, Any]:
    """The same student, trained by a loop of its own on the teacher's torch answers, scored by torch in float64.

    SGD with Nesterov momentum as torch defines it (v <- m v + g, w <- w - lr (g + m v), g with weight decay), and one
    cosine from lr to 0 over all steps.
    """
    population, trace, setting = world.population, world.trace(role), SPEC.model
    x = torch.from_numpy(population.take(population.queried[trace.distilled]))
    with torch.no_grad():
        teacher = torch.softmax(world.trained_model(role)(x).double(), dim=1).float()
    seed = model_seed(SPEC.seed, f"student of {role}")
    student = build(world.students[role].recipe, seed)
    order, velocities = torch.Generator().manual_seed(seed), [torch.zeros_like(w) for w in student.parameters()]
    steps, done = len(x) // setting.batch, 0
    for _ in range(epochs):
        shuffled = torch.randperm(len(x), generator=order)
        for step in range(steps):
            rows = shuffled[step * setting.batch : (step + 1) * setting.batch]
            loss = -(teacher[rows] * torch.log_softmax(student(x[rows]), dim=1)).sum(dim=1).mean()
            gradients = torch.autograd.grad(loss, list(student.parameters()))
            rate = setting.lr * (1 + math.cos(math.pi * done / (SPEC.loss_trajectory.epochs * steps))) / 2
            with torch.no_grad():
                for weight, velocity, gradient in zip(student.parameters(), velocities, gradients, strict=True):
                    decayed = gradient + setting.weight_decay * weight
                    velocity.mul_(setting.momentum).add_(decayed)
                    weight.sub_(rate * (decayed + setting.momentum * velocity))
            done += 1
    ids = population.queried[trace.places]
    with torch.no_grad():
        answers = student.double()(torch.from_numpy(population.take(ids)).double())
        losses = functional.cross_entropy(answers, torch.from_numpy(population.labels[ids]), reduction="none")
    return np.asarray(losses.numpy())


@pytest.mark.parametrize(("role", "epochs"), [("target", 1), ("shadow-0", 6)])
def test_losses_match_an_explicit_training_loop(world: World, role: str, epochs: int) -> None:
    values = world.trace(role).values[:, epochs - 1]
    np.testing.assert_allclose(values, _independent_losses(world, role, epochs), rtol=1e-3, atol=1e-4)


def test_two_runs_are_bit_identical(world: World, tmp_path: Path) -> None:
    again = World(tmp_path)
    assert {role: job.key for role, job in again.students.items()} == {r: j.key for r, j in world.students.items()}
    for role in world.students:
        one, two = world.trace(role), again.trace(role)
        for name in ("places", "values", "queries", "distilled"):
            assert np.array_equal(getattr(one, name), getattr(two, name))


def test_answers_become_labels_by_hand() -> None:
    logits = np.log(np.array([[1.0, 3.0], [0.5, 0.5]])) + 7
    np.testing.assert_allclose(as_labels(logits, softmax_inside=False), [[0.25, 0.75], [0.5, 0.5]])
    # 255/256 and nothing, a sum of 1/2, and a row that an integer softmax rounded to nothing at all.
    answered = np.array([[255 / 256, 0, 0], [0.125, 0.25, 0.125], [0, 0, 0]])
    expected = np.array([[1, 0, 0], [0.25, 0.5, 0.25], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(as_labels(answered, softmax_inside=True), expected)


def test_how_many_records_a_student_learns_from() -> None:
    # 200 in the half; a shadow of 100 leaves 3/4 of them on average, and nine tenths of 150 are 135.
    assert records_to_distil(400, 100, 5000) == 135
    assert records_to_distil(400, 100, 50) == 50
    assert records_to_distil(100, 100, 50) == 0


def test_copies_of_a_record_stay_on_one_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # 120 different records, 60 of them four times.
    x = rng.normal(size=(120, 5)).astype(np.float32)[np.r_[np.arange(120), np.tile(np.arange(60), 3)]]
    np.savez(tmp_path / "data.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))
    (tmp_path / "population").mkdir()
    data = DataSpec(source="npz", path=tmp_path / "data.npz", members=8, nonmembers=8)
    build_population(data, 0, tmp_path / "population")
    population = Population(tmp_path / "population")
    pool = population.split.reference
    half = distillation_half(population, 0)
    sides: dict[bytes, set[bool]] = {}
    for record, side in zip(x[pool], half.tolist(), strict=True):
        sides.setdefault(record.tobytes(), set()).add(side)
    assert len(sides) < len(pool)
    assert all(len(side) == 1 for side in sides.values())
    assert 0 <= half.sum() - len(pool) // 2 < 4
    np.testing.assert_array_equal(distillation_half(population, 0), half)
    assert (distillation_half(population, 1) != half).mean() > 0.3
