"""How a precision reaches a target: in the ONNX file, by a flag of the builder, or not at all."""

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgesynth_exporters.errors import ExportError, IncompatibleError, first_line
from edgesynth_exporters.targets import Precision, Target

__all__ = ["Format", "Scheme", "cast_to_fp16", "choose_scheme", "round_to_fp16"]

Format = Literal["onnx", "tensorrt", "tensorrt-rtx"]

CASTS_FROM, QDQ_FROM = 11, 10
"""Majors of TensorRT. From 11 on an engine takes its precision from the ONNX file alone: implicit precision was
deprecated in 10.12 and is gone (README of TensorRT 11.1, https://github.com/NVIDIA/TensorRT). Calibrators are
deprecated since 10.1, superseded by quantizers inside the file
(https://docs.nvidia.com/deeplearning/tensorrt/api/c_api/deprecated.html)."""

CONVERTER = "onnxruntime.transformers.float16"


@dataclass(frozen=True)
class Scheme:
    """What an export at some precision consists of.

    `kind`: the file as it is ("plain"); fp16 by a flag of the builder, the file in fp32 ("fp16-flag"); fp16 casts in
    the file ("fp16-casts"); int8 by a calibration cache, the file in fp32 ("int8-cache"); quantizers in the file
    ("int8-qdq"). `flags` are the builder's to be set on the board. `why` is one sentence for the record.
    """

    kind: Literal["plain", "fp16-flag", "fp16-casts", "int8-cache", "int8-qdq"]
    flags: tuple[str, ...]
    why: str

    @property
    def in_file(self) -> bool:
        """Whether the file that is handed over computes in that precision itself."""
        return self.kind in ("plain", "fp16-casts", "int8-qdq")


def choose_scheme(target: Target, precision: Precision, format_: Format = "onnx") -> Scheme:
    """The scheme for a target. TensorRT-RTX takes its precision from the file, whatever the target's TensorRT.

    Raises IncompatibleError for a precision that the target's hardware does not have.
    """
    if precision not in target.precisions:
        there = ", ".join(target.precisions)
        gpu = "" if target.compute_capability is None else f" (compute capability {target.compute_capability})"
        raise IncompatibleError(
            f"{target.name} has no {precision} in hardware{gpu}: it computes in {there}; "
            f"export with --precision {target.precisions[-1]}"
        )
    if precision == "fp32":
        return Scheme("plain", (), "fp32, as the file is")
    rtx = format_ == "tensorrt-rtx"
    major = None if rtx or target.tensorrt is None else int(target.tensorrt.split(".")[0])
    runtime = "TensorRT-RTX" if rtx else "ONNX Runtime" if target.tensorrt is None else f"TensorRT {target.tensorrt}"
    if precision == "fp16":
        if major is not None and major < CASTS_FROM:
            return Scheme("fp16-flag", ("FP16",), f"{runtime} casts to fp16 by its builder's flag FP16")
        return Scheme("fp16-casts", (), f"{runtime} takes fp16 from casts inside the file")
    if major is not None and major < QDQ_FROM:
        return Scheme(
            "int8-cache", ("INT8", "FP16"), f"{runtime} quantizes by its flag INT8 and the calibration cache beside"
        )
    return Scheme("int8-qdq", (), f"{runtime} takes int8 from quantizers inside the file")


def cast_to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph computed in fp16, by casts behind its inputs and before its outputs, which stay fp32.

    Weights beyond the range of fp16 become its greatest number: parity shows what that does. `model` stays as it was.
    Raises ExportError where the converter fails.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about each weight that is beyond the range
            cast: onnx.ModelProto = convert_float_to_float16(copy, keep_io_types=True)
        # The converter appends its casts at the end.
        OnnxModel.graph_topological_sort(cast.graph, is_deterministic=True)
        onnx.checker.check_model(cast, full_check=True)
    except Exception as error:
        raise ExportError(f"{CONVERTER} cannot cast the graph to fp16: {first_line(error)}") from error
    return cast


def round_to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph in fp32 operators, in which every weight and every tensor between them is rounded to fp16: what
    arithmetic in fp16 with sums in fp32 gives, on any machine. Beyond 65,504 a tensor becomes infinite.

    ONNX Runtime has no fp16 arithmetic on most CPUs. It runs a graph with casts in fp32 and leaves the casts between
    operators out, so it does not show what fp16 does. `model` stays as it was.
    """
    rounded = onnx.shape_inference.infer_shapes(model)
    graph = rounded.graph
    outputs = {value.name for value in graph.output}
    known = (*graph.input, *graph.value_info, *graph.output)
    floats = {value.name for value in known if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(_rounded(numpy_helper.to_array(tensor)), tensor.name))
    nodes: list[onnx.NodeProto] = []
    names: dict[str, str] = {}
    for value in graph.input:
        if value.name in floats:
            names[value.name] = f"{value.name}.rounded"
            nodes += _round(value.name, names[value.name])
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in outputs & floats:
                node.output[index] = f"{name}.exact"
                nodes += _round(node.output[index], name)
                names[name] = name
            elif name in floats:
                names[name] = f"{name}.rounded"
                nodes += _round(name, names[name])
    del graph.node[:]
    graph.node.extend(nodes)
    return rounded


def _round(given: str, made: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [given], [f"{made}.fp16"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", [f"{made}.fp16"], [made], to=TensorProto.FLOAT),
    ]


def _rounded(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """As `cast_to_fp16` rounds them: what is beyond the range becomes the greatest number."""
    greatest = float(np.finfo(np.float16).max)
    return np.clip(weights, -greatest, greatest).astype(np.float16).astype(np.float32)
