"""Which operators become one kernel."""

import warnings
from pathlib import Path

import onnx
import pytest
import torch
from edgesynth_exporters.onnx_graph import read_graph
from torch import nn

from edgesynth.energy.kernels import Kernel, kernels_of
from tests.energy.graphs import conv, node, save

Weights = dict[str, tuple[int, ...]]

W: Weights = {"w": (8, 8, 3, 3)}
BN = dict.fromkeys(("scale", "shift", "mean", "var"), (8,))


def kernels(tmp_path: Path, nodes: list[onnx.NodeProto], weights: Weights | None = None) -> list[Kernel]:
    found, warned = kernels_of(read_graph(save(tmp_path / "m.onnx", nodes, weights)), "fp16")
    assert not warned
    return found


def operators(tmp_path: Path, nodes: list[onnx.NodeProto], weights: Weights | None = None) -> list[str]:
    return ["+".join(kernel.operators) for kernel in kernels(tmp_path, nodes, weights)]


CASES = {
    "batch norm and activation fold into a convolution": (
        [conv("x", "a"), node("BatchNormalization", "a scale shift mean var", "b"), node("Relu", "b", "y")],
        ["Conv+BatchNormalization+Relu"],
    ),
    "a residual sum and its activation join the last convolution": (
        [
            conv("x", "a"),
            node("Relu", "a", "b"),
            conv("b", "c"),
            node("Add", "c b", "d"),
            node("Clip", "d", "e"),
            node("Relu", "e", "y"),
        ],
        ["Conv+Relu", "Conv+Add+Clip", "Relu"],
    ),
    "of two convolutions the later one takes the sum": (
        [conv("x", "a"), conv("x", "b"), node("Add", "b a", "c"), node("Relu", "c", "y")],
        ["Conv", "Conv+Add+Relu"],
    ),
    "an activated convolution still takes a sum": (
        [conv("x", "a"), node("Relu", "a", "b"), node("Add", "x b", "c"), node("Relu", "c", "y")],
        ["Conv+Relu+Add+Relu"],
    ),
    "a tensor with two readers is written to memory": (
        [conv("x", "a"), node("Relu", "a", "b"), node("Add", "a b", "y")],
        ["Conv", "Relu", "Add"],
    ),
    "a constant added after a convolution is a kernel": (
        [conv("x", "a"), node("Add", "a one", "b"), node("Relu", "b", "y")],
        ["Conv", "Add+Relu"],
    ),
    "a sum of computed tensors begins a kernel, which a chain may go on": (
        [
            node("Sigmoid", "x", "a"),
            node("Tanh", "x", "b"),
            node("Add", "a b", "c"),
            node("Add", "c one", "d"),
            node("Relu", "d", "y"),
        ],
        ["Sigmoid", "Tanh", "Add+Add+Relu"],
    ),
    "a sum does not go on a sum": (
        [node("Add", "x x", "a"), node("Add", "a x", "y")],
        ["Add", "Add"],
    ),
    "what no output depends on is no kernel": (
        [conv("x", "a"), node("Relu", "a", "unused"), node("Tanh", "unused", "unused2"), node("Relu", "a", "y")],
        ["Conv+Relu"],
    ),
    "a chain of element-wise operators is one kernel": (
        [node("Sigmoid", "x", "a"), node("Mul", "x a", "b"), node("Add", "b one", "y")],
        ["Sigmoid+Mul+Add"],
    ),
    "a broadcast operand does not break a chain, but starts none": (
        [
            node("GlobalAveragePool", "x", "a"),
            node("Sigmoid", "a", "b"),
            node("Mul", "x b", "c"),
            node("Relu", "c", "y"),
        ],
        ["GlobalAveragePool", "Sigmoid", "Mul+Relu"],
    ),
    "identities and reshapes are no kernels and hide nothing": (
        [conv("x", "a"), node("Identity", "a", "b"), node("Relu", "b", "c"), node("Flatten", "c", "y")],
        ["Conv+Relu"],
    ),
    "pooling, softmax and copies stand alone": (
        [
            node("MaxPool", "x", "a", kernel_shape=[2, 2], strides=[2, 2]),
            node("Softmax", "a", "b", axis=1),
            node("Transpose", "b", "c", perm=[0, 2, 3, 1]),
            node("Relu", "c", "y"),
        ],
        ["MaxPool", "Softmax", "Transpose", "Relu"],
    ),
    "the bias of a matrix product and its activation fold in": (
        [node("MatMul", "x m", "a"), node("Add", "a bias", "b"), node("Relu", "b", "y")],
        ["MatMul+Add+Relu"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_fusion(tmp_path: Path, case: str) -> None:
    nodes, expected = CASES[case]
    weights = W | BN | {"one": (1,), "m": (16, 4), "bias": (4,)}
    assert operators(tmp_path, nodes, weights) == expected


def test_what_a_kernel_reads_writes_and_computes(tmp_path: Path) -> None:
    (kernel,) = kernels(tmp_path, [conv("x", "a"), node("Add", "a x", "b"), node("Relu", "b", "y")], W)
    elements = 8 * 16 * 16
    assert kernel.kind == "convolution"
    assert (kernel.rows, kernel.columns, kernel.depth, kernel.groups) == (256, 8, 72, 1)
    assert (kernel.macs, kernel.params) == (elements * 72, 8 * 72)
    assert kernel.bytes_read == 2 * (elements + 8 * 72)  # x once, though two operators read it
    assert kernel.bytes_written == 2 * elements
    assert kernel.output_shape == (1, 8, 16, 16)


def test_fp32_moves_twice_the_bytes(tmp_path: Path) -> None:
    graph = read_graph(save(tmp_path / "m.onnx", [conv("x", "y")], W))
    (half,), (full,) = kernels_of(graph, "fp16")[0], kernels_of(graph, "fp32")[0]
    assert (full.bytes_read, full.bytes_written) == (2 * half.bytes_read, 2 * half.bytes_written)


def test_a_depthwise_convolution_is_told_apart(tmp_path: Path) -> None:
    (kernel,) = kernels(tmp_path, [conv("x", "y", "d", group=8)], {"d": (8, 1, 3, 3)})
    assert kernel.kind == "depthwise"
    assert (kernel.columns, kernel.depth, kernel.groups) == (1, 9, 8)
    assert kernel.macs == kernel.rows * kernel.groups * kernel.depth


def test_unknown_operators_are_one_kernel_each_and_named(tmp_path: Path) -> None:
    nodes = [
        node("com.example.Swish", "x", "a"),
        node("Relu", "a", "b"),
        node("CumSum", "b axis", "y"),
    ]
    path = save(tmp_path / "m.onnx", nodes)
    model = onnx.load(path)
    model.graph.initializer.append(onnx.helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [0]))
    onnx.save(model, path)
    found, warned = kernels_of(read_graph(path))
    assert ["+".join(kernel.operators) for kernel in found] == ["com.example::Swish", "Relu", "CumSum"]
    assert [kernel.kind for kernel in found] == ["element-wise"] * 3
    (warning,) = warned
    assert "CumSum, com.example::Swish" in warning


class Block(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.shortcut = nn.Conv2d(channels, out, 1, stride) if channels != out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def test_an_exported_resnet_is_one_kernel_a_convolution(tmp_path: Path) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        Block(8, 8, 1),
        Block(8, 16, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    ).eval()
    path = tmp_path / "resnet.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecation notices
        torch.onnx.export(net, (torch.zeros(1, 3, 32, 32),), str(path), dynamo=False, opset_version=13)
    found, warned = kernels_of(read_graph(path), "fp32")
    assert not warned
    assert sorted("+".join(kernel.operators) for kernel in found) == sorted(
        ["Conv+Relu"] * 3 + ["Conv+Add+Relu"] * 2 + ["Conv", "GlobalAveragePool", "Gemm"]
    )
    assert sum(kernel.macs for kernel in found) == (
        32 * 32 * 8 * 9 * (3 + 8 + 8) + 16 * 16 * 16 * (9 * (8 + 16) + 8) + 16 * 10
    )
    weights = sum(p.numel() for p in net.parameters() if p.ndim > 1)
    biases = 3 * 8 + 3 * 16 + 10  # one a channel: batch norms have become biases
    assert sum(kernel.params for kernel in found) == weights + biases


def test_sums_are_counted_where_computed_tensors_are_added(tmp_path: Path) -> None:
    nodes = [conv("x", "a"), node("Add", "x a", "b"), node("Add", "b b", "c"), node("Add", "c one", "y")]
    found = kernels(tmp_path, nodes, W | {"one": (1,)})
    assert [(kernel.kind, kernel.sums) for kernel in found] == [("convolution", 1), ("sum", 1)]
