"""The format that an entry of audit.yaml's `formats:` means: a preset, a variant of one, or passes put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgeaudit.config.entries import Params, PassEntry, RuntimeEntry, entry_value
from edgeaudit.config.formats import FormatUse
from edgeaudit.config.target import AS_SHIPPED
from edgeaudit.config.yaml_text import flow_yaml
from edgeaudit.errors import ArtifactError, SpecError, ToolchainError, did_you_mean
from edgeaudit.exporters import Pass, PassSpec, find_pass, pass_specs
from edgeaudit.filetypes.artifact import KINDS, Kind
from edgeaudit.formats.incompatibilities import refusal
from edgeaudit.formats.presets import FORMATS, Format, PassUse, tolerance_of
from edgeaudit.runtimes.execution_providers import reduced_precisions
from edgeaudit.runtimes.registry import default_runtime, find_runtime, runtime_specs

__all__ = ["computed_precision", "find_format", "starts_from"]

_COMPUTED = {"bf16": "bfloat16", "f16": "float16"}
"""What a runtime's options make of the answers, beside the weights' own precision; the least precise first."""


def find_format(use: FormatUse, trained: Kind = "torch", artifact: Path | None = None) -> Format:
    """The passes, runtime and limits that a format entry means.

    trained: the kind of the trained model that the passes start from, which the recipe decides.
    artifact: the file that is its target where that was made elsewhere; the passes are then those of the shadows.

    Raises `SpecError` that names the entry and what is wrong with it: an unknown preset, pass, runtime, parameter or
    option, a value that it cannot have, or passes and a runtime that do not fit one another or the trained model. No
    toolchain is imported.
    """
    if use.name in FORMATS and use != FormatUse(format=use.name, name=use.name):
        raise SpecError(f"formats: '{use.name}' is the name of a preset that is something else; take another 'name'")
    if use.format == AS_SHIPPED:
        found = _as_shipped(use, artifact)
    else:
        found = _preset(use, trained) if use.passes is None else _composed(use, use.passes, trained)
        _require_kind(found, use, artifact)
    if use.runtime is not None:
        found = _served(found, use.runtime, f"formats: '{use.id}'")
    if use.tolerance is not None:
        found = replace(found, tolerance=use.tolerance)
    if use.range_tolerance is not None:
        found = replace(found, range_tolerance=use.range_tolerance)
    if (reason := refusal(found)) is not None:
        raise SpecError(f"formats: '{use.id}': {reason}")
    return found if use.softmax == "outside" else _with_softmax(found, use)


def _as_shipped(use: FormatUse, artifact: Path | None) -> Format:
    """The format of a file of which nothing is told: no passes, and the runtime that serves its kind."""
    if artifact is None:
        raise SpecError(f"formats: '{AS_SHIPPED}' is the format of a file that was made elsewhere: set target.artifact")
    runtime = default_runtime(_kind(artifact)).spec
    return Format(use.id, (), runtime.name, "as it was shipped", "not stated")


def _kind(artifact: Path) -> Kind:
    if artifact.suffix not in KINDS:
        raise SpecError(
            f"target.artifact: {artifact.name} ends in none of {', '.join(KINDS)} (TFLite, ONNX, OpenVINO IR, "
            "ExecuTorch), so it is not known what serves it"
        )
    return KINDS[artifact.suffix]


def _require_kind(found: Format, use: FormatUse, artifact: Path | None) -> None:
    """A file that was made elsewhere is of the kind that the shadows' passes make."""
    if artifact is None:
        return
    made = _makes(found)
    if made != _kind(artifact):
        raise SpecError(
            f"target.artifact: {artifact.name} is {_kind(artifact)}, and the format '{use.id}' makes {made}; name the "
            "format that the file is"
        )


def starts_from(found: Format) -> Kind:
    """The kind of trained model that a format is made from."""
    if found.passes:
        return find_pass(found.passes[0].name).spec.consumes
    return find_runtime(found.runtime).spec.serves


def _makes(found: Format) -> Kind:
    """The kind of file that a format's runtime serves."""
    return find_pass(found.passes[-1].name).spec.produces if found.passes else starts_from(found)


def _preset(use: FormatUse, trained: Kind) -> Format:
    if use.format is None or use.format not in FORMATS:
        raise SpecError(
            f"formats: '{use.format}' is not known.{did_you_mean(str(use.format), FORMATS)} "
            f"`edgeaudit formats` lists: {', '.join(FORMATS)}"
        )
    found = FORMATS[use.format]
    if starts_from(found) != trained:
        fitting = ", ".join(preset.id for preset in FORMATS.values() if starts_from(preset) == trained)
        raise SpecError(
            f"formats: '{use.id}' is made from a {starts_from(found)} model, and model.recipe makes a {trained} one. "
            f"Formats that fit: {fitting}"
        )
    return found


