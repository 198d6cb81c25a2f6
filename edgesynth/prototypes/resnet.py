"""Residual networks for small images (He, Zhang, Ren, Sun 2015, arXiv 1512.03385, section 4.2).

Three stages of 16, 32 and 64 channels, the second and third at half the resolution of the one before; a depth
of 6n + 2 layers for n blocks a stage. Where a block changes the shape, the shortcut is a 1x1 convolution with
batch normalisation (the paper's option B; its CIFAR networks pad with zeros, which no TensorRT layer does for
free). Weights start from Kaiming's normal distribution (arXiv 1502.01852), drawn from torch's global
generator.
"""

from torch import Tensor, nn

__all__ = ["ResNet", "resnet8", "resnet20"]

WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """relu(f(x) + shortcut(x)), f being two 3x3 convolutions: (N, in, H, W) to (N, out, H / stride, W /
    stride).

    The shortcut is nn.Identity where the shapes agree, and only then may the block be dropped from a network.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu2(y + self.shortcut(x))
        return out


class ResNet(nn.Module):
    """Images (N, in_channels, H, W) to logits (N, num_classes), for any H and W."""

    def __init__(self, in_channels: int, num_classes: int, blocks: int) -> None:
        """`blocks` is the number of residual blocks in each stage."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTHS[0]),
            nn.ReLU(),
        )
        stages: list[nn.Module] = []
        width = WIDTHS[0]
        for stage, next_width in enumerate(WIDTHS):
            layers = []
            for index in range(blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(BasicBlock(width, next_width, stride))
                width = next_width
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        features = self.pool(self.stages(self.stem(x)))
        logits: Tensor = self.head(self.flatten(features))
        return logits


def resnet8(in_channels: int, num_classes: int) -> ResNet:
    """One block a stage: small enough to train in a minute on a laptop."""
    return ResNet(in_channels, num_classes, blocks=1)


def resnet20(in_channels: int, num_classes: int) -> ResNet:
    """Three blocks a stage: the smallest network of the paper's table 6."""
    return ResNet(in_channels, num_classes, blocks=3)
