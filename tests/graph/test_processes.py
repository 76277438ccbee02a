"""The executor: order, failures as values, crashes that cost one job, limits, nothing done twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edgeaudit.errors import DataError, JobCrashed, SpecError
from edgeaudit.graph import processes
from edgeaudit.graph.executor import AnyJob, Limits, RunResult
from edgeaudit.graph.processes import LocalProcesses
from edgeaudit.graph.store import Store
from edgeaudit.stages.adopt import Adopt
from edgeaudit.stages.examine_file import ExamineFile, ReadFile
from tests.graph.jobs import (
    SIGABRT,
    SIGKILL,
    SIGSEGV,
    Crash,
    Edits,
    Endless,
    Hog,
    Log,
    Odd,
    Orphan,
    Say,
    Unpicklable,
    Where,
    graph,
)  # fmt: skip


def _run(
    store: Store, *jobs: AnyJob, workers: int = 2, log: Log | None = None, limits: Limits | None = None
) -> RunResult:
    with LocalProcesses(store, workers, limits=limits) as executor:
        return executor.run(graph(*jobs), log or Log())


def test_finished_jobs_do_not_run_again(tmp_path: Path) -> None:
    store, log = Store(tmp_path), Log()
    jobs = graph(Say(words="one"), Say(words="two"))
    with LocalProcesses(store, 2) as executor:
        assert executor.run(jobs, log).executed == 2
        assert executor.run(jobs, log).executed == 0
    assert sorted(log.ended) == ["one", "two"]
    assert [store.read(job).words for job in jobs.values()] == ["one", "two"]


def test_a_failed_job_blocks_only_its_dependents(tmp_path: Path) -> None:
    log = Log()
    bad = Say(words="bad", fails=True)
    after, beside = Say(words="after", before=(bad,)), Say(words="beside")
    result = _run(Store(tmp_path), bad, after, beside, log=log)
    assert isinstance(result.errors[bad.ref], DataError)
    assert str(result.cause(after)) == "bad cannot be said"
    assert result.cause(beside) is None
    assert log.left_out == ["after"]


def test_an_exclusive_job_runs_alone_and_last(tmp_path: Path) -> None:
    log = Log()
    first, second = Say(words="time one", alone=True), Say(words="time two", alone=True)
    others = [Say(words=f"job {n}") for n in range(5)]
    last = Say(words="last", before=(others[-1],))
    result = _run(Store(tmp_path), first, second, *others, last, workers=3, log=log)
    assert result.executed == 8
    assert log.begun[-2:] == ["time one", "time two"]
    assert log.beside["time one"] == log.beside["time two"] == []
    assert any(log.beside[job.label] for job in others)  # or the test could not tell


def test_workers_have_one_thread_and_a_process_group_and_live_for_the_audit(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = Where(number=1), Where(number=2)
    with LocalProcesses(store, 1) as executor:
        executor.run(graph(first), Log())
        executor.run(graph(second), Log())
        pids = {store.read(job).words.split()[0] for job in (first, second)}
        assert len(pids) == 1
    assert store.read(first).words.split()[1:3] == ["1", "True"]
    assert not psutil.pid_exists(int(pids.pop()))


@pytest.mark.parametrize(
    ("by", "named"), [(SIGSEGV, "signal 11 (SIGSEGV)"), (SIGABRT, "signal 6 (SIGABRT)"), (3, "exit code 3")]
)
def test_a_crashed_job_is_retried_once_alone(tmp_path: Path, by: int, named: str) -> None:
    store, log = Store(tmp_path / "store"), Log()
    crash = Crash(by=by, times=9, counter=str(tmp_path / "count"))
    after = Say(words="after", before=(crash,))
    others = [Say(words=f"job {n}") for n in range(4)]
    result = _run(store, crash, after, *others, log=log)
    error = result.errors[crash.ref]
    assert isinstance(error, JobCrashed)
    assert (tmp_path / "count").read_text(encoding="utf-8") == "2"
    message = str(error)
    assert f"the worker process of 'crash by {by}' exited with {named}" in message
    assert "Last output: about to end" in message
    assert "Fatal Python error" in message or by not in {SIGSEGV, SIGABRT}
    assert [label for label, _ in log.again] == [crash.label]
    assert result.cause(after) is error
    assert all(store.has(*job.ref) for job in others)
    assert log.beside[crash.label] == []  # the second time, of which this is the record


def test_a_job_that_crashed_once_succeeds_on_retry(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    crash = Crash(by=SIGKILL, times=1, counter=str(tmp_path / "count"))
    after = Say(words="after", before=(crash,))
    result = _run(store, crash, after)
    assert result.errors == {}
    assert store.read(after).words == "ended 1 times after"


def test_a_process_that_somebody_kills_again_and_again_is_no_fault_of_its_job(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    crash = Crash(by=SIGKILL, times=4, counter=str(tmp_path / "count"))
    assert _run(store, crash).errors == {}
    assert store.read(crash).words == "ended 4 times"


def test_out_of_memory_is_distinguished_from_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system counts its out-of-memory kills."""
    counter, count = tmp_path / "counter", tmp_path / "count"
    counter.write_text("pgfault 12\noom_kill 3\n", encoding="utf-8")
    assert processes._oom_kills() >= 0
    monkeypatch.setattr(processes, "_OOM_COUNTERS", (str(counter), str(tmp_path / "missing")))
    assert processes._oom_kills() == 3
    counts = iter([3, 4, 4, 5])
    monkeypatch.setattr(processes, "_oom_kills", lambda: next(counts))
    crash = Crash(by=SIGKILL, times=9, counter=str(count))
    result = _run(Store(tmp_path / "store"), crash, workers=1)
    assert "with signal 9 (SIGKILL), out of memory: try --workers 1" in str(result.errors[crash.ref])
    assert count.read_text(encoding="utf-8") == "2"