def _composed(use: FormatUse, entries: tuple[PassEntry, ...], trained: Kind) -> Format:
    where = f"formats: '{use.id}'"
    steps = [_find_pass(entry.name, where) for entry in entries]
    _require_chain([step.spec for step in steps], where, trained)
    passes = tuple(_pass_use(step, entry, where) for step, entry in zip(steps, entries, strict=True))
    runtime = default_runtime(steps[-1].spec.produces).spec
    known = [step.precision(step.parameters(use.params)) for step, use in zip(steps, passes, strict=True)]
    weights = next((precision for precision in reversed(known) if precision is not None), "float32")
    summary = flow_yaml([entry_value(entry.name, entry.params) for entry in entries])
    return Format(use.id, passes, runtime.name, summary, weights, _batch(passes), tolerance_of(weights))


def _batch(passes: tuple[PassUse, ...]) -> dict[str, int]:
    """The option `batch`, where a pass says that answers depend on it."""
    wanted = [batch for use in passes if (batch := find_pass(use.name).spec.batch) is not None]
    return {"batch": wanted[-1]} if wanted else {}


def _find_pass(name: str, where: str) -> Pass:
    known = [spec.name for spec in pass_specs()]
    if name not in known:
        raise SpecError(f"{where}: there is no pass '{name}'.{did_you_mean(name, known)} There are: {', '.join(known)}")
    return find_pass(name)


def _require_chain(specs: list[PassSpec], where: str, kind: Kind) -> None:
    """Each pass takes what the one before it makes; the first takes the trained model, which is of `kind`."""
    before = "the trained model is"
    for spec in specs:
        if spec.consumes != kind:
            between = [s.name for s in pass_specs() if (s.consumes, s.produces) == (kind, spec.consumes)]
            near = f" Did you mean to put '{between[0]}' before it?" if between else ""
            if not near and spec is specs[0]:
                near = f" Passes that take {kind}: {', '.join(s.name for s in pass_specs() if s.consumes == kind)}"
            raise SpecError(f"{where}: the pass '{spec.name}' takes {spec.consumes}, and {before} {kind}.{near}")
        kind, before = spec.produces, f"'{spec.name}' makes"


def _pass_use(step: Pass, entry: PassEntry, where: str) -> PassUse:
    with _named(where):
        step.parameters(entry.params)
    return PassUse(step.spec.name, entry.params)


def _served(found: Format, entry: RuntimeEntry, where: str) -> Format:
    """The format in the runtime that the entry names."""
    known = [spec.name for spec in runtime_specs()]
    if entry.name not in known:
        raise SpecError(
            f"{where}: there is no runtime '{entry.name}'.{did_you_mean(entry.name, known)} "
            f"There are: {', '.join(known)}"
        )
    spec = find_runtime(entry.name).spec
    made = _makes(found)
    if spec.serves != made:
        fitting = ", ".join(s.name for s in runtime_specs() if s.serves == made)
        whose = "the passes make" if found.passes else "this is"
        raise SpecError(
            f"{where}: the runtime '{spec.name}' serves {spec.serves}, and {whose} {made}. That is "
            f"served by: {fitting or 'none'}"
        )
    with _named(where):
        # What the format's own runtime is told holds for another one only as far as the passes ask for it.
        kept = found.runtime_options if spec.name == found.runtime else _batch(found.passes)
        options = {**kept, **entry.options}
        spec.options(options)
    tolerance = max(found.tolerance, tolerance_of(computed_precision(entry.options)))
    return replace(found, runtime=spec.name, runtime_options=options, tolerance=tolerance)


def computed_precision(options: Params) -> str:
    """What a runtime with these options computes floats in: the least precise of its option and of its providers."""
    said = {str(options.get("precision")), *reduced_precisions(options.get("providers"))}
    return next((full for short, full in _COMPUTED.items() if short in said), "float32")


def _with_softmax(found: Format, use: FormatUse) -> Format:
    """The format whose file answers with probabilities."""
    exports = {p.name for p in found.passes if "softmax" in find_pass(p.name).spec.defaults}
    if not exports:
        raise SpecError(f"formats: '{use.id}' exports no file, so it cannot have softmax: inside")
    passes = (PassUse(p.name, {**p.params, "softmax": "inside"}) if p.name in exports else p for p in found.passes)
    return replace(found, passes=tuple(passes))


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Errors of the block, with the entry that they are about."""
    try:
        yield
    except (ValueError, ToolchainError, ArtifactError) as exc:
        raise SpecError(f"{where}: {exc}") from exc
