"""Networks of torchvision whose figures on a Jetson Nano were published, 224x224, 1000 classes. See `networks`."""

from edgesynth_exporters.onnx_graph import Graph

from edgesynth.energy.networks import NetBuilder

__all__ = ["alexnet", "densenet", "resnet", "squeezenet", "vgg"]

VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3)}
RESNET = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
DENSENET = {121: (6, 12, 24, 16), 161: (6, 12, 36, 24), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}


def alexnet() -> Graph:
    """arXiv 1404.5997, one tower."""
    net = NetBuilder("alexnet", 3, 224, 224)
    x = net.pool(net.conv("input", 64, 11, 4), "MaxPool", 3, 2, valid=True)
    x = net.pool(net.conv(x, 192, 5), "MaxPool", 3, 2, valid=True)
    x = net.pool(net.conv(net.conv(net.conv(x, 384, 3), 256, 3), 256, 3), "MaxPool", 3, 2, valid=True)
    return net.graph(net.linear(net.linear(net.linear(x, 4096, "Relu"), 4096, "Relu"), 1000))


def vgg(layers: int) -> Graph:
    """arXiv 1409.1556; a batch norm changes nothing, it folds into its convolution."""
    net = NetBuilder(f"vgg{layers}", 3, 224, 224)
    x = "input"
    for channels, convolutions in zip((64, 128, 256, 512, 512), VGG[layers], strict=True):
        for _ in range(convolutions):
            x = net.conv(x, channels, 3)
        x = net.pool(x, "MaxPool", 2, 2)
    return net.graph(net.linear(net.linear(net.linear(x, 4096, "Relu"), 4096, "Relu"), 1000))


def resnet(layers: int) -> Graph:
    """arXiv 1512.03385; a stage shrinks in the 3x3 convolution of its first block."""
    net = NetBuilder(f"resnet{layers}", 3, 224, 224)
    x = net.pool(net.conv("input", 64, 7, 2), "MaxPool", 3, 2)
    wide = 4 if layers >= 50 else 1
    for stage, count in enumerate(RESNET[layers]):
        width = 64 << stage
        for block in range(count):
            stride = 2 if block == 0 and stage else 1
            if wide == 4:
                y = net.conv(net.conv(net.conv(x, width, 1), width, 3, stride), 4 * width, 1, act=None)
            else:
                y = net.conv(net.conv(x, width, 3, stride), width, 3, act=None)
            if net.shapes[x] != net.shapes[y]:
                x = net.conv(x, wide * width, 1, stride, act=None)
            x = net.op("Relu", [net.add(x, y)], net.shapes[y])
    return net.graph(net.head(x, 1000))


def squeezenet(version: str) -> Graph:
    """arXiv 1602.07360, "1.0" or "1.1"."""
    net = NetBuilder(f"squeezenet{version}", 3, 224, 224)
    plan = [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]
    first, pools = ((96, 7), {3, 7}) if version == "1.0" else ((64, 3), {2, 4})
    x = net.pool(net.conv("input", *first, 2, valid=True), "MaxPool", 3, 2)
    for place, (squeezed, expanded) in enumerate(plan):
        if place in pools:
            x = net.pool(x, "MaxPool", 3, 2)
        x = net.conv(x, squeezed, 1)
        x = net.concat(net.conv(x, expanded, 1), net.conv(x, expanded, 3))
    x = net.conv(x, 1000, 1)
    return net.graph(net.op("GlobalAveragePool", [x], (1, 1000, 1, 1)))


def densenet(layers: int) -> Graph:
    """arXiv 1608.06993: batch norm and ReLU come before each convolution, over all that was concatenated so far."""
    growth, first = (48, 96) if layers == 161 else (32, 64)
    net = NetBuilder(f"densenet{layers}", 3, 224, 224)

    def activated(x: str) -> str:
        return net.op("Relu", [net.op("BatchNormalization", [x], net.shapes[x])], net.shapes[x])

    x = net.pool(net.conv("input", first, 7, 2), "MaxPool", 3, 2)
    for stage, count in enumerate(DENSENET[layers]):
        if stage:
            x = net.pool(net.conv(activated(x), net.shapes[x][1] // 2, 1, act=None), "AveragePool", 2, 2)
        for _ in range(count):
            y = net.conv(net.conv(activated(x), 4 * growth, 1), growth, 3, act=None)
            x = net.concat(x, y)
    return net.graph(net.head(activated(x), 1000))
