"""Lock files: every pin has a hash, and pip's report is read as it should be."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from edgeaudit.errors import ToolchainError
from edgeaudit.host.lock import LOCKS, PINS, locked, needed, pins, write_locks

A, B = "a" * 64, "b" * 64


def test_every_pin_has_a_hash_and_versions_agree(root_folder: Path) -> None:
    files = [locked(root_folder / name) for name in LOCKS]
    together = {name: version for found in files for name, (version, _) in found.items()}
    assert sum(map(len, files)) == len(together)  # none is in both
    assert together == {canonicalize_name(name): version for name, version in pins(root_folder / PINS).items()}


def test_lock_files_name_no_index_and_no_file(root_folder: Path) -> None:
    for name in LOCKS:
        for line in (root_folder / name).read_text("utf-8").splitlines():
            assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.+!-]+ --hash=sha256:[0-9a-f]{64}", line), line
            assert "://" not in line


@pytest.mark.skipif(sys.platform != "linux" or sys.version_info[:2] != (3, 11), reason="of another platform")
def test_what_make_installs_is_all_that_is_needed(root_folder: Path) -> None:
    try:
        assert needed() == set(locked(root_folder / LOCKS[0]))
    except ToolchainError as exc:
        pytest.skip(f"this environment lacks a part: {exc}")


def report(**digests: str) -> dict[str, Any]:
    """pip's report on packages of version 1.0."""
    return {
        "install": [
            {
                "metadata": {"name": name, "version": "1.0"},
                "download_info": {
                    "url": "https://index.example/a.whl",
                    "archive_info": {"hashes": {"sha256": d}},
                },
            }
            for name, d in digests.items()
        ]
    }


def test_hashes_come_from_pips_report(tmp_path: Path) -> None:
    (tmp_path / PINS).write_text("# pins\nOne_Package==1.0\nother==1.0\n", "utf-8")
    write_locks(tmp_path / PINS, {"one-package"}, [report(**{"one.package": A}), report(other=B)])
    assert locked(tmp_path / LOCKS[0]) == {"one-package": ("1.0", A)}
    assert locked(tmp_path / LOCKS[1]) == {"other": ("1.0", B)}
    assert "index.example" not in "".join((tmp_path / name).read_text("utf-8") for name in LOCKS)


@pytest.mark.parametrize("found", [{}, {"one": ""}])
def test_a_pin_without_a_hash_is_refused(tmp_path: Path, found: dict[str, str]) -> None:
    (tmp_path / PINS).write_text("one==1.0\n", "utf-8")
    with pytest.raises(ToolchainError, match=r"pip reports no SHA-256 for one==1\.0"):
        write_locks(tmp_path / PINS, set(), [report(**found, two=A)])
    assert not (tmp_path / LOCKS[0]).exists()


def test_lines_that_are_no_pins_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text("one==1.0\n", "utf-8")
    with pytest.raises(ToolchainError, match=r"'one==1\.0' has no version with a SHA-256; `make lock`"):
        locked(path)
    path.write_text("one>=1.0\n", "utf-8")
    with pytest.raises(ToolchainError, match=r"'one>=1\.0' is no pin"):
        pins(path)


def test_what_is_needed_follows_requirements_and_extras() -> None:
    plain, pandas = needed(extras=frozenset()), needed(extras=frozenset(["pandas"]))
    assert {"numpy", "pydantic", "pydantic-core"} <= plain  # the last one because of pydantic
    assert "pandas" in pandas - plain
    assert "edgeaudit" not in plain
    assert metadata.version("numpy")
    with pytest.raises(ToolchainError, match="no-such-package is not installed"):
        needed("no-such-package")
