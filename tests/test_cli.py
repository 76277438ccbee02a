"""The verbs that run nothing heavy."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from edgeaudit.attacks.registry import attack_names, attack_specs
from edgeaudit.cli import app, main
from edgeaudit.config.audit import load_spec
from edgeaudit.errors import SpecError, StoreError
from edgeaudit.formats.presets import FORMATS
from edgeaudit.graph.store import Store


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def _invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_init_writes_a_valid_spec_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "edgeaudit plan" in _invoke("init")
    spec = load_spec(tmp_path / "audit.yaml")
    assert spec.name == "digits"
    monkeypatch.setattr("sys.argv", ["edgeaudit", "init"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2


def test_every_format_is_listed() -> None:
    output = _invoke("formats")
    assert all(name in output for name in FORMATS)


def test_every_attack_is_listed_with_its_paper() -> None:
    output = _invoke("attacks")
    assert all(name in output for name in attack_names())
    assert "Carlini" in output
    # Variants that need more stand in a line of their own.
    online = next(line for line in output.splitlines() if "online-global" in line)
    assert "offline-global" not in online
    assert "4+ shadows, IN shadows" in online


def test_doctor_lists_installed_packages() -> None:
    output = _invoke("doctor")
    assert "onnxruntime" in output
    # Whatever pip brings is there; an environment of its own is made by whoever wants its runtime.
    missing = [line for line in output.splitlines() if line.startswith("missing: ")]
    assert missing in ([], ["missing: edgeaudit environments prepare tflite-runtime"])
    assert ("every toolchain and runtime is installed" in output) == (not missing)


def test_the_version_is_the_changelogs(root_folder: Path) -> None:
    version = _invoke("--version").split()[-1]
    assert f"## {version} " in (root_folder / "CHANGELOG.md").read_text(encoding="utf-8")


def test_an_empty_store(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    Store(folder)
    _invoke("cache", "ls", "--store", str(folder))
    assert "0 entries are intact" in _invoke("cache", "verify", "--store", str(folder))
    assert "removed 0" in _invoke("cache", "clean", "--yes", "--store", str(folder))
    assert "removed 0 entries and the store" in _invoke("cache", "purge", "--yes", "--store", str(folder))
    assert not folder.exists()


@pytest.mark.parametrize("command", [["ls"], ["verify"], ["clean", "--yes"], ["purge", "--yes"]])
def test_a_folder_without_a_marker_is_left_unchanged(tmp_path: Path, command: list[str]) -> None:
    entry = tmp_path / "train" / ("0" * 40)
    entry.mkdir(parents=True)
    (entry / "entry.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StoreError, match=r"is not an edgeaudit store: it has no edgeaudit-store\.json"):
        _invoke("cache", *command, "--store", str(tmp_path))
    assert [path.name for path in tmp_path.rglob("*")] == ["train", "0" * 40, "entry.json"]


def test_plan_counts_and_estimates(tmp_path: Path) -> None:
    spec = tmp_path / "audit.yaml"
    spec.write_text(yaml.safe_dump({"data": {"members": 100, "nonmembers": 100}, "threat": {"shadows": 4}}))
    output = _invoke("plan", str(spec), "--store", str(tmp_path / "store"))
    assert "digits: 100 members, 100 nonmembers, 1597 reference records, 10 classes, 0 exact duplicates" in output
    rows = {line.split()[0]: line.split()[1:4] for line in output.splitlines() if line.split()[3:4]}
    assert rows["control"] == ["1", "0", "1"]
    assert rows["train"] == ["6", "0", "6"]  # the target, a null target and four shadows
    assert rows["query"] == ["12", "0", "12"]
    assert "workers of one thread" in output


def test_every_yaml_of_the_repository_is_valid(root_folder: Path) -> None:
    found = [*(root_folder / "examples").rglob("*.yaml"), *(root_folder / "benchmarks").rglob("*.yaml")]
    assert len(found) >= 4
    for path in found:
        load_spec(path)


def test_every_key_is_documented(root_folder: Path) -> None:
    from edgeaudit import config
    from edgeaudit.config.audit import AuditSpec
    from edgeaudit.config.base import Section

    for module in pkgutil.iter_modules(config.__path__, "edgeaudit.config."):
        importlib.import_module(module.name)
    pages = ("audit-yaml.md", "policy.md")
    text = "".join((root_folder / "docs" / page).read_text(encoding="utf-8") for page in pages)
    specs = Section.__subclasses__()
    assert AuditSpec in specs
    for model in specs:
        for name, field in model.model_fields.items():
            assert (field.alias or name) in text, f"{model.__name__}.{name}"


def test_names_and_commands_are_whole_on_a_narrow_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    output = _invoke("attacks")
    assert "…" not in output
    assert all(variant in output for spec in attack_specs() for variant in spec.variants)
    assert "edgeaudit run audit.yaml --out out" in _invoke("init")


def test_a_path_in_brackets_is_printed_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a[/b]"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    np.savez("d[bold].npz", x=np.arange(240.0).reshape(60, 4), y=np.arange(60) % 2)
    spec = {
        "data": {
            "source": "npz", "path": "d[bold].npz", "members": 9, "nonmembers": 9, "calibration": {"records": 8}
        },
        "threat": {"shadows": 2},
        "formats": ["torch-fp32"],
    }  # fmt: skip
    Path("[red].yaml").write_text(yaml.safe_dump(spec))
    output = _invoke("plan", "[red].yaml", "--workers", "1")
    assert "npz:d[bold].npz: 9 members" in output
    assert "on 1 worker of one thread" in output
    assert "a[/b]/audit.yaml, and audit.schema.json beside it. Next" in _invoke("init", str(folder / "audit.yaml"))


def test_a_worker_that_imports_the_console_script_gets_no_command_line() -> None:
    """multiprocessing's spawn runs the main script of the parent in every worker."""
    heavy = "{'typer', 'rich', 'scipy', 'matplotlib', 'edgeaudit.cli'}"
    code = f"import sys, edgeaudit.__main__; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_formats_that_have_all_words_are_listed() -> None:
    listed = [line["id"] for line in json.loads(_invoke("formats", "INT8", "openvino", "--json"))]
    assert listed == [
        name
        for name, found in FORMATS.items()
        if "int8" in f"{name} {found.precision} {found.passes}".lower() and found.runtime == "openvino"
    ]
    assert listed
    done = CliRunner().invoke(app, ["formats", "int7"])
    assert isinstance(done.exception, SpecError)
    assert str(done.exception) == "no format has int7 in its name, precision, passes, runtime or needs"


