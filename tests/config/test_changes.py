"""Keys that a command line replaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeaudit.config.audit import load_spec
from edgeaudit.config.changes import with_changes
from edgeaudit.errors import SpecError


def test_keys_are_replaced_or_added_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "audit.yaml"
    path.write_text("threat: {shadows: 4, mode: auditor}\nattacks: [lira]\n")
    spec = load_spec(path, ["threat.shadows=8", "data.members=300", "attacks=[yeom, gap]", "name='3'"])
    assert (spec.threat.shadows, spec.threat.mode, spec.data.members) == (8, "auditor", 300)
    assert (spec.attacks, spec.name) == (("yeom", "gap"), "3")
    assert load_spec(path).threat.shadows == 4


def test_the_content_itself_is_left_alone() -> None:
    raw = {"threat": {"shadows": 4}}
    assert with_changes(raw, ["threat.shadows=8"]) == {"threat": {"shadows": 8}}
    assert raw == {"threat": {"shadows": 4}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("threat.shadows", "write KEY=VALUE"),
        ("=3", "write KEY=VALUE"),
        ("threat..shadows=3", "write KEY=VALUE"),
        ("name=[1", "the value of 'name=\\[1' is not YAML"),
        ("formats.x=1", "formats is no section here; set formats as a whole"),
    ],
)
def test_reject_what_is_no_change(change: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        with_changes({"formats": ["onnx-fp32"]}, [change])


def test_a_mistake_in_a_changed_key_is_told_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.yaml"
    path.write_text("name: x\n")
    with pytest.raises(SpecError, match=r"audit\.yaml: 'threat\.shadow' is not a known key"):
        load_spec(path, ["threat.shadow=8"])
