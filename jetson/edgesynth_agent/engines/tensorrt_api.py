"""What differs between the releases of TensorRT, 8.2 to 11, and TensorRT-RTX: one small function for each difference.

Told apart by what a module has, never by its version nor by the number behind an enum: bit 0 of a network's flags is
EXPLICIT_BATCH in 8.2 and STRONGLY_TYPED in 11. Which release has which name was read in the Python bindings of
github.com/NVIDIA/TensorRT (python/src) at the tags 8.2.1, 8.4.1, 8.5.3, v8.6.1, v10.3.0, v10.16 and v11.1, and in
tensorrt_rtx 1.7.1. The modules have no types, so `trt` and what comes from it are Any.
"""

import importlib
import warnings
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from edgesynth_agent.errors import EngineError, RequestError

__all__ = [
    "MODULES",
    "Finding",
    "Log",
    "Nodes",
    "TimingCacheUse",
    "add_batch_profile",
    "builds_ahead_of_time",
    "calibrate_from",
    "dtype_name",
    "flags_that_are_set",
    "has_calibrator",
    "init_plugins",
    "is_strongly_typed",
    "lacks_fast",
    "load_module",
    "make_logger",
    "network_flags",
    "parser_errors",
    "set_compute_capabilities",
    "set_workspace",
    "tensors",
    "use_timing_cache",
]

_INSTALL = {
    "tensorrt": "on a Jetson install JetPack's python3-libnvinfer, elsewhere: pip install 'edgesynth[tensorrt]'",
    "tensorrt_rtx": "install it: pip install 'edgesynth[tensorrt-rtx]'",
}

MODULES = tuple(sorted(_INSTALL))

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}  # the other names are those of ONNX and numpy

_MAX_LINES = 50
_MAX_LINE = 500

Nodes = Sequence[Tuple[str, str]]
Finding = Dict[str, Optional[str]]


def load_module(name: str) -> Any:
    """The module of that name. Raises EngineError when it is not installed, or broken."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken installation raises whatever it likes
        why = "{}: {}".format(type(error).__name__, error)
        raise EngineError(
            "{} cannot be imported ({})".format(name, why), "the agent's Python", _INSTALL[name]
        ) from error


class Log:
    """What TensorRT says while it works, as lines. A line that comes again is kept once, and the first are kept."""

    def __init__(self) -> None:
        self.errors: List[str] = []
        self.warnings: List[str] = []

    def add(self, lines: List[str], text: str) -> None:
        line = " ".join(text.split())[:_MAX_LINE]
        if line and line not in lines and len(lines) < _MAX_LINES:
            lines.append(line)


def make_logger(trt: Any, log: Log) -> Any:
    """A logger of that module which writes errors and warnings into `log`."""
    severity = trt.ILogger.Severity

    class Logger(trt.ILogger):  # type: ignore[misc]  # a class of an untyped module
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the bindings ask for it by name, instead of super()

        def log(self, level: Any, text: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                log.add(log.errors, text)
            elif level == severity.WARNING:
                log.add(log.warnings, text)

    return Logger()


def init_plugins(trt: Any, logger: Any) -> None:
    """Make TensorRT's own plugins known: in 8.2 InstanceNormalization and NonMaxSuppression are such."""
    if hasattr(trt, "init_libnvinfer_plugins"):
        trt.init_libnvinfer_plugins(logger, "")


def is_strongly_typed(trt: Any) -> bool:
    """Whether the types in the ONNX decide the precision. Where they do not, flags of the builder do."""
    return not hasattr(trt.BuilderFlag, "FP16")


def network_flags(trt: Any) -> int:
    """For create_network: an explicit batch where that can be chosen, strong typing where it cannot be escaped."""
    names = ["EXPLICIT_BATCH"] + (["STRONGLY_TYPED"] if is_strongly_typed(trt) else [])
    known = [getattr(trt.NetworkDefinitionCreationFlag, name, None) for name in names]
    return sum(1 << int(flag) for flag in known if flag is not None)


def set_workspace(trt: Any, config: Any, size: int) -> None:
    """The most scratch memory, in bytes, that a layer may use."""
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
    else:
        config.max_workspace_size = size


def lacks_fast(builder: Any, precision: str) -> bool:
    """Whether the builder says that the GPU has no arithmetic for that precision."""
    return not getattr(builder, "platform_has_fast_" + precision, True)


def flags_that_are_set(trt: Any, config: Any) -> List[str]:
    """Names of the builder's flags, sorted; TF32 is among them by default."""
    return sorted(name for name, flag in trt.BuilderFlag.__members__.items() if config.get_flag(flag))


def has_calibrator(trt: Any) -> bool:
    """Whether INT8 may come from a calibration cache. Where it may not, the ONNX must have the scales."""
    return hasattr(trt.IBuilderConfig, "int8_calibrator")


