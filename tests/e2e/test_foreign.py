"""Files that were made elsewhere, audited as a user does it: here a file of another audit, whose figures are known."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_digits

from edgeaudit.graph import processes
from edgeaudit.graph.confinement import network_problem
from edgeaudit.graph.executor import AnyJob, Limits
from tests.e2e.conftest import Finished, Workbench, jobs_run

pytestmark = pytest.mark.e2e


def _figure(audit: dict[str, Any], attack: str, subset: str = "all") -> float | None:
    rows = audit["leakage"]
    found = [r for r in rows if (r["attack"], r["metric"], r["subset"]) == (attack, "auc", subset)]
    value: float | None = found[0]["value"] if found else None
    return value


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workbench, dict[str, Any], dict[str, Any]]:
    """An audit's target as a file, the audit, and the data section that has the same records in the same form."""
    bench = Workbench(tmp_path_factory.mktemp("bench"))
    done = bench.audit("native", formats=["onnx-int8-static"], attacks=["yeom", "gap"])
    assert done.code == 0, done.stderr
    store = bench.folder / ".edgeaudit"
    entries = [json.loads((e / "entry.json").read_text("utf-8")) | {"folder": e} for e in store.glob("compress/*")]
    made = next(e for e in entries if e["label"] == "ort.static-int8 target")
    manifest = json.loads((made["folder"] / "manifest.json").read_text("utf-8"))
    shutil.copyfile(made["folder"] / manifest["file"], bench.folder / "model.onnx")
    population = next(store.glob("population/*"))
    about = json.loads((population / "about.json").read_text("utf-8"))
    with np.load(population / "split.npz") as split:
        for side in ("members", "nonmembers"):
            np.save(bench.folder / f"{side}.npy", split[side])
        np.save(bench.folder / "calibrated.npy", split["nonmembers"][:30])
    data = {
        "members": "members.npy",
        "nonmembers": "nonmembers.npy",
        "preprocessing": {"mean": about["mean"], "std": about["deviation"]},
        "calibrated": "calibrated.npy",
    }
    return bench, done.audit, data


