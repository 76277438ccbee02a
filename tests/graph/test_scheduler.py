"""The order of jobs, without processes."""

from __future__ import annotations

from pathlib import Path

from edgeaudit.errors import DamagedEntry, DataError, JobCrashed, OutdatedEntry
from edgeaudit.graph.job import Outcome
from edgeaudit.graph.scheduler import Scheduler
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
from tests.graph.jobs import Say, graph


def _labels(scheduler: Scheduler, count: int, *, idle: bool) -> list[str]:
    return [job.label for job in scheduler.take_ready(count, idle=idle)]


def test_jobs_used_only_by_a_failed_job_are_abandoned(tmp_path: Path) -> None:
    bad, feeder = Say(words="bad"), Say(words="feeder")
    both = Say(words="both", before=(bad, feeder))
    scheduler = Scheduler(Store(tmp_path), graph(bad, feeder, both))
    assert _labels(scheduler, 1, idle=True) == ["bad"]
    dropped = scheduler.finish(bad, Outcome(bad.ref, 0.1, DataError("no")))
    assert [job.label for job in dropped] == ["both", "feeder"]
    assert _labels(scheduler, 5, idle=True) == []


def test_only_dependents_wait_for_an_exclusive_job(tmp_path: Path) -> None:
    alone = Say(words="alone", alone=True)
    after, beside = Say(words="after", before=(alone,)), Say(words="beside")
    scheduler = Scheduler(Store(tmp_path), graph(alone, after, beside))
    assert _labels(scheduler, 4, idle=True) == ["beside"]
    assert _labels(scheduler, 3, idle=False) == []  # "beside" still runs
    scheduler.finish(beside, Outcome(beside.ref, 0.1))
    assert _labels(scheduler, 4, idle=True) == ["alone"]
    scheduler.finish(alone, Outcome(alone.ref, 0.1))
    assert _labels(scheduler, 4, idle=True) == ["after"]


def test_a_crashed_job_is_retried_alone_once_before_exclusive_jobs(tmp_path: Path) -> None:
    crashed, other, alone = Say(words="crashed"), Say(words="other"), Say(words="alone", alone=True)
    scheduler = Scheduler(Store(tmp_path), graph(crashed, other, alone))
    assert _labels(scheduler, 1, idle=True) == ["crashed"]
    died = Outcome(crashed.ref, 0.1, JobCrashed("died", 1))
    assert scheduler.repeat(crashed, died) is crashed
    assert _labels(scheduler, 2, idle=True) == ["other"]
    scheduler.finish(other, Outcome(other.ref, 0.1))
    assert _labels(scheduler, 2, idle=True) == ["crashed"]
    assert scheduler.repeat(crashed, died) is None


def test_a_job_over_a_limit_is_not_retried(tmp_path: Path) -> None:
    job = Say(words="slow")
    scheduler = Scheduler(Store(tmp_path), graph(job))
    list(scheduler.take_ready(1, idle=True))
    assert scheduler.repeat(job, Outcome(job.ref, 0.1, JobCrashed("slow"))) is None


def test_readers_of_a_damaged_entry_wait_until_it_is_recomputed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = Say(words="first")
    execute(first, store)
    one, two, three = (Say(words=name, before=(first,)) for name in ("one", "two", "three"))
    scheduler = Scheduler(store, graph(first, one, two, three))
    assert _labels(scheduler, 2, idle=True) == ["one", "two"]
    damage = DamagedEntry(*first.ref, "words.txt", "folder")
    assert scheduler.repeat(one, Outcome(one.ref, 0.1, damage)) is first
    assert not store.has(*first.ref)
    # The second read the same damaged or missing entry while it ran beside the first.
    assert scheduler.repeat(two, Outcome(two.ref, 0.1, damage)) is first
    assert _labels(scheduler, 4, idle=True) == ["first"]
    execute(first, store)
    scheduler.finish(first, Outcome(first.ref, 0.1))
    assert _labels(scheduler, 4, idle=True) == ["one", "two", "three"]
    assert len(scheduler.result.unusable) == 1


def test_repeated_damage_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = Say(words="first")
    execute(first, store)
    one = Say(words="one", before=(first,))
    scheduler = Scheduler(store, graph(first, one))
    damage = Outcome(one.ref, 0.1, DamagedEntry(*first.ref, "words.txt", "folder"))
    again = []
    for _ in range(4):
        list(scheduler.take_ready(1, idle=True))
        again.append(scheduler.repeat(one, damage))
        execute(first, store)
        scheduler.finish(first, Outcome(first.ref, 0.1))
    assert again == [first, first, first, None]


