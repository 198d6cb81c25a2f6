"""Who carries out independent pieces of work: this process, several processes of this machine, or a Ray cluster."""

from edgesynth.errors import EdgesynthError
from edgesynth.synthesis.executors.base import Executor
from edgesynth.synthesis.executors.in_process import InProcess

__all__ = ["Executor", "InProcess", "open_executor"]


def open_executor(workers: int | None = None, ray: str | None = None) -> Executor:
    """The executor that the command line asks for, to be used in a `with` block.

    Raises EdgesynthError where it asks for two, and MissingExtraError where Ray is not installed.
    """
    if workers is not None and ray is not None:
        raise EdgesynthError("--workers and --ray exclude each other: give one of them")
    if workers is not None:
        from edgesynth.synthesis.executors.workers import Workers

        return Workers(workers)
    if ray is not None:
        from edgesynth.synthesis.executors.ray import RayExecutor

        return RayExecutor(ray)
    return InProcess()
