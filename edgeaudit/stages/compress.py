"""One pass: model -> compressed model, or -> artifact."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters import ExportJob, Pass, Product, find_pass
from edgeaudit.filetypes.artifact import Artifact, Manifest, PassRecord, file_sha256
from edgeaudit.graph.job import JobContext
from edgeaudit.population import Population
from edgeaudit.recipes import Recipe, module_from_manifest
from edgeaudit.recipes.frameworks import FRAMEWORKS
from edgeaudit.stages.check_answers import CHECK, write_check
from edgeaudit.stages.train import model_seed, torch_manifest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["compress"]


def compress(context: JobContext) -> Mapping[str, Any]:
    """Apply the pass that the inputs name to the artifact that they name."""
    step = find_pass(context.inputs["pass"])
    source, population = context.artifact(), context.population()
    workdir = context.draft
    ids = _calibration_ids(context, step, population)
    product = step.apply(_export_job(context, step, source, population, ids))
    manifest = _manifest(context, step, source, product, ids)
    Artifact(workdir, manifest).save()
    if step.spec.produces == "torch":
        module = module_from_manifest(manifest.recipe, workdir / product.file)
        role, seed = context.inputs["role"], context.inputs["seed"]
        write_check(module, population, role, seed, context.inputs["check"], workdir)
    else:
        shutil.copyfile(source.folder / CHECK, workdir / CHECK)
    return {"notes": dict(product.notes)}


def _calibration_ids(context: JobContext, step: Pass, population: Population) -> tuple[int, ...]:
    if not step.calibrates(step.parameters(context.inputs["params"])):
        return ()
    wish = context.inputs["calibration"]
    ids = population.calibration_ids(context.inputs["role"], context.inputs["seed"], wish["policy"], wish["records"])
    return tuple(int(i) for i in ids)


def _export_job(
    context: JobContext, step: Pass, source: Artifact, population: Population, ids: tuple[int, ...]
) -> ExportJob:
    recipe = Recipe.from_dict(source.manifest.recipe)
    role, audit_seed = context.inputs["role"], context.inputs["seed"]
    seed = model_seed(audit_seed, f"{role}/{step.spec.name}")

    def training_records() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        # A checkpoint's own training records are the audited members: the same role, the same ids.
        trained = population.training_ids(role, audit_seed)
        return population.take(trained), population.labels[trained]

    def finetune(module: nn.Module, epochs: int) -> None:
        from edgeaudit.recipes.training import train

        x, y = training_records()
        train(module, x, y, recipe, seed, epochs)

    return ExportJob(
        source=source.path,
        workdir=context.draft,
        params=step.parameters(context.inputs["params"]),
        input_shape=recipe.input_shape,
        n_classes=recipe.n_classes,
        seed=seed,
        calibration=population.take(np.array(ids, np.int64)) if ids else None,
        module=(lambda: module_from_manifest(source.manifest.recipe, source.path))
        if source.manifest.kind == "torch"
        else None,
        finetune=finetune if step.spec.trains else None,
        recipe=recipe if source.manifest.kind in FRAMEWORKS else None,
        training_records=training_records if step.spec.trains else None,
    )


def _manifest(context: JobContext, step: Pass, source: Artifact, product: Product, ids: tuple[int, ...]) -> Manifest:
    file = context.draft / product.file
    passes = (
        *source.manifest.passes,
        PassRecord(step.spec.name, step.parameters(context.inputs["params"]), context.inputs["versions"]),
    )
    calibration: dict[str, Any] = {
        "calibration_policy": source.manifest.calibration_policy,
        "calibration_ids": source.manifest.calibration_ids,
    }
    if step.calibrates(step.parameters(context.inputs["params"])):
        calibration = {"calibration_policy": context.inputs["calibration"]["policy"], "calibration_ids": ids}
    if step.spec.produces == "torch":
        recipe = product.recipe or Recipe.from_dict(source.manifest.recipe)
        return replace(torch_manifest(recipe, file), passes=passes, **calibration)
    if product.input is None or product.output is None:
        raise ToolchainError(f"the pass '{step.spec.name}' did not say what {product.file} takes and answers")
    return Manifest(
        kind=step.spec.produces,
        file=product.file,
        sha256=file_sha256(file),
        bytes=sum((context.draft / name).stat().st_size for name in (product.file, *product.companions)),
        input=product.input,
        output=product.output,
        softmax_inside=product.softmax_inside,
        passes=passes,
        recipe=source.manifest.recipe,
        companions={name: file_sha256(context.draft / name) for name in product.companions},
        **calibration,
    )
