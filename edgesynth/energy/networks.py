"""The networks whose published TX2 figures the model is fitted on, as graphs without weights.

Each is written as the framework of its source exports it, so that the kernels are counted for them exactly as for
a user's file. Batch norms are left out: they fold into the convolution before them and cost nothing.
"""

import re
from collections.abc import Callable
from math import prod

from edgesynth_exporters.onnx_graph import Graph, Node, Shape

__all__ = ["NetBuilder", "mobilenet_v1", "nasbench201", "resnet_v1", "vgg16"]


class NetBuilder:
    """Builds a Graph operator by operator; tensors are names, shapes are computed on the way (batch 1)."""

    def __init__(self, name: str, *input_shape: int) -> None:
        self.name = name
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {"input": (1, *input_shape)}
        self.constants: set[str] = set()

    def op(self, op: str, inputs: list[str], shape: Shape, group: int = 1) -> str:
        """Adds one operator and returns its output."""
        out = f"t{len(self.nodes)}"
        self.nodes.append(Node(f"{op}_{len(self.nodes)}", op, tuple(inputs), (out,), {"group": group}))
        self.shapes[out] = shape
        return out

    def conv(
        self, x: str, channels: int, kernel: int | tuple[int, int], stride: int = 1, *, act: str | None = "Relu",
        valid: bool = False, depthwise: bool = False,
    ) -> str:  # fmt: skip
        """A convolution with bias, padded to keep the size unless `valid`, and its activation."""
        _, depth, *size = self.shapes[x]
        kernels = (kernel, kernel) if isinstance(kernel, int) else kernel
        group = channels if depthwise else 1
        out = tuple(_windows(s, k, stride, valid) for s, k in zip(size, kernels, strict=True))
        weights = self._weights((channels, depth // group, *kernels), (channels,))
        y = self.op("Conv", [x, *weights], (1, channels, *out), group)
        if act == "SiLU":
            return self.op("Mul", [y, self.op("Sigmoid", [y], self.shapes[y])], self.shapes[y])
        return self.op(act, [y], self.shapes[y]) if act else y

    def pool(self, x: str, op: str, kernel: int, stride: int, *, valid: bool = False) -> str:
        _, channels, *size = self.shapes[x]
        return self.op(op, [x], (1, channels, *(_windows(s, kernel, stride, valid) for s in size)))

    def add(self, *xs: str) -> str:
        """The sum, operand by operand."""
        total, *rest = xs
        for x in rest:
            total = self.op("Add", [total, x], self.shapes[x])
        return total

    def zero(self) -> str:
        """The number 0."""
        self.shapes["zero"] = ()
        self.constants.add("zero")
        return "zero"

    def zeros(self, shape: Shape) -> str:
        """A constant tensor of zeros."""
        return self._weights(shape)[0]

    def concat(self, *xs: str) -> str:
        _, _, *size = self.shapes[xs[0]]
        return self.op("Concat", list(xs), (1, sum(self.shapes[x][1] for x in xs), *size))

    def linear(self, x: str, features: int, act: str | None = None) -> str:
        flat = self.op("Flatten", [x], (1, prod(self.shapes[x])))
        depth = self.shapes[flat][1]
        y = self.op("Gemm", [flat, *self._weights((depth, features), (features,))], (1, features))
        return self.op(act, [y], self.shapes[y]) if act else y

    def head(self, x: str, classes: int) -> str:
        """Global average pooling and the classifier."""
        return self.linear(self.op("GlobalAveragePool", [x], (1, self.shapes[x][1], 1, 1)), classes)

    def graph(self, *outputs: str) -> Graph:
        return Graph(self.name, tuple(self.nodes), self.shapes, frozenset(self.constants), ("input",), outputs)

    def _weights(self, *shapes: Shape) -> list[str]:
        names = [f"w{len(self.constants) + i}" for i in range(len(shapes))]
        self.shapes.update(zip(names, shapes, strict=True))
        self.constants.update(names)
        return names


def nasbench201(cell: str, classes: int, size: int, width: int = 16, cells: int = 5) -> Graph:
    """NAS-Bench-201 (arXiv 2001.00326): three stages of `cells` cells, with a residual block between stages.

    Its convolutions are ReLU, convolution, batch norm in this order. A node is Python's `sum` of its edges, which
    begins by adding the number 0, and that addition is in the traced network. An edge of 'none' is a tensor of zeros
    there: adding it costs nothing, unless it comes first.
    """
    net = NetBuilder(f"nasbench201 {cell} {classes} classes {size}x{size}", 3, size, size)
    x = net.conv("input", width, 3, act=None)
    nodes = [re.findall(r"(\w+)~(\d)", node) for node in cell.split("+")]
    for stage in range(3):
        channels = width << stage
        if stage:
            a = _relu_conv(net, _relu_conv(net, x, channels, 3, 2), channels, 3)
            x = net.add(net.conv(net.pool(x, "AveragePool", 2, 2), channels, 1, act=None), a)
        for _ in range(cells):
            states = [x]
            for (op, i), *others in nodes:
                total = net.add(net.zero(), _edge(net, op, states[int(i)]))
                rest = [_edge(net, op, states[int(i)]) for op, i in others if op != "none"]
                states.append(net.add(total, *rest))
            x = states[-1]
    return net.graph(
        net.head(net.op("Relu", [net.op("BatchNormalization", [x], net.shapes[x])], net.shapes[x]), classes)
    )


def _edge(net: NetBuilder, op: str, x: str) -> str:
    channels = net.shapes[x][1]
    edges: dict[str, Callable[[], str]] = {
        "none": lambda: net.zeros(net.shapes[x]),
        "skip_connect": lambda: x,
        "avg_pool_3x3": lambda: net.pool(x, "AveragePool", 3, 1),
        "nor_conv_1x1": lambda: _relu_conv(net, x, channels, 1),
        "nor_conv_3x3": lambda: _relu_conv(net, x, channels, 3),
    }
    return edges[op]()


def _relu_conv(net: NetBuilder, x: str, channels: int, kernel: int, stride: int = 1) -> str:
    return net.conv(net.op("Relu", [x], net.shapes[x]), channels, kernel, stride, act=None)


def vgg16() -> Graph:
    """VGG-16 (arXiv 1409.1556), 224x224, 1000 classes."""
    net = NetBuilder("vgg16", 3, 224, 224)
    x = "input"
    for channels, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            x = net.conv(x, channels, 3)
        x = net.pool(x, "MaxPool", 2, 2)
    return net.graph(net.linear(net.linear(net.linear(x, 4096, "Relu"), 4096, "Relu"), 1000))


def resnet_v1(units: tuple[int, int, int, int]) -> Graph:
    """ResNet-50 or -152 as in TensorFlow's slim, which the source measured: a stage shrinks in its last unit."""
    net = NetBuilder(f"resnet_v1 {units}", 3, 224, 224)
    x = net.pool(net.conv("input", 64, 7, 2), "MaxPool", 3, 2)
    for stage, count in enumerate(units):
        width = 64 << stage
        for unit in range(count):
            stride = 2 if unit == count - 1 and stage < 3 else 1
            if net.shapes[x][1] != 4 * width:
                shortcut = net.conv(x, 4 * width, 1, stride, act=None)
            else:
                shortcut = net.pool(x, "MaxPool", 1, stride) if stride > 1 else x
            y = net.conv(net.conv(net.conv(x, width, 1), width, 3, stride), 4 * width, 1, act=None)
            x = net.op("Relu", [net.add(shortcut, y)], net.shapes[y])
    return net.graph(net.head(x, 1000))


def mobilenet_v1(multiplier: float, size: int) -> Graph:
    """MobileNet v1 (arXiv 1704.04861), 1001 classes."""
    net = NetBuilder(f"mobilenet_v1 {multiplier} {size}", 3, size, size)
    x = net.conv("input", int(32 * multiplier), 3, 2, act="Clip")
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for channels, stride in plan:
        x = net.conv(x, net.shapes[x][1], 3, stride, act="Clip", depthwise=True)
        x = net.conv(x, int(channels * multiplier), 1, act="Clip")
    return net.graph(net.op("Softmax", [net.head(x, 1001)], (1, 1001)))


def _windows(size: int, kernel: int, stride: int, valid: bool) -> int:
    return (size - kernel) // stride + 1 if valid else -(-size // stride)
