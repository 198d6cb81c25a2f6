"""The part of the fake TensorRT that loads and runs: with the names of tensors (8.5 on), the numbers of bindings (up to
8.6), or both. What its network answers: `answer(x)`, in the type of the output.

numpy is imported where it is used, since a build needs none. Addresses are those of this process, and what is put on a
stream waits in `trt.pending` until the stream is waited for.
"""

import collections
import ctypes
import json
import weakref
from enum import IntEnum

__all__ = ["add_runtime", "answer", "run_pending"]

_NUMPY = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}


def answer(x):
    """(N, …) in, (N, 10) out: the mean of each image, and that plus 1, 2 …"""
    import numpy as np

    means = np.asarray(x, np.float32).reshape(len(x), -1).mean(axis=1)
    return means[:, None] + np.arange(10, dtype=np.float32)


def run_pending(trt, stream):
    """What a real stream would have done by the time it is waited for."""
    while trt.pending[stream]:
        trt.pending[stream].popleft()()


def add_runtime(trt, release, by_name, by_number, words):
    """Put Runtime, and what comes of it, into the module."""
    trt.pending = collections.defaultdict(collections.deque)
    severity = trt.ILogger.Severity

    class IExecutionContext:
        __slots__ = ("addresses", "engine", "shapes")

        def __init__(self, engine):
            self.engine = weakref.ref(engine)
            self.addresses = {}
            self.shapes = {name: list(shape) for name, _, shape, _ in engine.io}

        def execute_v2(self, bindings):
            return self._queue(self._bound(bindings), None)

        def _bound(self, bindings):
            assert len(bindings) == len(self._io())
            return {io[0]: address for io, address in zip(self._io(), bindings)}

        def _io(self):
            engine = self.engine()
            assert engine is not None and engine.runtime() is not None, "the engine or its runtime is gone"
            return engine.io

        def _set(self, name, shape):
            ((wanted, _, _),) = [profile[name] for profile in self.engine().profiles]
            if list(shape) != wanted:
                self.engine().runtime().logger.log(severity.ERROR, "Static dimension mismatch: out of the profile")
                return False
            self.shapes[name] = list(shape)
            for other, is_input, _, _ in self._io():
                if not is_input:
                    self.shapes[other][0] = shape[0]
            return True

        def _queue(self, addresses, stream):
            import numpy as np

            if words is not None:
                self.engine().runtime().logger.log(severity.ERROR, words)
                return False
            arrays = []
            for name, _, _, dtype in self._io():
                shape, dtype = self.shapes[name], np.dtype(_NUMPY[dtype])
                assert min(shape) > 0, "shapes are not set"
                assert type(addresses[name]) is int and addresses[name], "no address of " + name
                size = int(np.prod(shape)) * dtype.itemsize
                block = (ctypes.c_char * size).from_address(addresses[name])
                arrays.append(np.frombuffer(block, dtype).reshape(shape))
            x, y = arrays

            def work():
                y[...] = answer(x)

            if stream is None:
                work()
            else:
                trt.pending[stream].append(work)
            return True

    class ICudaEngine:
        __slots__ = ("__weakref__", "io", "profiles", "runtime")

        def __init__(self, runtime, plan):
            self.runtime, self.io, self.profiles = weakref.ref(runtime), plan["io"], plan["profiles"]

        def create_execution_context(self):
            return IExecutionContext(self)

    if by_name:
        trt.TensorIOMode = IntEnum("TensorIOMode", "NONE INPUT OUTPUT", start=0)
        _name_tensors(trt, ICudaEngine, IExecutionContext)
    if by_number:
        _number_bindings(trt, ICudaEngine, IExecutionContext)

    class Runtime:
        __slots__ = ("__weakref__", "logger")

        def __init__(self, logger):
            assert logger.constructed
            self.logger = logger

        def deserialize_cuda_engine(self, data):
            assert trt.plugins, "plugins are to be known before a plan is loaded"
            plan = json.loads(bytes(data).decode())
            if plan["release"] != release:
                self.logger.log(severity.ERROR, "The engine plan file is not compatible with this version of TensorRT")
                return None
            return ICudaEngine(self, plan)

    trt.Runtime, trt.ICudaEngine, trt.IExecutionContext = Runtime, ICudaEngine, IExecutionContext


def _name_tensors(trt, engine, context):
    def find(self, name):
        return next(io for io in self.io if io[0] == name)

    def mode(self, name):
        return trt.TensorIOMode.INPUT if find(self, name)[1] else trt.TensorIOMode.OUTPUT

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return True

    engine.num_io_tensors = property(lambda self: len(self.io))
    engine.get_tensor_name = lambda self, index: self.io[index][0]
    engine.get_tensor_mode = mode
    engine.get_tensor_shape = lambda self, name: tuple(find(self, name)[2])
    engine.get_tensor_dtype = lambda self, name: trt.DataType[find(self, name)[3]]
    context.set_input_shape = context._set
    context.get_tensor_shape = lambda self, name: tuple(self.shapes[name])
    context.set_tensor_address = set_tensor_address
    context.execute_async_v3 = lambda self, stream_handle: self._queue(self.addresses, stream_handle)


def _number_bindings(trt, engine, context):
    def execute_async_v2(self, bindings, stream_handle, input_consumed=None):
        return self._queue(self._bound(bindings), stream_handle)

    engine.num_bindings = property(lambda self: len(self.io))
    engine.get_binding_name = lambda self, index: self.io[index][0]
    engine.binding_is_input = lambda self, index: self.io[index][1]
    engine.get_binding_shape = lambda self, index: tuple(self.io[index][2])
    engine.get_binding_dtype = lambda self, index: trt.DataType[self.io[index][3]]
    context.set_binding_shape = lambda self, index, shape: self._set(self._io()[index][0], shape)
    context.get_binding_shape = lambda self, index: tuple(self.shapes[self._io()[index][0]])
    context.execute_async_v2 = execute_async_v2
