"""Tasks: what a model's answer means."""

from edgeaudit.tasks.base import Exposure, Task
from edgeaudit.tasks.classification import CLASSIFICATION, Classification

__all__ = ["CLASSIFICATION", "Classification", "Exposure", "Task"]
