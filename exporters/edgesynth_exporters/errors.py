"""The root of the exception tree, and the errors of exporting. The whole tree is drawn in edgesynth/errors.py."""

__all__ = ["EdgesynthError", "ExportError", "ModelFileError", "ParityError"]


class EdgesynthError(Exception):
    """Anything the user should read as one line: what was wrong, where, and what to do next.

    `exit_code` is the process exit code of a command that ends in this error.
    """

    exit_code = 2


class ModelFileError(EdgesynthError):
    """A model file that is missing, no ONNX, or not usable for what was asked."""


class ExportError(EdgesynthError):
    """A network could not be written as an ONNX file that the target accepts."""

    exit_code = 3


class ParityError(ExportError):
    """The exported file computes something else than the PyTorch network did."""
