"""Small networks of the kinds that users bring: dense, U-shaped, grouped, gated, shuffled, shared, attending, with
several outputs. Some of their layers cannot be pruned. Images are (N, 1, 8, 8)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.networks import CLASSES, Viewer, conv, head

__all__ = ["MULTIPLE", "USERS"]


class DenseLayer(nn.Sequential):
    """Batch norm, bottleneck, 3x3; what it makes is put beside what it was given."""

    def __init__(self, channels: int, growth: int) -> None:
        inside = 2 * growth
        super().__init__(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            *conv(channels, inside)[:1],
            nn.BatchNorm2d(inside),
            nn.ReLU(),
            nn.Conv2d(inside, growth, 3, 1, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], 1)


class DenseNet(nn.Sequential):
    """Two dense blocks and a transition."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3, 1, 1, bias=False),
            nn.Sequential(DenseLayer(8, 8), DenseLayer(16, 8)),
            nn.Sequential(nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 12, 1, bias=False), nn.AvgPool2d(2)),
            nn.Sequential(DenseLayer(12, 8), DenseLayer(20, 8)),
            nn.Sequential(nn.BatchNorm2d(28), nn.ReLU(), *head(28)),
        )


class UNet(nn.Module):
    """Down and up twice; one skip is concatenated, the other added; a class for every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.down = nn.Sequential(nn.MaxPool2d(2), *conv(8, 16), nn.ReLU())
        self.deep = nn.Sequential(nn.MaxPool2d(2), *conv(16, 24), nn.ReLU(), *conv(24, 16), nn.ReLU())
        self.raise_ = nn.Upsample(scale_factor=2, mode="nearest")
        self.middle = nn.Sequential(*conv(32, 12), nn.ReLU())
        self.up = nn.ConvTranspose2d(12, 8, 2, 2)
        self.leave = nn.Sequential(*conv(8, 8), nn.ReLU(), nn.Conv2d(8, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        wide = self.enter(x)
        low = self.down(wide)
        low = self.middle(torch.cat([low, self.raise_(self.deep(low))], dim=1))
        out: Tensor = self.leave(wide + self.up(low))
        return out


class Splitting(nn.Module):
    """A bottleneck whose middle is a convolution in four groups, behind it a depthwise one: as in a ResNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 16), nn.ReLU())
        self.narrow = nn.Sequential(nn.Conv2d(16, 8, 1), nn.ReLU())
        self.grouped = nn.Sequential(*conv(8, 8, groups=4), nn.ReLU())
        self.widen = nn.Conv2d(8, 16, 1)
        self.depthwise = nn.Sequential(*conv(16, 16, 2, groups=16), nn.Conv2d(16, 12, 1), nn.ReLU())
        self.head = head(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.widen(self.grouped(self.narrow(x))))
        out: Tensor = self.head(self.depthwise(x))
        return out


