"""How the first target was trained, and which of its files keep the privacy of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeaudit.controls.base import Control
from edgeaudit.controls.held_out_members import held_out_members
from edgeaudit.controls.privacy import privacy
from edgeaudit.exporters.registry import find_pass
from edgeaudit.graph.store import Store
from edgeaudit.pipeline.plan import Plan
from edgeaudit.population.base import TARGET
from edgeaudit.report.model import FormatResult, TrainingInfo
from edgeaudit.report.words import place_name
from edgeaudit.stages.train import Train

__all__ = ["early_stopping_controls", "privacy_controls", "training_info"]

_PARTS = ("early_stopping", "privacy")


def training_info(plan: Plan, store: Store) -> TrainingInfo | None:
    """What early stopping and privacy did to the first target; None where neither was asked for."""
    jobs = (job for job in plan.jobs.values() if isinstance(job, Train))
    trained = next((job for job in jobs if job.role == TARGET and job.checkpoint is None), None)
    if trained is None:
        return None
    asked = trained.recipe.training
    if asked.early_stopping is None and asked.privacy is None:
        return None
    notes = store.read(trained).notes
    return TrainingInfo.model_validate({name: notes[name] for name in _PARTS if name in notes})


def early_stopping_controls(training: TrainingInfo | None, members: int) -> list[Control]:
    """What held-out members do to the figures; none without early stopping. members: of the target."""
    stopped = None if training is None else training.early_stopping
    return [] if stopped is None or stopped.held_out == 0 else [held_out_members(stopped.held_out, members)]


def privacy_controls(training: TrainingInfo | None, formats: Sequence[FormatResult]) -> list[Control]:
    """Whether each audited file keeps the privacy of the training; none where there is no privacy."""
    if training is None or training.privacy is None:
        return []
    reads = {place_name(f.id, f.device): list(_reads_again(f)) for f in formats if f.status == "ok"}
    return privacy(training.privacy.epsilon, training.privacy.delta, reads)


def _reads_again(result: FormatResult) -> Iterator[str]:
    """What of a format read the training records after the training, in words."""
    for step in result.passes:
        if find_pass(step.name).spec.trains and step.params.get("epochs") != 0:
            yield f"the pass '{step.name}'"
    if result.artifact is not None and result.artifact.calibration_policy == "members":
        yield "calibration"