def test_without_a_recipe(shipped: tuple[Workbench, dict[str, Any], dict[str, Any]]) -> None:
    bench, native, data = shipped
    spec = {"target": {"artifact": "model.onnx"}, "data": {"source": "digits", "reference": 0, **data}}
    (bench.folder / "alone.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    done = bench.run("run", "alone.yaml", "--out", "out-alone", out="out-alone")
    assert done.code == 0, done.stderr
    # Nothing is trained: control, adopt, query, measure, inspect, traits, latency, compare.
    assert jobs_run(done.stdout) == (8, 8)
    found = done.audit
    assert found["formats"][0]["artifact"]["sha256"] == native["formats"][0]["artifact"]["sha256"]
    # The same file, asked about the same records: the same answers.
    for attack in ("yeom", "gap"):
        assert _figure(found, attack) == _figure(native, attack)
    assert found["formats"][0]["accuracy"]["train"] == native["formats"][0]["accuracy"]["train"]
    assert found["formats"][0]["accuracy"]["shadow_train"] is None
    said = [c["statement"] for c in found["controls"] if c["name"] == "resolution"]
    assert any("no shadows, because model.recipe is not set" in statement for statement in said)


def test_what_opens_the_file_is_confined(
    shipped: tuple[Workbench, dict[str, Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, native, data = shipped
    given: list[tuple[str, bool, bool]] = []

    class Watched(processes._Worker):
        def give(self, job: AnyJob, limits: Limits) -> None:
            if self.group[1] and network_problem() is None:
                links = [Path(f"/proc/{pid}/ns/net").readlink() for pid in ("self", self.process.pid)]
                begun = time.monotonic()
                while links[0] == links[1] and time.monotonic() < begun + 30:  # its first act
                    time.sleep(0.01)
                    links[1] = Path(f"/proc/{self.process.pid}/ns/net").readlink()
                given.append((job.kind, True, links[0] != links[1]))
            else:
                given.append((job.kind, self.group[1], False))
            super().give(job, limits)

    monkeypatch.setattr(processes, "_Worker", Watched)
    digits = load_digits()
    np.savez(bench.folder / "digits.npz", x=np.round(digits.images * (255 / 16)).astype(np.uint8), y=digits.target)
    spec = {
        "target": {"artifact": "model.onnx"},
        "data": {"source": "npz", "path": "digits.npz", "reference": 0, **data},
    }
    (bench.folder / "confined.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    done = bench.call("run", "confined.yaml", "--out", "out", "--workers", "1")
    assert done.code == 0, done.stderr
    apart = network_problem() is None
    assert {kind for kind, confined, _ in given if confined} == {
        "population", "adopt", "query", "inspect", "traits", "latency",
    }  # fmt: skip
    assert all(away is apart for _, confined, away in given if confined)
    assert {kind for kind, confined, _ in given if not confined} == {"control", "measure", "compare"}
    said = done.audit["environment"]["foreign_files"]
    assert ("no network" in said) is apart
    assert "no network" in (done.out / "report.html").read_text("utf-8") or not apart
    for attack in ("yeom", "gap"):
        assert _figure(done.audit, attack) == _figure(native, attack)


@pytest.fixture(scope="module")
def with_shadows(shipped: tuple[Workbench, dict[str, Any], dict[str, Any]]) -> Finished:
    """The file's audit with shadows of a recipe."""
    bench, _, data = shipped
    target, formats = {"artifact": "model.onnx"}, ["onnx-int8-static"]
    done = bench.audit("foreign", target=target, data=data, formats=formats, attacks=["cm-mia", "gap"])
    assert done.code == 0, done.stderr
    return done


def test_with_shadows_through_the_same_toolchain(
    shipped: tuple[Workbench, dict[str, Any], dict[str, Any]], with_shadows: Finished
) -> None:
    native, found = shipped[1], with_shadows.audit
    assert _figure(found, "gap") == _figure(native, "gap")
    assert _figure(found, "cm-mia") is not None
    assert found["formats"][0]["accuracy"]["shadow_train"] > 0.8
    assert [c["status"] for c in found["controls"] if c["name"] == "shadow-target match"] == ["holds"]
    assert found["formats"][0]["agreement"] is None


def test_the_file_is_compared_with_its_shadows_files(with_shadows: Finished) -> None:
    (row,) = with_shadows.audit["formats"]
    shadows = row["shadow_files"]
    assert [step["name"] for step in shadows["passes"]] == ["onnx.export", "ort.static-int8"]
    assert shadows["calibration_records"] > 0
    assert shadows["traits"] == row["artifact"]["traits"]
    assert (shadows["traits"]["weights"], shadows["traits"]["arrangement"]) == ("int8", "QDQ")
    (control,) = (c for c in with_shadows.audit["controls"] if c["name"] == "shadow files match")
    assert control["status"] == "holds"
    assert "int8 weights (per channel, QDQ), uint8 activations and the softmax outside" in control["statement"]


def test_calibration_records_are_distinguished(with_shadows: Finished) -> None:
    audit = with_shadows.audit
    rows = [row for row in audit["calibration"] if row["attack"] == "gap"]
    assert [(row["side"], row["n_seen"], row["n_others"]) for row in rows] == [("nonmembers", 30, 70)]
    assert audit["formats"][0]["artifact"]["calibration_audited"] == 30
    # Without those records the figure is that of the others, and it has its row.
    assert _figure(audit, "gap", "uncalibrated") is not None
    assert "Calibration records" in (with_shadows.out / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"formats": ["litert-int8"]}, "model.onnx is onnx, but the format 'litert-int8' creates tflite"),
        ({"formats": ["onnx-int8-static", "onnx-fp32"]}, "target.artifact is one file, but formats has 2 entries"),
        ({"data": {"preprocessing": None}}, "data.preprocessing is required with target.artifact"),
        ({"data": {"members": 100, "nonmembers": 100}}, "target.artifact is a trained target: data.members"),
        ({"target": {"artifact": "none.onnx"}}, "none.onnx cannot be read: No such file"),
        ({"target": {"artifact": "members.npy"}}, "members.npy has none of the suffixes .onnx"),
        ({"formats": []}, "shadows need the toolchain of the targe"),
    ],
)
def test_mistakes_are_named(
    shipped: tuple[Workbench, dict[str, Any], dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    bench, _, data = shipped
    given = {"target": {"artifact": "model.onnx"}, "formats": ["onnx-int8-static"], **changes}
    given["data"] = {**data, **changes.get("data", {})}
    done = bench.refused(**given)
    assert message in " ".join(done.stderr.split())


def test_a_file_that_cannot_be_read_is_one_error(shipped: tuple[Workbench, dict[str, Any], dict[str, Any]]) -> None:
    bench, _, data = shipped
    (bench.folder / "text.onnx").write_text("no model\n" * 50, encoding="utf-8")
    done = bench.audit(
        "text",
        target={"artifact": "text.onnx"},
        data=data,
        model={},
        threat={"shadows": 0},
        formats=[],
        attacks=["gap"],
    )
    assert done.code == 2
    assert done.stderr.count("error:") == 1
    assert "text.onnx" in done.stderr
    assert not (done.out / "report.html").exists()
