"""Toy prototypes, each with one thing that pruning, dropping or tracing must get right. Images are (N, 1, 8, 8)
unless a test says otherwise."""

import torch
from torch import Tensor, nn

__all__ = [
    "TOYS",
    "Branching",
    "Dense",
    "HardView",
    "Nested",
    "Plain",
    "Residual",
    "ViewInBlock",
    "example",
    "make",
]

CLASSES = 4


def example(images: int = 1, side: int = 8) -> Tensor:
    return torch.randn(images, 1, side, side, generator=torch.Generator().manual_seed(images))


def conv(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(outputs)]


def head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class Plain(nn.Sequential):
    """A chain without residuals; one layer has a bias and no batch norm."""

    def __init__(self) -> None:
        super().__init__(*conv(1, 8), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), *head(12))


class FrozenParameters(Plain):
    """Some of its parameters were frozen for training."""

    def __init__(self) -> None:
        super().__init__()
        self[0].requires_grad_(False)
        self[3].requires_grad_(False)


class Dropping(nn.Sequential):
    """Has a dropout layer."""

    def __init__(self) -> None:
        super().__init__(*conv(1, 8), nn.ReLU(), nn.Dropout(0.5), *conv(8, 16, 2), nn.ReLU(), *head(16))


class Upsampling(nn.Sequential):
    """A transposed convolution, whose weight has its dimensions the other way round."""

    def __init__(self) -> None:
        super().__init__(*conv(1, 8, 2), nn.ReLU(), nn.ConvTranspose2d(8, 12, 2, 2), nn.ReLU(), *conv(12, 8), *head(8))


class SpatialLinear(nn.Sequential):
    """Flattens a map of 4 x 4 into a linear layer: each channel is 16 of its inputs."""

    def __init__(self) -> None:
        super().__init__(*conv(1, 8, 2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, CLASSES))


class Block(nn.Module):
    def __init__(self, channels: int, inside: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*conv(channels, inside), nn.ReLU(), *conv(inside, channels))
        self.shortcut = nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.branch(x) + self.shortcut(x))
        return out


class InPlaceBlock(nn.Module):
    """Adds in place, rectifies in place, and has no shortcut module."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(channels, channels)
        self.conv2, self.bn2 = conv(channels, channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv2(nn.functional.relu_(self.bn1(self.conv1(x)))))
        out += x
        rectified: Tensor = self.relu(out)
        return rectified


class Residual(nn.Module):
    """Two blocks of each kind of addition, and one that changes the shape and so cannot be dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.first = Block(8, 12)
        self.second = InPlaceBlock(8)
        self.down = nn.Sequential(*conv(8, 16, 2))
        self.side = nn.Conv2d(8, 16, 1, 2)
        self.third = Block(16, 16)
        self.head = head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(self.stem(x)))
        x = torch.relu(self.down(x) + self.side(x))
        out: Tensor = self.head(self.third(x))
        return out


class PreActivation(nn.Module):
    """x + conv(relu(x)): the rectifier belongs to the branch, yet follows another addition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.blocks = nn.ModuleList([nn.Sequential(nn.ReLU(), *conv(8, 8)) for _ in range(3)])
        self.last = nn.ReLU()
        self.head = head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        out: Tensor = self.head(self.last(x))
        return out


class Nested(nn.Module):
    """A residual block with a residual block in its branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.enter = nn.Sequential(*conv(8, 12), nn.ReLU())
        self.inner = nn.Sequential(*conv(12, 16), nn.ReLU(), *conv(16, 12))
        self.leave = nn.Sequential(nn.ReLU(), *conv(12, 8))
        self.head = head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.enter(x)
        y = y + self.inner(y)
        out: Tensor = self.head(x + self.leave(y))
        return out


