"""What the types of audit.json share: strict frozen models, and free-form tables with their keys in order."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict

__all__ = ["SCHEMA_VERSION", "Model", "Seconds", "Table", "Versions"]

SCHEMA_VERSION: Final = "1.0"
"""The version of audit.json and of its published JSON Schema."""


def _canonical(value: Any) -> Any:
    """Sort the keys of free-form tables and make their sequences lists, so that equal audits give equal bytes."""
    if isinstance(value, dict):
        return {str(key): _canonical(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value


Table = Annotated[dict[str, Any], AfterValidator(_canonical)]
Versions = Annotated[dict[str, str], AfterValidator(_canonical)]
Seconds = Annotated[dict[str, float], AfterValidator(_canonical)]


class Model(BaseModel):
    """Rejects unknown keys, NaN and infinity (JSON has neither; a missing figure is null).

    This holds for fields that are dataclasses, too: pydantic validates them by the rules of the model that has them;
    `revalidate_instances` includes those that exist already.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, revalidate_instances="always")
