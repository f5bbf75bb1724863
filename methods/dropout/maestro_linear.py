"""Ordered dropout of the rank of a linear map (Horvath, Laskaridis, Rajput and Wang 2024, on what low-rank ordered dropout recovers).

    min_{U, V}  E_x E_b | U_b V_b^T x - A x |^2,     b ~ uniform on 1..r,     U_b, V_b the first b columns

For x ~ N(0, I) the product U_b V_b^T of the optimum is the truncated singular value decomposition of A, for every b at once; for A = I and
x ~ N(0, C) it is the projector on the first b principal directions. ``ordered=false`` is the product at full rank alone, which leaves its
components in any order. Ranks are walked through in random order, each once in a round.

Differences from the paper: Adam at a rate that falls to 0 by a cosine, for which there is no noise at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds import DataSpec
from elboard.bench.kinds.compression import RankedMaps
from elboard.bench.method import Bases, Method
from elboard.bench.task import Batch
from elboard.methods.parts.low_rank import RankWalk

CARD = MethodCard(
    name="maestro-linear",
    title="Ordered dropout of the rank of linear maps",
    family="dropout",
    home="compression/linear",
    paper="066",
    cite="Horvath et al. 2024",
    splits=True,
    defaults="convention",
)


class MaestroLinear(Method, RankedMaps):
    """Attributes: left, right: U and V of each map, ``(W, D, D)``."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: float = 1e-2
        schedule: str = "cosine"
        ordered: bool = True

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        maps, d = spec.shape
        p, s, q = torch.linalg.svd(torch.randn(maps, d, d) / d**0.5)
        self.left, self.right = (nn.Parameter(of * s.sqrt()[:, None]) for of in (p, q.mT))
        self.walk = RankWalk([d])
        self.register_buffer("live", torch.tensor([d]), persistent=False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        rank = self.walk.drawn(self.live) if self.config.ordered else self.live
        mask = torch.arange(len(self.walk.ranks), device=rank.device) < rank
        out = torch.einsum("nwb,wib->nwi", torch.einsum("nwj,wjb->nwb", batch["x"], self.right) * mask, self.left)
        return {"loss": (out - batch["y"]).square().mean()}

    def after_step(self, batch: Batch, batch_idx: int) -> None:
        self.walk.advance(self.live)
        self.agree(self.walk.order, self.walk.at)

    def products(self) -> Tensor:
        return torch.einsum("wib,wjb->wbij", self.left, self.right).cumsum(1)
