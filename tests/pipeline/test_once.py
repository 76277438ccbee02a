"""Jobs that formats share are the same objects, so that no key is computed twice."""

from __future__ import annotations

import pytest

from edgeaudit.config.data import DataSpec
from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.job import Ref
from edgeaudit.pipeline.once import Once
from edgeaudit.stages.control import Control
from edgeaudit.stages.population import DrawPopulation

DRAWN = DrawPopulation(content={"test": 1}, seed=0, data=DataSpec())


@pytest.fixture
def jobs() -> dict[Ref, AnyJob]:
    return {}


def _control(seed: int) -> Control:
    return Control(population=DRAWN, seed=seed)


def test_a_job_is_created_on_first_use_alone(jobs: dict[Ref, AnyJob]) -> None:
    once = Once(jobs)
    first = once(Control, "a", lambda: _control(1))
    assert once(Control, "a", lambda: pytest.fail("created again")) is first
    second = once(Control, "b", lambda: _control(2))
    assert list(jobs.values()) == [first, second]


def test_stages_may_be_about_the_same_thing(jobs: dict[Ref, AnyJob]) -> None:
    once = Once(jobs)
    control = once(Control, "a", lambda: _control(1))
    assert once(DrawPopulation, "a", lambda: DRAWN) is DRAWN
    assert list(jobs.values()) == [control, DRAWN]


def test_jobs_with_the_same_key_are_one_object(jobs: dict[Ref, AnyJob]) -> None:
    once = Once(jobs)
    first = once(Control, "a", lambda: _control(1))
    assert once(Control, "b", lambda: _control(1)) is first
    assert once(Control, "b", lambda: pytest.fail("created again")) is first
    assert list(jobs.values()) == [first]
