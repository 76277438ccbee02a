"""The verb `formats`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from edgeaudit.cli.console import Console, print_json
from edgeaudit.cli.options import AsJsonOption
from edgeaudit.errors import SpecError

if TYPE_CHECKING:
    from edgeaudit.exporters import PassSpec
    from edgeaudit.formats.presets import Format
    from edgeaudit.runtimes.base import RuntimeSpec

__all__ = ["formats"]

_WIDE = 150
"""Columns from which a format's passes stand beside it; below it they stand under it, in one piece."""


@dataclass(frozen=True)
class _Line:
    """What is said of one format. remedies: the commands that install what it lacks."""

    id: str
    precision: str
    passes: str
    runtime: str
    needs: str
    installed: str
    remedies: tuple[str, ...]

    def has(self, word: str) -> bool:
        """Whether a word, in any case, is part of what is said."""
        said = (self.id, self.precision, self.passes, self.runtime, self.needs)
        return any(word.lower() in text.lower() for text in said)


def formats(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="List formats that have all of these: int8 openvino."),
    ] = None,
    *,
    json: AsJsonOption = False,
) -> None:
    """List the formats: what is done to the model, what serves the result, what it needs, whether that is installed.

    Each is a name for a composition: `passes` and `runtime` are what audit.yaml can say instead, with other parameters.
    """
    from edgeaudit.formats.presets import FORMATS

    console, lines = Console(), [_line(found) for found in FORMATS.values()]
    lines = [line for line in lines if all(line.has(word) for word in words or ())]
    if not lines:
        raise SpecError(f"no format has {' and '.join(words or ())} in its name, precision, passes, runtime or needs")
    if json:
        print_json([asdict(line) for line in lines])
        return
    if console.width >= _WIDE:
        table = Table(box=None, pad_edge=False)
        for head in ("format", "precision", "passes", "runtime", "needs", "installed"):
            table.add_column(head, overflow="fold", no_wrap=head == "format")
        for line in lines:
            cells = (line.id, line.precision, line.passes, line.runtime, f"[{line.needs}]", line.installed)
            table.add_row(*cells)
        console.print(table)
    else:
        for line in lines:
            for text in _below(line):
                console.print(text, soft_wrap=True)
    for remedy in sorted({remedy for line in lines for remedy in line.remedies}):
        console.print(f"missing: {remedy}", highlight=False)


def _line(found: Format) -> _Line:
    from edgeaudit.config.entries import entry_value
    from edgeaudit.config.yaml_text import flow_yaml
    from edgeaudit.exporters import find_pass
    from edgeaudit.runtimes.registry import find_runtime

    specs: list[PassSpec | RuntimeSpec] = [find_pass(step.name).spec for step in found.passes]
    specs.append(find_runtime(found.runtime).spec)
    lacking = [(name, spec.remedy) for spec in specs for name, has in spec.installed().items() if has is None]
    missing = sorted({name for name, _ in lacking})
    return _Line(
        found.id,
        found.precision,
        flow_yaml([entry_value(step.name, step.params) for step in found.passes]) if found.passes else "-",
        flow_yaml(entry_value(found.runtime, found.runtime_options)),
        ",".join(dict.fromkeys(spec.extra for spec in specs)),
        f"no: {', '.join(missing)}" if missing else "yes",
        tuple(remedy for _, remedy in lacking),
    )


def _below(line: _Line) -> Iterator[Text]:
    said = "installed" if line.installed == "yes" else f"not installed ({line.installed.removeprefix('no: ')})"
    yield Text.assemble((line.id, "bold"), f"  {line.precision}, [{line.needs}] {said}")
    made = "the trained model" if line.passes == "-" else line.passes
    yield Text(f"    {made} > {line.runtime}", "dim")
