"""EfficientNet-Lite0 (Tan and Le 2019; the Lite variant of 2020) with ImageNet weights: features of colour images for Frechet distances.

Mobile inverted bottlenecks without squeeze-and-excitation, ReLU6 instead of swish, stem and head of fixed width. The features are the
1,280 averages of the last activation over space.

What an image goes through is part of the metric, because other choices give other distances: levels rounded to bytes, as a stored image
has them; one channel copied to three; bilinear interpolation to 224 x 224 with antialiasing (half-pixel centres, no aligned corners);
(level - 127) / 128, the normalisation that the weights were trained with. Padding is TensorFlow's "same": where a stride leaves an odd
number of rows to add, the odd one goes below and to the right. Batch normalisation adds 0.001 to variances.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.tasks.data import loaders

SIZE = 224
AT_ONCE = {"cpu": 4, "other": 64}  # images: on a CPU the activations of more do not fit its caches, at twice the time
# expansion, output channels, repetitions, stride of the first, kernel (Tan and Le 2019, table 1)
STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))


class SameConv(nn.Conv2d):
    """A convolution without bias whose output has ``ceil(size / stride)`` rows and columns."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        k, s = self.kernel_size[0], self.stride[0]
        rows, columns = (max(0, (-(-size // s) - 1) * s + k - size) for size in x.shape[2:])
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return super().forward(x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Expansion by a 1 x 1 convolution, depthwise convolution, projection; a shortcut where input and output have the same shape."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        width = inputs * expansion
        self.expanded, self.shortcut = expansion > 1, stride == 1 and inputs == outputs
        if self.expanded:
            self.expand_conv, self.bn0 = SameConv(inputs, width, 1), _norm(width)
        self.depthwise_conv, self.bn1 = SameConv(width, width, kernel, stride, groups=width), _norm(width)
        self.project_conv, self.bn2 = SameConv(width, outputs, 1), _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu6(self.bn0(self.expand_conv(x))) if self.expanded else x
        h = F.relu6(self.bn1(self.depthwise_conv(h)))
        h = self.bn2(self.project_conv(h))
        return x + h if self.shortcut else h


class EfficientNetLite0(nn.Module):
    """``(B, 3, 224, 224)``, normalised, to logits of the 1,000 classes of ImageNet. Layers have the names of the published weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = SameConv(3, 32, 3, 2), _norm(32)
        self.blocks, inputs = nn.ModuleList(), 32
        for expansion, outputs, repetitions, stride, kernel in STAGES:
            for i in range(repetitions):
                self.blocks.append(Block(inputs, outputs, expansion, kernel, stride if i == 0 else 1))
                inputs = outputs
        self.conv_head, self.bn1 = SameConv(inputs, 1280, 1), _norm(1280)
        self.fc = nn.Linear(1280, 1000)

    def features(self, x: Tensor) -> Tensor:
        x = F.relu6(self.bn0(self.conv_stem(x)))
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.bn1(self.conv_head(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))


@lru_cache(maxsize=1)
def network() -> EfficientNetLite0:
    """The network with its weights, in evaluation mode. Raises DataError where they cannot be had or the cached file is damaged."""
    weights = {name.replace("._", ".").removeprefix("_"): torch.from_numpy(array) for name, array in loaders.efficientnet_lite0().items()}
    with torch.random.fork_rng(devices=[]):  # the initial weights must not move the random state of the run
        built = EfficientNetLite0()
    built.load_state_dict(weights)
    return built.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def preprocess(x: Tensor) -> Tensor:
    """Images ``(B, C, H, W)`` in [0, 1], C 1 or 3, as the network wants them: ``(B, 3, 224, 224)``."""
    levels = (x * 255).round().expand(-1, 3, -1, -1)
    return (F.interpolate(levels, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True) - 127) / 128


def features(device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """The function from images ``(B, C, H, W)`` in [0, 1], C 1 or 3, to features ``(B, 1280)``."""
    built = network().to(device)
    size = AT_ONCE["cpu" if torch.device(device).type == "cpu" else "other"]

    def of(x: Tensor) -> Tensor:
        parts = (preprocess(part).contiguous(memory_format=torch.channels_last) for part in x.split(size))
        return torch.cat([built.features(part) for part in parts])

    return of
