"""Describe a pass's output file by reading it back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeaudit.errors import ToolchainError
from edgeaudit.exporters.base import ExportJob, PassResult
from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.base import fits
from edgeaudit.filetypes.registry import find_filetype

__all__ = ["read_back"]


def read_back(job: ExportJob, kind: str, file: str, *, softmax_inside: bool | None = None) -> PassResult:
    """The result of a pass, with input, output, softmax and companions as declared by the file in `job.workdir`.

    kind: the file type. softmax_inside: set if it cannot be read from the file. Raises `ToolchainError` if the file
    does not take the job's records or does not return a score per class.
    """
    filetype, path = find_filetype(kind), job.workdir / file
    contract = filetype.contract(path)
    if len(contract.inputs) != 1 or len(contract.outputs) != 1:
        raise ToolchainError(
            f"the model has {len(contract.inputs)} inputs and {len(contract.outputs)} outputs, not one each"
        )
    entry, answer = _require_one_scale(contract.inputs[0]), _require_one_scale(contract.outputs[0])
    layouts = [layout for layout in filetype.spec.layouts if fits(entry.shape[1:], job.input_shape, layout)]
    if not layouts:
        raise ToolchainError(f"the file takes records of shape {entry.shape[1:]}, but the model {job.input_shape}")
    if answer.shape[1:] != (job.n_classes,):
        raise ToolchainError(f"the model returns shape {answer.shape}, not [n, {job.n_classes}]")
    if softmax_inside is None:
        softmax_inside = job.answers_inside
    return PassResult(
        file,
        replace(entry, layout=layouts[0]),
        answer,
        softmax_inside=filetype.ends_in_softmax(path) if softmax_inside is None else softmax_inside,
        companions=filetype.companions(path),
    )


def _require_one_scale(tensor: TensorSpec) -> TensorSpec:
    if np.dtype(tensor.dtype).kind in "iu" and tensor.scale is None:
        raise ToolchainError(f"the integer tensor '{tensor.name}' does not have exactly one scale")
    return tensor
