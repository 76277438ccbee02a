"""Tasks: what a model's answer means."""

from edgeaudit.tasks.audited import TASKS, AuditedTask, TaskName, find_task
from edgeaudit.tasks.base import Exposure, Task
from edgeaudit.tasks.classification import CLASSIFICATION, Classification

__all__ = ["CLASSIFICATION", "TASKS", "AuditedTask", "Classification", "Exposure", "Task", "TaskName", "find_task"]