def test_doctor_of_some_formats_names_their_packages_alone() -> None:
    found = json.loads(_invoke("doctor", "onnx-int8-static", "--json"))
    assert {one["needed_by"] for one in found["packages"]} == {"onnx.export", "ort.static-int8", "onnxruntime"}
    assert "torch" in {one["package"] for one in found["packages"]}
    assert "tensorflow" not in {one["package"] for one in found["packages"]}
    done = CliRunner().invoke(app, ["doctor", "onnx-int8-statc"])
    assert isinstance(done.exception, SpecError)
    assert "Did you mean 'onnx-int8-static'?" in str(done.exception)


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (["attacks"], {"name", "summary", "paper", "variants", "settings"}),
        (["formats"], {"id", "precision", "passes", "runtime", "needs", "installed", "remedies"}),
        (["devices", "list"], {"name", "cpu", "runtimes"}),
        (["environments", "list"], {"name", "packages", "why", "folder"}),
    ],
)
def test_every_list_can_be_read_by_programs(command: list[str], keys: set[str]) -> None:
    found = json.loads(_invoke(*command, "--json"))
    assert found
    assert all(keys <= set(one) for one in found)


def test_the_store_is_listed_for_programs(tmp_path: Path) -> None:
    with Store(tmp_path).writing("train", "0" * 40) as draft:
        (draft / "file").write_bytes(b"12345")
        Store(tmp_path).finish(draft, {})
    (kind,) = json.loads(_invoke("cache", "ls", "--store", str(tmp_path), "--json"))
    assert (kind["kind"], kind["entries"]) == ("train", 1)
    assert kind["bytes"] > 5
