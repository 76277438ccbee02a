"""model -> compressed model or artifact, by one pass."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.digests import file_sha256
from edgeaudit.errors import ToolchainError
from edgeaudit.exporters.base import ExportJob, Pass, PassResult
from edgeaudit.exporters.registry import find_pass
from edgeaudit.filetypes.agreement import comparable, require_agreement
from edgeaudit.filetypes.artifact import Artifact, Manifest, PassRecord
from edgeaudit.filetypes.registry import filetype_module
from edgeaudit.graph.distributions import with_dependencies
from edgeaudit.graph.job import Context, Cost, Job
from edgeaudit.population.base import Population
from edgeaudit.recipes.base import Recipe, module_from_manifest, recipe_modules
from edgeaudit.recipes.frameworks import FRAMEWORKS
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import default_runtime
from edgeaudit.settings import Settings
from edgeaudit.stages.artifacts import ArtifactJob, StoredArtifact
from edgeaudit.stages.check_answers import CHECK, read_check
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.train import model_seed
from edgeaudit.stages.train_torch import torch_manifest, width_of, write_check

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Calibration", "Compress"]


@dataclass(frozen=True)
class Calibration:
    """Which records a quantiser sees, and how many."""

    policy: str
    records: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Compress(Job[StoredArtifact]):
    """Apply one pass to an artifact of the model `role`.

    step: name of the pass. params: all of its parameters. calibration: None if the pass reads no records. check: as
    in `Train`, for passes that create another torch model. versions: of the toolchain, for the manifest.
    """

    kind: ClassVar[str] = "compress"
    result: ClassVar[type[StoredArtifact]] = StoredArtifact

    population: DrawPopulation
    source: ArtifactJob
    role: str
    seed: int
    step: str
    params: Settings
    calibration: Calibration | None
    check: int
    versions: Mapping[str, str]
    source_tolerance: float | None = None

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"{self.step} {self.role}"

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return find_pass(self.step).spec.isolation

    def code(self) -> tuple[str, ...]:
        """The pass, the file type that it writes, and the user's module if a recipe is a parameter."""
        student = self.params.get("student")
        student_modules = recipe_modules(student) if isinstance(student, str) else ()
        step, served = find_pass(self.step), self._float_runtime()
        checking = () if served is None else (served.__module__, *served.spec.code)
        return (
            type(step).__module__,
            *step.spec.code,
            filetype_module(step.spec.produces),
            *student_modules,
            *checking,
        )

    def packages(self) -> tuple[str, ...]:
        """Packages of the toolchain; of a converter or quantiser with those beneath it.

        An export calls what its toolchain requires (onnx writes with protobuf), takes seconds and is done again for a
        new version of any. A pass that trains computes in torch itself, as training does, and is not: `nncf` requires
        `rich`, which draws its progress bars.
        """
        spec, served = find_pass(self.step).spec, self._float_runtime()
        checking = () if served is None else served.spec.installed_packages()
        return spec.packages if spec.trains else with_dependencies((*spec.packages, *spec.companions, *checking))

    def passes(self) -> tuple[tuple[str, Settings], ...]:
        """All passes from the trained model on."""
        before = self.source.passes() if isinstance(self.source, Compress) else ()
        return (*before, (self.step, self.params))

    def cost(self) -> Cost:
        """Grouped by all passes so far, since the exported model may be smaller than in another format."""
        spec = find_pass(self.step).spec
        group = (self.population.key, [list(step) for step in self.passes()])
        return Cost(group, spec.typical_seconds, spec.trainings if spec.trains else 0.0)

    def run(self, context: Context) -> StoredArtifact:
        """See the class."""
        step, folder = find_pass(self.step), context.draft
        given, population = context.read(self.source), context.read(self.population)
        source = given.artifact
        ids = self._calibration_ids(population)
        self._require_faithful(source, population)
        product = step.apply(self._export_job(context, step, source, population, ids))
        if step.spec.produces == "torch":
            recipe = product.recipe or Recipe.from_dict(source.manifest.recipe)
            module = module_from_manifest(recipe.to_dict(), folder / product.file)
            manifest = self._torch_manifest(source, recipe, folder / product.file, width_of(module, recipe), ids)
            write_check(module, population, self.role, self.seed, self.check, folder)
        else:
            manifest = self._manifest(context, step, source, product, ids)
            shutil.copyfile(source.folder / CHECK, folder / CHECK)
        return StoredArtifact(Artifact(folder, manifest), (*given.found, *product.said), dict(product.notes))

    def _float_runtime(self) -> type[Runtime] | None:
        """The runtime in which a file is compared with its model before this pass rounds it; None where none is."""
        if self.source_tolerance is None:
            return None
        return default_runtime(find_pass(self.step).spec.consumes)

    def _require_faithful(self, source: Artifact, population: Population) -> None:
        """Raise `AgreementError` where a file differs from its model already before this pass rounds it.

        The limit of rounded files is two hundred times wider, and would hide a wrong conversion.
        """
        served = self._float_runtime()
        if served is None or self.source_tolerance is None:  # both or none
            return
        ids, logits = read_check(
            source.folder, source.manifest.calibration_policy, source.manifest.calibration_ids or ()
        )
        require_agreement(
            comparable(logits, softmax_inside=source.manifest.softmax_inside),
            served(source).query(population.take(ids)),
            what=f"{' + '.join(record.name for record in source.manifest.passes)} ({self.role}), before '{self.step}',",
            tolerance=self.source_tolerance,
        )

    def _calibration_ids(self, population: Population) -> tuple[int, ...]:
        if self.calibration is None:
            return ()
        wish = self.calibration
        return tuple(int(i) for i in population.calibration_ids(self.role, self.seed, wish.policy, wish.records))

    def _export_job(
        self, context: Context, step: Pass, source: Artifact, population: Population, ids: tuple[int, ...]
    ) -> ExportJob:
        recipe = Recipe.from_dict(source.manifest.recipe)
        seed = model_seed(self.seed, f"{self.role}/{step.spec.name}")

        def training_records() -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
            # A checkpoint's own training records are the audited members: the same role, the same ids.
            trained = population.training_ids(self.role, self.seed)
            return population.take(trained), population.truth(trained)

        def finetune(module: nn.Module, epochs: int) -> None:
            from edgeaudit.recipes.training import train

            x, y = training_records()
            train(module, x, y, recipe, seed, epochs)

        return ExportJob(
            source=source.path,
            workdir=context.draft,
            params=self.params,
            input_shape=recipe.input_shape,
            n_classes=source.manifest.output.shape[-1],
            seed=seed,
            calibration=population.take(np.array(ids, np.int64)) if ids else None,
            module=(lambda: module_from_manifest(source.manifest.recipe, source.path))
            if source.manifest.kind == "torch"
            else None,
            finetune=finetune if step.spec.trains else None,
            recipe=recipe if source.manifest.kind in FRAMEWORKS else None,
            training_records=training_records if step.spec.trains else None,
            task=recipe.task,
            source_inside=source.manifest.softmax_inside,
        )

    def _history(self, source: Artifact, ids: tuple[int, ...]) -> dict[str, Any]:
        """What a manifest says of the passes so far, this one included."""
        history: dict[str, Any] = {
            "passes": (*source.manifest.passes, PassRecord(self.step, dict(self.params), dict(self.versions))),
            "calibration_policy": source.manifest.calibration_policy,
            "calibration_ids": source.manifest.calibration_ids,
        }
        if self.calibration is not None:
            history |= {"calibration_policy": self.calibration.policy, "calibration_ids": ids}
        return history

    def _torch_manifest(
        self, source: Artifact, recipe: Recipe, file: Path, outputs: int, ids: tuple[int, ...]
    ) -> Manifest:
        return replace(torch_manifest(recipe, file, outputs), **self._history(source, ids))

    def _manifest(
        self, context: Context, step: Pass, source: Artifact, product: PassResult, ids: tuple[int, ...]
    ) -> Manifest:
        file = context.draft / product.file
        if product.input is None or product.output is None:
            raise ToolchainError(f"the pass '{self.step}' returned no input and output of {product.file}")
        return Manifest(
            kind=step.spec.produces,
            file=product.file,
            sha256=file_sha256(file),
            bytes=sum((context.draft / name).stat().st_size for name in (product.file, *product.companions)),
            input=product.input,
            output=product.output,
            softmax_inside=product.softmax_inside,
            recipe=source.manifest.recipe,
            companions={name: file_sha256(context.draft / name) for name in product.companions},
            **self._history(source, ids),
        )
