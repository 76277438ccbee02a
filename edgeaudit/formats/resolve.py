"""Resolve an entry of `formats:` in audit.yaml: a preset, a variant of one, or a composition of passes."""

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
from edgeaudit.filetypes.artifact import Kind
from edgeaudit.filetypes.registry import filetype_of
from edgeaudit.formats.incompatibilities import refusal
from edgeaudit.formats.presets import FORMATS, Format, tolerance_of
from edgeaudit.runtimes.execution_providers import reduced_precisions
from edgeaudit.runtimes.registry import default_runtime, find_runtime, runtime_specs

__all__ = ["computed_precision", "find_format", "starts_from"]

_COMPUTED = {"bf16": "bfloat16", "f16": "float16"}
"""Precisions of computation that a runtime's options can set; the least precise first."""


def find_format(use: FormatUse, trained: Kind = "torch", artifact: Path | None = None) -> Format:
    """The passes, runtime and limits of a format entry.

    trained: the kind of the trained model that the passes start from, as determined by the recipe.
    artifact: the file of a foreign target; the passes are then those of the shadows.

    Raises `SpecError` that names the entry and what is wrong with it: an unknown preset, pass, runtime, parameter or
    option, a value that it cannot have, or passes and a runtime that do not fit one another or the trained model. No
    toolchain is imported.
    """
    if use.name in FORMATS and use != FormatUse(format=use.name, name=use.name):
        raise SpecError(f"formats: '{use.name}' is the name of a different preset; choose another 'name'")
    if use.format == AS_SHIPPED:
        resolved = _as_shipped(use, artifact)
    else:
        resolved = _preset(use, trained) if use.passes is None else _composed(use, use.passes, trained)
        _require_kind(resolved, use, artifact)
    if use.runtime is not None:
        resolved = _served(resolved, use.runtime, f"formats: '{use.id}'")
    if use.tolerance is not None:
        resolved = replace(resolved, tolerance=use.tolerance)
    if use.range_tolerance is not None:
        resolved = replace(resolved, range_tolerance=use.range_tolerance)
    if (reason := refusal(resolved)) is not None:
        raise SpecError(f"formats: '{use.id}': {reason}")
    return resolved if use.softmax == "outside" else _with_softmax(resolved, use)


def _as_shipped(use: FormatUse, artifact: Path | None) -> Format:
    """The format of a file of unknown origin: no passes, and the default runtime of its kind."""
    if artifact is None:
        raise SpecError(f"formats: '{AS_SHIPPED}' is the format of a foreign file: set target.artifact")
    runtime = default_runtime(_kind(artifact)).spec
    return Format(use.id, (), runtime.name, "as it was shipped", "not stated")


def _kind(artifact: Path) -> Kind:
    try:
        return filetype_of(artifact).spec.name
    except ArtifactError as exc:
        raise SpecError(f"target.artifact: {exc}") from exc


def _require_kind(resolved: Format, use: FormatUse, artifact: Path | None) -> None:
    """Check that a foreign file is of the kind that the shadows' passes create."""
    if artifact is None:
        return
    output_kind = _makes(resolved)
    if output_kind != _kind(artifact):
        raise SpecError(
            f"target.artifact: {artifact.name} is {_kind(artifact)}, but the format '{use.id}' creates {output_kind}; "
            "name the format of the file"
        )


def starts_from(resolved: Format) -> Kind:
    """The kind of trained model that a format starts from."""
    if resolved.passes:
        return find_pass(resolved.passes[0].name).spec.consumes
    return find_runtime(resolved.runtime).spec.serves


def _makes(resolved: Format) -> Kind:
    """The kind of file that a format's runtime serves."""
    return find_pass(resolved.passes[-1].name).spec.produces if resolved.passes else starts_from(resolved)


def _preset(use: FormatUse, trained: Kind) -> Format:
    if use.format is None or use.format not in FORMATS:
        raise SpecError(
            f"formats: '{use.format}' is not known.{did_you_mean(str(use.format), FORMATS)} "
            f"`edgeaudit formats` lists: {', '.join(FORMATS)}"
        )
    base = FORMATS[use.format]
    if starts_from(base) != trained:
        fitting = ", ".join(preset.id for preset in FORMATS.values() if starts_from(preset) == trained)
        raise SpecError(
            f"formats: '{use.id}' starts from a {starts_from(base)} model, but model.recipe creates a {trained} one. "
            f"Suitable formats: {fitting}"
        )
    return base


