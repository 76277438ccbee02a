"""The format that an entry of audit.yaml's `formats:` means: a preset, a variant of one, or passes put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from edgeaudit.artifact import Kind
from edgeaudit.calls import Call, alike, parse_call
from edgeaudit.errors import ArtifactError, SpecError, ToolchainError, did_you_mean
from edgeaudit.exporters import Pass, PassSpec, find_pass, pass_specs
from edgeaudit.formats import FORMATS, Format, PassUse, tolerance_of
from edgeaudit.runtimes.registry import default_runtime, find_runtime, runtime_specs
from edgeaudit.spec import FormatUse

__all__ = ["find_format"]


def find_format(use: FormatUse) -> Format:
    """The passes, runtime and limits that a format entry means.

    Raises `SpecError` that names the entry and what is wrong with it: an unknown preset, pass, runtime, parameter or
    option, a value that it cannot have, or passes and a runtime that do not fit one another. No toolchain is imported.
    """
    if use.name in FORMATS and use != FormatUse(format=use.name, name=use.name):
        raise SpecError(f"formats: '{use.name}' is the name of a preset that is something else; take another 'name'")
    found = _preset(use) if use.passes is None else _composed(use, use.passes)
    if use.runtime is not None:
        found = _served(found, use.runtime, f"formats: '{use.id}'")
    if use.tolerance is not None:
        found = replace(found, tolerance=use.tolerance)
    if use.range_tolerance is not None:
        found = replace(found, range_tolerance=use.range_tolerance)
    with _named(f"formats: '{use.id}'"):
        find_runtime(found.runtime).spec.require_no_known_fault(step.name for step in found.passes)
    return found if use.softmax == "outside" else _with_softmax(found, use)


def _preset(use: FormatUse) -> Format:
    if use.format is None or use.format not in FORMATS:
        raise SpecError(
            f"formats: '{use.format}' is not known.{did_you_mean(str(use.format), FORMATS)} "
            f"`edgeaudit formats` lists: {', '.join(FORMATS)}"
        )
    return FORMATS[use.format]


def _composed(use: FormatUse, texts: tuple[str, ...]) -> Format:
    where = f"formats: '{use.id}'"
    calls = [parse_call(text, "pass") for text in texts]
    steps = [_find_pass(call.name, where) for call in calls]
    _require_chain([step.spec for step in steps], where)
    passes = tuple(_pass_use(step, call, where) for step, call in zip(steps, calls, strict=True))
    runtime = default_runtime(steps[-1].spec.produces).spec
    known = [step.precision(step.parameters(use.params)) for step, use in zip(steps, passes, strict=True)]
    weights = next((precision for precision in reversed(known) if precision is not None), "float32")
    return Format(use.id, passes, runtime.name, ", ".join(texts), weights, _batch(passes), tolerance_of(weights))


def _batch(passes: tuple[PassUse, ...]) -> dict[str, int]:
    """The option `batch`, where a pass says that answers depend on it."""
    wanted = [batch for use in passes if (batch := find_pass(use.name).spec.batch) is not None]
    return {"batch": wanted[-1]} if wanted else {}


def _find_pass(name: str, where: str) -> Pass:
    known = {alike(spec.name): spec.name for spec in pass_specs()}
    if alike(name) not in known:
        raise SpecError(
            f"{where}: there is no pass '{name}'.{did_you_mean(alike(name), known)} "
            f"There are: {', '.join(known.values())}"
        )
    return find_pass(known[alike(name)])


def _require_chain(specs: list[PassSpec], where: str) -> None:
    """Each pass takes what the one before it makes; the first takes the trained torch model."""
    kind: Kind = "torch"
    before = "the trained model is"
    for spec in specs:
        if spec.consumes != kind:
            between = [s.name for s in pass_specs() if (s.consumes, s.produces) == (kind, spec.consumes)]
            near = f" Did you mean to put '{between[0]}' before it?" if between else ""
            raise SpecError(f"{where}: the pass '{spec.name}' takes {spec.consumes}, and {before} {kind}.{near}")
        kind, before = spec.produces, f"'{spec.name}' makes"


def _pass_use(step: Pass, call: Call, where: str) -> PassUse:
    with _named(where):
        params = call.named(tuple(step.spec.defaults))
        step.parameters(params)
    return PassUse(step.spec.name, params)


def _served(found: Format, text: str, where: str) -> Format:
    """The format in the runtime that the entry names."""
    call = parse_call(text, "name")
    known = {alike(spec.name): spec.name for spec in runtime_specs()}
    if alike(call.name) not in known:
        raise SpecError(
            f"{where}: there is no runtime '{call.name}'.{did_you_mean(alike(call.name), known)} "
            f"There are: {', '.join(known.values())}"
        )
    spec = find_runtime(known[alike(call.name)]).spec
    made = find_pass(found.passes[-1].name).spec.produces if found.passes else "torch"
    if spec.serves != made:
        fitting = ", ".join(s.name for s in runtime_specs() if s.serves == made)
        raise SpecError(
            f"{where}: the runtime '{spec.name}' serves {spec.serves}, and the passes make {made}. That is "
            f"served by: {fitting or 'none'}"
        )
    with _named(where):
        options = call.named(tuple(spec.defaults))
        # What the format's own runtime is told holds for another one only as far as the passes ask for it.
        kept = found.runtime_options if spec.name == found.runtime else _batch(found.passes)
        spec.options({**kept, **options})
    return replace(found, runtime=spec.name, runtime_options={**kept, **options})


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
