"""A format's own figures use the floor of its own answers; formats are compared at one floor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy import stats

from edgeaudit.config.data import DataSpec
from edgeaudit.filetypes.artifact import Manifest, TensorSpec
from edgeaudit.leakage.rows import Place
from edgeaudit.pipeline.assemble import load_scores
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population
from edgeaudit.stages.evidence import Answers, EvidenceSettings, own_floor
from edgeaudit.stages.families import Measured, comparisons
from edgeaudit.stages.measure import CmMiaSettings, MeasureResult, MeasureSettings, run_measure
from edgeaudit.stages.scores import StoredScores, TargetScores, save_scores

COMMON = 1 / 512
SERIES = "yeom/loss"

COARSE = f"{SERIES} at common floor"


def _manifest(*, inside: bool = True, scale: float | None = None, dtype: str = "float32") -> Manifest:
    output = TensorSpec("y", (-1, 10), dtype, scale=scale)
    return Manifest("onnx", "m.onnx", "", 0, TensorSpec("x", (-1, 64), "float32"), output, softmax_inside=inside)


def test_an_integer_softmax_has_half_of_its_step() -> None:
    answers = np.random.default_rng(0).random((50, 10))
    assert own_floor(_manifest(scale=1 / 256, dtype="int8"), answers) == COMMON
    assert own_floor(_manifest(scale=1 / 32768, dtype="int16"), answers) == 1 / 65536


def test_a_step_that_no_file_declares_is_read_from_the_answers() -> None:
    levels = np.random.default_rng(0).integers(0, 100, (500, 10)) / 128
    assert own_floor(_manifest(), levels.astype(np.float32)) == pytest.approx(1 / 256)


def test_float_answers_have_the_step_of_their_type() -> None:
    answers = np.random.default_rng(0).random((50, 10))
    assert own_floor(_manifest(), answers) == 2.0**-25
    assert own_floor(_manifest(dtype="float16"), answers) == 2.0**-12
    # Logits of an integer file become probabilities outside of it, so that their step is none of probabilities.
    assert own_floor(_manifest(inside=False, scale=0.1, dtype="int8"), answers) == 2.0**-25


@dataclass(frozen=True)
class _Job:
    key: str
    source: Any = None


def _measured(tmp_path: Path, manifest: Manifest, answers: np.ndarray) -> MeasureResult:
    """A measurement by yeom of a file without shadows that gives these answers to digits."""
    population, source = _Job("population"), _Job("artifact")
    query = _Job("query", source)
    held = {
        "population": Population(tmp_path),
        "artifact": SimpleNamespace(artifact=SimpleNamespace(manifest=manifest)),
        "query": SimpleNamespace(responses=answers, at_chance=False),
    }
    evidence = EvidenceSettings(
        population=cast("Any", population),
        seed=0,
        targets=(("target", cast("Any", query)),),
        nulls=(),
        shadows=(),
        shadow_roles=(),
        exposure="probabilities",
        common_floor=COMMON,
    )
    cm_mia = CmMiaSettings(0.1, 5, None, 0.1, None, (0.05,))
    settings = MeasureSettings(evidence, Place("f", "local", "-"), "adversary", True, ("yeom",), cm_mia, {})
    context = SimpleNamespace(read=lambda job: held[job.key])
    return run_measure(settings, Answers(evidence, cast("Any", context)))


def _sure(population: Population, seed: int = 0) -> np.ndarray:
    """Answers of a float file that is surer of members, but beyond what 1/512 can show; float32 [queried, 10]."""
    n = len(population.queried)
    rng = np.random.default_rng(seed)
    member = np.arange(n) < len(population.split.members)
    margin = rng.normal(9.0, 0.7, n) + np.where(member, 1.0, 0.0)
    p = 1 / (1 + np.exp(-margin))
    answers = np.repeat(((1 - p) / 9)[:, None], 10, axis=1)
    answers[np.arange(n), population.labels[population.queried]] = p
    return answers.astype(np.float32)


@pytest.fixture
def population(tmp_path: Path) -> Population:
    build_population(DataSpec(members=200, nonmembers=200), 0, tmp_path)
    return Population(tmp_path)


def test_a_float_file_is_judged_by_its_own_answers(tmp_path: Path, population: Population) -> None:
    answers = _sure(population)
    result = _measured(tmp_path, _manifest(), answers)
    p = answers[np.arange(400), population.labels[population.audited]].astype(np.float64)
    own = stats.mannwhitneyu(p[:200], p[200:]).statistic / 200**2
    row = next(row for row in result.findings.leakage if (row.subset, row.metric) == ("all", "auc"))
    assert row.value == pytest.approx(own)
    assert own > 0.8
    assert result.findings.floors["target"] == 2.0**-25
    scores = result.scores["target"]
    assert len(np.unique(scores.scores[SERIES])) > 300
    # At 1/512 = 6.2 nats nearly every record has the largest answer.
    coarse = scores.compared(SERIES)
    assert len(np.unique(coarse)) < 10
    # Both figures have rows, since an attacker may clip where he likes.
    common = next(
        row
        for row in result.findings.leakage
        if (row.attack, row.variant) == ("yeom", "loss at common floor") and (row.subset, row.metric) == ("all", "auc")
    )
    assert common.value == pytest.approx(stats.mannwhitneyu(coarse[:200], coarse[200:]).statistic / 200**2)
    assert common.value is not None
    assert common.value < own


def test_a_format_whose_own_floor_is_the_common_one_is_scored_once(tmp_path: Path, population: Population) -> None:
    answers = np.round(_sure(population) * 256).clip(0, 255).astype(np.float32) / 256
    result = _measured(tmp_path, _manifest(scale=1 / 256, dtype="int8"), answers)
    assert result.findings.floors["target"] == COMMON
    scores = result.scores["target"]
    assert set(scores.scores) == {SERIES, "taught/classifier"}
    assert not any("common floor" in row.variant for row in result.findings.leakage)
    assert scores.compared(SERIES) is scores.scores[SERIES]


def _held(own: np.ndarray, common: np.ndarray, members: np.ndarray) -> TargetScores:
    return TargetScores(members, {SERIES: own, f"{SERIES} at common floor": common}, {})


def test_formats_are_compared_at_one_floor_and_both_figures_are_printed() -> None:
    rng = np.random.default_rng(0)
    members = np.arange(400) < 200
    own, coarse = rng.normal(size=400) + members, np.round(rng.normal(size=400) + members / 4)
    held = _held(own, coarse, members)
    plain = TargetScores(members, {SERIES: coarse}, {})
    measured = [
        Measured(Place("torch-fp32", "local", "-"), (plain,)),
        Measured(Place("onnx-fp32", "local", "-"), (held,)),
    ]
    rows = [row for row in comparisons(measured, [], [SERIES], "probabilities", 0) if row.kind == "format"]
    row = next(row for row in rows if row.metric == "auc")
    assert row.value == 0  # the same scores at the common floor, though not at their own
    area = {name: stats.mannwhitneyu(s[members], s[~members]).statistic / 200**2 for name, s in
            (("own", own), ("coarse", coarse))}  # fmt: skip
    assert f"at its own floor each has {area['own']:.4f} and {area['coarse']:.4f}" in (row.note or "")


def test_both_scores_are_stored_and_budgets_between_formats_read_the_common_ones(tmp_path: Path) -> None:
    members = np.arange(40) < 20
    held = _held(np.arange(40.0), np.round(np.arange(40.0) / 10), members)
    (tmp_path / "scores").mkdir()
    save_scores(tmp_path, {"target": held})
    stored = StoredScores(tmp_path)["target"]
    np.testing.assert_array_equal(stored.scores[SERIES], held.scores[SERIES])
    np.testing.assert_array_equal(stored.compared(SERIES), held.scores[COARSE])
    assert stored.series == [SERIES]
    (tmp_path / "scores.npz").rename(tmp_path / "scores" / "f.npz")
    read = load_scores(tmp_path, "f")
    assert list(read.scores) == [SERIES, COARSE]
    np.testing.assert_array_equal(read.scores[SERIES], held.scores[SERIES])
    np.testing.assert_array_equal(read.compared(SERIES), held.scores[COARSE])
    save_scores(tmp_path, {"target": replace(held, scores={SERIES: held.scores[SERIES]})})
    (tmp_path / "scores.npz").rename(tmp_path / "scores" / "g.npz")
    np.testing.assert_array_equal(load_scores(tmp_path, "g").compared(SERIES), held.scores[SERIES])
