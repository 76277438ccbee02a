"""Which attacks a measurement runs, with which settings."""

from __future__ import annotations

from typing import Any

import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import AttackError
from edgeaudit.pipeline.measurement import choose_attacks


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"yeom": {"power": 2}}, r"attacks: 'yeom' has no setting 'power'; it has no settings"),
        ({"rmia": {"gama": 2}}, r"attacks: 'rmia' has no setting 'gama'; it has: gamma\. Did you mean 'gamma'\?"),
        ({"yoem": {"power": 2}}, r"there is no attack 'yoem'\. Did you mean 'yeom'\?"),
    ],
)
def test_reject_unknown_attack_settings(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(AttackError, match=message):
        choose_attacks(AuditSpec.model_validate({"attacks": ["gap", entry]}))
