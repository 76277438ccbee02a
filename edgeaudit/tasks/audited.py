"""What an audited model is for, `task` of audit.yaml: how its outputs and the truth of each record become evidence.

`Task` is what attacks see; an `AuditedTask` is what stands between a file's outputs and that: which widths of output
fit, what a record's truth is, when an answer is right.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from edgeaudit.tasks.base import Exposure, Task
from edgeaudit.tasks.classification import CLASSIFICATION, as_classes, probabilities
from edgeaudit.tasks.record_loss import LabelsLoss, squared_error

__all__ = ["TASKS", "AuditedTask", "Scale", "TaskName", "find_task"]

TaskName = Literal["classification", "multi-label", "regression", "reconstruction"]

Answers = npt.NDArray[np.floating[Any]]
Truth = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Scale:
    """Mean and deviation of each output's truth, float64 [outputs], over records that reveal no membership.

    Deviations are the units of errors, and the mean is what a model of nothing answers.
    """

    mean: FloatArray
    deviation: FloatArray


class AuditedTask(ABC):
    """See the module. Outputs are [records, outputs] as the file returned them; `inside`: they are probabilities.

    right: what `right` counts, for reports.
    """

    name: ClassVar[TaskName]
    right_is: ClassVar[str]

    @property
    def has_classes(self) -> bool:
        """Whether a record has one class of several."""
        return False

    @property
    def has_probabilities(self) -> bool:
        """Whether outputs are logits or probabilities."""
        return False

    def width_problem(self, outputs: int, wanted: int) -> str | None:
        """Return why a model with so many outputs does not fit, or None. wanted: classes, labels or values."""
        return None if outputs == wanted else f"{wanted} outputs are expected"

    def scale(self, truth: Truth) -> Scale:
        """Return the scale of the truth [n, outputs] of records that reveal no membership."""
        width = truth.shape[1] if truth.ndim > 1 else 1
        return Scale(np.zeros(width), np.ones(width))

    @abstractmethod
    def read(self, outputs: Answers, truth: Truth, scale: Scale, native: Exposure, exposure: Exposure) -> FloatArray:
        """Return what attacks see, float64 [records, numbers]. native: of the outputs. exposure: of the audit."""

    @abstractmethod
    def right(self, outputs: Answers, truth: Truth, scale: Scale, native: Exposure) -> BoolArray:
        """Return which answers count as right, bool [records]."""

    def knowing_nothing(self, truth: Truth, scale: Scale) -> FloatArray:
        """Return the loss, as `read` gives it, of answering the mean truth; float64 [records]. Not for classes."""
        outputs = np.broadcast_to(scale.mean, truth.shape)
        return self.read(outputs, truth, scale, "probabilities", "probabilities")[:, 0]

    @abstractmethod
    def for_attacks(self, unseen: FloatArray) -> Task:
        """Return the task of the attacks. unseen: what `read` gives of models on records they did not train on, [n]."""

    def decisions(self, outputs: Answers, *, inside: bool) -> IntArray | None:  # noqa: ARG002
        """Return the predicted class of each record, int64 [records]; None without classes."""
        return None


class ClassificationTask(AuditedTask):
    """One class of several; of two, the model may have one output."""

    name: ClassVar[TaskName] = "classification"
    right_is: ClassVar[str] = "records whose largest output is the label"

    @property
    def has_classes(self) -> bool:
        """See `AuditedTask`."""
        return True

    @property
    def has_probabilities(self) -> bool:
        """See `AuditedTask`."""
        return True

    def width_problem(self, outputs: int, wanted: int) -> str | None:
        """See `AuditedTask`."""
        if outputs == wanted or (outputs == 1 and wanted == 2):
            return None
        one = ", or 1 for the second class," if wanted == 2 else ""
        return f"{wanted} logits are expected{one} a class each"

    def read(self, outputs: Answers, truth: Truth, scale: Scale, native: Exposure, exposure: Exposure) -> FloatArray:  # noqa: ARG002
        """See `AuditedTask`: logits or probabilities of the classes."""
        answers = as_classes(np.asarray(outputs, dtype=np.float64), native)
        return np.asarray(answers if exposure == native else probabilities(answers, native), dtype=np.float64)

    def right(self, outputs: Answers, truth: Truth, scale: Scale, native: Exposure) -> BoolArray:  # noqa: ARG002
        """See `AuditedTask`."""
        return CLASSIFICATION.correct(as_classes(outputs, native), truth)

    def for_attacks(self, unseen: FloatArray) -> Task:  # noqa: ARG002
        """See `AuditedTask`."""
        return CLASSIFICATION

    def decisions(self, outputs: Answers, *, inside: bool) -> IntArray | None:
        """See `AuditedTask`. Of equal outputs the first, as in deployment."""
        return CLASSIFICATION.decision(as_classes(outputs, "probabilities" if inside else "logits"))


class MultiLabelTask(AuditedTask):
    """Any number of labels at once: an output for each, through a sigmoid."""

    name: ClassVar[TaskName] = "multi-label"
    right_is: ClassVar[str] = "records all of whose labels are on the right side of 1/2"

    @property
    def has_probabilities(self) -> bool:
        """See `AuditedTask`."""
        return True

    def scale(self, truth: Truth) -> Scale:
        """See `AuditedTask`: the mean is each label's share, within a record of 0 and 1."""
        mean = truth.mean(axis=0, dtype=np.float64)
        least = 1 / (len(truth) + 2)
        return Scale(np.clip(mean, least, 1 - least), np.ones(truth.shape[1]))

    def read(self, outputs: Answers, truth: Truth, scale: Scale, native: Exposure, exposure: Exposure) -> FloatArray:  # noqa: ARG002
        """See `AuditedTask`: the sum of the labels' binary cross-entropies in nats, [records, 1].

        A probability of 0 or 1 is one of half the smallest step that the outputs have, as an integer output rounds.
        """
        answers = np.asarray(outputs, dtype=np.float64)
        if native == "logits":
            each = np.logaddexp(0.0, np.where(truth > 0.5, -answers, answers))
        else:
            p = np.where(truth > 0.5, answers, 1 - answers)
            inner = p[(p > 0) & (p < 1)]
            least = min(float(np.minimum(inner, 1 - inner).min(initial=0.5)), 2.0**-10) / 2
            each = -np.log(np.clip(p, least, 1 - least))
        return np.asarray(each.sum(axis=1, keepdims=True), dtype=np.float64)

    def right(self, outputs: Answers, truth: Truth, scale: Scale, native: Exposure) -> BoolArray:  # noqa: ARG002
        """See `AuditedTask`."""
        chosen = outputs > (0.5 if native == "probabilities" else 0.0)
        return np.asarray((chosen == (truth > 0.5)).all(axis=1), dtype=np.bool_)

    def for_attacks(self, unseen: FloatArray) -> Task:  # noqa: ARG002
        """See `AuditedTask`."""
        return LabelsLoss()


