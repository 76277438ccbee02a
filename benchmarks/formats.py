"""Create and run every format on three architectures; writes docs/formats.md.

    make formats                                                    # everything: half an hour on two cores
    python benchmarks/formats.py --architectures cnn --formats onnx-fp32,litert-int8 --records 200 --epochs 2
    python benchmarks/formats.py --list

Each architecture is trained once on CIFAR-10, compressed to every format and run in that format's runtime, as an
audit does with its target. The page lists how far the outputs are from torch's, the loss in accuracy, and the file
size; a pair that an audit would refuse is listed with the reason. EDGEAUDIT_DATA is the folder with
cifar10_train20k.npz. Resumable: results in the store are reused. With options that exclude anything, the page
goes to out/formats.md unless --out says otherwise.
"""

from __future__ import annotations

import argparse
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeaudit.cli.console import Console
from edgeaudit.cli.progress import ProgressView
from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.entries import entry_value
from edgeaudit.config.yaml_text import flow_yaml
from edgeaudit.errors import EdgeAuditError
from edgeaudit.exporters import PassSpec, find_pass
from edgeaudit.filetypes.agreement import Agreement
from edgeaudit.formats.incompatibilities import INCOMPATIBILITIES
from edgeaudit.formats.presets import FORMATS
from edgeaudit.formats.resolve import starts_from
from edgeaudit.graph.executor import AnyJob, RunResult
from edgeaudit.graph.job import Ref
from edgeaudit.graph.processes import LocalProcesses
from edgeaudit.graph.store import Store
from edgeaudit.pipeline.audit import Prepared, prepare
from edgeaudit.runtimes.base import RuntimeSpec
from edgeaudit.runtimes.registry import find_runtime

ROOT = Path(__file__).resolve().parent.parent
PAGE, PART = ROOT / "docs" / "formats.md", Path("out") / "formats.md"
RECORDS, CALIBRATION = 1000, 128
CIFAR10 = "cifar10_train20k.npz"
_Z95 = 1.959964


@dataclass(frozen=True)
class Architecture:
    """A model of the matrix. recipe, epochs, lr: as in audit.yaml's `model`; title: on the page."""

    title: str
    recipe: str
    epochs: int
    lr: float

    @property
    def kind(self) -> str:
        """The framework its formats start from: `keras` for `keras:<name>`, else `torch`."""
        return "keras" if self.recipe.startswith("keras:") else "torch"

    @property
    def name(self) -> str:
        """For the command line."""
        return self.recipe.removeprefix("torchvision:")


ARCHITECTURES: Mapping[str, Architecture] = {
    each.name: each
    for each in (
        Architecture("Small CNN", "cnn", 10, 0.2),
        Architecture("ResNet-8", "resnet8", 10, 0.1),
        Architecture("MobileNetV3-Small (hard-swish)", "torchvision:mobilenet_v3_small", 40, 0.1),
        Architecture("ResNet-8 in Keras", "keras:resnet8", 10, 0.1),
    )
}


@dataclass(frozen=True)
class Sizes:
    """records: number of training records, and of as many others; calibration: records of quantisers. epochs: None for
    the architecture's default. source: `cifar10`, or `digits`, which needs no download and fits `cnn`."""

    records: int = RECORDS
    calibration: int = CALIBRATION
    epochs: int | None = None
    source: str = "cifar10"


@dataclass(frozen=True)
class Row:
    """One format of one architecture; `error` instead of figures if it could not be created or was refused.

    right: bool [n], on records that the model did not train on. bytes, packed: of all files, as they are and by zlib.
    """

    format: str
    error: str | None = None
    right: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    agreement: Agreement | None = None
    bytes: int = 0
    packed: int = 0


def formats_of(kind: str, wanted: Sequence[str]) -> list[str]:
    """The wanted formats that start from that kind, in their order; first the reference, the model itself."""
    own = [form for form in FORMATS.values() if starts_from(form) == kind]
    reference = [form.id for form in own if not form.passes][:1]
    return reference + [form.id for form in own if form.id in wanted and form.id not in reference]


