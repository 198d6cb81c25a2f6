"""Operators that torch cannot write: found in its exporter's words, with what to do instead."""

import pytest
from edgesynth_exporters.unwritable import unwritable_operator, what_to_do
from torch.onnx.errors import OnnxExporterError, UnsupportedOperatorError


@pytest.mark.parametrize(
    ("error", "operator"),
    [
        (UnsupportedOperatorError("aten::grid_sampler", 13, 16), "grid_sampler"),
        (UnsupportedOperatorError("aten::fft_rfft2", 13, None), "fft_rfft2"),
        (UnsupportedOperatorError("torchvision::deform_conv2d", 13, None), "deform_conv2d"),
        (OnnxExporterError("Unsupported: ONNX export of relu6 in opset 9. Please try opset version 14."), "relu6"),
        (OnnxExporterError("Unsupported: ONNX export of operator unfold, unknown size. Please feel free"), "unfold"),
        (OnnxExporterError("something else"), None),
        (None, None),
    ],
)
def test_the_operator_is_found(error, operator):
    assert unwritable_operator(error) == operator


@pytest.mark.parametrize(
    ("operator", "remedy"),
    [
        ("grid_sampler", "warp outside of the network"),
        ("fft_rfft2", "sines and cosines"),
        ("hardswish", "write it with other operators"),  # another opset is no remedy here
        ("layer_norm", "write it with other operators"),
        ("mode", "write it with other operators"),
        ("one_hot", "compare with a constant range"),
    ],
)
def test_there_is_something_to_do(operator, remedy):
    assert remedy in what_to_do(operator)