class Gate(nn.Module):
    """Squeeze and excitation, with linear layers and sizes taken from the tensor."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze, self.excite = nn.Linear(channels, 4), nn.Linear(4, channels)

    def forward(self, x: Tensor) -> Tensor:
        images, channels = x.shape[:2]
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(self.pool(x).flatten(1)))))
        return x * weights.view(images, channels, 1, 1)


class Gated(nn.Sequential):
    """Squeeze and excitation by linear layers, then by convolutions."""

    def __init__(self) -> None:
        super().__init__(*conv(1, 8), nn.ReLU(), Gate(8), *conv(8, 16, 2), nn.Hardswish(), Excited(16), *head(16))


class Excited(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 8, 1), nn.SiLU(), nn.Conv2d(8, channels, 1), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.scale(x) * x
        return scaled


class TwoHeads(nn.Module):
    """Answers with a pair: classes, and a box."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv(1, 8), nn.ReLU(), *conv(8, 16, 2), nn.ReLU())
        self.classes = head(16)
        self.box = nn.Sequential(nn.Conv2d(16, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(x)
        return self.classes(x), self.box(x)


class NamedHeads(nn.Module):
    """Answers with a dictionary: classes, a mask of the input's size, and the features behind both."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.late = nn.Sequential(*conv(8, 16, 2), nn.ReLU(), *conv(16, 12), nn.ReLU())
        self.classes = head(12)
        self.mask = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(12, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 1, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.late(self.early(x))
        return {"classes": self.classes(x), "mask": self.mask(x), "features": x}


class Normalised(nn.Sequential):
    """Group norm in two groups, group norm in three, and a block with layer norm over the last dimension."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3, 1, 1),
            nn.GroupNorm(2, 8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, 1, 1),
            nn.GroupNorm(3, 12),
            nn.ReLU(),
            nn.Conv2d(12, 16, 2, 2),
            Mixed(16),
            *head(16),
        )


class Mixed(nn.Module):
    """Depthwise, then a perceptron at every pixel, as in a ConvNeXt."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.wide, self.narrow = nn.Linear(channels, 24), nn.Linear(24, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.narrow(functional.gelu(self.wide(y))).permute(0, 3, 1, 2)


class Shuffled(nn.Module):
    """Half of the channels go through a branch, then all are shuffled: as in a ShuffleNetV2."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 16), nn.ReLU())
        self.branch = nn.Sequential(*conv(8, 12), nn.ReLU(), *conv(12, 8), nn.ReLU())
        self.last = nn.Sequential(*conv(16, 12, 2), nn.ReLU())
        self.head = head(12)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, dim=1)
        x = torch.cat([left, self.branch(right)], dim=1)
        images, channels, height, width = x.shape
        x = x.view(images, 2, channels // 2, height, width).transpose(1, 2).reshape(images, channels, height, width)
        out: Tensor = self.head(self.last(x))
        return out


class Parted(nn.Module):
    """`torch.split` in two unequal parts, and a linear unit gated by the other half of its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 12), nn.ReLU())
        self.small, self.large = nn.Conv2d(4, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.twice = nn.Conv2d(8, 24, 1)
        self.last = nn.Sequential(*conv(12, 12, 2), nn.ReLU())
        self.head = head(12)

    def forward(self, x: Tensor) -> Tensor:
        small, large = torch.split(self.stem(x), [4, 8], dim=1)
        value, gate = self.twice(torch.relu(self.small(small) + self.large(large))).chunk(2, 1)
        out: Tensor = self.head(self.last(value * torch.sigmoid(gate)))
        return out


class Numbers(nn.Module):
    """Sizes written as numbers inside one module, and nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.late = nn.Sequential(*conv(8, 8, 2), nn.ReLU())
        self.viewer = Viewer()
        self.hidden, self.head = nn.Linear(128, 12), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.relu(self.hidden(self.viewer(self.late(self.early(x))))))
        return out


class Siamese(nn.Module):
    """The same tower for the image and for its mirror image."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(*conv(1, 8), nn.ReLU(), *conv(8, 12, 2), nn.ReLU())
        self.join = nn.Sequential(*conv(12, 8), nn.ReLU())
        self.head = head(8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.join(self.tower(x) - self.tower(x.flip(3))))
        return out


class Attending(nn.Module):
    """Attention among pixels: the products of queries and keys run over their channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 16, 2), nn.ReLU())
        self.query, self.key, self.value = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1), nn.Conv2d(16, 12, 1)
        self.project = nn.Conv2d(12, 16, 1)
        self.last = nn.Sequential(*conv(16, 8), nn.ReLU())
        self.head = head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        weights = torch.softmax(self.query(x).flatten(2).transpose(1, 2) @ self.key(x).flatten(2) / 3, dim=-1)
        values = self.value(x).flatten(2) @ weights.transpose(1, 2)
        x = x + self.project(values.view(x.shape[0], -1, x.shape[2], x.shape[3]))
        out: Tensor = self.head(self.last(x))
        return out


class Borrowing(nn.Module):
    """A residual branch whose first weight is used elsewhere as well, so that the branch cannot vanish."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), *conv(8, 8))
        self.other = nn.Sequential(*conv(8, 8), nn.ReLU(), *conv(8, 8))
        self.last = nn.Sequential(*conv(8, 12), nn.ReLU())
        self.head = head(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.branch(x)
        x = x + self.other(x)
        out: Tensor = self.head(self.last(x * self.branch[0].weight.mean()))
        return out


USERS: dict[str, type[nn.Module]] = {
    "densenet": DenseNet,
    "u-net": UNet,
    "splitting": Splitting,
    "gated": Gated,
    "two-heads": TwoHeads,
    "named-heads": NamedHeads,
    "normalised": Normalised,
    "shuffled": Shuffled,
    "parted": Parted,
    "numbers": Numbers,
    "siamese": Siamese,
    "attending": Attending,
    "borrowing": Borrowing,
}
MULTIPLE = ("two-heads", "named-heads")
"""Those with several outputs."""
