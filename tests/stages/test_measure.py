"""What a measurement fits once for all targets, and its results as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import pytest

from edgeaudit.attacks.base import Attack, AttackSpec, Scores
from edgeaudit.attacks.evidence import Evidence, ShadowAnswers
from edgeaudit.attacks.spec import Mode
from edgeaudit.attacks.threshold import Threshold, learn_threshold
from edgeaudit.attacks.traces import Trace
from edgeaudit.attacks.yeom import Yeom
from edgeaudit.errors import StoreError
from edgeaudit.leakage.metrics import Figure
from edgeaudit.leakage.outputs import Granularity
from edgeaudit.leakage.rows import (
    Accuracy,
    Behaviour,
    Curve,
    ExposedRecord,
    Gap,
    Gaps,
    NullControlRow,
    NullHistogram,
    Place,
    Series,
)
from edgeaudit.stages import measure
from edgeaudit.stages.evidence import Answers, Case, EvidenceSettings
from edgeaudit.stages.measure import CmMiaSettings, Fits, MeasureFindings, MeasureResult, MeasureSettings
from edgeaudit.stages.scores import StoredScores, TargetScores
from edgeaudit.stages.weaken import WeakenFindings, WeakenResult
from edgeaudit.tasks import CLASSIFICATION

K, N, M = 4, 30, 50
SERIES = Series(Place("f", "local", "matched"), "lira", "offline-global", "logits")


def evidence(seed: int, n: int, shadows: ShadowAnswers | None = None, traced: int = 0) -> Evidence:
    """A target's answers, on new shadows or on these; the first `traced` records have a trace."""
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(n, 3))
    if shadows is not None:
        alone = replace(evidence(seed, n), traces={}).target_answers
        return Evidence.of(alone, shadows)
    found = np.where(np.arange(n) < traced, rng.random(n), np.nan)[:, None]
    traces = {"boundary": Trace(found, {0: np.zeros((n, 1))}, np.ones(n))} if traced else {}
    out = rng.random((K, n)) < 0.5
    return Evidence(target, rng.normal(size=(K, n, 3)), out, rng.integers(0, 3, n), "logits", traces=traces)


def case(role: str, audited: Evidence, reference: Evidence) -> Case:
    return Case(role, audited, reference, np.arange(len(audited.labels)) % 2 == 0, np.zeros(0, np.int64), 10)


@dataclass(frozen=True)
class Distance:
    """How far a target is from the shadows' mean answer."""

    mean: np.ndarray

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        return Scores(np.abs(evidence.target - self.mean).sum(axis=1))


@pytest.fixture
def spy() -> tuple[Attack, list[ShadowAnswers]]:
    """An attack, and what its `_fit` was given."""
    fitted: list[ShadowAnswers] = []

    class Spy(Attack):
        spec: ClassVar[AttackSpec] = AttackSpec("spy", ("distance",), "", "")

        def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> Distance:
            fitted.append(shadows)
            return Distance(shadows.shadows.mean(axis=0))

    return Spy(), fitted


def test_targets_of_the_same_shadows_are_fitted_once(spy: tuple[Attack, list[ShadowAnswers]]) -> None:
    attack, fitted = spy
    first = evidence(0, N), evidence(1, M)
    pairs = [first] + [
        (evidence(i, N, first[0].shadow_answers), evidence(i + 1, M, first[1].shadow_answers)) for i in (2, 4)
    ]
    # A null target trained on some of the reference records: what is fitted to fewer of them is its own.
    null = pairs[1][0], pairs[1][1].take(np.arange(M - 5))
    fits = Fits(attack, "distance")
    scores = [fits.score(case(f"target-{i}", *pair)) for i, pair in enumerate((*pairs, null))]
    assert len(fitted) == 2
    for found, pair in zip(scores, (*pairs, null), strict=True):
        assert isinstance(found, Scores)
        np.testing.assert_array_equal(found.score, attack.score(pair[0], "distance", pair[1]).score)
    assert not np.array_equal(scores[0].score, scores[1].score)  # type: ignore[union-attr]


def test_copies_of_the_same_answers_share_a_fit_and_others_do_not(spy: tuple[Attack, list[ShadowAnswers]]) -> None:
    attack, fitted = spy
    audited, reference = evidence(0, N, traced=20), evidence(1, M)
    fits = Fits(attack, "distance")
    whole = case("target", audited, replace(reference, traces={"boundary": Trace(np.zeros((M, 1)), {}, np.zeros(M))}))
    # Each target's traced records are taken from its own evidence: equal content, other arrays.
    for _ in range(3):
        traced, rows = whole.traced("boundary")
        assert rows.sum() == 20
        fits.score(traced)
    assert len(fitted) == 1
    moved = replace(whole, audited=replace(audited, shadows=audited.shadows + 1e-12))
    fits.score(moved.traced("boundary")[0])
    assert len(fitted) == 2


class _Brought:
    """Answers that are there already, with one floor for all formats."""

    records = np.arange(N)
    labels = np.zeros(N, dtype=np.int64)
    n_audited = N
    slices: ClassVar[Mapping[str, Any]] = {}
    task = CLASSIFICATION

    def at_common_floor(self) -> _Brought:
        return self


