"""The root of the exception tree, and the errors of exporting. The whole tree is drawn in edgesynth/errors.py."""

from collections.abc import Sequence

__all__ = [
    "EdgesynthError",
    "EngineError",
    "EngineRefusedError",
    "ExportError",
    "IncompatibleError",
    "MissingExtraError",
    "ModelFileError",
    "ParityError",
    "first_line",
]


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


class IncompatibleError(EdgesynthError):
    """A target cannot take what was asked for: the answer to the question is no."""

    exit_code = 1


class EngineError(ExportError):
    """TensorRT took the network and built no engine, crashed, or ran out of time."""


class EngineRefusedError(EngineError):
    """TensorRT does not take the network. `findings` are (node, operator, TensorRT's words), of which node and operator
    are None where it names none."""

    exit_code = 1

    def __init__(self, message: str, findings: Sequence[tuple[str | None, str | None, str]] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class MissingExtraError(EdgesynthError):
    """An optional package is not installed."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs an extra package: pip install 'edgesynth[{extra}]'")


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
