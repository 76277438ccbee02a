from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest

from edgeaudit.config.audit import load_spec, recorded_spec, spec_of
from edgeaudit.errors import SpecError

FOLDER = Path()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"seed": 10**30}, "seed: a whole number has 64 bits at most"),
        ({"name": "a\0b"}, "name: the text has a control character ('\\x00')"),
        ({"model": {"options": {"a": ["\ud800"]}}}, "model.options.a[0]: the text has a control character ('\\ud800')"),
        ({"model": {"options": {"\x1b[2J": 1}}}, "model.options: the text has a control character ('\\x1b')"),
        ({"model": {"options": {"day": dt.date(2026, 1, 2)}}}, "model.options.day: a date is no value of audit.yaml"),
        ({"model": {"options": {"of": {1, 2}}}}, "model.options.of: a set is no value of audit.yaml"),
        ({"data": {"path": "x" * 5000}}, "data.path: a text has 4,096 characters at most; this has 5,000"),
        ({"threat": {"shadows": 10**9}}, "threat.shadows: must be 1,024 or less (it is 1000000000)"),
        (
            {"data": {"members": [1, 2]}},
            "data.members: must be a number of records, a file with their ids, or {path: ...}",
        ),
        ({"targets": 2000}, "targets: must be 1,024 or less (it is 2000)"),
        ({"model": {"lr": float("inf")}}, "model.lr is inf; a finite number is needed"),
        ({"cm-mia": {"alpha": float("inf")}}, "cm-mia.alpha is inf; a finite number is needed"),
        ({"data": {"preprocessing": {"std": [1.0, float("inf")]}}}, "data.preprocessing.std[1] is inf"),
        ({"name": "x" * 300}, "name: must have at most 200 characters"),
        ({"formats": [{"name": "..", "format": "onnx-fp32"}]}, "formats.0.name: has a character that no name may have"),
        ({"formats": [{"name": "a" * 300, "format": "onnx-fp32"}]}, "formats.0.name: must have at most 100"),
        ({"devices": {"a" * 300: {"profile": "raspberry-pi-4"}}}, "devices: a key has 100 characters at most"),
    ],
)
def test_values_that_no_key_takes_are_named_by_key(raw: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_of(raw, FOLDER, where="audit.yaml: ")
    assert str(caught.value).startswith(f"audit.yaml: {message}")
    assert len(str(caught.value)) < 500


def test_an_audit_that_another_file_records_is_held_to_the_same(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"audit\.json: seed: a whole number has 64 bits"):
        recorded_spec({"seed": 10**30}, tmp_path / "audit.json")


def test_a_file_that_is_no_audit_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "audit.yaml"
    with path.open("wb") as file:
        file.truncate(5 * 10**9)
    with pytest.raises(SpecError, match=r"more than 2 MB, which no audit\.yaml has"):
        load_spec(path)


def test_anchors_that_multiply_are_refused_in_little_memory(tmp_path: Path) -> None:
    lines = ["model:", "  options:", "    a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"    {name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    path = tmp_path / "audit.yaml"
    path.write_text("\n".join(lines))

    code = (
        "import resource, sys; from pathlib import Path; from edgeaudit.config.audit import load_spec\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "try: load_spec(Path(sys.argv[1]))\n"
        "except Exception as exc: print(type(exc).__name__, exc)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("SpecError")
    assert "more than 100,000 values, where aliases (*name) count each time" in done.stdout


def test_long_lists_of_classes_are_taken() -> None:
    spec = spec_of({"data": {"classes": [f"class {number}" for number in range(20_000)]}}, FOLDER)
    assert len(spec.data.classes) == 20_000  # type: ignore[arg-type]  # a list here


@pytest.mark.parametrize("shadows", [0, 2])
def test_a_recorded_audit_has_as_many_null_targets(shadows: int, tmp_path: Path) -> None:
    """So that a finished run can be exported and attacked further: its record states every default."""
    given = {"models": ["a.pt", "b.pt"], "members": ["a.txt", "b.txt"]}
    raw = {
        "model": {"recipe": "mlp", "checkpoint": "t.pt"},
        "data": {"source": "digits", "members": "m.txt", "nonmembers": "n.txt"},
        "threat": {"shadows": shadows}, "shadows": given, "formats": ["onnx-fp32"],
    }  # fmt: skip
    spec = spec_of(raw, tmp_path)
    again = recorded_spec(spec.model_dump(mode="json", by_alias=True), tmp_path / "audit.json")
    assert (again.null_targets, again.shadow_count) == (spec.null_targets, spec.shadow_count)
    assert (spec.null_targets, spec.shadow_count) == (shadows // 2, shadows + 2)
