"""The bill of materials follows CycloneDX 1.6 and says what is installed."""

from __future__ import annotations

import json
import re
import socket
from importlib import metadata
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from edgeaudit.cli.main import app
from edgeaudit.host.lock import LOCKS, locked
from edgeaudit.host.sbom import sbom, sbom_text


def test_it_follows_the_schema_and_names_everything_that_is_installed(root_folder: Path) -> None:
    found = sbom(root_folder)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(found)) is None
    named = {one["name"]: one["version"] for one in found["components"]}
    # Of two with one name the first is imported: setuptools puts copies of packages that it ships at the path's end.
    every = reversed(list(metadata.distributions()))
    installed = {canonicalize_name(one.metadata["Name"]): one.version for one in every}
    own = found["metadata"]["component"]
    assert (own["name"], own["type"], own["version"]) == ("edgeaudit", "application", metadata.version("edgeaudit"))
    assert named == {name: version for name, version in installed.items() if name != "edgeaudit"}
    references = [one["bom-ref"] for one in (own, *found["components"])]
    assert len(set(references)) == len(references)
    graph = {one["ref"]: one["dependsOn"] for one in found["dependencies"]}
    assert set(graph) == set(references)
    assert {one for refs in graph.values() for one in refs} <= set(references)
    numpy = f"pkg:pypi/numpy@{metadata.version('numpy')}"
    assert numpy in graph[own["bom-ref"]]
    assert numpy in graph[f"pkg:pypi/scipy@{metadata.version('scipy')}"]


def test_hashes_are_those_of_the_lock_for_the_same_version_alone(root_folder: Path, tmp_path: Path) -> None:
    known = {name: pin for lock in LOCKS for name, pin in locked(root_folder / lock).items()}
    for one in sbom(root_folder)["components"]:
        version, digest = known.get(one["name"], ("", ""))
        expected = [{"alg": "SHA-256", "content": digest}] if version == one["version"] else None
        assert one.get("hashes") == expected
    (tmp_path / LOCKS[0]).write_text(f"numpy==0.0.1 --hash=sha256:{'a' * 64}\n", "utf-8")
    assert not any("hashes" in one for one in sbom(tmp_path)["components"])


def test_the_same_environment_gives_the_same_bytes_and_names_nobody(
    root_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    text = sbom_text(root_folder)
    assert text == sbom_text(root_folder)
    assert json.loads(text)["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert str(Path.home()) + "/" not in text
    assert str(root_folder) not in text
    assert not re.search(rf"(?<![\w-]){re.escape(socket.gethostname())}(?![\w-])", text)


def test_doctor_writes_it(root_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root_folder)
    done = CliRunner().invoke(app, ["doctor", "--sbom", str(tmp_path / "sbom.json")])
    assert done.exit_code == 0, done.output
    assert "SBOM: " in done.output
    found = json.loads((tmp_path / "sbom.json").read_text("utf-8"))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(found)) is None
    assert any("hashes" in one for one in found["components"])
