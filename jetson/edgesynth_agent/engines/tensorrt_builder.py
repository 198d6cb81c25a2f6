"""From an ONNX file to a TensorRT plan in memory. Where the releases differ is the business of `tensorrt_api`."""

import re
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from edgesynth_agent.engines import tensorrt_api as api
from edgesynth_agent.errors import BuildError, RefusedError, RequestError, UnsupportedError
from edgesynth_agent.onnx_file import read_nodes, read_summary

__all__ = ["PRECISIONS", "Order", "Plan", "build_plan"]

PRECISIONS = ("fp32", "fp16", "int8")

_MAX_FINDINGS = 20


class Order(NamedTuple):
    """What is to be built, of which file. Caches are the contents of their files, None where there is none."""

    onnx: str
    precision: str
    workspace_mib: int
    compute_capabilities: Tuple[str, ...] = ()
    calibration_cache: Optional[bytes] = None
    timing_cache: Optional[bytes] = None
    batch: Optional[int] = None
    """What an open first dimension is built for; None refuses one."""


class Plan(NamedTuple):
    """A serialized engine and how it came about. `precision` is the one asked for, because no other is built.

    `timing_cache` is the one to save for the next build, None where there is none. `build_s` is the time of
    build_serialized_network alone.
    """

    data: memoryview
    strongly_typed: bool
    flags: List[str]
    inputs: List[Dict[str, Any]]
    outputs: List[Dict[str, Any]]
    build_s: float
    timing_cache: Optional[bytes]
    timing_cache_hit: bool
    timing_cache_note: Optional[str]
    warnings: List[str]


def build_plan(trt: Any, order: Order) -> Plan:
    """Build with the module `trt`.

    Raises RefusedError for a file that is no ONNX, has open sizes, or is of another precision than the one asked
    for; RequestError for options that contradict each other or the module; UnsupportedError with findings when
    TensorRT does not take the network or the GPU lacks the precision; BuildError when it takes it and builds nothing.
    """
    try:
        precision, nodes = read_summary(order.onnx).precision, read_nodes(order.onnx)
    except RefusedError as error:
        raise RefusedError(error.what, order.onnx, error.next_step) from error
    _check_precision(trt, order, precision)
    log = api.Log()
    logger = api.make_logger(trt, log)
    api.init_plugins(trt, logger)
    builder = _make_builder(trt, logger, log)
    if api.lacks_fast(builder, order.precision):
        raise UnsupportedError(
            "TensorRT says that its GPU has no fast {}".format(order.precision),
            "this device",
            "build with a precision that the GPU has",
        )
    network = builder.create_network(api.network_flags(trt))
    # The network keeps pointing into the parser's memory, so the parser lives as long as this function.
    parser = trt.OnnxParser(network, logger)
    _parse(parser, log, order.onnx, nodes)
    inputs = _fixed(api.tensors(network, "input"), order.batch)
    _check_shapes(inputs)
    config = _configure(trt, builder, order)
    if order.batch is not None:
        api.add_batch_profile(builder, network, config, order.batch)
    timing = api.TimingCacheUse(False, False, None)
    if order.timing_cache is not None:
        timing = api.use_timing_cache(config, log, order.timing_cache)
    heard = len(log.errors)
    start_s = time.monotonic()
    built = builder.build_serialized_network(network, config)
    build_s = time.monotonic() - start_s
    if built is None:
        raise _build_failed(order.onnx, log.errors[heard:], nodes)
    return Plan(
        data=memoryview(built),
        strongly_typed=api.is_strongly_typed(trt),
        flags=api.flags_that_are_set(trt, config),
        inputs=inputs,
        outputs=_fixed(api.tensors(network, "output"), order.batch),
        build_s=build_s,
        timing_cache=bytes(memoryview(config.get_timing_cache().serialize())) if timing.kept else None,
        timing_cache_hit=timing.hit,
        timing_cache_note=timing.note,
        warnings=log.warnings + ["TensorRT said, and went on: " + line for line in log.errors],
    )