def test_damage_outside_the_dependencies_is_an_error_of_the_job(tmp_path: Path) -> None:
    job, stranger = Say(words="job"), Say(words="stranger")
    scheduler = Scheduler(Store(tmp_path), graph(job))
    assert scheduler.repeat(job, Outcome(job.ref, 0.1, DamagedEntry(*stranger.ref, "words.txt", "folder"))) is None


def test_a_job_that_meets_an_entry_which_could_not_be_recomputed_fails_with_that_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = Say(words="first")
    execute(first, store)
    one, two = (Say(words=name, before=(first,)) for name in ("one", "two"))
    last = Say(words="last", before=(two,))
    scheduler = Scheduler(store, graph(first, one, two, last))
    assert _labels(scheduler, 2, idle=True) == ["one", "two"]
    damage = DamagedEntry(*first.ref, "words.txt", "folder")
    assert scheduler.repeat(one, Outcome(one.ref, 0.1, damage)) is first
    assert _labels(scheduler, 1, idle=False) == ["first"]
    failure = DataError("no")
    assert scheduler.finish(first, Outcome(first.ref, 0.1, failure)) == [one]
    met = Outcome(two.ref, 0.1, damage)  # two ran beside first and met the dropped entry last
    assert scheduler.repeat(two, met) is None
    assert scheduler.explained(two, met).error is failure
    assert scheduler.finish(two, scheduler.explained(two, met)) == [last]
    assert not scheduler.unfinished
    assert scheduler.result.cause(two) is scheduler.result.cause(last) is failure


def test_an_entry_whose_own_dependency_failed_is_not_recomputed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = Say(words="first")
    middle = Say(words="middle", before=(first,))
    for job in (first, middle):
        execute(job, store)
    one, two = Say(words="one", before=(first,)), Say(words="two", before=(middle,))
    scheduler = Scheduler(store, graph(first, middle, one, two))
    assert _labels(scheduler, 2, idle=True) == ["one", "two"]
    scheduler.repeat(one, Outcome(one.ref, 0.1, DamagedEntry(*first.ref, "words.txt", "folder")))
    assert _labels(scheduler, 1, idle=False) == ["first"]
    failure = DataError("no")
    scheduler.finish(first, Outcome(first.ref, 0.1, failure))
    met = Outcome(two.ref, 0.1, DamagedEntry(*middle.ref, "words.txt", "folder"))
    assert scheduler.repeat(two, met) is None
    assert scheduler.explained(two, met).error is failure
    scheduler.finish(two, scheduler.explained(two, met))
    assert not scheduler.unfinished


def test_a_running_job_is_not_scheduled_a_second_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = Say(words="first")
    middle = Say(words="middle", before=(first,))
    for job in (first, middle):
        execute(job, store)
    one, two = Say(words="one", before=(first,)), Say(words="two", before=(middle,))
    scheduler = Scheduler(store, graph(first, middle, one, two))
    assert _labels(scheduler, 2, idle=True) == ["one", "two"]
    scheduler.repeat(one, Outcome(one.ref, 0.1, DamagedEntry(*first.ref, "words.txt", "folder")))
    assert _labels(scheduler, 1, idle=False) == ["first"]
    met = Outcome(two.ref, 0.1, DamagedEntry(*middle.ref, "words.txt", "folder"))
    assert scheduler.repeat(two, met) is middle
    assert _labels(scheduler, 4, idle=False) == []  # the first still runs
    execute(first, store)
    scheduler.finish(first, Outcome(first.ref, 0.1))
    assert _labels(scheduler, 4, idle=True) == ["middle", "one"]


def test_an_outdated_entry_that_another_run_has_replaced_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = Say(words="first")
    execute(first, store)
    one = Say(words="one", before=(first,))
    scheduler = Scheduler(store, graph(first, one))
    assert _labels(scheduler, 1, idle=True) == ["one"]
    outdated = Outcome(one.ref, 0.1, OutdatedEntry(*first.ref, "/w", "folder"))
    assert scheduler.repeat(one, outdated) is first
    assert store.has(*first.ref)
    assert _labels(scheduler, 1, idle=True) == ["one"]
    assert scheduler.repeat(one, outdated) is first  # of no use: the job finds it outdated once more
    assert not store.has(*first.ref)
    assert _labels(scheduler, 1, idle=True) == ["first"]
