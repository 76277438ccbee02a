"""What an audit costs, and what it would cost without what makes it cheaper; CPU seconds, ratios of one run.

    python benchmarks/performance.py                          # minutes
    python benchmarks/performance.py --write docs/performance.md
    python benchmarks/performance.py --quick                  # smaller; ends with 1 where a ratio is below its limit

Each row does the same work in both ways, in turns, in this process with one thread, and compares CPU seconds. What is
made is compared, too: a row whose two ways do not give the same files or answers ends the benchmark.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from edgeaudit.exporters import litert
from edgeaudit.exporters.base import ExportJob, PassResult
from edgeaudit.exporters.registry import find_pass
from edgeaudit.exporters.weight_swap import Templates
from edgeaudit.filetypes.artifact import Artifact, Manifest
from edgeaudit.host.fingerprint import cpu_name, int8_sums_saturate
from edgeaudit.recipes.base import Recipe, build
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.settings import Settings

BEGIN, END = "<!-- performance begin -->", "<!-- performance end -->"


@dataclass(frozen=True)
class Row:
    """One comparison. before, after: CPU seconds of the same work; least: the ratio below which `--quick` fails."""

    what: str
    unit: str
    before: float
    after: float
    least: float

    @property
    def ratio(self) -> float:
        """How many times as long it takes without."""
        return self.before / self.after


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def trained(recipe: str, shape: tuple[int, ...], seed: int) -> torch.nn.Module:
    """A network with the weights of a trained one: no two alike. Nothing depends on their values."""
    module = build(Recipe(recipe, shape, 10, {}), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                drawn = torch.rand(value.shape, generator=generator)
                value.copy_(drawn + 0.5 if name.endswith("running_var") else 0.2 * (drawn - 0.5))
    return module.eval()


def exported(step: str, module: torch.nn.Module, recipe: str, shape: tuple[int, ...], folder: Path) -> Artifact:
    """The module through one pass."""
    folder.mkdir(parents=True)
    params = find_pass(step).parameters({})
    job = ExportJob(
        folder / "none", folder, Settings(params), shape, 10, 0, module=lambda: module, recipe=Recipe(recipe, shape, 10)
    )
    return artifact_of(find_pass(step).apply(job), find_pass(step).spec.produces, folder)


def artifact_of(product: PassResult, kind: str, folder: Path) -> Artifact:
    """The file of a pass."""
    if product.input is None or product.output is None:
        raise SystemExit(f"{product.file} has no input or output")
    inside = product.softmax_inside
    manifest = Manifest(kind, product.file, "", 0, product.input, product.output, softmax_inside=inside)
    return Artifact(folder, manifest)


def conversions(recipe: str, shape: tuple[int, ...], shadows: int, least: float) -> Row:
    """litert.export of each shadow: converted, against written into an earlier file of the architecture."""
    models = [trained(recipe, shape, seed) for seed in range(shadows)]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        exported("litert.export", models[0], recipe, shape, root / "warm")  # imports
        before = after = 0.0
        own = Templates()
        for k, model in enumerate(models):
            litert.TEMPLATES = Templates()
            plain = root / f"plain-{k}"
            before += cpu(lambda: exported("litert.export", model, recipe, shape, plain))  # noqa: B023
            litert.TEMPLATES = own
            swapped = root / f"swapped-{k}"
            seconds = cpu(lambda: exported("litert.export", model, recipe, shape, swapped))  # noqa: B023
            after += seconds if k > 1 else 0.0
            if (plain / litert.FILE).read_bytes() != (swapped / litert.FILE).read_bytes():
                raise SystemExit(f"{recipe}: the file of shadow {k} is not that of a conversion")
    what = f"litert.export of {recipe.rpartition(':')[2]}, each shadow from the third on"
    return Row(what, "a shadow", before / shadows, after / (shadows - 2), least)


def queries(records: int, least: float) -> Row | None:
    """ONNX Runtime with and without the session entry for exact sums, on an int8 file; None without VNNI."""
    if int8_sums_saturate():
        return None
    shape = (3, 32, 32)
    module = trained("resnet8", shape, 0)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        given = exported("onnx.export", module, "resnet8", shape, root / "float")
        step = find_pass("ort.static-int8")
        made = root / "int8"
        made.mkdir()
        sample = rng.standard_normal((64, *shape), dtype=np.float32)
        job = ExportJob(given.path, made, Settings(step.parameters({})), shape, 10, 0, calibration=sample)
        artifact = artifact_of(step.apply(job), "onnx", made)
        asked = rng.standard_normal((records, *shape), dtype=np.float32)
        runtime = find_runtime("onnxruntime")
        plain = runtime(artifact, {"session": {"session.x64quantprecision": "1"}})
        own = runtime(artifact)
        if not np.array_equal(plain.query(asked), own.query(asked)):
            raise SystemExit("the answers depend on the session entry")
        before = after = 0.0
        for _ in range(5):
            before += cpu(lambda: plain.query(asked))
            after += cpu(lambda: own.query(asked))
    return Row("ONNX Runtime, static int8 ResNet-8, CPU with VNNI", f"{5 * records:,} records", before, after, least)


def rows(*, quick: bool) -> Iterator[Row]:
    """All comparisons."""
    yield conversions("resnet8", (3, 32, 32), 6 if quick else 16, 20)
    if not quick:
        yield conversions("torchvision:mobilenet_v3_small", (3, 32, 32), 64, 100)
    if (row := queries(512 if quick else 2048, 1.3)) is not None:
        yield row


def written(found: list[Row]) -> str:
    """The table."""
    lines = [
        f"{cpu_name()}, {platform.machine()}, one thread. CPU seconds.",
        "",
        "| what | of | without | as it is | times |",
        "|---|---|---|---|---|",
        *(f"| {row.what} | {row.unit} | {row.before:.3g} | {row.after:.2g} | {row.ratio:.3g} |" for row in found),
    ]
    return "\n".join(lines)


def main() -> int:
    """Run, print, and write or judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = list(rows(quick=asked.quick))
    text = written(found)
    print(text)
    if asked.write is not None:
        before, _, rest = asked.write.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        asked.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    slow = [row.what for row in found if row.ratio < row.least]
    if asked.quick and slow:
        print(f"below their limits: {'; '.join(slow)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
