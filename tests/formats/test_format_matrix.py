"""The command that writes docs/formats.md: which formats go with which architecture, and the page of a small run."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgeaudit.filetypes.agreement import Agreement
from edgeaudit.formats.incompatibilities import INCOMPATIBILITIES
from edgeaudit.formats.presets import FORMATS


@pytest.fixture(scope="module")
def matrix(root_folder: Path) -> ModuleType:
    """benchmarks/ is no package: its scripts are run, not imported."""
    spec = importlib.util.spec_from_file_location("format_matrix", root_folder / "benchmarks" / "formats.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_each_architecture_gets_the_formats_that_start_from_it(matrix: ModuleType) -> None:
    everything = list(FORMATS)
    torch = matrix.formats_of("torch", everything)
    assert torch[0] == "torch-fp32"
    assert sorted(torch) == sorted(f.id for f in FORMATS.values() if matrix.starts_from(f) == "torch")
    assert matrix.Architecture("", "keras:resnet8", 1, 0.1).kind == "keras"
    assert set(matrix.formats_of("keras", everything)).isdisjoint(torch)
    # The reference is there to be compared with, whatever was asked for.
    assert matrix.formats_of("torch", ["onnx-fp32"]) == ["torch-fp32", "onnx-fp32"]


def test_accuracy_has_the_interval_of_paired_records(matrix: ModuleType) -> None:
    """Of 100 records the format has 4 wrong that the model had right and 1 right that it had wrong: 3 points fewer.

    The differences are -1 four times, +1 once, 0 else: variance (5 - 100 x .03 x .03) / 99 = .049596, half-width
    1.96 x sqrt(.049596 / 100) = 4.4 points.
    """
    model = np.ones(100, bool)
    model[:10] = False
    form = model.copy()
    form[0], form[10:14] = True, False
    measured = Agreement(records=100, max_abs=1.0, rel_rms=0.0123, worst_class=0.045, top1=0.95, range_ratio=0.98765)
    row = matrix.Row("mine", None, form, measured, bytes=2048, packed=1024)
    assert matrix._row(row, model) == "| `mine` | -3.0 ± 4.4 | 0.012 | 0.045 | 0.988 | 95.0% | 2 | 1 |"


def test_a_rejected_format_has_the_reason_in_one_cell(matrix: ModuleType) -> None:
    row = matrix.Row("mine", "it clips\nthe answers | here")
    assert matrix._row(row, np.ones(3, bool)) == "| `mine` | refused: it clips the answers \\| here | | | | | | |"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--formats", "onnx-fp31"], "there is no format 'onnx-fp31'; there are: torch-fp32, onnx-fp32"),
        (["--architectures", "vgg"], "there is no architecture 'vgg'; there are: cnn, resnet8"),
    ],
)
def test_reject_an_unknown_format(
    matrix: ModuleType, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        matrix.main(options)
    assert message in capsys.readouterr().err


def test_without_the_data_set(matrix: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEAUDIT_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"cifar10_train20k.npz is missing; set EDGEAUDIT_DATA to its folder"):
        matrix.main(["--architectures", "cnn"])


@pytest.mark.e2e
def test_a_small_run_writes_the_page_and_runs_nothing_twice(root_folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, str(root_folder / "benchmarks" / "formats.py"), "--architectures", "cnn", "--formats",
        "onnx-int8-static,onnx-fp32", "--source", "digits", "--records", "100", "--calibration", "32",
        "--epochs", "5", "--workers", "1", "--store", "store", "--out", "page.md",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(root_folder)}
    pages, made = [], []
    for _ in range(2):
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
        pages.append((tmp_path / "page.md").read_text(encoding="utf-8"))
        made.append({entry: entry.stat().st_mtime_ns for entry in (tmp_path / "store").rglob("*.npy")})
    assert pages[0] == pages[1]
    assert made[0] == made[1]
    lines = pages[0].splitlines()
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in lines if line.count("|") == 9]
    assert [row[0] for row in cells[2:]] == ["`torch-fp32`", "`onnx-fp32`", "`onnx-int8-static`"]
    torch, onnx, int8 = cells[2:]
    assert torch[1:6] == ["+0.0 ± 0.0", "0", "0", "1.000", "100.0%"]
    assert float(onnx[2]) < 1e-4 < float(int8[2]) < 0.1
    assert float(int8[6]) < 0.6 * float(onnx[6])
    by_name = sum(entry.refused == "by name" for entry in INCOMPATIBILITIES)
    assert sum(line.count("by name") for line in lines) >= by_name
