"""`report.records` in whole audits of images with names: what is in audit.json and in every report."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeaudit
from edgeaudit.report.model import Audit
from edgeaudit.report.schema import read_audit

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes with telling names."""
    folder = tmp_path_factory.mktemp("listed")
    rng = np.random.default_rng(5)
    for label, name in enumerate(("cats", "dogs")):
        (folder / "images" / name).mkdir(parents=True)
        for n in range(70):
            pixels = rng.integers(0, 200, (8, 8, 3)) + 50 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / name / f"person-{name}-{n}.png")
    return folder


def audit(project: Path, records: str) -> tuple[Audit, dict[str, str]]:
    """The audit, and the text of each report."""
    spec: dict[str, Any] = {
        "model": {"recipe": "mlp", "options": {"hidden": [16]}, "epochs": 5},
        "data": {"source": "folder", "path": str(project / "images"), "members": 30, "nonmembers": 30,
                 "calibration": {"records": 8}},
        "threat": {"shadows": 2},
        "formats": ["torch-fp32"],
        "attacks": ["lira"],
        "quality": {"latency": False},
        "report": {"writers": ["html", "text"], "records": records},
    }  # fmt: skip
    out = project / f"out-{records}"
    found = edgeaudit.run(spec, out=out, store=project / "store", workers=1)
    assert read_audit(out / "audit.json") == found
    return found, {name: (out / name).read_text("utf-8") for name in ("audit.json", "report.html", "report.txt")}


def test_none(project: Path) -> None:
    found, texts = audit(project, "none")
    assert (found.exposed, found.claimed, found.thumbnails) == ((), (), ())
    assert found.leakage
    for text in texts.values():
        assert "person-" not in text
    assert "No record is listed, as report.records of audit.yaml says." in texts["report.html"]
    assert "Record ids by score" not in texts["report.html"]


def test_ids(project: Path) -> None:
    found, texts = audit(project, "ids")
    assert len(found.exposed) >= 10
    assert {row.name for row in found.exposed} == {None}
    assert not any("person-" in text for text in texts.values())
    assert "Record ids by score" in texts["report.html"]
    assert "<img" not in texts["report.html"]


def test_names_are_the_default(project: Path) -> None:
    found, texts = audit(project, "names")
    assert all(row.name is not None and "person-" in row.name for row in found.exposed)
    assert not found.thumbnails
    assert "img-src" not in texts["report.html"]
    assert found.spec["report"]["records"] == edgeaudit.AuditSpec().report.records


def test_thumbnails(project: Path) -> None:
    found, texts = audit(project, "thumbnails")
    assert 10 <= len(found.thumbnails) <= 20
    names = {row.record: row.name for row in found.exposed}
    for one in found.thumbnails:
        shown = Image.open(io.BytesIO(base64.b64decode(one.image.partition(",")[2])))
        stored = Image.open(project / "images" / str(names[one.record]))
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(stored))
    html = texts["report.html"]
    assert re.findall(r'<img src="(data:image/png;base64,[^"]+)"', html) == [one.image for one in found.thumbnails]
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert [one.endswith("; img-src data:") for one in policy] == [True]
