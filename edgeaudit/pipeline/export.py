"""A finished run -> one .npz of evidence, from which others recompute its figures with numpy alone."""

from __future__ import annotations

import filecmp
import hashlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeaudit.errors import DamagedEntry, RunError, StoreError
from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.store import Store
from edgeaudit.pipeline.assemble import scores_file
from edgeaudit.pipeline.audit import Prepared
from edgeaudit.pipeline.evidence_arrays import Documented, Evidence, collect
from edgeaudit.pipeline.plan import FormatPlan
from edgeaudit.report.files import whole_file
from edgeaudit.report.model import Audit

__all__ = ["EVIDENCE_FORMAT", "LARGEST_SHADOWS", "EvidenceFile", "export_evidence"]

EVIDENCE_FORMAT = "edgeaudit-evidence/1"
"""The array `format` of the file: its name and version."""

LARGEST_SHADOWS = 2**30
"""Bytes before compression up to which the shadows' answers are included unless the user says otherwise."""


@dataclass(frozen=True)
class EvidenceFile:
    """A written file. arrays: how many it has. bytes: its size. shadows: whether the shadows' answers are in it."""

    path: Path
    arrays: int
    bytes: int
    shadows: bool


def export_evidence(
    prepared: Prepared,
    store: Store,
    audit: Audit,
    run: Path,
    out: Path,
    *,
    shadows: bool | None,
    notify: Callable[[str], None],
) -> EvidenceFile:
    """Write the evidence of a finished run; see docs/evidence.md.

    Args:
        prepared: the run's plan.
        store: has the run's results.
        audit: the audit.json of the run.
        run: its folder.
        out: the file to write, mode 0600. It is there whole, or as it was before.
        shadows: whether to include the shadows' answers; None: up to `LARGEST_SHADOWS`.
        notify: called with a sentence on what is going to be written.

    Raises:
        RunError: nothing was audited, or the store lacks results of this run. StoreError: the file cannot be written.
    """
    places = {(one.id, one.device) for one in audit.formats if one.status == "ok"}
    planned = [one for one in prepared.plan.formats if (one.use.id, one.device) in places]
    if not planned:
        raise RunError(f"{run}: no format was audited, so there is no evidence to export")
    _require_results(planned, store, run)
    about = {
        "format": EVIDENCE_FORMAT,
        "tool": f"edgeaudit {audit.tool.version}",
        "name": audit.name,
        "created": audit.created,
        "seed": audit.seed,
        "audit_json_sha256": hashlib.sha256((run / "audit.json").read_bytes()).hexdigest(),
    }
    try:
        evidence = collect(prepared, store, planned, about)
        included = _included(evidence, notify, shadows=shadows)
        arrays = [*evidence.arrays, *(evidence.shadows if included else ())]
        _write(out, arrays, evidence.manifest(shadows=included))
    except DamagedEntry as exc:
        raise RunError(f"{exc}; the evidence of {run} was not written") from exc
    return EvidenceFile(out, len(arrays) + 2, out.stat().st_size, included)


def _require_results(planned: Sequence[FormatPlan], store: Store, run: Path) -> None:
    """Raise `RunError` unless the store has all that the run's figures were computed from, and the same scores."""
    jobs = {
        job.ref: job
        for one in planned
        for measure in one.measures.values()
        for job in (measure, *_queries(one), *measure.settings.evidence.shadows)
    }
    jobs |= {one.canaries.ref: one.canaries for one in planned if one.canaries is not None}
    missing = [job.label for ref, job in jobs.items() if not store.has(*ref)]
    if missing:
        raise RunError(
            f"the store {store.root} lacks {len(missing)} of {len(jobs)} results of this run ({missing[0]}, ...): name "
            "its store with --store, or run the audit again, since the store was emptied, or data, code or toolchains "
            "changed"
        )
    for one in planned:
        copied = run / "scores" / scores_file(one.use.id, one.device)
        stored = store.entry(*one.measure.ref).folder / "scores.npz"
        if not copied.is_file() or not filecmp.cmp(copied, stored, shallow=False):
            raise RunError(
                f"{copied} is missing or has other scores than the store {store.root}: the run is older than the code "
                "or data that are here now, or was changed; run the audit again"
            )


def _queries(planned: FormatPlan) -> Iterator[AnyJob]:
    settings = planned.measure.settings.evidence
    return (query for _, query in (*settings.targets, *settings.nulls))


def _included(evidence: Evidence, notify: Callable[[str], None], *, shadows: bool | None) -> bool:
    """Whether to include the shadows' answers; says how large the file may become."""
    size, rest = (sum(array.bytes for array in arrays) for arrays in (evidence.shadows, evidence.arrays))
    if not evidence.shadows:
        notify(f"Writing {_size(rest)} before compression; the run had no shadows.")
        return False
    included = size <= LARGEST_SHADOWS if shadows is None else shadows
    answers = f"the shadows' answers are {_size(size)} of it" if included else "the shadows' answers left out"
    reason = ""
    if shadows is None and not included:
        reason = f" ({_size(size)}, over {_size(LARGEST_SHADOWS)}; --shadows includes them)"
    total = rest + (size if included else 0)
    notify(f"Writing {_size(total)} before compression, {answers}{reason}.")
    return included


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def _write(path: Path, arrays: Sequence[Documented], manifest: str) -> None:
    if path.is_dir():
        raise StoreError(f"{path} is a folder; give the name of a file, such as {path / 'evidence.npz'}")
    with whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        # First, so that a reader sees what the file is without reading answers.
        for name, text in (("format", EVIDENCE_FORMAT), ("manifest", manifest)):
            _add(archive, Documented.of(name, np.array(text), "", ""))
        for array in arrays:
            _add(archive, array)


def _add(archive: zipfile.ZipFile, array: Documented) -> None:
    """Write one array as `np.savez_compressed` does, a part at a time, without the time of day."""
    entry = zipfile.ZipInfo(f"{array.name}.npy")
    entry.compress_type = zipfile.ZIP_DEFLATED
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    with archive.open(entry, "w", force_zip64=True) as file:
        np.lib.format.write_array_header_2_0(file, header)
        for part in array.parts():
            file.write(np.ascontiguousarray(part, array.dtype).tobytes())