def audit_of(model: Architecture, formats: Sequence[str], sizes: Sizes, data: Path) -> AuditSpec:
    """The audit whose target is queried; its shadows are required by the format of audit.yaml but not trained."""
    n = sizes.records
    source = (
        {"source": "digits"}
        if sizes.source == "digits"
        else {"source": "npz", "path": str(data / CIFAR10), "layout": "HWC"}
    )
    pool = n + max(n // 4, 2 * sizes.calibration)
    return AuditSpec.model_validate({
        "model": {"recipe": model.recipe, "epochs": sizes.epochs or model.epochs, "lr": model.lr},
        "data": {**source, "members": n, "nonmembers": n, "reference": pool,
                 "calibration": {"records": sizes.calibration}},
        "threat": {"shadows": 2},
        "controls": {"null-targets": 0, "shift": False},
        "formats": list(formats),
    })  # fmt: skip


def target_jobs(prepared: Prepared) -> dict[Ref, AnyJob]:
    """The jobs for the target's outputs in every format, in the plan's order."""
    wanted: set[Ref] = set()
    waiting: list[AnyJob] = [planned.target_query for planned in prepared.plan.formats]
    while waiting:
        job = waiting.pop()
        if job.ref not in wanted:
            wanted.add(job.ref)
            waiting += job.needs
    return {ref: job for ref, job in prepared.plan.jobs.items() if ref in wanted}


def rows(prepared: Prepared, result: RunResult, store: Store) -> Iterator[Row]:
    """The formats in their order."""
    population, seed = prepared.population, prepared.spec.seed
    labels = population.labels[population.queried]
    others = ~np.isin(population.queried, population.training_ids("target", seed))
    for planned in prepared.plan.formats:
        cause = result.cause(planned.target_query)
        if cause is not None:
            yield Row(planned.use.id, str(cause))
            continue
        query, artifact = store.read(planned.target_query), store.read(planned.artifact).artifact
        files = [artifact.folder / name for name in (artifact.manifest.file, *artifact.manifest.companions)]
        packed = sum(len(zlib.compress(file.read_bytes(), 9)) for file in files)
        right = (query.responses.argmax(axis=1) == labels)[others]
        yield Row(planned.use.id, None, right, query.agreement, artifact.manifest.bytes, packed)


def page(found: Mapping[str, list[Row]], sizes: Sizes) -> Iterator[str]:
    """The page's lines."""
    data = "scikit-learn's digits" if sizes.source == "digits" else "CIFAR-10"
    yield "# Formats\n"
    yield (
        f"Made by `make formats`: models trained on {sizes.records:,} records of {data}, compressed by each format's "
        f"toolchain ({sizes.calibration} calibration records) and run in its runtime. `edgeaudit formats` lists what "
        "is installed; [compositions](compositions.md) explains how to combine passes yourself.\n"
    )
    yield from _what_they_are(dict.fromkeys(row.format for formats in found.values() for row in formats))
    yield from _how_they_answer(found)
    yield from _incompatibilities()


def _what_they_are(ids: Mapping[str, None]) -> Iterator[str]:
    yield "## Definitions\n"
    yield "| format | precision | passes | runtime | needs | what it is |"
    yield "|---|---|---|---|---|---|"
    versions: dict[str, str] = {}
    for form in (FORMATS[name] for name in ids):
        specs: list[PassSpec | RuntimeSpec] = [find_pass(use.name).spec for use in form.passes]
        specs.append(find_runtime(form.runtime).spec)
        for spec in specs:
            versions |= spec.versions()
        extras = ", ".join(dict.fromkeys(spec.extra for spec in specs))
        passes = ", ".join(f"`{flow_yaml(entry_value(use.name, use.params))}`" for use in form.passes) or "-"
        served = f"`{flow_yaml(entry_value(form.runtime, form.runtime_options))}`"
        yield f"| `{form.id}` | {form.precision} | {passes} | {served} | {extras} | {form.summary} |"
    yield "\nVersions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + ".\n"


def _how_they_answer(found: Mapping[str, list[Row]]) -> Iterator[str]:
    yield "## Agreement with the trained model\n"
    yield (
        "Accuracy on records that the model was not trained on, minus that of the model before compression, in "
        "percentage points with a 95% interval (paired, over those records). RMS error: of the outputs relative to the "
        "standard deviation of torch's; worst class: of the class where it is largest; range: of the outputs where "
        "torch's are extreme, which clipping reduces (`edgeaudit/filetypes/agreement.py`); top-1: share of "
        "records with the same top class; these four on the calibration records. An audit refuses a format beyond its "
        "limits with an error. Retrained formats (pruned, distilled, quantisation-aware) are compared with their "
        "own torch model, and their accuracy with that of the original one.\n"
    )
    for title, formats in found.items():
        reference = formats[0]
        yield f"### {title}\n"
        if reference.right is None:
            yield f"The model itself could not be created: {_cell(reference.error)}.\n"
            continue
        right = reference.right
        yield f"Accuracy of `{reference.format}`: {right.mean():.1%} of {len(right):,} records.\n"
        yield "| format | accuracy | RMS error | worst class | range | top-1 | KB | zlib KB |"
        yield "|---|---|---|---|---|---|---|---|"
        yield from (_row(row, right) for row in formats)
        yield ""


def _row(row: Row, reference: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    if row.right is None or row.agreement is None:
        return f"| `{row.format}` | refused: {_cell(row.error)} | | | | | | |"
    off, a = 100 * (row.right.astype(float) - reference), row.agreement
    half = _Z95 * off.std(ddof=1) / np.sqrt(len(off))
    return (
        f"| `{row.format}` | {off.mean():+.1f} ± {half:.1f} | {a.rel_rms:.2g} | {a.worst_class:.2g} "
        f"| {a.range_ratio:.3f} | {a.top1:.1%} | {row.bytes / 1024:.0f} | {row.packed / 1024:.0f} |"
    )


def _incompatibilities() -> Iterator[str]:
    yield "## Known incompatibilities\n"
    yield (
        "`edgeaudit/formats/incompatibilities.py` lists them. *By name*: before anything runs. *By the "
        "runtime*: depending on the CPU and the file. *By its answers*: outputs are compared with torch's in every "
        "audit, and a file beyond its format's limits is refused.\n"
    )
    yield "| pair | why | instead | refused |"
    yield "|---|---|---|---|"
    for entry in INCOMPATIBILITIES:
        yield f"| {_cell(entry.pair)} | {_cell(entry.reason)} | {_cell(entry.instead)} | {entry.refused} |"


def _cell(text: str | None) -> str:
    """Text for a cell of a Markdown table."""
    return " ".join((text or "").split()).replace("|", "\\|")


def measured(
    model: Architecture, formats: Sequence[str], sizes: Sizes, data: Path, store: Store, workers: int, console: Console
) -> list[Row]:
    """One architecture in its formats; results in the store are reused."""
    with LocalProcesses(store, workers, Path.cwd()) as executor, ProgressView(console, workers) as view:
        prepared = prepare(audit_of(model, formats, sizes, data), store, executor, view)
        jobs = target_jobs(prepared)
        view.begin(jobs, {ref for ref in jobs if store.has(*ref)})
        result = executor.run(jobs, view)
    return list(rows(prepared, result, store))


def main(arguments: Sequence[str] | None = None) -> None:
    """Create what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = _names(ARCHITECTURES, "architecture"), _names(FORMATS, "format")
    parser.add_argument("--architectures", type=names[0], default=list(ARCHITECTURES), metavar="A,B")
    parser.add_argument("--formats", type=names[1], default=list(FORMATS), metavar="A,B")
    parser.add_argument("--records", type=int, default=RECORDS, help="that each model trains on")
    parser.add_argument("--calibration", type=int, default=CALIBRATION, help="records that quantisers see")
    parser.add_argument("--epochs", type=int, help="instead of the architecture's own")
    parser.add_argument(
        "--source", choices=("cifar10", "digits"), default="cifar10", help="digits fits cnn and resnet8"
    )
    parser.add_argument("--out", type=Path, help="the page; docs/formats.md where nothing is left out")
    parser.add_argument("--store", type=Path, default=Path(".edgeaudit"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="list architectures and the formats of each, and end")
    chosen, console = parser.parse_args(arguments), Console()
    wanted = {name: formats_of(ARCHITECTURES[name].kind, chosen.formats) for name in chosen.architectures}
    if chosen.list:
        for name, formats in wanted.items():
            console.print(f"{name} ({ARCHITECTURES[name].recipe}): {', '.join(formats)}", soft_wrap=True)
        return
    sizes = Sizes(chosen.records, chosen.calibration, chosen.epochs, chosen.source)
    data = Path(os.environ.get("EDGEAUDIT_DATA", "../shared/data")).resolve()
    if sizes.source == "cifar10" and not (data / CIFAR10).is_file():
        raise SystemExit(f"{data / CIFAR10} is missing; set EDGEAUDIT_DATA to its folder")
    whole = sizes == Sizes() and chosen.architectures == list(ARCHITECTURES) and chosen.formats == list(FORMATS)
    out = chosen.out or (PAGE if whole else PART)
    store, found = Store(chosen.store.resolve()), {}
    for name, formats in wanted.items():
        model = ARCHITECTURES[name]
        console.print(model.title)
        try:
            found[model.title] = measured(model, formats, sizes, data, store, chosen.workers, console)
        except EdgeAuditError as exc:
            raise SystemExit(str(exc)) from exc
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(page(found, sizes)) + "\n", encoding="utf-8")
    console.print(f"{out} written", soft_wrap=True)


def _names(known: Mapping[str, object], what: str) -> Any:
    """Parse `a,b`; an unknown name is an error that lists the known ones."""

    def read(text: str) -> list[str]:
        given = [name.strip() for name in text.split(",") if name.strip()]
        for name in given:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {what} '{name}'; there are: {', '.join(known)}")
        return [name for name in known if name in given]

    return read


if __name__ == "__main__":
    main()
