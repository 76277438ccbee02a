"""What the command line imports before it works, and what a shell completes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "numpy", "scipy", "pandas", "sklearn", "matplotlib", "pydantic", "yaml", "jinja2", "psutil", "torch", "onnx",
    "onnxruntime", "tensorflow", "keras", "openvino", "nncf",
)  # fmt: skip
VERBS = (
    "schema", "compare", "artifacts", "advise",
    "init", "doctor", "inspect", "plan", "run", "attack", "check", "report", "export", "sign",
    "verify", "formats", "attacks", "agent", "cache ls", "cache clean", "environments list", "environments prepare",
    "environments remove", "devices list", "devices show", "devices probe", "devices emulate", "devices deploy",
)  # fmt: skip


def _imported(code: str, *arguments: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has after the code."""
    last = "\nimport sys; print(); print(' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + last, *arguments], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def _run(arguments: str) -> str:
    return (
        "from edgeaudit.cli import app\ntry:\n"
        f"    app({arguments.split()!r}, prog_name='edgeaudit')\nexcept SystemExit as stop:\n    assert not stop.code"
    )


def test_importing_edgeaudit_imports_nothing_heavy() -> None:
    assert not _imported("import edgeaudit") & {*HEAVY, "typer", "rich"}


def test_help_imports_nothing_heavy() -> None:
    assert not _imported(_run("--help")) & set(HEAVY)


@pytest.mark.parametrize("arguments", ["--version", *(f"{verb} --help" for verb in VERBS)])
def test_help_of_a_verb_imports_nothing_heavy(arguments: str) -> None:
    """Typer itself reads options with pydantic."""
    assert not _imported(_run(arguments)) & {*HEAVY} - {"pydantic"}


@pytest.mark.parametrize(
    "arguments", ["formats", "attacks", "devices list", "devices show raspberry-pi-4", "environments list"]
)
def test_listings_import_no_plots_and_no_statistics(arguments: str) -> None:
    assert not _imported(_run(arguments)) & {"matplotlib", "scipy.stats", "sklearn", "jinja2", "torch", "onnx"}


def test_planning_imports_no_plots_and_no_statistics() -> None:
    light = {"matplotlib", "scipy.stats", "scipy.optimize", "sklearn", "jinja2", "torch", "onnx"}
    assert not _imported("import edgeaudit.pipeline.audit, edgeaudit.cli.progress") & light


def _complete(line: str, folder: Path, **more: str) -> list[str]:
    """What bash is offered at the end of a line."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "_EDGEAUDIT_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        **more,
    }
    command = [str(Path(sys.executable).parent / "edgeaudit")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=folder)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("edgeaudit att", ["attack", "attacks"]),
        ("edgeaudit devices de", ["deploy"]),
        ("edgeaudit run --wo", ["--workers"]),
        ("edgeaudit run --write h", ["html"]),
        ("edgeaudit run --executor ", ["local"]),
        ("edgeaudit attack out --attacks li", ["lira"]),
        ("edgeaudit attack out --attacks lira,info-rmia,r", ["lira,info-rmia,rmia"]),
        ("edgeaudit attack out --weaker lab", ["label"]),
        ("edgeaudit compare run later --map onnx-i", ["onnx-int8="]),
        ("edgeaudit compare run later --map onnx-int8=onnx", ["onnx-int8=onnx-int8-qop"]),
        ("edgeaudit devices show raspberry-pi-z", ["raspberry-pi-zero-2w"]),
        ("edgeaudit devices probe --profile jetson-n", ["jetson-nano"]),
        ("edgeaudit devices emulate --runtime onnx", ["onnxruntime"]),
        ("edgeaudit environments prepare ", ["tflite-runtime"]),
        ("edgeaudit devices deploy run --format onnx-", ["onnx-fp32", "onnx-int8"]),
        ("edgeaudit devices deploy nothing --format onnx-", []),
    ],
)
def test_a_shell_completes_names(line: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    rows = [{"id": name} for name in ("torch-fp32", "onnx-fp32", "onnx-int8")]
    (tmp_path / "run" / "audit.json").write_text(json.dumps({"formats": rows}), encoding="utf-8")
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "audit.json").write_text(json.dumps({"formats": [{"id": "onnx-int8-qop"}]}), encoding="utf-8")
    assert _complete(line, tmp_path) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell_can_be_shown(shell: str) -> None:
    command = [str(Path(sys.executable).parent / "edgeaudit"), "--show-completion", shell]
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "_EDGEAUDIT_COMPLETE" in done.stdout