@pytest.mark.parametrize("mode", ["adversary", "auditor"])
def test_thresholds_never_read_the_target_on_audited_records(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Evidence, ShadowAnswers | None]] = []

    def learn(_: Attack, __: str, reference: Evidence, seed: int, played: ShadowAnswers | None) -> Threshold:
        asked.append((reference, played))
        return learn_threshold(Yeom(), "loss", reference, seed=seed, played=played)

    monkeypatch.setattr(measure, "learn_threshold", learn)
    halves = (np.arange(N) + np.arange(K)[:, None]) % 2 == 0
    first = case("target", replace(evidence(0, N), out=halves), evidence(1, M))
    settings = MeasureSettings(
        cast("EvidenceSettings", SimpleNamespace(seed=0, exposure="logits")), SERIES.place, mode, True, ("yeom",),
        CmMiaSettings(0.5, 5, None, 0.5, None, (0.05,)), {},
    )  # fmt: skip
    answers = cast("Answers", _Brought())
    measure._Measurement(settings, answers, (first,))._run(Yeom(), "loss")
    ((reference, played),) = asked
    assert reference is first.reference  # known nonmembers: all that a fallback may read of the target
    assert played is (first.audited.shadow_answers if mode == "auditor" else None)


GAPS = Gaps(Gap(0.1, 0.01), Gap(0.2, 0.02), Gap(0.3, 0.03))


def measured() -> MeasureResult:
    figure = Figure("auc", 0.625, 0.5, None, 15, 15, None, "few")
    findings = MeasureFindings(
        leakage=(SERIES.row("all", figure), SERIES.row("abnormal:fraction", replace(figure, value=None))),
        curves=(Curve("f", "local", "lira", "t", "all", "matched", (0.0, 1.0), (0.0, 1.0)),),
        null_p_values=(NullHistogram("f", "local", "t", "nominal", "matched", (3, 0, 2)),),
        p_calibration=(),
        exposed=(ExposedRecord("f", "local", 1, 7, 2, 1.5, None, True, False),),
        calibration=(),
        targets={"target-1": (SERIES.row("all", figure).of_target(),)},
        null_control=(NullControlRow("f", "local", "lira", "t", "matched", "null-target", 0.5, 0.4, 0.6, 1.0, 15, 15),),
        chance=(),
        behaviour=Behaviour(GAPS, (GAPS,), 0.5, 0.25, 0.1, None),
        accuracy=Accuracy(1.0, 1 / 3),
        outputs=Granularity(12, 0.1),
        floors={"target": 1 / 512, "target-1": 1 / 512},
        thresholds={"target": {SERIES.name: 0.25}, "target-1": {SERIES.name: None}},
    )
    members = np.arange(N) % 2 == 0
    whole = TargetScores(
        members,
        {SERIES.name: np.linspace(-1, 1, N), "label-only.boundary": np.where(members, 1.0, np.nan)},
        {"nominal.lira.offline-global": np.full(N, 0.5)},
        np.arange(N) + 100,
        ~members,
        {"abnormal:fraction": members},
        np.arange(N) // 2,
    )
    return MeasureResult(findings, {"target": whole, "target-1": replace(whole, members=~members)})


def assert_same_scores(one: TargetScores, other: TargetScores) -> None:
    for name in ("members", "records", "calibrated", "groups"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("scores", "p_values", "subsets"):
        first, second = getattr(one, name), getattr(other, name)
        assert list(first) == list(second)
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])


def test_a_measurement_round_trips(tmp_path: Path) -> None:
    result = measured()
    result.save(tmp_path)
    read = MeasureResult.load(tmp_path)
    assert read.findings == result.findings
    assert set(read.scores) == {"target", "target-1"}
    for role, scores in result.scores.items():
        assert_same_scores(read.scores[role], scores)
    assert read.scores["target"].series == [SERIES.name]
    with pytest.raises(KeyError):
        read.scores["target-2"]


def test_a_weaker_measurement_round_trips(tmp_path: Path) -> None:
    members = np.arange(N) % 2 == 0
    findings = WeakenFindings(Granularity(3, 0.5), measured().findings.leakage)
    WeakenResult(findings, {"target": TargetScores(members, {SERIES.name: np.ones(N)}, {})}).save(tmp_path)
    read = WeakenResult.load(tmp_path)
    assert read.findings == findings
    assert list(read.scores) == ["target"]
    np.testing.assert_array_equal(read.scores["target"].scores[SERIES.name], np.ones(N))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda text: text[:-10], "Invalid JSON"),
        (lambda text: text.replace('"n_members"', '"members"'), r"leakage\.0\.n_members: Field required"),
        (lambda text: text.replace("0.625", '"0.625"'), r"leakage\.0\.value: Input should be a valid number"),
    ],
)
def test_a_damaged_measurement_is_named(tmp_path: Path, damage: Callable[[str], str], problem: str) -> None:
    measured().save(tmp_path)
    path = tmp_path / "measurement.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(StoreError, match=rf"measurement\.json cannot be read as MeasureFindings: {problem}.*run again"):
        MeasureResult.load(tmp_path)


def test_scores_are_read_lazily(tmp_path: Path) -> None:
    measured().save(tmp_path)
    scores = StoredScores(tmp_path)
    (tmp_path / "scores-target-1.npz").unlink()
    assert list(scores) == ["target"]
    assert scores["target"] is scores["target"]