def _composed(use: FormatUse, entries: tuple[PassEntry, ...], trained: Kind) -> Format:
    where = f"formats: '{use.id}'"
    steps = [_find_pass(entry.name, where) for entry in entries]
    _require_chain([step.spec for step in steps], where, trained)
    passes = tuple(_checked_pass(step, entry, where) for step, entry in zip(steps, entries, strict=True))
    runtime = default_runtime(steps[-1].spec.produces).spec
    precisions = [step.precision(step.parameters(use.params)) for step, use in zip(steps, passes, strict=True)]
    weights = next((precision for precision in reversed(precisions) if precision is not None), "float32")
    summary = flow_yaml([entry_value(entry.name, entry.params) for entry in entries])
    return Format(use.id, passes, runtime.name, summary, weights, _batch(passes), tolerance_of(weights))


def _batch(passes: tuple[PassEntry, ...]) -> dict[str, int]:
    """The option `batch`, if a pass states that answers depend on it."""
    wanted = [batch for use in passes if (batch := find_pass(use.name).spec.batch) is not None]
    return {"batch": wanted[-1]} if wanted else {}


def _find_pass(name: str, where: str) -> Pass:
    names = [spec.name for spec in pass_specs()]
    if name not in names:
        raise SpecError(f"{where}: there is no pass '{name}'.{did_you_mean(name, names)} There are: {', '.join(names)}")
    return find_pass(name)


def _require_chain(specs: list[PassSpec], where: str, kind: Kind) -> None:
    """Check that each pass takes the output of the one before it; the first takes the trained model, of `kind`."""
    before = "the trained model is"
    for spec in specs:
        if spec.consumes != kind:
            between = [s.name for s in pass_specs() if (s.consumes, s.produces) == (kind, spec.consumes)]
            near = f" Did you mean to put '{between[0]}' before it?" if between else ""
            if not near and spec is specs[0]:
                near = f" Passes that take {kind}: {', '.join(s.name for s in pass_specs() if s.consumes == kind)}"
            raise SpecError(f"{where}: the pass '{spec.name}' takes {spec.consumes}, but {before} {kind}.{near}")
        kind, before = spec.produces, f"'{spec.name}' makes"


def _checked_pass(step: Pass, entry: PassEntry, where: str) -> PassEntry:
    with _named(where):
        step.parameters(entry.params)
    return PassEntry(step.spec.name, entry.params)


def _served(resolved: Format, entry: RuntimeEntry, where: str) -> Format:
    """The format in the runtime that the entry names."""
    names = [spec.name for spec in runtime_specs()]
    if entry.name not in names:
        raise SpecError(
            f"{where}: there is no runtime '{entry.name}'.{did_you_mean(entry.name, names)} "
            f"There are: {', '.join(names)}"
        )
    spec = find_runtime(entry.name).spec
    output_kind = _makes(resolved)
    if spec.serves != output_kind:
        fitting = ", ".join(s.name for s in runtime_specs() if s.serves == output_kind)
        whose = "the passes create" if resolved.passes else "this is"
        raise SpecError(
            f"{where}: the runtime '{spec.name}' serves {spec.serves}, but {whose} {output_kind}, which is "
            f"served by: {fitting or 'none'}"
        )
    with _named(where):
        # Options of the format's own runtime apply to another one only if the passes require them.
        kept = resolved.runtime_options if spec.name == resolved.runtime else _batch(resolved.passes)
        options = {**kept, **entry.options}
        spec.options(options)
    tolerance = max(resolved.tolerance, tolerance_of(computed_precision(entry.options)))
    return replace(resolved, runtime=spec.name, runtime_options=options, tolerance=tolerance)


def computed_precision(options: Params) -> str:
    """The precision of float computation with these options: the least precise of the option and the providers."""
    requested = {str(options.get("precision")), *reduced_precisions(options.get("providers"))}
    return next((full for short, full in _COMPUTED.items() if short in requested), "float32")


def _with_softmax(resolved: Format, use: FormatUse) -> Format:
    """The format with a file that returns probabilities."""
    exports = {p.name for p in resolved.passes if "softmax" in find_pass(p.name).spec.defaults}
    if not exports:
        raise SpecError(f"formats: '{use.id}' exports no file, so it cannot have softmax: inside")
    passes = (PassEntry(p.name, {**p.params, "softmax": "inside"}) if p.name in exports else p for p in resolved.passes)
    return replace(resolved, passes=tuple(passes))


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Add the entry's name to errors of the block."""
    try:
        yield
    except (ValueError, ToolchainError, ArtifactError) as exc:
        raise SpecError(f"{where}: {exc}") from exc
