"""The levels of `threat.weaker`: their names, and the messages for invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeaudit.config.audit import load_spec
from edgeaudit.config.exposures import Level, parse_level, require_levels_fit
from edgeaudit.errors import SpecError


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("probabilities", Level("probabilities")),
        ("top-1", Level("top", 1)),
        ("top-12", Level("top", 12)),
        ("rounded-2", Level("rounded", 2)),
        ("label", Level("label")),
    ],
)
def test_names_round_trip(name: str, level: Level) -> None:
    assert parse_level(name) == level
    assert level.name == name


@pytest.mark.parametrize(
    "given", ["top", "top-0", "top-1.5", "rounded", "rounded-0", "label-1", "probabilities-2", "logits", "top3", ""]
)
def test_reject_unknown_names(tmp_path: Path, given: str) -> None:
    (tmp_path / "audit.yaml").write_text(f"threat:\n  weaker: ['{given}']\n")
    with pytest.raises(SpecError, match=r"threat\.weaker: .* is not a weaker exposure; there are top-<classes>"):
        load_spec(tmp_path / "audit.yaml")


@pytest.mark.parametrize(
    ("threat", "said"),
    [
        ("{weaker: [rounded-7]}", r"threat\.weaker: 'rounded-7': answers are float32, of which at most 6 decimals"),
        ("{weaker: [label, label]}", r"threat\.weaker: 'label' appears twice"),
        ("{weaker: [top-1, top-01]}", r"threat\.weaker: 'top-1' appears twice"),
        ("{weaker: [probabilities]}", r"threat: weaker: 'probabilities' is the exposure itself; remove it"),
    ],
)
def test_reject_invalid_levels(tmp_path: Path, threat: str, said: str) -> None:
    (tmp_path / "audit.yaml").write_text(f"threat: {threat}\n")
    with pytest.raises(SpecError, match=said):
        load_spec(tmp_path / "audit.yaml")


def test_one_level_needs_no_list_and_probabilities_are_weaker_than_logits(tmp_path: Path) -> None:
    (tmp_path / "audit.yaml").write_text("threat: {exposure: logits, weaker: probabilities}\n")
    assert load_spec(tmp_path / "audit.yaml").threat.weaker == ("probabilities",)


def test_reject_more_classes_than_exist() -> None:
    require_levels_fit(["top-10", "rounded-2", "label"], 10)
    with pytest.raises(SpecError, match=r"threat\.weaker: 'top-11' returns more classes than there are \(10\).* top-5"):
        require_levels_fit(["label", "top-11"], 10)