class Recurrent(nn.Module):
    """The same branch three times over: no single use of it can be dropped without the others."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.branch = nn.Sequential(*conv(8, 12), nn.ReLU(), *conv(12, 8))
        self.head = head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = x + self.branch(x)
        out: Tensor = self.head(x)
        return out


class Dense(nn.Module):
    """Concatenations: one feeds batch norm and a depthwise convolution, one a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.two = nn.Conv2d(8, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(20)
        self.depthwise = nn.Conv2d(20, 20, 3, 2, 1, groups=20, bias=False)
        self.three = nn.Conv2d(20, 8, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(28, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        x = self.depthwise(torch.relu(self.norm(torch.cat([x, self.two(x)], dim=1))))
        x = torch.cat([x, self.three(x)], dim=1)
        out: Tensor = self.head(self.pool(x).flatten(1))
        return out


class Inverted(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 3 * channels
        self.layers = nn.Sequential(
            nn.Conv2d(channels, wide, 1), nn.ReLU6(), *conv(wide, wide, groups=wide), nn.ReLU6(), *conv(wide, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.layers(x))


class Mobile(nn.Sequential):
    """Depthwise convolutions and ReLU6, as in a MobileNetV2."""

    def __init__(self) -> None:
        super().__init__(*conv(1, 8), nn.ReLU6(), Inverted(8), Inverted(8), *conv(8, 16, 2), nn.ReLU6(), *head(16))


class Grouped(nn.Sequential):
    """A convolution in two groups; only the last layers' channels are free."""

    def __init__(self) -> None:
        super().__init__(
            *conv(1, 8), nn.ReLU(), *conv(8, 8, groups=2), nn.ReLU(), *conv(8, 12, 2), nn.ReLU(), *head(12)
        )


class Branches(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y if y.sum() > 0 else -y


class Branching(nn.Module):
    """Cannot be traced, for a sub-module; what follows that one can be pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.middle = nn.Sequential(Branches(), nn.ReLU())
        self.last = nn.Sequential(*conv(8, 12), nn.ReLU())
        self.head = head(12)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.last(self.middle(self.stem(x))))
        return out


class BranchesItself(nn.Module):
    """Control flow on the data in the outermost forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Plain()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x if x.sum() > 0 else -x)
        return out


class Viewer(nn.Module):
    """Sizes written as numbers, and no weights."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(-1, 8 * 4 * 4)


class HardView(nn.Module):
    """A size in forward() that pruning makes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.late = nn.Sequential(*conv(8, 8, 2), nn.ReLU())
        self.viewer = Viewer()
        self.head = nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.viewer(self.late(self.early(x))))
        return out


class ViewInBlock(nn.Module):
    """The same inside a block that can be dropped, so that the smallest network does not show it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.inside = nn.Sequential(*conv(8, 12))
        self.outside = nn.Conv2d(12, 8, 1)
        self.head = head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.outside(self.inside(x).view(-1, 12, 8, 8))
        out: Tensor = self.head(x)
        return out


class Scaled(nn.Module):
    """Bare parameters: one for each channel, and one scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(1, 8), nn.ReLU())
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 8).view(8, 1, 1))
        self.gain = nn.Parameter(torch.tensor(0.7))
        self.last = nn.Sequential(*conv(8, 12), nn.ReLU())
        self.head = head(12)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.last(self.stem(x) * self.scale) * self.gain)
        return out


TOYS: dict[str, type[nn.Module]] = {
    "plain": Plain,
    "frozen-parameters": FrozenParameters,
    "dropout": Dropping,
    "transposed": Upsampling,
    "spatial-linear": SpatialLinear,
    "residual": Residual,
    "pre-activation": PreActivation,
    "nested": Nested,
    "recurrent": Recurrent,
    "dense": Dense,
    "mobile": Mobile,
    "grouped": Grouped,
    "scaled": Scaled,
}
"""Those that can be traced and pruned as they are."""


def make(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """One toy in eval mode, its batch-norm statistics and affine parameters unlike those of any other channel."""
    torch.manual_seed(seed)
    module = kind()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return module.eval()
