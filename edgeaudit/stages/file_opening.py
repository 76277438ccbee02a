"""Open a file of another maker: which input and output, in which layout, how many records at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import Artifact, Manifest, TensorSpec
from edgeaudit.filetypes.base import Head, Range
from edgeaudit.filetypes.registry import find_filetype
from edgeaudit.population.base import Population
from edgeaudit.runtimes.base import Runtime
from edgeaudit.settings import Settings
from edgeaudit.stages.file_contract import choose_output, only_input, with_layout

__all__ = ["Opened", "Wish", "open_file", "state_note", "tensor_note"]

FloatArray = npt.NDArray[np.float32]

_BATCHED = 64
"""Nonmembers that are queried singly and together."""


@dataclass(frozen=True)
class Wish:
    """What audit.yaml says of a file.

    output, outputs: `target.output` and `target.outputs`. options: all options of the runtime. batch_given: whether
    audit.yaml sets its batch.
    """

    output: str | None
    outputs: tuple[int, ...] | None
    options: Settings
    batch_given: bool = False


@dataclass(frozen=True, eq=False)
class Opened:
    """A file that answers, before it is known what its answers mean.

    manifest: without digests; its softmax, labels and single value are still open. whole: answers with all values of
    the output. values: how many. graph: what the output comes out of; None where such files do not say. kept: the state
    that it keeps between calls. held: the values that a quantised input can hold. independent: whether answers must not
    depend on the batch. records: those that it was opened with. The notes are sentences for the report; "" where there
    is nothing to say.
    """

    manifest: Manifest
    whole: Runtime
    values: int
    graph: Head | None
    kept: tuple[str, ...]
    independent: bool
    records: FloatArray
    held: Range | None
    layout_note: str
    batch_note: str
    output_note: str


def open_file(
    path: Path, companions: Mapping[str, str], runtime: type[Runtime], wish: Wish, population: Population
) -> Opened:
    """Open a file for the records of a population.

    path: the file; companions: those beside it, name -> SHA-256. Raises `ArtifactError` that names the key and the
    remedy where the records do not fit it, or no output has scores.
    """
    filetype, name = find_filetype(runtime.spec.serves), path.name
    contract = filetype.contract(path)
    entry, layout_note = with_layout(only_input(contract, name), population.input_shape, name)
    chosen = choose_output(contract, wish.output, population.outputs, wish.outputs, name)
    kept = () if "state" in filetype.spec.unreadable else filetype.state(path)
    manifest = Manifest(
        kind=runtime.spec.serves,
        file=name,
        sha256="",
        bytes=0,
        input=entry,
        output=chosen.tensor,
        softmax_inside=False,
        companions=dict(companions),
        place=chosen.place,
        stateful=bool(kept),
        foreign=True,
        others=len(contract.outputs) - 1,
    )
    records = population.take(population.split.nonmembers[:_BATCHED])
    manifest, independent, batch_note = _batched(manifest, runtime, wish, path.parent, records)
    whole = runtime(Artifact(path.parent, manifest), wish.options)
    values = whole.query(records[:1]).shape[1]
    manifest = replace(manifest, output=replace(chosen.tensor, shape=(chosen.tensor.shape[0], values)))
    graph = None if "softmax" in filetype.spec.unreadable else filetype.head(path, chosen.place)
    return Opened(
        manifest, whole, values, graph, kept, independent, records, contract.range, layout_note, batch_note, chosen.note
    )  # fmt: skip


def _batched(
    manifest: Manifest, runtime: type[Runtime], wish: Wish, folder: Path, records: FloatArray
) -> tuple[Manifest, bool, str]:
    """The manifest with the batch for queries, whether answers must not depend on it, and the reason."""
    fixed = manifest.input.shape[0]
    if fixed > 0:
        return manifest, fixed == 1, f"queried {fixed} at a time, the batch size fixed in the file"
    single = replace(manifest, input=replace(manifest.input, shape=(1, *manifest.input.shape[1:])))
    options, artifact = wish.options, Artifact(folder, manifest)
    try:
        together = runtime(artifact, options).query(records)
        alone = runtime(artifact, {**options, "batch": 1}).query(records)
    except ArtifactError:
        return single, True, "queried one at a time: larger batches fail"
    off, spread = float(np.abs(together - alone).max()), float(together.std())
    if off <= 1e-3 * spread:
        return manifest, True, "answers do not depend on the batch"
    if wish.batch_given:
        note = f"answers depend on the batch (by up to {off:.3g}); queried {options['batch']} at a time, as declared"
        return manifest, False, note
    return single, True, f"queried one at a time: answers depend on the batch (by up to {off:.3g})"


def tensor_note(what: str, tensor: TensorSpec) -> str:
    """An input or output in words."""
    shape = ", ".join("any" if size < 0 else str(size) for size in tensor.shape)
    point = tensor.zero_point or 0
    offset = "q" if point == 0 else f"(q {'-' if point > 0 else '+'} {abs(point)})"
    scale = f", value = {tensor.scale:.6g} * {offset}" if tensor.scale is not None else ""
    rounded = f", dequantised in the file, in steps of {tensor.rounded:.6g}" if tensor.rounded is not None else ""
    return f"{what} '{tensor.name}': {tensor.dtype} [{shape}]{scale}{rounded}"


def state_note(kept: tuple[str, ...]) -> str:
    """What a file keeps between calls, in words; "" if nothing."""
    if not kept:
        return ""
    return f"keeps a state between calls ({', '.join(kept)}), which is reset before each of them"
