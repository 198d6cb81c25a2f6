"""int8: quantizers inside the ONNX file, and the calibration cache of TensorRT before 10."""

import logging
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edgesynth_exporters.calibration import METHODS, magnitudes, thresholds
from edgesynth_exporters.errors import ExportError, first_line
from edgesynth_exporters.runtime import open_session

__all__ = ["Calibration", "calibrate", "calibration_cache", "quantize"]

FloatArray = NDArray[np.float32]

QUANTIZED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that compute in int8: where the arithmetic is. Their inputs and weights get quantizers, their outputs do
not, so that TensorRT fuses them with what follows."""
TRIALS = 64
"""Calibration images on which the methods are compared."""


@dataclass(frozen=True)
class Calibration:
    """amax of every tensor by name, how it was chosen, on how many images. `errors` are the relative errors of the
    outputs of the network quantized by each method, root of mean squares, on the first TRIALS images."""

    amax: Mapping[str, float]
    method: str
    images: int
    errors: Mapping[str, float]


def calibrate(model: onnx.ModelProto, images: FloatArray) -> Calibration:
    """Calibrate on images (N, C, H, W), and choose the method whose quantized network answers most like `model`.

    Raises ExportError where ONNX Runtime fails, or a tensor holds no finite numbers.
    """
    try:
        histograms = magnitudes(model, images)
        trial = images[:TRIALS]
        expected = _answers(model, trial)
        choices = {method: thresholds(histograms, method) for method in METHODS}
        errors = {method: _error(_answers(quantize(model, amax), trial), expected) for method, amax in choices.items()}
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"cannot calibrate: {first_line(error)}") from error
    best = min(errors, key=lambda method: errors[method])
    return Calibration(choices[best], best, len(images), errors)


def quantize(model: onnx.ModelProto, amax: Mapping[str, float]) -> onnx.ModelProto:
    """The graph with quantizers (QuantizeLinear, DequantizeLinear) as TensorRT wants them: symmetric, every zero point
    0, weights per output channel and left in the file as float, biases in float. `model` stays as it was.

    TensorRT refuses other zero points ("Non-zero zero point is not supported",
    https://github.com/onnx/onnx-tensorrt, importerUtils and onnxOpImporters.cpp) and int32 dequantizers.
    Raises ExportError where ONNX Runtime's quantizer fails.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    known = {name: (np.float32(-value), np.float32(value)) for name, value in amax.items()}
    options = {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "AddQDQPairToWeight": True,
        "OpTypesToExcludeOutputQuantization": list(QUANTIZED),
    }
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
        quantizer = QDQQuantizer(
            inferred,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, known),
            nodes_to_quantize=[],
            nodes_to_exclude=_too_thin(model),
            op_types_to_quantize=list(QUANTIZED),
            extra_options=options,
        )
        with _root_logger_silent():
            quantizer.quantize_model()
        quantizer.model.topological_sort()
        quantized: onnx.ModelProto = quantizer.model.model
        onnx.checker.check_model(quantized, full_check=True)
    except Exception as error:
        raise ExportError(f"onnxruntime.quantization cannot quantize the graph: {first_line(error)}") from error
    return quantized


@contextmanager
def _root_logger_silent() -> Iterator[None]:
    """The quantizer logs a line for each bias that is no initializer ("Expected bias … to be an initializer"), and by
    the root logger, which without a handler would get one for good."""
    root, handler = logging.getLogger(), logging.NullHandler()

    def nothing(record: logging.LogRecord) -> bool:
        return False

    root.addHandler(handler)
    root.addFilter(nothing)
    try:
        yield
    finally:
        root.removeFilter(nothing)
        root.removeHandler(handler)


def calibration_cache(amax: Mapping[str, float], tensorrt: str) -> str:
    """The text of a cache that a calibrator of the class IInt8EntropyCalibrator2 reads, for that version of TensorRT:
    "TRT-8502-EntropyCalibration2", then for each tensor its name and its scale amax / 127, a float32 in hexadecimal.

    TensorRT passes over a cache of another version (https://github.com/NVIDIA/TensorRT/issues/1378). Its number is
    that of NvInferVersion.h: 8203 is 8.2.3 (https://github.com/NVIDIA/TensorRT/issues/2036 shows a whole cache). What a
    line means: onnxruntime/core/providers/tensorrt/tensorrt_execution_provider_utils.h, ReadDynamicRange, in
    https://github.com/microsoft/onnxruntime.
    """
    major, minor, patch = (int(part) for part in [*tensorrt.split("."), "0", "0"][:3])
    number = major * 1000 + minor * 100 + patch
    lines = [f"{name}: {struct.pack('>f', value / 127).hex()}" for name, value in amax.items()]
    return "\n".join([f"TRT-{number}-EntropyCalibration2", *lines, ""])


def _too_thin(model: onnx.ModelProto) -> list[str]:
    """Convolutions that stay in float: TensorRT has int8 kernels for input channels in fours alone, but for depthwise
    ones. Mostly it is the first layer, which is sensitive and cheap."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    thin = []
    for node in model.graph.node:
        if node.op_type != "Conv" or node.input[1] not in weights:
            continue
        outputs, inputs = weights[node.input[1]][:2]
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        if inputs % 4 and not (inputs == 1 and groups == outputs):
            thin.append(node.name)
    return thin


def _answers(model: onnx.ModelProto, images: FloatArray) -> list[FloatArray]:
    """All outputs for each batch, one after the other."""
    session = open_session(model, exact=True)
    (given,) = session.get_inputs()
    size = given.shape[0]
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    return [output for part in parts for output in session.run(None, {given.name: part})]


def _error(actual: list[FloatArray], expected: list[FloatArray]) -> float:
    difference = sum(float(np.square(a - e, dtype=np.float64).sum()) for a, e in zip(actual, expected, strict=True))
    scale = sum(float(np.square(e, dtype=np.float64).sum()) for e in expected)
    return float(np.sqrt(difference / max(scale, 1e-30)))
