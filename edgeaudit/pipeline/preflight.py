"""Checks before anything runs: unknown formats, missing toolchains, devices that cannot be reached."""

from __future__ import annotations

from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import SpecError
from edgeaudit.exporters.registry import find_pass
from edgeaudit.formats.resolve import find_format
from edgeaudit.pipeline.device_plan import require_devices
from edgeaudit.recipes.frameworks import framework_of
from edgeaudit.recipes.keras_checkpoint import require_checkpoint_fits
from edgeaudit.runtimes.registry import find_runtime

__all__ = ["preflight"]


def preflight(spec: AuditSpec) -> None:
    """Raise for anything that cannot work; for a missing toolchain with the pip command."""
    framework = framework_of(spec.model.recipe)
    if spec.recipe_known:
        require_checkpoint_fits(spec.model.recipe, spec.model.checkpoint)
        if spec.model.precision not in framework.precisions:
            raise SpecError(
                f"model.precision: models of {framework.kind} train in {' or '.join(framework.precisions)}, not in "
                f"{spec.model.precision}"
            )
        framework.versions()
    formats = {use.id: find_format(use, framework.kind, spec.artifact_of(use)) for use in spec.formats}
    for name, resolved in formats.items():
        if spec.threat.exposure == "logits" and any(p.params.get("softmax") == "inside" for p in resolved.passes):
            raise SpecError(
                f"formats: '{name}' outputs probabilities; threat.exposure: logits needs a format that outputs logits"
            )
        for step in resolved.passes:
            find_pass(step.name).spec.versions()
        find_runtime(resolved.runtime).spec.versions()
    require_devices(spec, formats)
