"""Jobs that make model files: training and compression, or the adoption of a foreign file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from edgeaudit.config.entries import PassEntry
from edgeaudit.config.formats import FormatUse
from edgeaudit.config.target import StatedAccuracy, TargetSpec
from edgeaudit.digests import file_sha256
from edgeaudit.errors import ArtifactError, JobCrashed, SpecError, SplitError
from edgeaudit.exporters.registry import find_pass
from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.formats.presets import Format, tolerance_of
from edgeaudit.pipeline.inputs import PlanInputs
from edgeaudit.pipeline.once import Once
from edgeaudit.population.base import TARGET, Role, given_number
from edgeaudit.recipes.frameworks import FRAMEWORKS
from edgeaudit.recipes.keras_checkpoint import checkpoint_digest
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.adopt import Adopt
from edgeaudit.stages.artifacts import ArtifactJob
from edgeaudit.stages.check_answers import check_records
from edgeaudit.stages.compress import Calibration, Compress
from edgeaudit.stages.train import SourceFile, Train

__all__ = ["ModelJobs"]

_TELLS = 0.01
"""p-value from which on the number of shadows that left a record out tells members from nonmembers."""


class ModelJobs:
    """Plans the artifact of any model in any format.

    check: number of calibration records of each policy that every trained model answers, for its artifacts to be
    compared with.
    """

    def __init__(self, inputs: PlanInputs, once: Once) -> None:
        self._inputs, self._once = inputs, once
        self._owners: dict[str, str] = {}
        calibration = inputs.spec.data.calibration
        self._policies = {"disjoint", *(use.calibration or calibration.policy for use in inputs.spec.formats)}
        self.check = check_records(calibration.records)

    def require_pool(self) -> None:
        """Raise `SplitError` that names the missing records if the reference pool is too small for the models."""
        inputs = self._inputs
        if not inputs.spec.recipe_known:
            return
        compressed = (role for role in inputs.shadows if self._is_compressed(role))
        for role in (*inputs.targets, *inputs.nulls, *inputs.trained_shadows[:1], *compressed):
            for policy in sorted(self._policies):
                inputs.population.calibration_ids(role, inputs.spec.seed, policy, inputs.spec.data.calibration.records)

    def require_given_fit(self) -> None:
        """Raise `SplitError` where given shadows cannot be compared with the target.

        An adversary's trained on none of the audited records. Of an auditor's, some did not train on each of them, and
        how many did says nothing of the side that a record is on: scores depend on it.
        """
        if not self._inputs.given:
            return
        spec, population = self._inputs.spec, self._inputs.population
        audited, unseen = population.audited, np.zeros(len(population.audited))
        for role in self._inputs.shadows:
            trained = np.isin(audited, population.own_ids(role, spec.seed))
            unseen += ~trained
            if spec.threat.mode == "adversary" and trained.any():
                raise SplitError(
                    f"shadows.members[{given_number(role)}]: the model trained on {int(trained.sum()):,} "
                    f"audited records, or on records related to them, {audited[trained][0]} first, and shadows of an "
                    "adversary saw none; set threat.mode: auditor, in which each shadow is IN or OUT for each record"
                )
        if not unseen.all():
            none = audited[unseen == 0]
            raise SplitError(
                f"shadows.members: {len(none):,} audited records, {none[0]} first, are in the lists of all shadows, so "
                "that nothing shows how a model answers that did not train on them; add models that did not, or leave "
                "these records out of data.members and data.nonmembers"
            )
        members = np.isin(audited, population.split.members)
        if _tells(unseen, members, population.audited_groups):
            of_members, of_others = float(unseen[members].mean()), float(unseen[~members].mean())
            raise SplitError(
                f"shadows.members: a member is left out by {of_members:.3g} of {len(self._inputs.shadows)} shadows, a "
                f"nonmember by {of_others:.3g}: that number alone would tell them apart, and scores depend on it. Use "
                "models that trained on the target's members and on nonmembers alike, such as the folds of both"
            )

    def artifact(self, role: Role, use: FormatUse, resolved: Format) -> ArtifactJob:
        """The job whose result is this model's file; that of a target or given shadow may be a foreign one."""
        declared, number = self._inputs.spec.target, given_number(role)
        path = self._inputs.spec.artifact_of(use) if role == TARGET else None
        if number is not None:
            path = self._inputs.spec.given_file(number, use)
        if declared is not None and path is not None:
            return self._adopt(role, path, declared, use, resolved)
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

    def _is_compressed(self, role: Role) -> bool:
        """Whether a given shadow is a checkpoint, which goes through the passes."""
        number = given_number(role)
        return number is not None and self._inputs.spec.given_checkpoint(number) is not None

    def _key(self, role: Role, of_target: str) -> str:
        """The key of audit.yaml that names the file of a model."""
        number = given_number(role)
        return of_target if number is None else f"shadows.models[{number}]"

    def _distinct(self, file: SourceFile, key: str) -> SourceFile:
        """Return the file; raise `SpecError` where a given shadow is the target's file, or is given twice."""
        owner = self._owners.setdefault(file.sha256, key)
        if owner != key:
            raise SpecError(
                f"{key}: {file.path} is the same file as {owner}; a model that is given twice is no second model"
            )
        return file

    def _adopt(self, role: Role, path: Path, declared: TargetSpec, use: FormatUse, resolved: Format) -> Adopt:
        runtime, key = find_runtime(resolved.runtime), self._key(role, "target.artifact")
        stated = declared.stated if role == TARGET else StatedAccuracy()
        return self._once(
            Adopt,
            (role, use.id),
            lambda: Adopt(
                population=self._inputs.drawn,
                file=self._distinct(self._source(path, runtime, key), key),
                runtime=resolved.runtime,
                options=runtime.spec.options(resolved.runtime_options),
                batch_given="batch" in resolved.runtime_options,
                softmax=declared.softmax,
                output=declared.output,
                format=use.id,
                precision=resolved.precision if resolved.passes else None,
                outputs=declared.outputs,
                accuracy=stated.test,
                train_accuracy=stated.train,
                role=role,
                where=key,
                versions=runtime.spec.versions(),
                machine=self._inputs.machine,
            ),
        )

    def _source(self, path: Path, runtime: type[Runtime], key: str) -> SourceFile:
        """A model file with those that belong to it, each read once for its digest."""
        digest = _digest(path, key)
        try:
            names = self._inputs.files.companions(path, find_filetype(runtime.spec.serves), digest)
        except (ArtifactError, JobCrashed) as exc:
            raise SpecError(f"{key}: {exc}") from exc
        return SourceFile(digest, {name: _digest(path.parent / name, key) for name in names}, path)

    def _train(self, role: Role) -> Train:
        inputs = self._inputs
        model = inputs.spec.model
        checkpoint, stated = (model.checkpoint, model.stated) if role == TARGET else (None, StatedAccuracy())
        number = given_number(role)
        if number is not None:
            checkpoint = inputs.spec.given_checkpoint(number)
        key = self._key(role, "model.checkpoint")
        return self._once(
            Train,
            role,
            lambda: Train(
                population=inputs.drawn,
                role=role,
                seed=inputs.spec.seed,
                recipe=inputs.recipe,
                check=self.check,
                checkpoint=None
                if checkpoint is None
                else self._distinct(SourceFile(checkpoint_digest(checkpoint, key), {}, checkpoint), key),
                accuracy=stated.test,
                train_accuracy=stated.train,
                where=key,
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


def _tells(
    counts: npt.NDArray[np.float64], members: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64] | None
) -> bool:
    """Whether counts differ between members and nonmembers beyond chance; related records count as one."""
    first = np.arange(len(counts)) if groups is None else np.unique(groups, return_index=True)[1]
    inside, outside = counts[first][members[first]], counts[first][~members[first]]
    return bool(scipy.stats.mannwhitneyu(inside, outside).pvalue < _TELLS)  # NaN where all are equal


def _precision(use: PassEntry) -> str | None:
    """Of the weights after a pass; None if it does not change them."""
    step = find_pass(use.name)
    return step.precision(step.parameters(use.params))


def _frozen(params: Mapping[str, Any]) -> str:
    return repr(sorted(params.items()))


def _digest(path: Path, key: str) -> str:
    try:
        return file_sha256(path)
    except OSError as exc:
        raise SpecError(f"{key}: {path} cannot be read: {exc.strerror}") from exc
