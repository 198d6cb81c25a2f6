"""A plan that is loaded and run, by any TensorRT from 8.2 to 11: by the names of tensors where it has names, else by
the numbers of bindings. Told apart by what an object has, as in `tensorrt_api`.
"""

from typing import Any, Dict, List, NamedTuple, NoReturn, Sequence

from edgesynth_agent.engines import tensorrt_api as api
from edgesynth_agent.engines.inputs import Tensor
from edgesynth_agent.errors import EngineError

__all__ = ["Session"]


class _Io(NamedTuple):
    """An input or output, and the number of its binding."""

    number: int
    is_input: bool
    tensor: Tensor


class Session:
    """A plan, loaded, with one context. All arguments that are addresses or streams are whole numbers.

    The constructor raises EngineError when the plan cannot be loaded. Used from one thread.
    """

    def __init__(self, trt: Any, plan: bytes) -> None:
        self._name = "{} {}".format(trt.__name__, trt.__version__)
        self._log = api.Log()
        # Each of these points into the one before.
        self._logger: Any = api.make_logger(trt, self._log)
        api.init_plugins(trt, self._logger)
        self._runtime: Any = trt.Runtime(self._logger)
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            self._fail("loading the plan", "build it again on this device")
        self._context: Any = self._engine.create_execution_context()
        if self._context is None:
            self._fail("making room to run in", "free memory, or use a smaller batch")
        self._named = hasattr(self._engine, "num_io_tensors")
        self._io = _by_name(trt, self._engine) if self._named else _by_number(self._engine)
        self._bindings = [0] * len(self._io)
        self.runs_by = self._way()

    @property
    def inputs(self) -> List[Tensor]:
        """In the engine's order; an open dimension is -1."""
        return [io.tensor for io in self._io if io.is_input]

    @property
    def outputs(self) -> List[Tensor]:
        """In the engine's order, their shapes those of the inputs that were set."""
        outputs = [io for io in self._io if not io.is_input]
        return [io.tensor._replace(shape=self._shape_now(io)) for io in outputs]

    def set_shapes(self, shapes: Dict[str, Sequence[int]]) -> None:
        """Say how large inputs with open dimensions are. Raises EngineError when the plan is not for that."""
        for io in self._io:
            if not io.is_input or min(io.tensor.shape) >= 0:
                continue
            shape = tuple(shapes[io.tensor.name])
            taken = (
                self._context.set_input_shape(io.tensor.name, shape)
                if self._named
                else self._context.set_binding_shape(io.number, shape)
            )
            if taken is False:
                self._fail("input '{}' of shape {}".format(io.tensor.name, shape), "ask for the batch it was built for")

    def set_addresses(self, addresses: Dict[str, int]) -> None:
        """Where each input and output is in the device's memory."""
        for io in self._io:
            self._bindings[io.number] = addresses[io.tensor.name]
            if self.runs_by == "execute_async_v3":
                self._context.set_tensor_address(io.tensor.name, addresses[io.tensor.name])

    def run(self, stream: int) -> None:
        """Queue one inference on a stream, or do it where TensorRT has nothing else. Raises EngineError."""
        if self.runs_by == "execute_async_v3":
            done = self._context.execute_async_v3(stream)
        elif self.runs_by == "execute_async_v2":
            done = self._context.execute_async_v2(self._bindings, stream)
        else:
            done = self._context.execute_v2(self._bindings)
        if not done:
            self._fail("running the network", "see the agent's log")

    def close(self) -> None:
        """Free it, the last part first. May be called twice."""
        self._context = None
        self._engine = None
        self._runtime = None

    def _way(self) -> str:
        for name in ("execute_async_v3", "execute_async_v2"):
            if hasattr(self._context, name) and (self._named or name == "execute_async_v2"):
                return name
        return "execute_v2"

    def _shape_now(self, io: _Io) -> List[int]:
        if self._named:
            return [int(size) for size in self._context.get_tensor_shape(io.tensor.name)]
        return [int(size) for size in self._context.get_binding_shape(io.number)]

    def _fail(self, doing: str, next_step: str) -> NoReturn:
        """TensorRT returns nothing, or no, and says why in its log."""
        why = "; ".join(self._log.errors[-2:]) or "it gave no reason"
        raise EngineError(why, "{}, {}".format(doing, self._name), next_step)


def _by_name(trt: Any, engine: Any) -> List[_Io]:
    found = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        tensor = Tensor(name, _sizes(engine.get_tensor_shape(name)), api.dtype_name(engine.get_tensor_dtype(name)))
        found.append(_Io(index, engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT, tensor))
    return found


def _by_number(engine: Any) -> List[_Io]:
    found = []
    for index in range(engine.num_bindings):
        sizes, dtype = _sizes(engine.get_binding_shape(index)), api.dtype_name(engine.get_binding_dtype(index))
        tensor = Tensor(engine.get_binding_name(index), sizes, dtype)
        found.append(_Io(index, bool(engine.binding_is_input(index)), tensor))
    return found


def _sizes(shape: Any) -> List[int]:
    return [int(size) for size in shape]
