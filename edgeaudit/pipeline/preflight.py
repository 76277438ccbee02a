"""What is refused before anything runs: unknown formats, missing toolchains, devices that cannot be reached."""

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
    """Refuse what cannot work; a missing toolchain with its pip line."""
    framework = framework_of(spec.model.recipe)
    if spec.recipe_known:
        require_checkpoint_fits(spec.model.recipe, spec.model.checkpoint)
        if spec.model.precision not in framework.precisions:
            raise SpecError(
                f"model.precision: models of {framework.kind} train in {' or '.join(framework.precisions)}, not in "
                f"{spec.model.precision}"
            )
        framework.versions()
    found = {use.id: find_format(use, framework.kind, spec.artifact_of(use)) for use in spec.formats}
    for name, one in found.items():
        if spec.threat.exposure == "logits" and any(p.params.get("softmax") == "inside" for p in one.passes):
            raise SpecError(
                f"formats: '{name}' outputs probabilities; threat.exposure: logits needs a format that outputs logits"
            )
        for step in one.passes:
            find_pass(step.name).spec.versions()
        find_runtime(one.runtime).spec.versions()
    require_devices(spec, found)
