"""Memory of a GPU and one stream of it, behind a class small enough that tests do without a GPU."""

import ctypes
import importlib
from abc import ABC, abstractmethod
from typing import Any, Dict, List, NoReturn

from edgesynth_agent.errors import EngineError

__all__ = ["Buffers", "HostBuffers", "PyCudaBuffers"]


class Buffers(ABC):
    """Blocks of device memory, known by their addresses, and one stream. Used from one thread.

    Constructed with the device's context current, which it stays until `close`: what uses the addresses is to be
    loaded after this is made, and gone before it is closed. Whatever the device's library raises is an EngineError.
    """

    stream = 0
    """The handle of the stream, never that of the default stream, which waits for every other."""

    @abstractmethod
    def allocate(self, size: int) -> int:
        """The address of a new block of at least `size` bytes. Raises EngineError."""

    @abstractmethod
    def write(self, address: int, values: Any) -> None:
        """Copy a contiguous numpy array to an address; done when it returns."""

    @abstractmethod
    def read(self, address: int, values: Any) -> None:
        """Fill a contiguous numpy array from an address; the stream's work must be done."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for the stream. Raises EngineError for what went wrong on it."""

    @abstractmethod
    def free(self) -> None:
        """Give back all blocks; more can be allocated."""

    @abstractmethod
    def close(self) -> None:
        """Give back all blocks, and the context. May be called twice."""


class HostBuffers(Buffers):
    """The fake: memory of this process. What is "on the stream" is done when it is queued."""

    stream = 1

    def __init__(self) -> None:
        self.blocks: Dict[int, Any] = {}

    def allocate(self, size: int) -> int:
        block = ctypes.create_string_buffer(max(1, size))
        self.blocks[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def write(self, address: int, values: Any) -> None:
        ctypes.memmove(address, values.ctypes.data, values.nbytes)

    def read(self, address: int, values: Any) -> None:
        ctypes.memmove(values.ctypes.data, address, values.nbytes)

    def synchronize(self) -> None:
        pass

    def free(self) -> None:
        self.blocks.clear()

    def close(self) -> None:
        self.free()


class PyCudaBuffers(Buffers):
    """Device 0, by pycuda: 2019.1.2, the last known to build on JetPack 4.6, and later.

    It uses the context that the CUDA runtime of TensorRT uses anyway, where pycuda can name it (from 2021.1 on).
    """

    def __init__(self) -> None:
        try:
            driver: Any = importlib.import_module("pycuda.driver")
        except Exception as error:  # a broken installation raises whatever it likes
            raise EngineError(
                "pycuda cannot be imported ({}: {})".format(type(error).__name__, error),
                "the agent's Python",
                "install it: pip install pycuda, which needs CUDA's nvcc and headers",
            ) from error
        self._driver = driver
        self._context: Any = None
        self._blocks: List[Any] = []
        try:
            driver.init()
            device = driver.Device(0)
            if hasattr(device, "retain_primary_context"):
                self._context = device.retain_primary_context()
                self._context.push()
            else:
                self._context = device.make_context()
            self._stream: Any = driver.Stream()
        except Exception as error:
            self._raise("starting CUDA", error)
        self.stream = int(self._stream.handle)

    def allocate(self, size: int) -> int:
        try:
            block = self._driver.mem_alloc(max(1, size))
        except Exception as error:
            self._raise("allocating {} bytes".format(size), error)
        self._blocks.append(block)
        return int(block)

    def write(self, address: int, values: Any) -> None:
        try:
            self._driver.memcpy_htod(address, values)
        except Exception as error:
            self._raise("copying to the device", error)

    def read(self, address: int, values: Any) -> None:
        try:
            self._driver.memcpy_dtoh(values, address)
        except Exception as error:
            self._raise("copying from the device", error)

    def synchronize(self) -> None:
        try:
            self._stream.synchronize()
        except Exception as error:
            self._raise("waiting for the device", error)

    def free(self) -> None:
        for block in self._blocks:
            block.free()
        self._blocks = []

    def close(self) -> None:
        if self._context is not None:
            self.free()
            self._stream = None
            self._context.pop()
            self._context = None  # the last reference: pycuda gives it back

    def _raise(self, doing: str, error: Exception) -> NoReturn:
        """pycuda's own exceptions, whose first line names the call and the reason."""
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise EngineError(lines[0], doing + ", by pycuda", "check the device: its memory, its driver") from error
