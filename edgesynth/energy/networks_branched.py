"""The reference networks with parallel branches: Inception v1 and v4, and YOLOv8n. See `networks`."""

from edgesynth_exporters.onnx_graph import Graph

from edgesynth.energy.networks import NetBuilder

__all__ = ["inception_v1", "inception_v4", "yolov8n"]


def inception_v1() -> Graph:
    """GoogLeNet (arXiv 1409.4842) as in TensorFlow's slim: 3x3 in place of 5x5, 224x224, 1001 classes."""
    net = NetBuilder("inception_v1", 3, 224, 224)
    x = net.pool(net.conv("input", 64, 7, 2), "MaxPool", 3, 2)
    x = net.pool(net.conv(net.conv(x, 64, 1), 192, 3), "MaxPool", 3, 2)
    plans: list[tuple[int, ...] | None] = [
        (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None,
        (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128), None,
        (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
    ]  # fmt: skip
    for plan in plans:
        if plan is None:
            x = net.pool(x, "MaxPool", 3, 2)
            continue
        a, b1, b2, c1, c2, d = plan
        x = net.concat(
            net.conv(x, a, 1),
            net.conv(net.conv(x, b1, 1), b2, 3),
            net.conv(net.conv(x, c1, 1), c2, 3),
            net.conv(net.pool(x, "MaxPool", 3, 1), d, 1),
        )
    return net.graph(net.op("Softmax", [net.head(x, 1001)], (1, 1001)))


def inception_v4() -> Graph:
    """Inception v4 (arXiv 1602.07261), 299x299, 1001 classes."""
    net = NetBuilder("inception_v4", 3, 299, 299)
    conv, pool, row, column = net.conv, net.pool, (1, 7), (7, 1)
    x = conv(conv(conv("input", 32, 3, 2, valid=True), 32, 3, valid=True), 64, 3)
    x = net.concat(pool(x, "MaxPool", 3, 2, valid=True), conv(x, 96, 3, 2, valid=True))
    left = conv(conv(x, 64, 1), 96, 3, valid=True)
    right = conv(conv(conv(conv(x, 64, 1), 64, row), 64, column), 96, 3, valid=True)
    x = net.concat(left, right)
    x = net.concat(conv(x, 192, 3, 2, valid=True), pool(x, "MaxPool", 3, 2, valid=True))
    for _ in range(4):
        x = net.concat(
            conv(x, 96, 1),
            conv(conv(x, 64, 1), 96, 3),
            conv(conv(conv(x, 64, 1), 96, 3), 96, 3),
            conv(pool(x, "AveragePool", 3, 1), 96, 1),
        )
    x = net.concat(
        conv(x, 384, 3, 2, valid=True),
        conv(conv(conv(x, 192, 1), 224, 3), 256, 3, 2, valid=True),
        pool(x, "MaxPool", 3, 2, valid=True),
    )
    for _ in range(7):
        long = conv(conv(conv(x, 192, 1), 192, column), 224, row)
        x = net.concat(
            conv(x, 384, 1),
            conv(conv(conv(x, 192, 1), 224, row), 256, column),
            conv(conv(long, 224, column), 256, row),
            conv(pool(x, "AveragePool", 3, 1), 128, 1),
        )
    x = net.concat(
        conv(conv(x, 192, 1), 192, 3, 2, valid=True),
        conv(conv(conv(conv(x, 256, 1), 256, row), 320, column), 320, 3, 2, valid=True),
        pool(x, "MaxPool", 3, 2, valid=True),
    )
    for _ in range(3):
        short, deep = conv(x, 384, 1), conv(conv(conv(x, 384, 1), 448, (3, 1)), 512, (1, 3))
        x = net.concat(
            conv(x, 256, 1),
            *(conv(short, 256, kernel) for kernel in ((1, 3), (3, 1))),
            *(conv(deep, 256, kernel) for kernel in ((1, 3), (3, 1))),
            conv(pool(x, "AveragePool", 3, 1), 256, 1),
        )
    return net.graph(net.op("Softmax", [net.head(x, 1001)], (1, 1001)))


def yolov8n() -> Graph:
    """YOLOv8n (Ultralytics 8, depth 0.33, width 0.25), 640x640, 80 classes, up to the raw head outputs."""
    net = NetBuilder("yolov8n", 3, 640, 640)

    def conv(x: str, channels: int, kernel: int, stride: int = 1) -> str:
        return net.conv(x, channels, kernel, stride, act="SiLU")

    def c2f(x: str, channels: int, repeats: int, shortcut: bool) -> str:
        x = conv(x, channels, 1)
        half = (1, channels // 2, *net.shapes[x][2:])
        parts = [net.op("Slice", [x], half), net.op("Slice", [x], half)]
        for _ in range(repeats):
            y = conv(conv(parts[-1], channels // 2, 3), channels // 2, 3)
            parts.append(net.add(parts[-1], y) if shortcut else y)
        return conv(net.concat(*parts), channels, 1)

    def upsample(x: str) -> str:
        _, channels, height, width = net.shapes[x]
        return net.op("Resize", [x], (1, channels, 2 * height, 2 * width))

    x = c2f(conv(conv("input", 16, 3, 2), 32, 3, 2), 32, 1, True)
    p3 = c2f(conv(x, 64, 3, 2), 64, 2, True)
    p4 = c2f(conv(p3, 128, 3, 2), 128, 2, True)
    x = conv(c2f(conv(p4, 256, 3, 2), 256, 1, True), 128, 1)
    pools = [x]
    for _ in range(3):
        pools.append(net.pool(pools[-1], "MaxPool", 5, 1))
    p5 = conv(net.concat(*pools), 256, 1)
    n4 = c2f(net.concat(upsample(p5), p4), 128, 1, False)
    n3 = c2f(net.concat(upsample(n4), p3), 64, 1, False)
    m4 = c2f(net.concat(conv(n3, 64, 3, 2), n4), 128, 1, False)
    m5 = c2f(net.concat(conv(m4, 128, 3, 2), p5), 256, 1, False)
    heads = []
    for x in (n3, m4, m5):
        boxes = net.conv(conv(conv(x, 64, 3), 64, 3), 64, 1, act=None)
        classes = net.conv(conv(conv(x, 80, 3), 80, 3), 80, 1, act=None)
        heads.append(net.concat(boxes, classes))
    return net.graph(*heads)
