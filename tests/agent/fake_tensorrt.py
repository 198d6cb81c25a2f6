"""A TensorRT made of Python, by release: it has the names that the release has, and no other can be set or read.

Which release has what: the Python bindings in github.com/NVIDIA/TensorRT (python/src) at the tags 8.2.1, 8.4.1, 8.5.3,
v8.6.1, v10.3.0, v10.16 and v11.1. A plan of this one is JSON that says what the builder was told. Python 3.6, so that
it can stand in for `tensorrt` there too.
"""

import json
import os
import time
import types
import weakref
from enum import IntEnum
from pathlib import Path

from edgesynth_agent.onnx_file import read_nodes

try:
    from tests.agent.fake_tensorrt_runtime import add_runtime
except ImportError:  # in a process that has this folder on its import path
    from fake_tensorrt_runtime import add_runtime

__all__ = ["DEVICE", "RELEASES", "install", "make", "timing_cache"]

V8, V10, V11 = ("8.2", "8.4", "8.5", "8.6"), ("10.3", "10.16"), ("11",)
RELEASES = V8 + V10 + V11
DEVICE = "quill"

# Only the numbers matter here: they differ between releases, and bit 0 and 1 of a network's flags mean other things.
FLAGS8 = ["FP16", "INT8", "DEBUG", "GPU_FALLBACK", "STRICT_TYPES", "REFIT", "TF32"]
FLAGS10 = ["FP16", "INT8", "DEBUG", "GPU_FALLBACK", "REFIT", "TF32", "BF16", "FP8"]
FLAGS11 = ["DEBUG", "GPU_FALLBACK", "REFIT", "TF32"]
NETWORK8 = {"EXPLICIT_BATCH": 0, "EXPLICIT_PRECISION": 1}
NETWORK10 = {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
NETWORK11 = {"STRONGLY_TYPED": 0, "PREFER_JIT_PYTHON_PLUGINS": 1, "PREFER_AOT": 2}


def timing_cache(release, device=DEVICE):
    """What a new timing cache of that release on that device holds."""
    return f"timings of {release} on {device}".encode()


def install(folder, release, name="tensorrt", **behaviour):
    """Write a module into `folder` which is that fake, for processes that have the folder on their import path."""
    text = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nimport fake_tensorrt\n"
    text += f"globals().update(vars(fake_tensorrt.make({release!r}, **{behaviour!r})))\n"
    (Path(str(folder)) / (name + ".py")).write_text(text)


def make(
    release,
    refuses=(),
    words=None,
    gpu=True,
    fast=("fp16", "int8"),
    shape=(1, 3, 8, 8),
    dies_of=None,
    takes_s=0.0,
    dtypes=("FLOAT", "FLOAT"),
    run_words=None,
):
    """The module. Its parser refuses the operators in `refuses`. With `words` its builder says them and builds nothing,
    with `dies_of` it dies of that signal, and it takes `takes_s` seconds. Without `gpu` there is no builder. Inputs
    and outputs are of `dtypes`; with `run_words` its context says them and runs nothing."""
    old, newest = release in V8, release in V11
    trt = types.ModuleType("tensorrt")
    trt.__version__ = release + ".1"
    trt.plugins = False

    class ILogger:
        Severity = IntEnum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE", start=0)

        def __init__(self):
            self.constructed = True

    class HostMemory(bytes):
        pass

    class TimingCache:
        __slots__ = ("data",)

        def __init__(self, data):
            self.data = data

        def serialize(self):
            return HostMemory(self.data)

    class IBuilderConfig:
        __slots__ = (
            *("told", "logger", "timing", "profiles"),
            *(["max_workspace_size"] if old else []),
            *(["int8_calibrator"] if not newest else []),
        )

        def __init__(self, logger):
            self.told, self.logger, self.timing, self.profiles = {"TF32": True}, logger, None, []
            if old:
                self.max_workspace_size = 0
            if not newest:
                self.int8_calibrator = None

        def set_flag(self, flag):
            self.told[trt.BuilderFlag(flag).name] = True

        def get_flag(self, flag):
            return self.told.get(trt.BuilderFlag(flag).name, False)

        def add_optimization_profile(self, profile):
            self.profiles.append(profile)
            return len(self.profiles) - 1

        def create_timing_cache(self, data):
            if data and not old and not data.startswith(timing_cache(release)):
                self.logger.log(ILogger.Severity.WARNING, "Failed to deserialize the timing cache")
                data = b""
            return TimingCache(data or timing_cache(release))

        def set_timing_cache(self, cache, ignore_mismatch):
            if not cache.data.startswith(timing_cache(release)) and not ignore_mismatch:
                return False
            self.timing = cache
            return True

        def get_timing_cache(self):
            return self.timing

    if release != "8.2":

        def set_memory_pool_limit(self, pool, size):
            self.told[trt.MemoryPoolType(pool).name] = size

        IBuilderConfig.set_memory_pool_limit = set_memory_pool_limit
        trt.MemoryPoolType = IntEnum("MemoryPoolType", "WORKSPACE DLA_MANAGED_SRAM", start=0)

    class IOptimizationProfile:
        __slots__ = ("shapes",)

        def __init__(self):
            self.shapes = {}

        def set_shape(self, name, least, usual, most):
            self.shapes[name] = [list(least), list(usual), list(most)]

    class Tensor:
        __slots__ = ("dtype", "name", "shape")

        def __init__(self, name, size, dtype):
            self.name, self.shape, self.dtype = name, size, trt.DataType[dtype]

    class INetworkDefinition:
        __slots__ = ("flags", "nodes", "parser")

        def __init__(self, flags):
            known = trt.NetworkDefinitionCreationFlag
            self.flags = sorted(flag.name for flag in known if flags & 1 << flag)
            self.nodes, self.parser = [], None

        num_inputs = num_outputs = 1

        def get_input(self, index):
            return Tensor(["x"][index], shape, dtypes[0])

        def get_output(self, index):
            return Tensor(["y"][index], (shape[0], 10), dtypes[1])

    class ParserError:
        __slots__ = ("index", "nodes", "text")

        def __init__(self, text, nodes=(), index=-1):
            self.text, self.nodes, self.index = text, nodes, index

        def code(self):
            return trt.ErrorCode.UNSUPPORTED_NODE

        def desc(self):
            return self.text

        def func(self):
            return "parseGraph"

        def node(self):
            return self.index

    if not old:
        ParserError.node_name = lambda self: self.nodes[self.index][0] if self.index >= 0 else ""
        ParserError.node_operator = lambda self: self.nodes[self.index][1] if self.index >= 0 else ""

    class OnnxParser:
        __slots__ = ("__weakref__", "errors", "logger", "network")

        def __init__(self, network, logger):
            self.network, self.logger, self.errors = network, logger, []
            network.parser = weakref.ref(self)

        @property
        def num_errors(self):
            return len(self.errors)

        def get_error(self, index):
            return self.errors[index]

        def parse_from_file(self, path):
            if old and "EXPLICIT_BATCH" not in self.network.flags:
                self.errors = [ParserError("the parser needs an explicit batch dimension")]
                return False
            nodes = self.network.nodes = read_nodes(path)
            bad = [index for index, (_, operator) in enumerate(nodes) if operator in refuses]
            self.errors = [ParserError("no importer for " + nodes[index][1], nodes, index) for index in bad]
            if old:
                self.errors = self.errors[:1]  # these stop at the first
            return not bad

    class Builder:
        __slots__ = ("logger",)

        def __init__(self, logger):
            assert logger.constructed
            self.logger = logger
            if not gpu:
                logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 100")
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags=0):
            return INetworkDefinition(flags)

        def create_builder_config(self):
            return IBuilderConfig(self.logger)

        def create_optimization_profile(self):
            return IOptimizationProfile()

        def build_serialized_network(self, network, config):
            os.write(1, b"printed by TensorRT itself\n")
            time.sleep(takes_s)
            if dies_of is not None:
                os.kill(os.getpid(), dies_of)
            try:
                return HostMemory(json.dumps(self._told(network, config)).encode())
            except ValueError as error:
                self.logger.log(ILogger.Severity.ERROR, str(error))
                return None

        def _told(self, network, config):
            assert network.parser() is not None, "the parser is gone, and the network's weights with it"
            if words is not None:
                raise ValueError(words)
            told = dict(config.told, network=network.flags, plugins=trt.plugins, release=release)
            told["profiles"] = [profile.shapes for profile in config.profiles]
            told["io"] = [["x", True, list(shape), dtypes[0]], ["y", False, [shape[0], 10], dtypes[1]]]
            if -1 in shape and not config.profiles:
                raise ValueError("network has dynamic or shape inputs, but no optimization profile has been defined")
            if "STRONGLY_TYPED" in network.flags and ("FP16" in told or "INT8" in told):
                raise ValueError("precision flags are not for a strongly typed network")
            if old:
                told["max_workspace_size"] = config.max_workspace_size
            if not newest and config.int8_calibrator is not None:
                told["calibration"] = self._calibrated(config.int8_calibrator)
            if config.timing is not None:
                told["timing"] = config.timing.data.decode()
                config.timing.data += b"+"
            return told

        def _calibrated(self, calibrator):
            assert calibrator.constructed
            cache = calibrator.read_calibration_cache()
            if not cache and calibrator.get_batch(["x"]) is None:
                raise ValueError("Calibration failure occurred with no scaling factors detected")
            calibrator.write_calibration_cache(cache)
            return bytes(cache).decode()

    def init_libnvinfer_plugins(logger, namespace):
        trt.plugins = True
        return True

    if not newest:
        Builder.platform_has_fast_fp16 = "fp16" in fast
        Builder.platform_has_fast_int8 = "int8" in fast

        class IInt8EntropyCalibrator2:
            def __init__(self):
                self.constructed = True

        trt.IInt8EntropyCalibrator2 = IInt8EntropyCalibrator2
    trt.BuilderFlag = IntEnum("BuilderFlag", FLAGS8 if old else FLAGS11 if newest else FLAGS10, start=0)
    network_flags = NETWORK8 if old else NETWORK11 if newest else NETWORK10
    trt.NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", network_flags)
    trt.DataType = IntEnum("DataType", "FLOAT HALF INT8 INT32 BOOL" + ("" if old else " UINT8 FP8 BF16 INT64"), start=0)
    trt.ErrorCode = IntEnum("ErrorCode", "SUCCESS INVALID_NODE UNSUPPORTED_NODE", start=0)
    for one in (Builder, IBuilderConfig, ILogger, INetworkDefinition, OnnxParser, init_libnvinfer_plugins):
        setattr(trt, one.__name__, one)
    add_runtime(trt, release, by_name=release not in ("8.2", "8.4"), by_number=old, words=run_words)
    return trt
