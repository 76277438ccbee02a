"""Jobs that make model files: training and compression, or the adoption of a foreign file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeaudit.config.entries import PassEntry
from edgeaudit.config.formats import FormatUse
from edgeaudit.config.target import StatedAccuracy, TargetSpec
from edgeaudit.digests import file_sha256
from edgeaudit.errors import ArtifactError, SpecError
from edgeaudit.exporters.registry import find_pass
from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.formats.presets import Format, tolerance_of
from edgeaudit.pipeline.inputs import PlanInputs
from edgeaudit.pipeline.once import Once
from edgeaudit.population.base import TARGET, Role
from edgeaudit.recipes.frameworks import FRAMEWORKS
from edgeaudit.recipes.keras_checkpoint import checkpoint_digest
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.adopt import Adopt
from edgeaudit.stages.artifacts import ArtifactJob
from edgeaudit.stages.compress import Calibration, Compress
from edgeaudit.stages.train import SourceFile, Train

__all__ = ["ModelJobs"]


class ModelJobs:
    """Plans the artifact of any model in any format.

    check: calibration policy -> number of records that every trained model answers, for its artifacts to be compared
    with.
    """

    def __init__(self, inputs: PlanInputs, once: Once) -> None:
        self._inputs, self._once = inputs, once
        calibration = inputs.spec.data.calibration
        policies = {"disjoint", *(use.calibration or calibration.policy for use in inputs.spec.formats)}
        self.check: dict[str, int] = dict.fromkeys(sorted(policies), calibration.records)

    def require_pool(self) -> None:
        """Raise `SplitError` that names the missing records if the reference pool is too small for the models."""
        inputs = self._inputs
        if not inputs.spec.recipe_known:
            return
        for role in (*inputs.targets, *inputs.nulls, inputs.shadows[0]):
            for policy, count in self.check.items():
                inputs.population.calibration_ids(role, inputs.spec.seed, policy, count)

    def artifact(self, role: Role, use: FormatUse, resolved: Format) -> ArtifactJob:
        """The job whose result is this model's file. The first target's may be a foreign file."""
        declared = self._inputs.spec.target
        path = self._inputs.spec.artifact_of(use) if role == TARGET else None
        if declared is not None and path is not None:
            return self._adopt(path, declared, use, resolved)
        source: ArtifactJob = self._train(role)
        precision = "float32"
        for step in resolved.passes:
            source = self._compress(role, source, step, use, tolerance_of(precision))
            precision = _precision(step) or precision
        return source

    def target_is_built_in(self, use: FormatUse) -> bool:
        """Whether the built-in loop trained the first target of a format."""
        model = self._inputs.spec.model
        trained_here = model.checkpoint is None and self._inputs.spec.artifact_of(use) is None
        return trained_here and self._inputs.recipe.train_function is None

    def _adopt(self, path: Path, declared: TargetSpec, use: FormatUse, resolved: Format) -> Adopt:
        runtime = find_runtime(resolved.runtime)
        return self._once(
            Adopt,
            use.id,
            lambda: Adopt(
                population=self._inputs.drawn,
                file=SourceFile(
                    sha256=_digest(path),
                    companions={name: _digest(path.parent / name) for name in _companions(path, runtime)},
                    path=path,
                ),
                runtime=resolved.runtime,
                options=runtime.spec.options(resolved.runtime_options),
                batch_given="batch" in resolved.runtime_options,
                softmax=declared.softmax,
                output=declared.output,
                format=use.id,
                precision=resolved.precision if resolved.passes else None,
                outputs=declared.outputs,
                accuracy=declared.stated.test,
                train_accuracy=declared.stated.train,
                versions=runtime.spec.versions(),
                machine=self._inputs.machine,
            ),
        )

    def _train(self, role: Role) -> Train:
        inputs = self._inputs
        model = inputs.spec.model
        checkpoint, stated = (model.checkpoint, model.stated) if role == TARGET else (None, StatedAccuracy())
        return self._once(
            Train,
            role,
            lambda: Train(
                population=inputs.drawn,
                role=role,
                seed=inputs.spec.seed,
                recipe=inputs.recipe,
                check=self.check,
                checkpoint=None if checkpoint is None else SourceFile(checkpoint_digest(checkpoint), {}, checkpoint),
                accuracy=stated.test,
                train_accuracy=stated.train,
            ),
        )

    def _compress(
        self, role: Role, source: ArtifactJob, use: PassEntry, format_use: FormatUse, tolerance: float
    ) -> Compress:
        """The job of one pass. tolerance: of the source's answers, if the pass rounds a file."""
        step = find_pass(use.name)
        params = step.parameters(use.params)
        rounds = step.spec.consumes not in FRAMEWORKS and step.precision(params) is not None
        default = self._inputs.spec.data.calibration
        calibration = None
        if step.calibrates(params):
            calibration = Calibration(format_use.calibration or default.policy, default.records)
        return self._once(
            Compress,
            (source.ref, use.name, _frozen(params), calibration),
            lambda: Compress(
                population=self._inputs.drawn,
                source=source,
                role=role,
                seed=self._inputs.spec.seed,
                step=use.name,
                params=params,
                calibration=calibration,
                check=self.check,
                versions=step.spec.versions(),
                source_tolerance=tolerance if rounds else None,
            ),
        )


def _precision(use: PassEntry) -> str | None:
    """Of the weights after a pass; None if it does not change them."""
    step = find_pass(use.name)
    return step.precision(step.parameters(use.params))


def _frozen(params: Mapping[str, Any]) -> str:
    return repr(sorted(params.items()))


def _companions(path: Path, runtime: type[Runtime]) -> tuple[str, ...]:
    try:
        return find_filetype(runtime.spec.serves).companions(path)
    except ArtifactError as exc:
        raise SpecError(f"target.artifact: {exc}") from exc


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as exc:
        raise SpecError(f"target.artifact: {path} cannot be read: {exc.strerror}") from exc
