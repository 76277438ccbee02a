"""Which presets a format of audit.yaml is made like, whatever audit.yaml calls it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from edgeaudit.config.formats import FormatUse
from edgeaudit.exporters import find_pass
from edgeaudit.formats.presets import FORMATS, Format
from edgeaudit.runtimes.registry import default_runtime

__all__ = ["presets_like"]


def presets_like(use: FormatUse, configured: Collection[str] = ()) -> tuple[str, ...]:
    """Return the ids of the presets that a format is made like, the one that it names first.

    A composition is made like every preset with the same passes, in order, and the same runtime: its parameters do not
    count, since they can write a preset's defaults, or come as close to it as its author likes. A preset in a runtime,
    or with options, of audit.yaml's own is also made like others with equal passes in that runtime. No toolchain is
    imported.

    Args:
        use: an entry of `formats`.
        configured: runtimes of which a device that it is queried on sets options.
    """
    return tuple(dict.fromkeys(_like(use, configured)))


def _like(use: FormatUse, configured: Collection[str]) -> Iterator[str]:
    if use.passes is not None:
        steps = [entry.name for entry in use.passes]
        same = [preset for preset in FORMATS.values() if [entry.name for entry in preset.passes] == steps]
        runtime = _runtime(use) if same else None  # passes of a plugin, in no preset, need not be installed here
        yield from (preset.id for preset in same if preset.runtime == runtime)
        return
    if use.format is None or use.format not in FORMATS:
        return
    yield use.format
    base = FORMATS[use.format]
    served = base.runtime if use.runtime is None else use.runtime.name
    if use.runtime is not None or served in configured:
        yield from (preset.id for preset in FORMATS.values() if _is_served(preset, base, served))


def _is_served(preset: Format, base: Format, runtime: str) -> bool:
    """Return whether a preset is the file of another, in this runtime."""
    return bool(preset.passes) and preset.passes == base.passes and preset.runtime == runtime


def _runtime(use: FormatUse) -> str:
    if use.runtime is not None:
        return use.runtime.name
    last = (use.passes or ())[-1].name
    return default_runtime(find_pass(last).spec.produces).spec.name
