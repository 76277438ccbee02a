"""The section `shadows`: reference models that exist already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from edgeaudit.config.base import Section

__all__ = ["ShadowsSpec"]


class ShadowsSpec(Section):
    """Reference models that exist already, such as those of a k-fold or of earlier releases."""

    models: Annotated[tuple[Path | Annotated[dict[str, Path], Field(min_length=1)], ...], Field(min_length=1)]
    """Checkpoints of `model.recipe`; or files of the target's kind, as `target.artifact`: a file, or format -> file."""
    members: Annotated[tuple[Path, ...], Field(min_length=1)]
    """For each model a file with the ids of all records that it trained on, in the order of `models`."""

    @model_validator(mode="after")
    def _a_list_for_each(self) -> ShadowsSpec:
        if len(self.models) != len(self.members):
            raise ValueError(
                f"there are {len(self.models)} models and {len(self.members)} lists of members; each model needs the "
                "ids of the records that it trained on"
            )
        return self
