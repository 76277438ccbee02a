"""The evidence of a run: what is in the file, who can read it, and that its figures follow from it."""

from __future__ import annotations

import json
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import edgeaudit
from edgeaudit.errors import RunError, SpecError, StoreError
from edgeaudit.pipeline import export as export_module
from edgeaudit.population.base import Population
from tests.e2e.conftest import Finished, Workbench

pytestmark = pytest.mark.e2e

MLP = {"recipe": "mlp", "options": {"hidden": [32]}, "epochs": 20, "batch": 32}
# edgeaudit and scipy cannot be imported, as on the machine of a reviewer who has numpy alone.
BLOCKED = (
    "import runpy, sys; sys.modules.update(dict.fromkeys(('edgeaudit', 'scipy', 'pandas', 'sklearn')));"
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
Arrays = dict[str, npt.NDArray[Any]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def adversary(bench: Workbench) -> Finished:
    done = bench.audit(
        "adversary",
        model=MLP,
        targets=2,
        threat={"shadows": 6},
        formats=["torch-fp32", "onnx-int8-static", "litert-int8"],
        attacks=["lira", "rmia", "attack-p", "gap"],
        quality={"latency": False},
    )
    assert done.code == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def auditor(bench: Workbench) -> Finished:
    done = bench.audit(
        "auditor",
        model=MLP,
        threat={"shadows": 6, "mode": "auditor", "shadow_match": ["matched", "fp32"]},
        formats=["torch-fp32"],
        attacks=["lira", {"rmia": {"gamma": 1.5}}],
        quality={"latency": False},
    )
    assert done.code == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def evidence(bench: Workbench, adversary: Finished) -> Path:
    done = bench.run("export", adversary.out)
    assert done.code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Writing ")  # before it is written
    assert "the shadows' answers are" in lines[0]
    assert lines[-1].startswith(f"Evidence: {adversary.out / 'evidence.npz'}")
    return adversary.out / "evidence.npz"


@pytest.fixture(scope="module")
def auditors(bench: Workbench, auditor: Finished) -> Path:
    path = bench.folder / "named.npz"
    done = bench.run("export", auditor.out, "--out", path)
    assert done.code == 0, done.stderr
    return path


@pytest.fixture
def recompute(root_folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(evidence: Path, audit: Path) -> subprocess.CompletedProcess[str]:
        program = root_folder / "examples" / "recompute.py"
        command = [sys.executable, "-I", "-c", BLOCKED, str(program), str(evidence), str(audit)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_the_figures_follow_from_the_evidence(
    adversary: Finished, evidence: Path, recompute: Callable[..., Any]
) -> None:
    done = recompute(evidence, adversary.out / "audit.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 differ by more than 1e-09" in done.stdout
    # Of three formats 100 members and nonmembers, on two targets and a null target.
    for place in ("torch-fp32", "onnx-int8-static", "litert-int8"):
        rows = [row for row in done.stdout.splitlines() if row.startswith(f"{place} on local, matched ")]
        assert any("scores lira/offline-global" in row and " 600 " in row for row in rows)
        assert any("scores rmia/offline-0.3" in row for row in rows)
        for metric in ("auc", "tpr@fpr=0.01", "balanced_accuracy", "ppv@prior=0.1", "means over targets"):
            assert any(f" {metric} " in row for row in rows), metric


def test_the_auditors_scores_follow_from_the_evidence(
    auditor: Finished, auditors: Path, recompute: Callable[..., Any]
) -> None:
    checked = recompute(auditors, auditor.out / "audit.json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    variants = ("lira/offline-global", "lira/online-global", "lira/online-per-record", "rmia/online", "rmia/offline-0")
    for match in ("matched", "fp32"):
        rows = [row for row in checked.stdout.splitlines() if row.startswith(f"torch-fp32 on local, {match} ")]
        assert all(any(f"scores {variant} " in row for row in rows) for variant in variants)
    arrays = _read(auditors)
    # Half of the shadows trained on each audited record, so both sides of the online attacks are in the file.
    np.testing.assert_array_equal(arrays["shadow_trained"][:, arrays["audited"]].sum(axis=0), np.full(200, 3))
    # torch-fp32 has the same shadows either way: their answers are there once.
    assert sum(values.ndim == 3 and values.shape[0] == 6 for values in arrays.values()) == 1


@pytest.mark.parametrize(
    ("damaged", "found"),
    [("scores", "scores lira/offline-global"), ("targets", "scores lira"), ("thresholds", "balanced_accuracy")],
)
def test_a_damaged_array_is_found(
    damaged: str, found: str, auditor: Finished, auditors: Path, recompute: Callable[..., Any], tmp_path: Path
) -> None:
    arrays = _read(auditors)
    about = json.loads(str(arrays["manifest"]))["deployments"][0]
    values = arrays[about[damaged]]
    variant = arrays[about["attacks"]].tolist().index("lira/offline-global")
    if damaged == "targets":
        values[0, 3] = 0.0
    elif damaged == "scores":
        values[0, variant, 7] += 1e-6
    else:
        values[0, variant] += 1.0
    np.savez(tmp_path / "damaged.npz", **arrays)  # type: ignore[arg-type]
    done = recompute(tmp_path / "damaged.npz", auditor.out / "audit.json")
    assert done.returncode == 1
    assert any(found in row and "DIFFERS" in row for row in done.stdout.splitlines())


def test_a_changed_figure_is_found(
    auditor: Finished, auditors: Path, recompute: Callable[..., Any], tmp_path: Path
) -> None:
    audit = auditor.audit
    row = next(row for row in audit["leakage"] if row["metric"] == "tpr@fpr=0.01" and row["attack"] == "lira")
    row["high"] -= 1e-6
    (tmp_path / "audit.json").write_text(json.dumps(audit), encoding="utf-8")
    done = recompute(auditors, tmp_path / "audit.json")
    assert done.returncode == 1
    differing = [line for line in done.stdout.splitlines() if "DIFFERS" in line]
    assert len(differing) == 2  # the file's digest, and the figure
    assert "tpr@fpr=0.01" in differing[1]


def test_a_file_that_is_no_evidence_is_refused(
    adversary: Finished, recompute: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "text.npz").write_text("none", encoding="utf-8")
    done = recompute(tmp_path / "text.npz", adversary.out / "audit.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_every_array_is_described_and_no_record_is_among_them(adversary: Finished, evidence: Path) -> None:
    arrays = _read(evidence)
    manifest = json.loads(str(arrays["manifest"]))
    assert str(arrays["format"]) == manifest["format"] == "edgeaudit-evidence/1"
    rows = {row["name"]: row for row in manifest["arrays"]}
    assert set(rows) == set(arrays) - {"format", "manifest"}
    for name, row in rows.items():
        assert row["meaning"], name
        assert row["shape"] == list(arrays[name].shape), name
        assert row["dtype"] == ("str" if arrays[name].dtype.kind == "U" else arrays[name].dtype.name), name
    # A record of digits has 64 values.
    assert not [name for name, array in arrays.items() if 64 in array.shape or array.shape[-2:] == (8, 8)]

    # Memberships and scores are those of the run's own files.
    for about in manifest["deployments"]:
        stored = _read(adversary.out / "scores" / f"{about['format']}.npz")
        audited = arrays["audited"]
        np.testing.assert_array_equal(arrays["records"][audited], stored["records"])
        np.testing.assert_array_equal(arrays["members"][0], stored["members"])
        np.testing.assert_array_equal(arrays["target_trained"][0][audited], stored["members"])
        np.testing.assert_array_equal(arrays[about["calibrated"]][0], stored["calibrated"])
        scores = dict(zip(arrays[about["attacks"]].tolist(), arrays[about["scores"]][0], strict=True))
        p_values = dict(zip(arrays[about["attacks"]].tolist(), arrays[about["p_values"]][0], strict=True))
        assert set(scores) == {name for name in stored if "/" in name and not name.startswith("common.")}
        for name, values in scores.items():
            np.testing.assert_array_equal(values, stored[name])
        np.testing.assert_array_equal(p_values["attack-p/quantile"], stored["p_value.attack-p.quantile"])
        assert np.isnan(p_values["gap/label"]).all()  # it has none
    # The second target trained on other members; the null target on none of the audited records.
    assert arrays["targets"].tolist() == ["target", "target-1", "null-target"]
    assert (arrays["members"][1] != arrays["members"][0]).any()
    assert not arrays["target_trained"][2][arrays["audited"]].any()


def test_only_its_owner_can_read_it_and_it_is_the_same_each_time(
    bench: Workbench, adversary: Finished, evidence: Path, tmp_path: Path
) -> None:
    assert stat.S_IMODE(evidence.stat().st_mode) == 0o600
    again = tmp_path / "again.npz"
    again.write_bytes(b"an older file, which others may read")
    again.chmod(0o644)
    written = edgeaudit.export(adversary.out, again, store=bench.folder / ".edgeaudit")
    assert stat.S_IMODE(again.stat().st_mode) == 0o600
    assert again.read_bytes() == evidence.read_bytes()
    assert (written.path, written.bytes, written.shadows) == (again, again.stat().st_size, True)
    assert written.arrays == len(_read(again))


def test_groups_and_columns_of_the_records_are_included_where_there_are_any(
    bench: Workbench, auditor: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = property(lambda population: np.arange(len(population.labels)) // 2)
    parity = property(lambda population: {"parity": np.where(population.labels % 2, "odd", "even")})
    monkeypatch.setattr(Population, "groups", pairs, raising=False)
    monkeypatch.setattr(Population, "slices", parity, raising=False)
    edgeaudit.export(auditor.out, tmp_path / "e.npz", store=bench.folder / ".edgeaudit")
    arrays = _read(tmp_path / "e.npz")
    np.testing.assert_array_equal(arrays["groups"], arrays["records"] // 2)
    np.testing.assert_array_equal(arrays["slices/parity"], np.where(arrays["labels"] % 2, "odd", "even"))


def test_large_answers_of_shadows_are_left_out_and_said_beforehand(
    bench: Workbench,
    auditor: Finished,
    recompute: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export_module, "LARGEST_SHADOWS", 1000)
    said: list[str] = []
    path, store = tmp_path / "small.npz", bench.folder / ".edgeaudit"

    def notify(text: str) -> None:
        assert not path.exists()
        said.append(text)

    assert not edgeaudit.export(auditor.out, path, store=store, notify=notify).shadows
    # 6 shadows, 600 records, 10 classes of 4 bytes.
    assert "(144.0 kB, over 1.0 kB; --shadows includes them)" in said[0]
    arrays = _read(path)
    assert not [name for name, values in arrays.items() if values.ndim == 3 and values.shape[0] == 6]
    assert "answers of the shadows" in json.loads(str(arrays["manifest"]))["not_included"]
    done = recompute(path, auditor.out / "audit.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "scores lira" not in done.stdout
    assert "There are no answers of shadows in the file" in done.stdout

    path.unlink()
    assert edgeaudit.export(auditor.out, path, shadows=True, store=store, notify=notify).shadows
    path.unlink()
    monkeypatch.undo()
    assert not edgeaudit.export(auditor.out, path, shadows=False, store=store, notify=notify).shadows


def test_a_full_disk_leaves_the_file_as_it_was(bench: Workbench, adversary: Finished, tmp_path: Path) -> None:
    path, store = tmp_path / "evidence.npz", bench.folder / ".edgeaudit"
    path.write_text("before", encoding="utf-8")
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, most))
    try:
        with pytest.raises(StoreError, match=str(path)):
            edgeaudit.export(adversary.out, path, store=store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert [(one.name, one.read_text(encoding="utf-8")) for one in tmp_path.iterdir()] == [("evidence.npz", "before")]


def test_what_cannot_be_written_is_named(bench: Workbench, adversary: Finished, tmp_path: Path) -> None:
    store = bench.folder / ".edgeaudit"
    with pytest.raises(StoreError, match="is a folder; give the name of a file"):
        edgeaudit.export(adversary.out, tmp_path, store=store)
    with pytest.raises(StoreError, match=r"nowhere.*No such file"):
        edgeaudit.export(adversary.out, tmp_path / "nowhere" / "e.npz", store=store)
    with pytest.raises(SpecError, match="shadows must be True, False or None"):
        edgeaudit.export(adversary.out, tmp_path / "e.npz", shadows="yes", store=store)  # type: ignore[arg-type]


def test_a_run_that_is_not_there_is_named(bench: Workbench) -> None:
    done = bench.call("export", "nowhere")
    assert done.code == 2
    assert "nowhere/audit.json" in done.stderr


def test_a_store_that_is_gone_is_named(bench: Workbench, adversary: Finished, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(RunError, match=f"{gone} is not a store: name the store of"):
        edgeaudit.export(adversary.out, tmp_path / "e.npz", store=gone)
    assert not gone.exists()
    # A purged store that another audit has begun to fill.
    kept = tmp_path / "kept"
    shutil.copytree(bench.folder / ".edgeaudit", kept)
    shutil.rmtree(kept / "query")
    with pytest.raises(RunError, match=r"lacks \d+ of \d+ results of this run \(query torch-fp32 target, ...\)"):
        edgeaudit.export(adversary.out, tmp_path / "e.npz", store=kept)
    assert not (tmp_path / "e.npz").exists()


def test_a_module_that_is_not_found_says_where_it_was(bench: Workbench, adversary: Finished, tmp_path: Path) -> None:
    shutil.copy(adversary.out / "audit.json", tmp_path)
    recorded = json.loads((adversary.out / "spec.json").read_text(encoding="utf-8"))
    recorded["spec"]["model"]["recipe"] = "elsewhere:make"
    (tmp_path / "spec.json").write_text(json.dumps(recorded), encoding="utf-8")
    with pytest.raises(RunError, match=rf"'elsewhere' cannot be found.*was made from {bench.folder}, where modules"):
        edgeaudit.export(tmp_path, tmp_path / "e.npz", store=bench.folder / ".edgeaudit")


def test_a_damaged_answer_is_named_and_nothing_is_written(bench: Workbench, auditor: Finished, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(bench.folder / ".edgeaudit", kept)
    for path in (kept / "query").glob("*/responses.npy"):
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(RunError, match=r"responses.npy is missing or damaged.*was not written"):
        edgeaudit.export(auditor.out, tmp_path / "e.npz", store=kept)
    assert [one.name for one in tmp_path.iterdir()] == ["kept"]


def test_scores_that_are_not_those_of_the_store_are_refused(
    bench: Workbench, adversary: Finished, tmp_path: Path
) -> None:
    run = shutil.copytree(adversary.out, tmp_path / "run")
    scores = run / "scores" / "torch-fp32.npz"
    arrays = _read(scores)
    arrays["gap/label"][0] += 1
    np.savez(scores, **arrays)  # type: ignore[arg-type]
    with pytest.raises(RunError, match=r"torch-fp32.npz is missing or has other scores than the store"):
        edgeaudit.export(run, store=bench.folder / ".edgeaudit")
    scores.unlink()
    with pytest.raises(RunError, match="is missing or has other scores"):
        edgeaudit.export(run, store=bench.folder / ".edgeaudit")


def test_a_run_in_which_every_format_failed_has_no_evidence(
    bench: Workbench, adversary: Finished, tmp_path: Path
) -> None:
    run = shutil.copytree(adversary.out, tmp_path / "run")
    audit = adversary.audit
    for row in audit["formats"]:
        row |= {"status": "failed", "error": "broken"}
    (run / "audit.json").write_text(json.dumps(audit), encoding="utf-8")
    with pytest.raises(RunError, match="no format was audited"):
        edgeaudit.export(run, store=bench.folder / ".edgeaudit")
