"""Settings of attacks: validated against the spec and passed to the class."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from edgeaudit.attacks.registry import ATTACKS, make_attack, settings_of
from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import AttackError
from edgeaudit.pipeline.measurement import AttackChoice, choose_attacks


@pytest.mark.parametrize("name", ATTACKS.own)
def test_the_spec_lists_every_argument_with_its_default(name: str) -> None:
    attack = ATTACKS.find(name)
    arguments = inspect.signature(attack).parameters.values()
    named = {
        argument.name: argument.default for argument in arguments if argument.kind is argument.POSITIONAL_OR_KEYWORD
    }
    assert named == dict(attack.spec.defaults)


def test_settings_override_the_defaults() -> None:
    assert settings_of("rmia", {}) == {"gamma": 2.0}
    found = settings_of("rmia", {"gamma": 4})
    assert found == {"gamma": 4.0}
    assert isinstance(found["gamma"], float)
    assert make_attack("rmia", {"gamma": 4}).gamma == 4.0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gama": 4}, r"attacks: 'rmia' has no setting 'gama'; it has: gamma\. Did you mean 'gamma'\?"),
        ({"gamma": "four"}, r"attacks: 'rmia': the setting 'gamma' is 'four'; it must be a number"),
        ({"gamma": True}, "it must be a number"),
        ({"gamma": -1}, r"gamma must be above 0: -1\.0"),
    ],
)
def test_invalid_settings_are_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(AttackError, match=message):
        make_attack("rmia", settings)


def test_a_measurement_stores_all_settings_of_a_configured_attack() -> None:
    def chosen(*attacks: object) -> AttackChoice:
        return choose_attacks(AuditSpec.model_validate({"attacks": attacks, "threat": {"shadows": 4}}))

    plain, other = chosen("yeom", "rmia"), chosen("yeom", {"rmia": {"gamma": 4}})
    assert plain.names == other.names
    assert (plain.settings, other.settings) == ({}, {"rmia": {"gamma": 4.0}})
    with pytest.raises(AttackError, match="the setting 'gamma' is 'x'"):
        chosen({"rmia": {"gamma": "x"}})
