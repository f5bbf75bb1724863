"""Backbones that compared methods share, so that a difference in a table is a difference of method.

Each maps a batch of the task's shape to features ``(B, n_features)``; heads belong to the methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from elboard.methods.parts.maps import MapCNN
from elboard.methods.parts.mixer import Mixer


class MLP(nn.Sequential):
    """Fully connected layers with an activation after each (and dropout after it), on flattened inputs.

    Args:
        sizes: widths from the input to the features, at least two.
        activation: "relu", "tanh", "softplus", "elu" or "silu".
        dropout: probability after each hidden layer.
    """

    def __init__(self, sizes: list[int], activation: str = "relu", dropout: float = 0.0):
        kinds = {"relu": nn.ReLU, "tanh": nn.Tanh, "softplus": nn.Softplus, "elu": nn.ELU, "silu": nn.SiLU}
        layers: list[nn.Module] = [nn.Flatten()]
        for a, b in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(a, b), kinds[activation]()] + ([nn.Dropout(dropout)] if dropout > 0 else [])
        super().__init__(*layers)
        self.n_features = sizes[-1]


class SmallCNN(nn.Module):
    """Two 3x3 convolutions with pooling and one hidden layer: about 10 seconds an epoch of MNIST on one CPU core.

    Dropout follows each pooling and the hidden layer.
    """

    def __init__(self, shape: tuple[int, ...], widths: tuple[int, int] = (16, 32), n_features: int = 128, dropout: float = 0.0):
        super().__init__()
        channels, height, width = shape
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.conv2 = nn.Conv2d(widths[0], widths[1], 3, padding=1)
        self.hidden = nn.Linear(widths[1] * (height // 4) * (width // 4), n_features)
        self.drop = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.n_features = n_features

    def maps(self, x: Tensor) -> Tensor:
        """What the convolutions give the hidden layer, flat."""
        x = self.drop(F.max_pool2d(self.conv1(x), 2).relu())
        return self.drop(F.max_pool2d(self.conv2(x), 2).relu()).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.hidden(self.maps(x)).relu())


class PooledCNN(nn.Module):
    """Three 3x3 convolutions of 32, 64 and 128 maps, each with a ReLU, pooling between them; the features are means of the last maps.

    So they are 0 or positive, hardly ever exactly 0, and alike in kind to those of residual networks. Dropout follows the mean.
    """

    def __init__(self, shape: tuple[int, ...], widths: tuple[int, ...] = (32, 64, 128), dropout: float = 0.0):
        super().__init__()
        sizes = zip((shape[0], *widths), widths, strict=False)
        self.convolutions = nn.ModuleList([nn.Conv2d(inputs, outputs, 3, padding=1) for inputs, outputs in sizes])
        self.drop = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.n_features = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions[:-1]:
            x = F.max_pool2d(convolution(x), 2).relu()
        return self.drop(self.convolutions[-1](x).relu().mean((2, 3)))


class _Block(nn.Module):
    """Two 3x3 convolutions around an identity shortcut, option A of He et al.: strided and zero-padded where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return (y + shortcut).relu()


class ResNet(nn.Module):
    """ResNet-(6 n + 2) for 32x32 images (He, Zhang, Ren and Sun 2016, section 4.2) without its last layer: n blocks of each width.

    n = 3 is their smallest, ResNet-20 with 0.27 million parameters; n = 1, ResNet-8 with 0.075 million, takes a third of its time.
    """

    def __init__(self, shape: tuple[int, ...], dropout: float = 0.0, n: int = 3):
        super().__init__()
        self.stem = nn.Conv2d(shape[0], 16, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        plan = [(16, 16, 1)] * n + [(16, 32, 2)] + [(32, 32, 1)] * (n - 1) + [(32, 64, 2)] + [(64, 64, 1)] * (n - 1)
        self.blocks = nn.Sequential(*[_Block(*sizes) for sizes in plan])
        self.drop = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.n_features = 64
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.blocks(self.norm(self.stem(x)).relu()).mean((2, 3)))


def backbone(name: str, shape: tuple[int, ...], dropout: float = 0.0) -> nn.Module:
    """The backbone called ``name``: "mlp" (784-256-128 for MNIST), "cnn", "pooled", "maps", "resnet8", "resnet20" or "mixer".
    Has ``n_features``.

    Raises ValueError for an unknown name, and for examples that are no images where the network takes nothing else.
    """
    if name in ("cnn", "pooled", "maps", "resnet8", "resnet20", "mixer") and len(shape) != 3:
        raise ValueError(f"backbone={name} takes examples of shape (channels, height, width), not {tuple(shape)}: set backbone=mlp")
    if name == "mlp":
        return MLP([math.prod(shape), 256, 128], dropout=dropout)
    if name == "cnn":
        return SmallCNN(shape, dropout=dropout)
    if name == "pooled":
        return PooledCNN(shape, dropout=dropout)
    if name == "maps":
        return MapCNN(shape)
    if name in ("resnet8", "resnet20"):
        return ResNet(shape, dropout, n=1 if name == "resnet8" else 3)
    if name == "mixer":
        return Mixer(shape, dropout)
    raise ValueError(f"backbone {name!r} is none of mlp, cnn, pooled, maps, resnet8, resnet20, mixer")


def halves(net: nn.Module) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """What a backbone does before its last linear layer, giving ``(B, D)``, and from there on; all and nothing where it ends in a mean."""
    if isinstance(net, SmallCNN):
        return net.maps, lambda h: net.drop(net.hidden(h).relu())
    if isinstance(net, MLP):
        layers = list(net)
        last = max(i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear))
        return nn.Sequential(*layers[:last]), nn.Sequential(*layers[last:])
    return net, nn.Identity()