def test_a_job_over_its_time_limit_is_stopped_and_not_retried(tmp_path: Path) -> None:
    log = Log()
    slow, other = Hog(seconds=60.0), Say(words="other")
    result = _run(Store(tmp_path), slow, other, log=log, limits=Limits(seconds=1.5))
    assert "'hog' took longer than 0.025 minutes (limits.job-minutes) and was stopped" in str(result.errors[slow.ref])
    assert log.again == []
    assert result.cause(other) is None


def test_a_job_may_have_a_limit_where_the_audit_sets_none(tmp_path: Path) -> None:
    endless = Endless(seconds=60.0)
    result = _run(Store(tmp_path), endless)
    assert "'endless' took longer than 0.025 minutes (limits.job-minutes)" in str(result.errors[endless.ref])
    patient = Endless(seconds=2.0)
    assert _run(Store(tmp_path), patient, limits=Limits(seconds=60.0)).errors == {}


def test_files_of_other_makers_are_read_within_a_minute() -> None:
    """An ONNX Loop may run 2^62 times."""
    assert {job.most_seconds for job in (ReadFile, ExamineFile, Adopt)} == {60.0}


def test_a_job_over_its_memory_limit_is_stopped(tmp_path: Path) -> None:
    big = Hog(seconds=60.0, mebibytes=600)
    result = _run(Store(tmp_path), big, limits=Limits(memory=500 * 2**20))
    assert "'hog' took more than 500 MiB of memory (limits.job-memory)" in str(result.errors[big.ref])


def test_a_damaged_entry_is_reported_and_recomputed(tmp_path: Path) -> None:
    first = Say(words="one")
    second = Say(words="two", before=(first,))
    _run(Store(tmp_path), first, second)
    store, log = Store(tmp_path), Log()
    (store.folder(*first.ref) / "words.txt").write_text("other", encoding="utf-8")
    third, fourth = Say(words="three", before=(first, second)), Say(words="four", before=(first,))
    result = _run(store, first, second, third, fourth, log=log)
    assert result.errors == {}
    assert [(error.kind, error.key, error.file) for error in result.unusable] == [(*first.ref, "words.txt")]
    assert store.read(third).words == "one one two three"
    assert store.read(fourth).words == "one four"
    assert {label for label, _ in log.again} == {"one"}
    assert "words.txt is missing or damaged" in log.again[0][1]


