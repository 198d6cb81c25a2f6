"""ONNX Runtime on the CPU: 1.10 under Python 3.6 up to the current release."""

from typing import Any, Dict, List

from edgesynth_agent.engines.base import Engine
from edgesynth_agent.engines.inputs import Tensor, given, noise
from edgesynth_agent.errors import EngineError
from edgesynth_agent.onnx_file import read_summary

__all__ = ["OnnxRuntimeEngine"]

_PROVIDER = "CPUExecutionProvider"

# One thread: a figure then depends on a core and not on how many of them are free, and the worker threads, which
# spin while they wait, take nothing from whatever else the machine does. Small networks gain little from more.
_THREADS = 1

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class OnnxRuntimeEngine(Engine):
    """Runs the file as it is: its precision is the precision of the record.

    Raises EngineError when ONNX Runtime is not installed or does not take the file, RefusedError when the file is
    no self-contained ONNX.
    """

    backend = "onnxruntime"

    def __init__(self, path: str) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineError(
                "ONNX Runtime cannot be imported ({})".format(error),
                "the agent's Python",
                "install it: pip install onnxruntime",
            ) from error
        self.version = onnxruntime.__version__
        self.precision = read_summary(path).precision
        self.flags = {"provider": _PROVIDER, "intra_op_threads": _THREADS, "graph_optimization": "all"}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _THREADS
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=[_PROVIDER])
        except Exception as error:
            raise _engine_error("loading the model", self.version, error) from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._feed: Dict[str, Any] = {}

    def prepare(self, batch: int, seed: int) -> None:
        nodes = self._session.get_inputs()
        tensors = [Tensor(node.name, node.shape, _DTYPES.get(node.type, node.type)) for node in nodes]
        self._feed = noise(tensors, batch, seed)
        self.run()

    def run(self) -> None:
        self._answers(self._feed)

    def outputs(self, inputs: Dict[str, Any]) -> Dict[str, Any]:
        return dict(zip(self._outputs, self._answers(given(self._feed, inputs))))

    def close(self) -> None:
        self._session = None
        self._feed = {}

    def _answers(self, feed: Dict[str, Any]) -> List[Any]:
        try:
            return self._session.run(self._outputs, feed)  # type: ignore[no-any-return]  # an untyped module
        except Exception as error:
            raise _engine_error("running the model", self.version, error) from error


def _engine_error(doing: str, version: str, error: Exception) -> EngineError:
    """ONNX Runtime's exceptions share no base class; their first line says what was wrong."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    where = "{}, ONNX Runtime {}".format(doing, version)
    return EngineError(lines[0], where, "check the model on the workstation")
