"""PixelCNN++ (Salimans, Karpathy, Chen and Kingma 2017).

    p(x) = prod_i p(x_i | x_<i)
    p(x_i | x_<i) = sum_k pi_k prod_c [sigmoid((v_c + h - mu'_kc) / s_kc) - sigmoid((v_c - h - mu'_kc) / s_kc)]
    resnet(u, a) = u + p * sigmoid(q),   (p, q) = conv(dropout(f(conv(f(u)) + linear(f(a))))),   f(u) = elu([u, -u])

Two streams: of rows by 2 x 3 convolutions, of pixels by 2 x 2 ones, whose resnets see the same layer of the first. Each goes from the whole
resolution to a half and a quarter of it (``levels``, fewer where sides cannot be halved) and back; on the way back a layer sees its
mirror image of the way down (``short_cuts``). Channels of a pixel are conditioned on linearly, in the mixture. ``head=softmax`` has 256
levels without order instead; ``levels=1`` stays at the whole resolution.

The paper and its released code: 160 filters, 5 resnets at each resolution, 10 components, dropout 0.5, Adam with a rate of 0.001, average
of the weights with 0.9995, weight normalisation that starts by data.

Differences from the paper: 16 filters and one resnet at each resolution; the rate is constant and Adam's betas are its usual ones; the
average begins faster; no class labels; masses of levels without the released code's approximation where they are small; samples are
rounded to levels before they are seen, so that they are draws of the masses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.options import Count, Range
from elboard.methods.autoregressive.base import Autoregressive, PixelNetwork
from elboard.methods.parts.causal import CausalConv, Grow, Kind, Place, Pointwise

CARD = MethodCard(
    name="pixelcnnpp",
    title="PixelCNN++",
    family="autoregressive",
    home="generation/mnist-grey14",
    paper="085",
    cite="Salimans, Karpathy, Chen and Kingma 2017",
    splits=True,
    defaults="convention",
)
SIZES: dict[Kind, tuple[int, int]] = {"rows": (2, 3), "pixels": (2, 2)}


def concat_elu(x: Tensor) -> Tensor:
    """elu([x, -x]), twice as many channels."""
    return F.elu(torch.cat([x, -x], 1))


class Resnet(nn.Module):
    """Two causal convolutions, the second one gated; ``beside`` channels are seen between them."""

    def __init__(self, width: int, kind: Kind, beside: int, dropout: float):
        super().__init__()
        self.first = CausalConv(2 * width, width, SIZES[kind], kind)
        self.beside = Pointwise(2 * beside, width) if beside else None
        self.second = CausalConv(2 * width, 2 * width, SIZES[kind], kind, scale=0.1)
        self.dropout = dropout

    def forward(self, x: Tensor, beside: Tensor | None, at: Place | None) -> Tensor:
        h = self.first(concat_elu(x), at)
        if self.beside is not None:
            h = h + self.beside(concat_elu(beside), at)
        h = F.dropout(concat_elu(h), self.dropout, self.training)
        p, q = self.second(h, at).chunk(2, 1)
        return x + p * q.sigmoid()


class Stream(nn.Module):
    """Down to the smallest maps and up again; with ``told`` each resnet sees what another stream has there."""

    def __init__(self, c: Any, levels: int, kind: Kind, told: bool):
        super().__init__()
        self.short_cuts, last = c.short_cuts, levels - 1

        def resnets(n: int, beside: int) -> nn.ModuleList:
            return nn.ModuleList(Resnet(c.width, kind, c.width * beside, c.dropout) for _ in range(n))

        self.down = nn.ModuleList(resnets(c.resnets, told) for _ in range(levels))
        self.up = nn.ModuleList(resnets(c.resnets + (level < last), told + c.short_cuts) for level in range(levels))
        self.shrink = nn.ModuleList(CausalConv(c.width, c.width, SIZES[kind], kind, stride=2) for _ in range(last))
        self.grow = nn.ModuleList(Grow(c.width, c.width, kind) for _ in range(last))

    def forward(self, x: Tensor, known: Mapping[Any, Tensor] | None = None, at: Place | None = None) -> tuple[Tensor, dict[Any, Tensor]]:
        """The last maps, and those after each resnet by (level, "down" or "up", number); ``known`` are another stream's."""
        found: dict[Any, Tensor] = {}
        return self._level(x, 0, known, at, found), found

    def _level(self, x: Tensor, level: int, known: Mapping[Any, Tensor] | None, at: Place | None, found: dict[Any, Tensor]) -> Tensor:
        passed = [x]

        def step(way: str, i: int, block: nn.Module, x: Tensor) -> Tensor:
            beside = [] if known is None else [known[level, way, i] if at is None else at.of(known[level, way, i])]
            beside += [passed.pop()] if way == "up" and self.short_cuts else []
            found[level, way, i] = block(x, torch.cat(beside, 1) if beside else None, at)
            return found[level, way, i]

        for i, block in enumerate(self.down[level]):
            x = step("down", i, block, x)
            passed.append(x)
        if level < len(self.shrink):
            small = self.shrink[level](x, at)
            if small is not None:
                small = self._level(small, level + 1, known, at and at.halved(), found)
            x = self.grow[level](small, at)
        else:
            passed.pop()  # it is x itself
        for i, block in enumerate(self.up[level]):
            x = step("up", i, block, x)
        return x


class TwoStreams(PixelNetwork):
    """The network of images of ``shape``."""

    def __init__(self, c: Any, shape: tuple[int, ...], head: nn.Module):
        super().__init__()
        inputs, levels = shape[0] + 1, 1
        while levels < c.levels and all(side % 2**levels == 0 for side in shape[1:]):
            levels += 1
        self.above = CausalConv(inputs, c.width, (2, 3), "rows", strict=True)
        self.row_above = CausalConv(inputs, c.width, (1, 3), "rows", strict=True)
        self.before = CausalConv(inputs, c.width, (2, 1), "pixels", strict=True)
        self.of_rows = Stream(c, levels, "rows", told=False)
        self.of_pixels = Stream(c, levels, "pixels", told=True)
        self.head = head
        self.out = Pointwise(c.width, head.n_outputs)

    def rows(self, x: Tensor, at: Place | None = None) -> dict[Any, Tensor]:
        known = self.of_rows(self.above(x, at), at=at)[1] | {"row above": self.row_above(x, at)}
        if at is None:
            return known
        at.memory["rows"] = {**at.memory.get("rows", {}), **known}  # smaller maps have a new row at every second one alone
        return at.memory["rows"]

    def pixels(self, x: Tensor, known: dict[Any, Tensor], at: Place | None = None) -> Tensor:
        above = known["row above"]
        h, _ = self.of_pixels((above if at is None else at.of(above)) + self.before(x, at), known, at)
        return self.out(F.elu(h), at)


class PixelCNNPP(Autoregressive):
    """Trained on the exact likelihood."""

    @dataclass(kw_only=True)
    class Config(Autoregressive.Config):
        width: Count = 16
        resnets: Count = 1  # at each resolution on each way, and one more on the way up
        levels: Count = 3  # resolutions
        dropout: Annotated[float, Range(0, below=1)] = 0.5
        short_cuts: bool = True  # from the way down to the way up

    def make_network(self) -> TwoStreams:
        return TwoStreams(self.config, self.image, self.make_head())
