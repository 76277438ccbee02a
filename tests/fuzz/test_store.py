"""A damaged store is one sentence, or is mended by the next run. 150 here, 5,000 by `make fuzz`."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeaudit.errors import DamagedEntry, EdgeAuditError
from edgeaudit.graph.job import Job
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
from edgeaudit.stages import device_query
from tests.fuzz.damage import count, damaged, require_one_sentence
from tests.fuzz.json_values import mutated
from tests.graph.jobs import Say, Text


def _spoil(store: Path, rng: random.Random) -> None:
    """Damage one or two files of a store, or what is around them."""
    for _ in range(rng.choice((1, 1, 2))):
        files = sorted(path for path in store.rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            return
        path = rng.choice(files)
        kind = rng.randrange(7)
        if kind == 0:
            path.unlink()
        elif kind == 1 and path.suffix == ".json":
            try:
                path.write_text(json.dumps(mutated(json.loads(path.read_text("utf-8")), rng)), "utf-8")
            except ValueError:  # damaged before
                path.write_bytes(b"{}")
        elif kind == 2:
            path.unlink()
            path.mkdir()
        elif kind == 3:
            path.unlink()
            path.symlink_to(rng.choice(("/dev/zero", "/etc/passwd", "nowhere", path.name)))
        elif kind == 4:
            path.with_name(path.name + ".more").write_bytes(b"more")
        else:
            path.write_bytes(damaged(path.read_bytes(), rng))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    store = Store(folder / "store")
    for job in _jobs():
        assert execute(job, store).error is None
    return folder / "store"


def _jobs() -> tuple[Say, Say]:
    first = Say(words="one")
    return first, Say(words="two", before=(first,))


def test_a_damaged_store_is_mended_or_named(whole: Path, tmp_path: Path) -> None:
    mended = 0
    for k in range(count(150, 5000)):
        rng = random.Random(f"store-{k}")  # noqa: S311  no secret
        place = tmp_path / "store"
        shutil.copytree(whole, place)
        _spoil(place, rng)
        try:
            store = Store(place)
            list(store.verify())
            store.usage()
            store.sweep()
            for job in _jobs():
                _mended(store, job)
                text: Text = store.read(job)
                assert text.words == ("one two" if job.before else "one"), k
            mended += 1
        except EdgeAuditError as exc:
            require_one_sentence(exc, k)
        shutil.rmtree(place)
    assert mended > count(150, 5000) * 0.8


def _mended(store: Store, job: Job[Text]) -> None:
    """As the scheduler does: what cannot be used is dropped and computed again."""
    for _ in range(5):
        outcome = execute(job, store)
        if outcome.error is None:
            try:
                store.read(job)
            except DamagedEntry as exc:
                store.drop(exc.kind, exc.key)
                continue
            return
        if not isinstance(outcome.error, DamagedEntry):
            raise outcome.error
        store.drop(outcome.error.kind, outcome.error.key)
        for before in job.needs:
            _mended(store, before)
    raise AssertionError(f"{job.label} was computed five times")


def test_stored_answers_of_a_device_are_whole_or_asked_anew(tmp_path: Path) -> None:
    answers = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    path = tmp_path / "responses-64-0.block"
    device_query._save_whole(path, answers)
    whole = path.read_bytes()
    found = device_query._whole(path)
    assert found is not None
    np.testing.assert_array_equal(found, answers)
    assert device_query._whole(tmp_path / "none.block") is None
    for k in range(count(100, 2000)):
        content = damaged(whole, random.Random(k))  # noqa: S311  no secret
        path.write_bytes(content)
        if content != whole:
            assert device_query._whole(path) is None, k