def calibrate_from(trt: Any, config: Any, cache: bytes) -> None:
    """Take the scales of INT8 from a calibration cache, and from nothing else."""

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]  # a class of an untyped module
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: Sequence[str]) -> None:
            return None

        def read_calibration_cache(self) -> bytes:
            return cache

        def write_calibration_cache(self, written: Any) -> None:
            pass

    config.int8_calibrator = Calibrator()


class TimingCacheUse(NamedTuple):
    """`kept`: there is one to save after the build. `hit`: the one given was taken. `note`: why it was not."""

    kept: bool
    hit: bool
    note: Optional[str]


def use_timing_cache(config: Any, log: Log, data: bytes) -> TimingCacheUse:
    """Let the builder use and extend the timing cache `data`; b"" starts a new one.

    In TensorRT-RTX that does nothing any more, and its bindings say so by a DeprecationWarning.
    """
    complaints = len(log.errors), len(log.warnings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cache = config.create_timing_cache(data)
        # The ways to say no are None, False, or an empty cache and a line in the log.
        taken = cache is not None and config.set_timing_cache(cache, False)
        if any(issubclass(one.category, DeprecationWarning) for one in caught):
            return TimingCacheUse(False, False, "there is no timing cache: {}".format(caught[0].message))
        if taken and (len(log.errors), len(log.warnings)) == complaints:
            return TimingCacheUse(True, bool(data), None)
        config.set_timing_cache(config.create_timing_cache(b""), False)
    return TimingCacheUse(True, False, "the timing cache is of another device or TensorRT, and a new one was started")


def builds_ahead_of_time(trt: Any) -> bool:
    """Whether it builds for GPUs that are not there, as TensorRT-RTX does."""
    return hasattr(trt.IBuilderConfig, "num_compute_capabilities")


def set_compute_capabilities(trt: Any, config: Any, wanted: Sequence[str]) -> None:
    """Build for those compute capabilities ("8.6" …, or "current" alone). None: TensorRT-RTX' default, which runs on
    8.0, 8.6, 8.9, 12.0 and later (docs.nvidia.com/deeplearning/tensorrt-rtx, "CPU-Only AOT and TensorRT-RTX Engines").

    Raises RequestError for one that the module does not know, or when it knows none.
    """
    if not wanted:
        return
    where = "--compute-capability " + " ".join(wanted)
    if not builds_ahead_of_time(trt):
        raise RequestError("{} builds for this device only".format(trt.__name__), where, "leave it out")
    known = {
        name[2:-1] + "." + name[-1] if name.startswith("SM") else name.lower(): value
        for name, value in trt.ComputeCapability.__members__.items()
        if name != "NONE"
    }
    for one in wanted:
        if one not in known or (one == "current" and len(wanted) > 1):
            next_step = "known are {}, and current alone".format(", ".join(sorted(set(known) - {"current"}, key=float)))
            raise RequestError("{} does not build for that".format(trt.__name__), where, next_step)
    config.num_compute_capabilities = len(wanted)
    for index, one in enumerate(wanted):
        config.set_compute_capability(known[one], index)


def parser_errors(parser: Any, nodes: Nodes) -> List[Finding]:
    """What the parser refuses, with TensorRT's own words. `nodes` are the file's, for releases that only count them."""
    return [_finding(parser.get_error(index), nodes) for index in range(parser.num_errors)]


def _finding(error: Any, nodes: Nodes) -> Finding:
    index = error.node()
    name, operator = nodes[index] if 0 <= index < len(nodes) else ("", "")
    if hasattr(error, "node_name"):
        name, operator = error.node_name(), error.node_operator()
    code = error.code().name
    reason = "{}: {} (in {})".format(code, " ".join(error.desc().split())[:_MAX_LINE], error.func())
    return {"node": name or None, "operator": operator or None, "reason": reason}


def dtype_name(dtype: Any) -> str:
    """A type of TensorRT as ONNX and numpy call it. trt.nptype needs names that newer numpys have no more."""
    name = str(dtype.name)
    return _DTYPES.get(name, name.lower())


def add_batch_profile(builder: Any, network: Any, config: Any, batch: int) -> None:
    """Inputs whose first dimension alone is open are for that batch and no other."""
    profile, wanted = builder.create_optimization_profile(), False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(int(size) for size in tensor.shape)
        if shape and shape[0] < 0:
            fixed, wanted = (batch,) + shape[1:], True
            profile.set_shape(tensor.name, fixed, fixed, fixed)
    if wanted:
        config.add_optimization_profile(profile)


def tensors(network: Any, which: str) -> List[Dict[str, Any]]:
    """Name, shape and dtype of the network's inputs or outputs (`which` is "input" or "output")."""
    count, get = getattr(network, "num_{}s".format(which)), getattr(network, "get_" + which)
    found = [get(index) for index in range(count)]
    return [
        {
            "name": tensor.name,
            "shape": [int(size) for size in tensor.shape],
            "dtype": dtype_name(tensor.dtype),
        }
        for tensor in found
    ]
