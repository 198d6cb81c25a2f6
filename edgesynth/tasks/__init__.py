"""Tasks: what a network is asked to do. A task is one class."""

from edgesynth.tasks.base import Task
from edgesynth.tasks.classification import Classification

__all__ = ["Classification", "Task"]
