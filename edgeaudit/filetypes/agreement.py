"""Check that an artifact's outputs agree with those of its torch model: a wrong conversion would bias leakage figures.

Measured on records of which a third were training records (torch 2.14.1, onnxruntime 1.32, litert-torch 0.10, AI
Edge Quantizer 0.10, nncf 3.4): every built-in recipe, on 8x8 and 32x32 records; CNNs with hard-swish; MobileNetV2
and V3 of small width; and MLPs and CNNs trained far past zero loss, on true and on random labels. Calibrated on 64
records or more unless it says otherwise.

===================================  ================  ==============  ==============  ============
what                                 rel_rms           worst_class     range_ratio     top1
===================================  ================  ==============  ==============  ============
float32, ONNX and LiteRT, pruned     0 .. 8e-7         0 .. 1e-5       1.000           1.000
float16 weights, all runtimes        1.1e-4 .. 1.8e-3  2e-4 .. 2.6e-3  1.000           .996 .. 1.0
bfloat16 arithmetic, torch           .002 .. .011      .004 .. .022    .996 .. 1.003   .988 .. 1.0
dynamic int8, ONNX and LiteRT        .004 .. .033      .007 .. .051    .992 .. 1.013   .984 .. 1.0
static int8, per channel, QDQ, AEQ   .006 .. .062      .011 .. .143    .919 .. 1.009   .969 .. 1.0
static int8, per tensor, QOperator   .007 .. .049      .016 .. .085    .967 .. 1.016   .961 .. 1.0
static int8, softmax inside          .006 .. .022      .008 .. .046    .991 .. 1.000   .969 .. 1.0
static int8, PT2E (see below)        .011 .. .039      .020 .. .078    .971 .. 1.001   .954 .. 1.0
static int8, NNCF, both runtimes     .004 .. .057      .006 .. .121    .979 .. 1.010   .975 .. 1.0
int8, trained with its rounding      1e-7 .. .0064     2e-7 .. .008    1.000           .996 .. 1.0
static int8 on 8 or 16 records       .015 .. .129      .039 .. .250    .647 .. .985    .977 .. 1.0
static int8, AEQ's moving average    .135 .. .359      .195 .. .567    .323 .. .677    .880 .. 1.0
one class of ten dead (made up)      .30               1.0             .95             .90
two classes swapped (made up)        .59               1.3             .72             .79
unrelated answers (made up)          1.4               1.6             -.15 .. .02     .10 .. .13
===================================  ================  ==============  ==============  ============

PT2E was measured in LiteRT (torchao 0.18) on the four networks of tests/exporters/toys.py, one to three seeds each; in
ExecuTorch 1.5.1 on five of these eight models, within .001 of LiteRT. ExecuTorch in float32 is as exact as the others.

bfloat16, NNCF's int8 after training and with its rounding were measured on the same four networks, on 240 records of
which half were training records: NNCF's (3.4, min-max ranges, in ONNX Runtime and OpenVINO) on three seeds of the MLP
and the CNN, two of the separable and one of the residual network; bfloat16, in torch for want of a CPU, on two seeds
of each; what `nncf.qat` trained on twelve models, against the torch model that rounds (ONNX Runtime .0038 at most,
OpenVINO .0003 in floats and .0064 in integers, which do not round one branch of a residual block).
ExecuTorch's dynamic int8 of an MLP was off by .004.

So rounding noise stays under .07 and keeps the range. Moving averages clip: they shorten the range by a third and
more while top-1, which everybody looks at, stays; calibration on very few records can do the same. Clipping removes
exactly what tells members from others, the height of the largest logits, so it has a limit of its own. The limits
leave room for networks that quantise worse than these: a poor artifact that really ships may be audited, a wrong
one may not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import AgreementError

__all__ = ["RANGE_TOLERANCE", "Agreement", "agreement", "comparable", "require_agreement"]

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
Decide = Callable[[FloatArray], IntArray | None]

RANGE_TOLERANCE = 0.15
# A class may be off by this many times the overall tolerance: classes with little variance are.
_CLASS_FACTOR = 3.0
# The share of all answers that counts as an end of the range, and the fewest of them.
_END, _FEWEST = 0.01, 3


@dataclass(frozen=True)
class Agreement:
    """The differences between an artifact's outputs and torch's.

    records: compared.
    max_abs: largest absolute difference.
    rel_rms: RMS difference over the standard deviation of torch's answers.
    worst_class: the largest over classes of the RMS difference over that class's standard deviation (which is taken
        as a quarter of the overall one where it is smaller).
    top1: share of records with the same largest class; None for tasks without classes.
    range_ratio: how far the artifact's answers reach where torch's reach farthest, 1 being as far. The mean answer
        over the 1% highest entries of torch's, measured from torch's median, over torch's own; the same for the
        lowest; of the two the one farther from 1. An end that makes up less than a fifth of the range is left out:
        probabilities have no lower end.
    """

    records: int
    max_abs: float
    rel_rms: float
    worst_class: float
    top1: float | None
    range_ratio: float


def comparable(logits: FloatArray, *, softmax_inside: bool, sigmoid: bool = False) -> FloatArray:
    """Torch's logits [n, classes] as an artifact gives its answers: probabilities if its softmax is inside.

    Probabilities of one logit, or where `sigmoid` says so, are those of a sigmoid.
    """
    if not softmax_inside:
        return logits
    if sigmoid or logits.shape[1] == 1:
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _largest(answers: FloatArray) -> IntArray | None:
    return np.asarray(answers.argmax(axis=1), np.int64)


def agreement(reference: FloatArray, answers: FloatArray, decide: Decide = _largest) -> Agreement:
    """Compare torch's answers with an artifact's on the same records, both [n, classes] (see `comparable`).

    decide: answers -> the predicted class of each; None for tasks without classes.

    Take members and others alike, 64 records or more: overfitted members have the highest logits, which are the
    first to be clipped. NaN or infinity raises `AgreementError`.
    """
    if reference.shape != answers.shape or reference.ndim != 2 or reference.size == 0:
        raise AgreementError(
            f"answers of shape {answers.shape} cannot be compared with the trained model's, {reference.shape}"
        )
    if bad := int((~np.isfinite(answers)).any(axis=1).sum()):
        raise AgreementError(f"the outputs for {bad} of {len(answers)} records contain NaN or infinity")
    torch, artifact = reference.astype(np.float64), answers.astype(np.float64)
    off = artifact - torch
    spread = float(torch.std())
    per_class = np.maximum(torch.std(axis=0), spread / 4)
    return Agreement(
        records=len(torch),
        max_abs=float(np.abs(off).max()),
        rel_rms=_ratio(_rms(off), spread),
        worst_class=max(_ratio(_rms(off[:, c]), float(per_class[c])) for c in range(off.shape[1])),
        top1=_same(decide(torch), decide(artifact)),
        range_ratio=_range_ratio(torch.ravel(), artifact.ravel()),
    )


def require_agreement(
    reference: FloatArray,
    answers: FloatArray,
    *,
    what: str,
    tolerance: float,
    range_tolerance: float = RANGE_TOLERANCE,
    decide: Decide = _largest,
) -> Agreement:
    """The agreement, if it is within `tolerance` (of `rel_rms`) and `range_tolerance` (of `range_ratio` about 1).

    what: the format, for the message of the `AgreementError` raised otherwise. decide: as in `agreement`.
    """
    try:
        measured = agreement(reference, answers, decide)
    except AgreementError as exc:
        raise AgreementError(f"{what} does not agree with the trained model: {exc}. {_CONVERT}") from exc
    wrong = (
        ("relative RMS error", measured.rel_rms, tolerance),
        ("relative RMS error of the worst class", measured.worst_class, _CLASS_FACTOR * tolerance),
        ("range error", abs(measured.range_ratio - 1), range_tolerance),
    )
    same = 1.0 if measured.top1 is None else measured.top1
    context = f"on {measured.records} records"
    if measured.top1 is not None:
        context = f"same top class on {same:.1%} of {measured.records} records"
    if measured.range_ratio < 1 - range_tolerance and same >= 0.5 and wrong[1][1] <= wrong[1][2]:
        raise AgreementError(
            f"{what} clips the model's outputs: their range is {measured.range_ratio:.1%} of the trained model's, at "
            f"least {1 - range_tolerance:.0%} is required ({context}). Calibrate with min-max ranges, on more records"
        )
    for name, figure, limit in wrong:
        if figure > limit:
            raise AgreementError(
                f"{what} does not agree with the trained model: {name} {figure:.3g}, the limit is {limit:.3g} "
                f"({context}). " + _CONVERT
            )
    return measured


_CONVERT = (
    "Recreate the artifact; if it is calibrated, use min-max ranges and more records. If that does not help, "
    "its toolchain converts this model badly: use another format, or, if that is the file that ships, allow the "
    "difference by a `tolerance` of the format in audit.yaml"
)


def _same(one: IntArray | None, other: IntArray | None) -> float | None:
    return None if one is None or other is None else float((one == other).mean())


def _rms(values: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _ratio(part: float, whole: float) -> float:
    if part == 0:
        return 0.0
    return part / whole if whole > 0 else float("inf")


def _range_ratio(torch: npt.NDArray[np.float64], artifact: npt.NDArray[np.float64]) -> float:
    order = np.argsort(torch, kind="stable")
    count = min(len(order), max(_FEWEST, round(_END * len(order))))
    centre = float(np.median(torch))
    ends = [order[:count], order[-count:]]
    reach = [float(torch[end].mean()) - centre for end in ends]
    width = reach[1] - reach[0]
    ratios = [
        (float(artifact[end].mean()) - centre) / far
        for end, far in zip(ends, reach, strict=True)
        if abs(far) > 0 and abs(far) >= width / 5
    ]
    return max(ratios, key=lambda ratio: abs(ratio - 1), default=1.0)
