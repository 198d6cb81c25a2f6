"""ONNX Runtime on the CPU: 1.10 under Python 3.6 up to the current release."""

from typing import Any, Dict, List

from edgesynth_agent.engines.base import Engine
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
        import numpy

        noise = numpy.random.RandomState(seed)
        feed = {}
        for node in self._session.get_inputs():
            if node.type not in _DTYPES:
                raise EngineError(
                    "it is {}, and only floating-point inputs can be fed noise".format(node.type),
                    "input '{}'".format(node.name),
                    "give the network a floating-point input",
                )
            values = noise.standard_normal(_fixed_shape(node.name, node.shape, batch))
            feed[node.name] = numpy.ascontiguousarray(values, dtype=_DTYPES[node.type])
        self._feed = feed
        self.run()

    def run(self) -> None:
        try:
            self._session.run(self._outputs, self._feed)
        except Exception as error:
            raise _engine_error("running the model", self.version, error) from error

    def close(self) -> None:
        self._session = None
        self._feed = {}


def _fixed_shape(name: str, shape: List[Any], batch: int) -> List[int]:
    """The shape to feed: an open first dimension becomes the batch. Raises EngineError for any other open one."""
    where = "input '{}' of shape {}".format(name, shape)
    if not shape:
        raise EngineError("a scalar has no batch", where, "give the input a batch dimension")
    if any(not isinstance(size, int) for size in shape[1:]):
        raise EngineError(
            "a dimension other than the first is open, so the size of the work is not defined",
            where,
            "export the network with fixed sizes",
        )
    if isinstance(shape[0], int) and shape[0] != batch:
        raise EngineError(
            "batch {} was asked for, and the network is fixed to {}".format(batch, shape[0]),
            where,
            "ask for batch {}, or export the network with an open first dimension".format(shape[0]),
        )
    return [batch] + shape[1:]


def _engine_error(doing: str, version: str, error: Exception) -> EngineError:
    """ONNX Runtime's exceptions share no base class; their first line says what was wrong."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    where = "{}, ONNX Runtime {}".format(doing, version)
    return EngineError(lines[0], where, "check the model on the workstation")
