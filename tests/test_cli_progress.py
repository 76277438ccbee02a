"""What is printed while jobs run, where the output is no terminal."""

from __future__ import annotations

from io import StringIO

import pytest

from edgeaudit.cli.console import Console
from edgeaudit.cli.progress import ProgressView
from edgeaudit.config.data import DataSpec
from edgeaudit.errors import DamagedEntry, OutdatedEntry, TrainingError
from edgeaudit.graph.job import Outcome
from edgeaudit.recipes.base import Recipe
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.train import Train

DRAWN = DrawPopulation(content={}, seed=0, data=DataSpec(source="digits"))
TARGET, SHADOW = (
    Train(population=DRAWN, role=role, seed=0, recipe=Recipe("mlp", (2,), 2), check=128)
    for role in ("target", "shadow-0")
)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    monkeypatch.setattr("edgeaudit.cli.progress._LINE_EVERY", 0.0)
    return StringIO()


@pytest.fixture
def view(printed: StringIO) -> ProgressView:
    return ProgressView(Console(file=printed, width=200), workers=1)


def test_no_line_is_printed_before_jobs_are_planned(view: ProgressView, printed: StringIO) -> None:
    view.started(DRAWN)
    view.finished(DRAWN, Outcome(DRAWN.ref, 2.0))
    assert printed.getvalue() == ""


def test_a_line_counts_the_jobs_of_each_stage_and_the_time_left(view: ProgressView, printed: StringIO) -> None:
    view.begin({job.ref: job for job in (TARGET, SHADOW)}, stored=set())
    view.finished(TARGET, Outcome(TARGET.ref, 7.0))
    assert printed.getvalue() == "train 1/2; about 7 s left\n"


def test_failures_and_repetitions_are_reported_with_their_reason(view: ProgressView, printed: StringIO) -> None:
    view.begin({job.ref: job for job in (TARGET, SHADOW)}, stored={SHADOW.ref})
    view.repeated(SHADOW, TrainingError("damaged"))
    view.finished(TARGET, Outcome(TARGET.ref, 7.0, TrainingError("lower model.lr")))
    lines = printed.getvalue().splitlines()
    assert lines[:2] == ["again: train shadow-0: damaged", "failed: train target"]  # the error is printed last
    assert lines[2] == "train 1/2"


def test_an_outdated_result_is_not_called_damaged(view: ProgressView, printed: StringIO) -> None:
    view.repeated(SHADOW, OutdatedEntry(*SHADOW.ref, "/audits/layers.json", "folder"))
    view.repeated(SHADOW, DamagedEntry(*SHADOW.ref, "model.pt", "folder"))
    assert printed.getvalue().splitlines() == [
        "out of date: /audits/layers.json was changed; it is made again: train shadow-0",
        f"damaged in the store: train {SHADOW.ref.key}: model.pt; it is made again: train shadow-0",
    ]
