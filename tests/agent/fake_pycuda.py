"""A pycuda made of Python: memory of this process, and the stream of a fake TensorRT. Python 3.6, as that one."""

import ctypes
import sys
import types
from pathlib import Path

try:
    from tests.agent.fake_tensorrt_runtime import run_pending
except ImportError:  # in a process that has this folder on its import path
    from fake_tensorrt_runtime import run_pending

__all__ = ["install", "make"]


def install(folder):
    """Write a package into `folder` which is that fake."""
    (Path(str(folder)) / "pycuda").mkdir()
    (Path(str(folder)) / "pycuda" / "__init__.py").write_text("")
    text = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport fake_pycuda\n"
    text += "globals().update(vars(fake_pycuda.make()))\n"
    (Path(str(folder)) / "pycuda" / "driver.py").write_text(text)


def make(primary=True, memory=1 << 30, trt=None):
    """The module `pycuda.driver`, of 2021.1 on if `primary`; `contexts` are those that are current.

    Its device has `memory` bytes. Its streams do what `trt`, by default the module tensorrt, has queued.
    """
    driver = types.ModuleType("pycuda.driver")
    driver.contexts, driver.blocks, driver.ready = [], {}, False

    class Error(Exception):
        pass

    class Context:
        def push(self):
            driver.contexts.append(self)

        def pop(self):
            assert driver.contexts.pop() is self

    class Device:
        def __init__(self, number):
            if not driver.ready:
                raise Error("cuDeviceGet failed: initialization error")
            assert number == 0

        def make_context(self):
            context = Context()
            context.push()
            return context

        if primary:

            def retain_primary_context(self):
                return Context()

    class DeviceAllocation:
        def __init__(self, size):
            self.block = ctypes.create_string_buffer(size)
            driver.blocks[ctypes.addressof(self.block)] = size

        def __int__(self):
            return ctypes.addressof(self.block)

        def free(self):
            assert driver.contexts, "no context is current"
            del driver.blocks[int(self)]

    class Stream:
        handle = 7

        def __init__(self):
            assert driver.contexts, "no context is current"

        def synchronize(self):
            run_pending(trt or sys.modules["tensorrt"], self.handle)

    def init():
        driver.ready = True

    def mem_alloc(size):
        if sum(driver.blocks.values()) + size > memory:
            raise Error("cuMemAlloc failed: out of memory\nmore lines")
        return DeviceAllocation(size)

    def memcpy_htod(dest, src):
        assert driver.blocks[dest] >= src.nbytes
        ctypes.memmove(dest, src.ctypes.data, src.nbytes)

    def memcpy_dtoh(dest, src):
        assert driver.blocks[src] >= dest.nbytes
        ctypes.memmove(dest.ctypes.data, src, dest.nbytes)

    for one in (Error, Context, Device, DeviceAllocation, Stream, init, mem_alloc, memcpy_htod, memcpy_dtoh):
        setattr(driver, one.__name__, one)
    return driver