def test_a_missing_file_is_recomputed(tmp_path: Path) -> None:
    first = Say(words="one")
    _run(Store(tmp_path), first)
    store = Store(tmp_path)
    (store.folder(*first.ref) / "words.txt").unlink()
    after = Say(words="two", before=(first,))
    assert _run(store, first, after).errors == {}
    assert store.read(after).words == "one two"


def test_workers_stop_when_the_main_process_is_killed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom edgeaudit.graph.processes import LocalProcesses\n"
        "from edgeaudit.graph.store import Store\nfrom tests.graph.jobs import Hog, Log, graph\n"
        f"with LocalProcesses(Store(Path({str(tmp_path)!r})), 2) as executor:\n"
        "    executor.run(graph(Hog(seconds=60.0), Hog(seconds=61.0)), Log())\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=env) as main:
        process = psutil.Process(main.pid)
        while len(workers := process.children()) < 2 or len(list((tmp_path / ".tmp").glob("*"))) < 2:
            time.sleep(0.05)
        main.kill()
        main.wait()
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert len(gone) == 2
    assert not alive


def test_a_script_without_a_main_guard_can_run_jobs(tmp_path: Path) -> None:
    """With multiprocessing's spawn each worker would run the script anew."""
    (tmp_path / "script.py").write_text(
        "from pathlib import Path\nfrom edgeaudit.graph.processes import LocalProcesses\n"
        "from edgeaudit.graph.store import Store\nfrom tests.graph.jobs import Say, Log, graph\n"
        "print('begins')\nstore, job = Store(Path('store')), Say(words='said')\n"
        "with LocalProcesses(store, 1) as executor:\n    executor.run(graph(job), Log())\n"
        "print(store.read(job).words)\n",
        encoding="utf-8",
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["begins", "said"]


def test_an_unexpected_error_has_a_traceback_file_and_a_one_line_message(tmp_path: Path) -> None:
    odd = Odd(settings={"a": 1})
    result = _run(Store(tmp_path), odd)
    message = str(result.errors[odd.ref])
    assert "odd failed: KeyError: 'missing'" in message
    assert list((tmp_path / "logs").glob("odd-*.txt"))


def test_empty_logs_are_removed(tmp_path: Path) -> None:
    _run(Store(tmp_path), Say(words="quiet"))
    assert list((tmp_path / "logs").iterdir()) == []


def test_an_error_that_cannot_be_sent_costs_its_job_alone(tmp_path: Path) -> None:
    bad, other = Unpicklable(), Say(words="other")
    result = _run(Store(tmp_path), bad, other)
    assert str(result.errors[bad.ref]) == "TwoArguments: this and that"
    assert result.cause(other) is None


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("ends", [True, False])
def test_what_a_job_leaves_behind_ends_with_its_worker_and_holds_nothing_up(tmp_path: Path, ends: bool) -> None:
    orphan = Orphan(file=str(tmp_path / "child"), ends=ends)
    result = _run(Store(tmp_path / "store"), orphan)
    assert (orphan.ref in result.errors) is ends
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    until = time.monotonic() + 20
    while _runs(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _runs(child)


def test_code_that_changes_while_its_job_runs_is_stored_under_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "edited_module.py").write_text("a = 1\n", encoding="utf-8")
    store, job = Store(tmp_path / "store"), Edits(module="edited_module")
    result = _run(store, job)
    assert "its code or the packages that it uses were changed while the audit ran" in str(result.errors[job.ref])
    assert not store.has(*job.ref)


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="workers must be an integer of at least 1, not -1"):
        LocalProcesses(Store(tmp_path), -1)
