"""MobileNetV2 for small images (Sandler, Howard, Zhu, Zhmoginov, Chen 2018, arXiv 1801.04381).

Inverted residuals: a 1x1 convolution widens, a depthwise 3x3 convolution filters, a 1x1 convolution narrows
again, without an activation after it. Where input and output agree in shape, they are added. The stages below
are the paper's table 2, shrunk for inputs of 28 to 32 pixels: fewer channels, and a stem that keeps the
resolution.
"""

from torch import Tensor, nn

__all__ = ["MobileNetV2", "mobilenetv2_tiny"]

STEM = 16
STAGES = (
    # expansion, channels, blocks, stride of the first block
    (1, 8, 1, 1),
    (4, 16, 2, 2),
    (4, 24, 3, 2),
    (4, 40, 3, 1),
)
LAST = 128


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
    ]


class InvertedResidual(nn.Module):
    """(N, in, H, W) to (N, out, H / stride, W / stride).

    The input is added to the output where their shapes agree, and only then may the block be dropped.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        widen = [*_conv(in_channels, wide, 1), nn.ReLU6()] if expansion > 1 else []
        self.layers = nn.Sequential(
            *widen,
            *_conv(wide, wide, 3, stride, groups=wide),
            nn.ReLU6(),
            *_conv(wide, out_channels, 1),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """Images (N, in_channels, H, W) to logits (N, num_classes), for any H and W."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(in_channels, STEM, 3), nn.ReLU6())
        blocks: list[nn.Module] = []
        width = STEM
        for expansion, channels, count, first_stride in STAGES:
            for index in range(count):
                blocks.append(InvertedResidual(width, channels, first_stride if index == 0 else 1, expansion))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(*_conv(width, LAST, 1), nn.ReLU6())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(LAST, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        features = self.pool(self.last(self.blocks(self.stem(x))))
        logits: Tensor = self.head(self.flatten(features))
        return logits


def mobilenetv2_tiny(in_channels: int, num_classes: int) -> MobileNetV2:
    """Nine inverted residuals, five of which add their input; about 4 million multiply-accumulates at 28x28."""
    return MobileNetV2(in_channels, num_classes)