def _check_precision(trt: Any, order: Order, found: str) -> None:
    """Whether the file and the module give the precision asked for; `found` is the file's."""
    asked, where = order.precision, "precision {} of {}".format(order.precision, order.onnx)
    if order.calibration_cache is not None and (asked != "int8" or found == "int8"):
        why = "the ONNX has the scales itself" if found == "int8" else "only int8 is calibrated"
        raise RequestError(
            "a calibration cache was given, and {}".format(why), where, "leave the calibration cache out"
        )
    if asked == found:
        return
    if found != "fp32" or asked == "fp32":
        raise RefusedError(
            "the ONNX computes in {}".format(found), where, "ask for {}, or export it in {}".format(found, asked)
        )
    if api.is_strongly_typed(trt) or (asked == "int8" and not api.has_calibrator(trt)):
        raise RefusedError(
            "the ONNX computes in fp32, and {} takes the precision from the ONNX".format(trt.__name__),
            where,
            "export it in fp16" if asked == "fp16" else "export it with QuantizeLinear and DequantizeLinear nodes",
        )
    if asked == "int8" and order.calibration_cache is None:
        raise RefusedError(
            "the ONNX has no scales, and there is no calibration cache",
            where,
            "give --calibration-cache, or export it with QuantizeLinear and DequantizeLinear nodes",
        )


def _make_builder(trt: Any, logger: Any, log: api.Log) -> Any:
    try:
        return trt.Builder(logger)
    except Exception as error:  # no GPU, no driver: the bindings raise TypeError, the reason is in the log
        why = "; ".join(log.errors) or str(error)
        raise BuildError(
            "{} cannot start a builder ({})".format(trt.__name__, why), "this device", "check its GPU and driver"
        ) from error


def _parse(parser: Any, log: api.Log, path: str, nodes: api.Nodes) -> None:
    if parser.parse_from_file(path):
        return
    findings = api.parser_errors(parser, nodes)[:_MAX_FINDINGS]
    if not findings:
        findings = [{"node": None, "operator": None, "reason": line} for line in log.errors[:_MAX_FINDINGS]]
    raise UnsupportedError(
        "TensorRT's parser does not take it", path, "replace what it names, and export the network again", findings
    )


def _fixed(tensors: List[Dict[str, Any]], batch: Optional[int]) -> List[Dict[str, Any]]:
    """Those tensors, with `batch` for an open first dimension."""
    if batch is not None:
        for tensor in tensors:
            if tensor["shape"] and tensor["shape"][0] < 0:
                tensor["shape"][0] = batch
    return tensors


def _check_shapes(inputs: List[Dict[str, Any]]) -> None:
    for tensor in inputs:
        if any(size < 0 for size in tensor["shape"]):
            raise RefusedError(
                "its shape {} is open, and an engine is built for fixed sizes".format(tensor["shape"]),
                "input '{}'".format(tensor["name"]),
                "export the network with fixed sizes",
            )


def _configure(trt: Any, builder: Any, order: Order) -> Any:
    config = builder.create_builder_config()
    api.set_workspace(trt, config, order.workspace_mib * 1024 * 1024)
    api.set_compute_capabilities(trt, config, order.compute_capabilities)
    if not api.is_strongly_typed(trt):
        if order.precision == "int8":
            config.set_flag(trt.BuilderFlag.INT8)
        # With INT8 too: a layer that has no INT8 kernel then runs in FP16 and not in FP32.
        if order.precision != "fp32" and not api.lacks_fast(builder, "fp16"):
            config.set_flag(trt.BuilderFlag.FP16)
    if order.calibration_cache is not None:
        api.calibrate_from(trt, config, order.calibration_cache)
    return config


def _build_failed(path: str, errors: List[str], nodes: api.Nodes) -> BuildError:
    what = "TensorRT took the network and built no engine ({})".format("; ".join(errors[:3]) or "it gave no reason")
    findings: List[api.Finding] = [
        {"node": name, "operator": operator, "reason": line}
        for line in errors
        for name, operator in nodes
        if name and name in line and re.search(r"(?<![\w./]){}(?![\w/])".format(re.escape(name)), line)
    ]
    # "Could not find any implementation for node …" is an out of memory in disguise as often as not.
    return BuildError(
        what, path, "free memory or lower --workspace-mib; else change the node", findings[:_MAX_FINDINGS]
    )
