"""Checks before anything runs: unknown formats, missing toolchains, devices that cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeaudit.attacks.registry import find_attack
from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.policy import ReadPolicy
from edgeaudit.errors import Problems, RecipeError, SpecError
from edgeaudit.exporters.registry import find_pass
from edgeaudit.filetypes.recognise import recognised
from edgeaudit.formats.presets import Format
from edgeaudit.formats.resolve import find_format
from edgeaudit.gate.attack_set import judging, set_of
from edgeaudit.graph.closure import require_found
from edgeaudit.host.packages import package_versions
from edgeaudit.pipeline.device_plan import require_devices
from edgeaudit.recipes.base import recipe_modules
from edgeaudit.recipes.frameworks import Framework, framework_of, require_zoo
from edgeaudit.recipes.keras_checkpoint import require_checkpoint_fits
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.population import function_modules, source_modules

__all__ = ["preflight", "require_modules"]

_MODEL_FILES = (".onnx", ".tflite", ".xml", ".pte")
"""Suffixes of files that runtimes take, none of which is a checkpoint."""


def preflight(spec: AuditSpec, policy: ReadPolicy | None = None) -> None:
    """Raise for all that cannot work, as `SeveralErrors` if it is more than one thing.

    A missing toolchain is named with the pip command. policy: whose budgets are judged, too.
    """
    framework, problems = framework_of(spec.model.recipe), Problems()
    with problems.collecting():
        _require_fetched(spec)
    with problems.collecting():
        _require_no_model_files(spec)
    if spec.recipe_known:
        for key, checkpoint in _checkpoints(spec):
            with problems.collecting():
                require_checkpoint_fits(spec.model.recipe, checkpoint, key)
        for check in (_require_precision, _require_loop, _require_no_pickle, _require_logits):
            with problems.collecting():
                check(spec, framework)
        with problems.collecting():
            framework.versions()
            require_zoo(spec.model.recipe)
    with problems.collecting():
        _require_online(spec, policy)
    formats: dict[str, Format] = {}
    for use in spec.formats:
        with problems.collecting():
            formats[use.id] = find_format(use, framework.kind, spec.artifact_of(use))
            _require_usable(use.id, formats[use.id], spec)
    if len(formats) == len(spec.formats):
        with problems.collecting():
            require_devices(spec, formats)
    problems.raise_found()


def require_modules(spec: AuditSpec) -> None:
    """Raise, by key, for modules of audit.yaml that cannot be found, as `SeveralErrors` if it is more than one."""
    problems = Problems()
    for key, modules in _named_modules(spec):
        for module in modules:
            with problems.collecting():
                try:
                    require_found(module)
                except RecipeError as exc:
                    raise RecipeError(f"{key}: {exc}") from exc
    problems.raise_found()


def _named_modules(spec: AuditSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each key that may name a module of the user's, with the modules that it names."""
    if spec.recipe_known:
        yield "model.recipe", recipe_modules(spec.model.recipe)
        yield "model.train", recipe_modules(spec.model.train)
    yield "data.source", source_modules(spec.data.source)
    yield "data.groups", function_modules(spec.data.groups)
    for name, column in spec.data.slices.items():
        yield f"data.slices.{name}", function_modules(column)


def _require_online(spec: AuditSpec, policy: ReadPolicy | None) -> None:
    """Refuse budgets that could never pass: in auditor mode an attack with online variants is judged by one of them."""
    if spec.threat.mode != "auditor":
        return
    limits = [*spec.budgets.values(), *(() if policy is None else policy.spec.budgets.values())]
    judged = {name for budgets in limits for budget in budgets for name in set_of(spec, budget)}
    for name in sorted(judged):
        attack, _, named = name.partition("/")
        about = find_attack(attack).spec
        online = [variant for variant in judging(attack, "auditor") if about.is_online(variant)]
        least = min((about.needs_of(variant).shadows for variant in online), default=0)
        if not named and spec.shadow_count < least:
            raise SpecError(
                f"threat.shadows: {spec.shadow_count} shadows are too few for budgets in auditor mode: '{attack}' is "
                f"judged by '{online[0]}' there, which needs {least} or more. Train more, or leave '{attack}' out of "
                "the attacks that are judged"
            )


def _require_precision(spec: AuditSpec, framework: Framework) -> None:
    if framework.kind == "sklearn" and spec.task != "classification":
        raise SpecError(
            f"task: {spec.task}: scikit-learn's recipes are classifiers; use a torch or Keras recipe, or a file"
        )
    if spec.model.precision not in framework.precisions:
        raise SpecError(
            f"model.precision: models of {framework.kind} train in {' or '.join(framework.precisions)}, not in "
            f"{spec.model.precision}"
        )


