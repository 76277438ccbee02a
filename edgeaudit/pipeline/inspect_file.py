"""What `edgeaudit inspect` does: read a model file, ask it in every usual way, and write the audit.yaml that fits."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from edgeaudit.config.data import DataSpec
from edgeaudit.config.yaml_text import flow_yaml
from edgeaudit.digests import file_sha256
from edgeaudit.errors import ArtifactError, DataError, EdgeAuditError
from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.registry import filetype_of
from edgeaudit.graph.executor import AnyJob, Listener, raise_errors
from edgeaudit.graph.job import Job, Result
from edgeaudit.pipeline.engine import Engine
from edgeaudit.pipeline.files_of_others import OpenedFiles
from edgeaudit.pipeline.inspect_data import given_data
from edgeaudit.population.build import population_content
from edgeaudit.runtimes.registry import default_runtime
from edgeaudit.stages.examine_file import ExamineFile, FileFacts, Fitted, ReadFile
from edgeaudit.stages.file_contract import with_layout
from edgeaudit.stages.file_opening import tensor_note
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.train import SourceFile

__all__ = ["FileReport", "inspect_file"]

_LAYOUTS = ("auto", "flat", "TC", "CHW", "HWC", "HW")
R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class FileReport:
    """A model file, and how it is fed and read best.

    facts: what it says of itself. fitted: what records show; None without. data: the section of audit.yaml with which
    it was asked, its preprocessing included. sides_known: whether that says which records the file was trained on.
    """

    path: Path
    facts: FileFacts
    fitted: Fitted | None = None
    data: Mapping[str, Any] | None = None
    sides_known: bool = False

    def tensors(self, side: Literal["inputs", "outputs"]) -> list[str]:
        """The inputs or outputs in words."""
        heads = self.facts.heads if side == "outputs" else ()
        found = []
        for place, tensor in enumerate(getattr(self.facts, side)):
            head = f", of a {heads[place]}" if place < len(heads) and heads[place] != "other" else ""
            alias = f" ({tensor.alias} in the signature)" if tensor.alias else ""
            found.append(tensor_note("", tensor).strip() + alias + head)
        return found

    def about(self) -> list[tuple[str, str]]:
        """What else the file says: a name and a text each."""
        facts, traits = self.facts, self.facts.traits
        rows = [("state", ", ".join(facts.state) or "none that is kept between calls")]
        if traits is not None:
            scheme = ", ".join(word for word in (traits.scales, traits.arrangement) if word)
            rows.append(("made by", traits.producer or "not said"))
            rows.append(("weights", f"{traits.weights or 'none'}{f' ({scheme})' if scheme else ''}"))
            rows.append(("activations", traits.activations))
        elif facts.note:
            rows.append(("weights", facts.note))
        if facts.operators:
            rows.append(("operators", ", ".join(f"{name} x{count}" for name, count in facts.operators.items())))
            rows.append(("operators of one vendor's hardware", "none"))  # a file that has any is refused
        return rows

    def audit_yaml(self, folder: Path | None = None) -> str:
        """An audit.yaml for this file; it runs as it is where the records of both sides are known.

        folder: where it will lie; paths below it are written relative to it. None: the current folder.
        """
        here = (folder or Path.cwd()).resolve()
        lines = [f"name: {flow_yaml(self.path.stem)}", "target:", f"  artifact: {flow_yaml(_path(self.path, here))}"]
        found = self.fitted
        if found is not None:
            lines += [f"  {key}: {flow_yaml(value)}" for key, value in self._declared(found)]
        lines.append("data:")
        if found is None or self.data is None:
            lines += [
                "  source: npz                 # or folder, torchvision:<DataSet>, module:function",
                "  preprocessing: raw          # what the model was trained with; inspect with --data finds it",
                "  members: {path: train.npz}  # records that it was trained on",
                "  nonmembers: {path: test.npz}",
            ]
            return "\n".join(lines) + "\n"
        data = {**self.data, "preprocessing": found.preprocessing}
        if found.reversed_channels:
            data["channels"] = "reversed"
        if not self.sides_known:
            data |= {"members": "members.txt", "nonmembers": "nonmembers.txt"}
            lines.append("  # which records was it trained on? List their numbers in these files, one a line")
        lines += [f"  {key}: {flow_yaml(_relative(value, here))}" for key, value in data.items()]
        return "\n".join(lines) + "\n"

    def _declared(self, found: Fitted) -> list[tuple[str, Any]]:
        given = (("output", found.output), ("softmax", found.softmax), ("outputs", found.outputs))
        return [(key, value) for key, value in given if value is not None]


def inspect_file(
    path: Path, data: Sequence[Path], output: str | None, running: Engine, listener: Listener
) -> FileReport:
    """Read a file, and where `data` names records ask it in every usual way.

    output: name of the output that is meant; None to find it.

    Raises `ArtifactError` where no runtime here serves the file, `DataError` where records cannot be read.
    """
    filetype = filetype_of(path)
    companions = OpenedFiles(running.store, running.executor, listener).companions(path, filetype)
    file = SourceFile(file_sha256(path), {name: file_sha256(path.parent / name) for name in companions}, path.resolve())
    facts = _done(ReadFile(file=file, filetype=filetype.spec.name), running, listener)
    if not data:
        return FileReport(path, facts)
    given = given_data(data)
    sized = {**given.data, **_size(given.data, facts.inputs)}
    keys, drawn = _drawn(sized, facts, path.name, running, listener)
    runtime = default_runtime(filetype.spec.name).spec.name
    job = ExamineFile(population=drawn, file=file, runtime=runtime, output=output, sides_known=given.sides_known)
    fitted: Fitted = _done(job, running, listener, drawn)
    return FileReport(path, facts, fitted, keys, given.sides_known)


def _drawn(
    data: Mapping[str, Any], facts: FileFacts, name: str, running: Engine, listener: Listener
) -> tuple[dict[str, Any], DrawPopulation]:
    """The section `data` with the layout in which records fit the file, and the job that draws its records."""
    refused: EdgeAuditError | None = None
    for layout in [data["layout"]] if "layout" in data else _LAYOUTS:
        keys = {**data, **({} if layout == "auto" else {"layout": layout})}
        spec = DataSpec.model_validate({**keys, **_ASKED})
        job = DrawPopulation(content=population_content(spec) or {"read": secrets.token_hex(16)}, seed=0, data=spec)
        try:
            shape = _done(job, running, listener).input_shape
            if len(facts.inputs) == 1:
                with_layout(facts.inputs[0], shape, name)
        except (ArtifactError, DataError) as exc:
            # What the usual layout says is what the user can act on.
            refused = refused or exc
            continue
        return keys, job
    assert refused is not None  # noqa: S101  there is one layout at least
    raise refused


_ASKED = {"preprocessing": "raw", "channels": "as-stored", "groups": "exact-copies", "slices": {}}
"""How records are drawn to be asked: as they are stored, without a search for near copies."""


def _done(job: Job[R], running: Engine, listener: Listener, *before: AnyJob) -> R:
    jobs: dict[Any, AnyJob] = {one.ref: one for one in (*before, job)}
    raise_errors(running.executor.run(jobs, listener))
    return running.store.read(job)


def _size(data: Mapping[str, Any], inputs: Sequence[TensorSpec]) -> dict[str, Any]:
    """The size of images in a folder that the file takes, where it says so."""
    if data.get("source") != "folder" or len(inputs) != 1 or len(inputs[0].shape) != 4:
        return {}
    sizes = inputs[0].shape[1:]
    height, width = (sizes[1], sizes[2]) if sizes[0] in (1, 3) else (sizes[0], sizes[1])
    if min(height, width) < 1 or "size" in data.get("options", {}):
        return {}
    return {"options": {**data.get("options", {}), "size": height if height == width else [height, width]}}


def _relative(value: Any, here: Path) -> Any:
    """The value with paths relative to a folder where they lie below it."""
    if isinstance(value, Mapping):
        return {key: _path(Path(one), here) if key == "path" else _relative(one, here) for key, one in value.items()}
    return _path(Path(value), here) if isinstance(value, str) and Path(value).is_absolute() else value


def _path(path: Path, here: Path) -> str:
    whole = path.resolve()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)
