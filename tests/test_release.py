"""One version everywhere, and metadata that say what is so."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def project(root_folder: Path) -> dict[str, Any]:
    """pyproject.toml's table `project`."""
    found: dict[str, Any] = tomllib.loads((root_folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def test_the_changelog_begins_with_the_version(project: dict[str, Any], root_folder: Path) -> None:
    lines = (root_folder / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    heading = next(line for line in lines if line.startswith("## "))
    assert heading.split()[1] == project["version"]


def test_the_citation_has_the_version_and_the_license(project: dict[str, Any], root_folder: Path) -> None:
    citation = yaml.safe_load((root_folder / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_every_pin_is_one_version(root_folder: Path) -> None:
    pins = (root_folder / "constraints.txt").read_text(encoding="utf-8").split()
    names = [pin.partition("==")[0].lower().replace("_", "-") for pin in pins]
    assert all("==" in pin for pin in pins)
    assert len(set(names)) == len(names)


def test_what_extras_ask_for_is_pinned(project: dict[str, Any], root_folder: Path) -> None:
    pins = (root_folder / "constraints.txt").read_text(encoding="utf-8").split()
    pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for requirement in wanted:
        name = requirement.partition(">=")[0].partition("[")[0].lower().replace("_", "-")
        assert name == "edgeaudit" or name in pinned, requirement