def _require_loop(spec: AuditSpec, framework: Framework) -> None:
    """Raise where early stopping or privacy is asked of a loop that has none, or Opacus is missing."""
    model = spec.model
    asked = next((key for key in ("early_stopping", "privacy") if getattr(model, key) is not None), None)
    if asked is not None and framework.kind != "torch":
        raise SpecError(
            f"model.{asked}: the built-in loop of torch recipes has it, and '{model.recipe}' is one of "
            f"{framework.kind}; remove it, or use a torch recipe"
        )
    if model.privacy is None:
        return
    if spec.task == "regression":
        raise SpecError(
            "model.privacy: the loss of task: regression is in deviations of the training records' values, which the "
            "privacy loss does not count; remove it"
        )
    members = spec.data.members
    if isinstance(members, int) and model.privacy.delta * members >= 1:
        raise SpecError(
            f"model.privacy.delta: {model.privacy.delta:g} is no less than 1/{members}, and the target trains on "
            f"{members} records: from 1/records on, publishing a record is private; use less"
        )
    package_versions("model.privacy", ("opacus",), "dp")


def _require_usable(name: str, resolved: Format, spec: AuditSpec) -> None:
    """Raise where the audit cannot read a format's answers, or a toolchain of it is missing."""
    if spec.threat.exposure == "logits" and any(p.params.get("softmax") == "inside" for p in resolved.passes):
        raise SpecError(
            f"formats: '{name}' outputs probabilities; threat.exposure: logits needs a format that outputs logits"
        )
    for step in resolved.passes:
        find_pass(step.name).spec.versions()
    find_runtime(resolved.runtime).spec.versions()


def _require_logits(spec: AuditSpec, framework: Framework) -> None:
    if spec.threat.exposure == "logits" and framework.kind == "sklearn":
        raise SpecError("threat.exposure: models of scikit-learn answer with probabilities and have no logits")


def _require_no_pickle(spec: AuditSpec, framework: Framework) -> None:
    pickled = [(key, path) for key, path in _checkpoints(spec) if path is not None]
    if framework.kind == "sklearn" and pickled:
        key, path = pickled[0]
        raise SpecError(
            f"{key}: {path} would be a pickle, which runs code when it is read; convert "
            "your estimator with skl2onnx and audit the file as target.artifact, with this recipe for its shadows"
        )


def _checkpoints(spec: AuditSpec) -> Iterator[tuple[str, Path | None]]:
    """The checkpoints of the target (None where it has none) and of given shadows, with their keys."""
    yield "model.checkpoint", spec.model.checkpoint
    for number in range(0 if spec.shadows is None else len(spec.shadows.models)):
        if (path := spec.given_checkpoint(number)) is not None:
            yield f"shadows.models[{number}]", path


def _require_no_model_files(spec: AuditSpec) -> None:
    """Raise `SpecError` where a given shadow is a file for a runtime, and the target is none."""
    for key, checkpoint in _checkpoints(spec):
        if key != "model.checkpoint" and checkpoint is not None and checkpoint.suffix in _MODEL_FILES:
            raise SpecError(
                f"{key}: {checkpoint} is a model file, and the target is none of this kind; give checkpoints of "
                "model.recipe, or audit a file as target.artifact"
            )


def _require_fetched(spec: AuditSpec) -> None:
    """Raise `SpecError` for a file of the user's that stands for another one: a Git LFS pointer, a page about it."""
    for key, path in _files(spec):
        found = recognised(path) if path.is_file() else None
        if found is not None and found.stands_in:
            raise SpecError(f"{key}: {path} is {found.what}; {found.remedy}")


def _files(spec: AuditSpec) -> Iterator[tuple[str, Path]]:
    """The files that audit.yaml names, with their keys. Those of a target have companions, which their type knows."""
    if spec.model.checkpoint is not None:
        yield "model.checkpoint", spec.model.checkpoint
    if spec.shadows is not None:
        for number, named in enumerate(spec.shadows.models):
            files = [named] if isinstance(named, Path) else named.values()
            yield from ((f"shadows.models[{number}]", path) for path in files)
        yield from ((f"shadows.members[{number}]", path) for number, path in enumerate(spec.shadows.members))
    if spec.data.path is not None:
        yield "data.path", spec.data.path
    for key, side in spec.data.sides.items():
        yield f"data.{key}.path", side.path
    for key in ("members", "nonmembers", "calibrated"):
        if isinstance(value := getattr(spec.data, key), Path):
            yield f"data.{key}", value
    if spec.target is not None:
        named = spec.target.artifact
        yield from (("target.artifact", path) for path in ([named] if isinstance(named, Path) else named.values()))
