"""The verb `inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edgeaudit.cli.console import Console

if TYPE_CHECKING:
    from edgeaudit.api import FileReport

__all__ = ["inspect"]


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A model file: .tflite, .onnx, OpenVINO .xml or .pte.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="Records with labels: those that it was trained on, and again for others (.npz, folders of images). "
            "Or one that has both: an audit.yaml, a folder with train/ and test/, an .npz with x_train, y_train, "
            "x_test, y_test.",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="NAME", help="The output with the scores, of several.")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="AUDIT.YAML", help="Write the audit.yaml there; else it is printed."),
    ] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Say what a model file is: inputs, outputs, softmax, state, operators.

    With records: the preprocessing, order of channels and labels with which it answers best, and an audit.yaml with
    these that runs as it is.
    """
    from edgeaudit import api
    from edgeaudit.errors import SpecError, store_errors
    from edgeaudit.report.words import printable

    if write is not None and write.exists() and not force:
        raise SpecError(f"{write} exists; give another name, or --force to overwrite it")
    console = Console(soft_wrap=True, highlight=False)
    with console.status("reading and asking the file"):
        report = api.inspect(file, data or (), output=output)
    for line in _facts(report):
        console.print(printable(line))
    if report.fitted is not None:
        console.print(_tried(report))
        for line in _found(report):
            console.print(printable(line))
    text = report.audit_yaml(None if write is None else write.parent)
    if write is None:
        console.print(f"\n# audit.yaml\n{text}", end="")
        return
    with store_errors(str(write)):
        write.write_text(text, encoding="utf-8")
    console.print(f"wrote {write}. Next: edgeaudit run {write} --out out")


def _facts(report: FileReport) -> list[str]:
    from edgeaudit.report.words import file_size

    facts = report.facts
    lines = [f"{report.path.name}: {facts.title}, {file_size(facts.bytes)}"]
    lines += [f"  with {name}" for name in facts.companions]
    lines += [f"  input {text}" for text in report.tensors("inputs")]
    lines += [f"  output {text}" for text in report.tensors("outputs")]
    lines += [f"  {name}: {text}" for name, text in report.about()]
    return lines


def _tried(report: FileReport) -> Table:
    assert report.fitted is not None  # noqa: S101  the caller has asked
    heads = ("members", "others") if report.sides_known else ("", "all")
    table = Table(
        "inputs", "labels from output", *(name for name in heads if name), "mean loss", box=None, pad_edge=False
    )
    for row in report.fitted.tried:
        shares = [row.members, row.others] if report.sides_known else [row.accuracy]
        cells = ["-" if share is None else f"{share:.1%}" for share in shares]
        table.add_row(row.inputs, str(row.offset), *cells, f"{row.loss:.3g}")
    return table


def _found(report: FileReport) -> list[str]:
    found = report.fitted
    assert found is not None  # noqa: S101  the caller has asked
    lines = [f"  {note}" for note in found.notes]
    order = found.outputs
    if order is not None and order != tuple(range(order[0], order[0] + len(order))):
        lines.append(f"  outputs are in another order than the labels: theirs are {', '.join(map(str, order))}")
    if found.by_chance:
        lines.append(
            "  however it is fed, it answers no better than chance: are these records and labels those of this model?"
        )
    if not report.sides_known:
        lines.append("  list the records that it was trained on before you run the audit")
    return lines