class RegressionTask(AuditedTask):
    """One or several values."""

    name: ClassVar[TaskName] = "regression"
    right_is: ClassVar[str] = "records whose error is smaller than that of answering the mean"

    def scale(self, truth: Truth) -> Scale:
        """See `AuditedTask`: errors are in deviations of each value."""
        deviation = truth.std(axis=0, dtype=np.float64)
        return Scale(truth.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0))

    def read(self, outputs: Answers, truth: Truth, scale: Scale, native: Exposure, exposure: Exposure) -> FloatArray:  # noqa: ARG002
        """See `AuditedTask`: the mean squared error, [records, 1]."""
        return _errors(outputs, truth, scale.deviation)[:, None]

    def right(self, outputs: Answers, truth: Truth, scale: Scale, native: Exposure) -> BoolArray:  # noqa: ARG002
        """See `AuditedTask`."""
        found = _errors(outputs, truth, scale.deviation)
        return np.asarray(found < self.knowing_nothing(truth, scale), dtype=np.bool_)

    def for_attacks(self, unseen: FloatArray) -> Task:
        """See `AuditedTask`."""
        return squared_error(self.name, unseen)


class ReconstructionTask(RegressionTask):
    """The record itself, as autoencoders for the detection of anomalies return it."""

    name: ClassVar[TaskName] = "reconstruction"
    right_is: ClassVar[str] = "records that are reconstructed better than by the mean record"

    def scale(self, truth: Truth) -> Scale:
        """See `AuditedTask`: errors are in the units of the model's input, as its training loss has them."""
        mean = truth.mean(axis=0, dtype=np.float64)
        return Scale(mean, np.ones(len(mean)))


def _errors(outputs: Answers, truth: Truth, deviation: FloatArray) -> FloatArray:
    """Mean over outputs of the squared errors, float64 [records]; in blocks, as outputs can be as wide as records."""
    found = np.empty(len(outputs))
    for start in range(0, len(outputs), _BLOCK):
        rows = slice(start, start + _BLOCK)
        off = (np.asarray(outputs[rows], dtype=np.float64) - truth[rows]) / deviation
        found[rows] = np.einsum("ij,ij->i", off, off) / off.shape[1]
    return found


TASKS: dict[str, AuditedTask] = {
    task.name: task for task in (ClassificationTask(), MultiLabelTask(), RegressionTask(), ReconstructionTask())
}
assert set(TASKS) == set(get_args(TaskName))  # noqa: S101  one of each


def find_task(name: str) -> AuditedTask:
    """Return the task of this name, one of `TaskName`."""
    return TASKS[name]
