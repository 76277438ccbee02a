"""`edgeaudit cache purge-records`: no raw record is left, figures are, and commands that need records say so."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import Finished, Workbench, jobs_run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp("purge"))


@pytest.fixture(scope="module")
def finished(bench: Workbench) -> Finished:
    done = bench.audit(
        "kept",
        model={"recipe": "mlp", "options": {"hidden": [16]}, "epochs": 5},
        threat={"shadows": 2},
        formats=["torch-fp32"],
        attacks=["lira"],
        quality={"latency": False},
        report={"records": "thumbnails"},
    )
    assert done.code == 0, done.stderr
    assert bench.run("export", done.out).code == 0
    return done


def _holding(folder: Path, record: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and record in path.read_bytes()]


def test_records_go_and_figures_stay(bench: Workbench, finished: Finished) -> None:
    store, out = bench.folder / ".edgeaudit", finished.out
    (records,) = store.glob("population/*/x.npy")
    record = np.load(records)[0].tobytes()
    assert _holding(bench.folder, record) == ["x.npy"]  # once, and nowhere else
    assert "data:image/png" in (out / "audit.json").read_text("utf-8")
    before = finished.audit

    done = bench.call("cache", "purge-records", out, "--yes")
    assert done.code == 0, done.stderr
    assert "removed the records of 1 population" in done.stdout
    assert "evidence.npz" in done.stdout
    assert _holding(bench.folder, record) == []
    assert not (out / "evidence.npz").exists()
    for name in ("audit.json", "report.html"):
        assert "data:image/png" not in (out / name).read_text("utf-8")
    assert finished.audit == {**before, "thumbnails": []}

    assert bench.call("report", out).code == 0
    assert bench.call("check", out).code == 0
    for arguments in (("attack", out), ("export", out), ("devices", "deploy", out, "--to", "ssh://nobody@127.0.0.1")):
        refused = bench.call(*arguments)
        assert refused.code == 2
        assert f"does not have the records of {out}: they were purged" in refused.stderr
        assert "run the audit again, which reads them from the data" in refused.stderr
    assert not list(store.glob("population/*"))

    # The data are read again, and nothing else is done.
    again = bench.run("run", "kept.yaml", "--out", out, out=out.name)
    assert jobs_run(again.stdout)[0] == 0
    assert again.audit["leakage"] == before["leakage"]
    assert bench.run("export", out).code == 0


def test_all_records_of_a_store(bench: Workbench, finished: Finished, tmp_path: Path) -> None:
    store = shutil.copytree(bench.folder / ".edgeaudit", tmp_path / "store")
    kept = {path.name for path in store.glob("train/*")}
    done = bench.call("cache", "purge-records", "--store", store, "--yes")
    assert done.code == 0, done.stderr
    assert not list(store.glob("**/x.npy"))
    assert {path.name for path in store.glob("train/*")} == kept
    assert bench.call("cache", "verify", "--store", store).code == 0


def test_what_is_no_run_is_named_and_nothing_is_removed(bench: Workbench, finished: Finished, tmp_path: Path) -> None:
    before = sorted(bench.folder.glob(".edgeaudit/population/*"))
    done = bench.call("cache", "purge-records", finished.out, tmp_path, "--yes")
    assert done.code == 2
    assert f"{tmp_path}/audit.json: no such file" in done.stderr
    assert sorted(bench.folder.glob(".edgeaudit/population/*")) == before
