"""The inputs of a plan, and the models that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeaudit.config.audit import AuditSpec
from edgeaudit.host.fingerprint import local_fingerprint
from edgeaudit.pipeline.files_of_others import FilesOfOthers
from edgeaudit.pipeline.measurement import AttackChoice
from edgeaudit.population.base import GIVEN, HALF, NULL, SHADOW, TARGET, Population, Role, numbered
from edgeaudit.recipes.base import Recipe, Training
from edgeaudit.recipes.keras_checkpoint import ARCHITECTURE, CHECKPOINT
from edgeaudit.stages.population import DrawPopulation

__all__ = ["PlanInputs"]


@dataclass(frozen=True)
class PlanInputs:
    """A checked audit.yaml, its population with the job that draws it, and the attacks to run.

    files: opens files of others.
    """

    spec: AuditSpec
    population: Population
    drawn: DrawPopulation
    attacks: AttackChoice
    files: FilesOfOthers

    @cached_property
    def recipe(self) -> Recipe:
        """How models are trained, for this population's records."""
        model, population = self.spec.model, self.population
        training = Training.from_dict(model.model_dump(include=set(Training.__dataclass_fields__)))
        options: dict[str, Any] = dict(model.options)
        if model.recipe == CHECKPOINT and model.checkpoint is not None:
            options[ARCHITECTURE] = self.files.architecture(model.checkpoint)
        return Recipe(
            model.recipe,
            population.input_shape,
            population.outputs,
            options,
            training,
            model.train,
            task=population.task.name,
        )

    @cached_property
    def machine(self) -> Mapping[str, object]:
        """This machine, as keys name it."""
        return local_fingerprint()

    @cached_property
    def targets(self) -> tuple[Role, ...]:
        """The models under audit, the first target first."""
        return tuple(numbered(TARGET, self.spec.targets))

    @cached_property
    def nulls(self) -> tuple[Role, ...]:
        """Null targets, which have no members."""
        return tuple(numbered(NULL, self.spec.null_targets))

    @cached_property
    def shadows(self) -> tuple[Role, ...]:
        """Models that attacks learn from: those that are trained, then those that are given."""
        return (*self.trained_shadows, *(f"{GIVEN}-{k}" for k in range(len(self.given))))

    @cached_property
    def trained_shadows(self) -> tuple[Role, ...]:
        """Shadows that the audit trains."""
        kind = HALF if self.spec.threat.mode == "auditor" else SHADOW
        return tuple(f"{kind}-{k}" for k in range(self.spec.threat.shadows))

    @property
    def given(self) -> tuple[Path, ...]:
        """Lists of the records that each given shadow trained on."""
        return () if self.spec.shadows is None else self.spec.shadows.members

    @property
    def roles(self) -> tuple[Role, ...]:
        """Every model, in the order in which it is trained and queried."""
        return (*self.targets, *self.nulls, *self.shadows)
