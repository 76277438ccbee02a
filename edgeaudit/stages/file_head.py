"""What a file answers with: probabilities of a softmax, of a sigmoid, or logits. Its answers show it, and its graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import TensorSpec
from edgeaudit.filetypes.base import Head
from edgeaudit.leakage.outputs import output_step
from edgeaudit.stages.target_check import in_unit_range, is_probability

__all__ = ["HeadFound", "find_head", "is_inside"]

FloatArray = npt.NDArray[np.float32]
Single = Literal["probability", "logit"]


@dataclass(frozen=True)
class HeadFound:
    """inside: whether the file answers with probabilities. single: of label 1 alone. note: the evidence."""

    inside: bool
    single: Single | None
    note: str


def find_head(answers: FloatArray, output: TensorSpec, graph: Head | None, declared: str, name: str) -> HeadFound:
    """What the answers to some hundred records are, float32 [n, values], all of the file's values.

    graph: what the output comes out of, where the file says so; None where it cannot be read. declared:
    `target.softmax`. Raises `ArtifactError` where a declaration and the answers disagree, and where neither shows it.
    """
    if answers.shape[1] == 1:
        return _single(answers, output, declared, name)
    step = _step(answers, output)
    sums = answers.astype(np.float64).sum(axis=1)
    off, where = float(np.abs(sums - 1).max()), f"{len(answers):,} answers"
    reach = f"the sums of {where} range from {sums.min():.3g} to {sums.max():.3g}"
    softmax, unit = _is_softmax(answers, output, graph), in_unit_range(answers, step)
    if declared == "inside" and not softmax:
        raise ArtifactError(
            f"target.softmax is inside, but {name} does not return probabilities: {reach}; set it to outside or remove "
            "it"
        )
    if declared == "outside" and softmax:
        raise ArtifactError(
            f"target.softmax is outside, but {name} returns probabilities: {where} are in [0, 1] and sum to 1 "
            f"within {off:.2g}; remove it"
        )
    if declared == "sigmoid" and not unit:
        raise ArtifactError(
            f"target.softmax is sigmoid, but {name} returns values from {answers.min():.3g} to {answers.max():.3g}; "
            "remove it"
        )
    if softmax and declared != "sigmoid":
        rounded = f", in steps of {step:.3g}" if step else ""
        return HeadFound(
            inside=True,
            single=None,
            note=f"softmax inside: {where} are in [0, 1] and sum to 1 within {off:.2g}{rounded}",
        )
    if unit and (declared == "sigmoid" or (declared == "detect" and graph == "sigmoid")):
        why = "as declared" if declared == "sigmoid" else "the last operator of the file"
        return HeadFound(
            inside=True, single=None, note=f"one sigmoid per label ({why}): {where} are in [0, 1]; {reach}"
        )
    if declared == "detect" and unit:
        raise ArtifactError(
            f"target.artifact: {name} returns values in [0, 1], but {reach}; they are neither probabilities of a "
            "softmax nor logits. If it has one sigmoid per label, set target.softmax: sigmoid; outside treats them as "
            "logits"
        )
    return HeadFound(inside=False, single=None, note=f"softmax outside: {reach}")


def is_inside(answers: FloatArray, output: TensorSpec, graph: Head | None) -> bool:
    """Whether answers look like probabilities, before it is known that the records are fed as the file takes them."""
    if answers.shape[1] == 1:
        return in_unit_range(answers, _step(answers, output))
    step = _step(answers, output)
    return _is_softmax(answers, output, graph) or (graph == "sigmoid" and in_unit_range(answers, step))


def _single(answers: FloatArray, output: TensorSpec, declared: str, name: str) -> HeadFound:
    unit = in_unit_range(answers, _step(answers, output))
    reach = f"{len(answers):,} values range from {answers.min():.3g} to {answers.max():.3g}"
    if declared in ("inside", "sigmoid") and not unit:
        raise ArtifactError(
            f"target.softmax is {declared}, but {name} does not return probabilities: {reach}; remove it"
        )
    if declared != "outside" and unit:
        return HeadFound(inside=True, single="probability", note=f"one sigmoid, the probability of label 1: {reach}")
    return HeadFound(inside=False, single="logit", note=f"one logit, of label 1 against label 0: {reach}")


def _is_softmax(answers: FloatArray, output: TensorSpec, graph: Head | None) -> bool:
    """Whether rows sum to 1 up to the output's rounding; of a coarse output, the file's graph may say so, too."""
    step = _step(answers, output)
    return is_probability(answers, step) or (graph == "softmax" and step > 0 and in_unit_range(answers, step))


def _step(answers: FloatArray, output: TensorSpec) -> float:
    """The step of an output that is quantised, or dequantised by the file; 0 for floats."""
    return output.scale or output.rounded or output_step(answers)
