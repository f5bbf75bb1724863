"""Adamic-Adar index: common neighbours, rare ones counting more (Adamic and Adar 2003; for links Liben-Nowell and Kleinberg 2007).

    score(u, v) = sum_{w in N(u) & N(v)} 1 / log |N(w)|

N are the neighbours in the training graph. Nothing is learned and features are not used. Pairs without a common neighbour, most of a sparse
graph's, score 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.links import LinkPredictor
from elboard.bench.method import Method
from elboard.bench.options import Options
from elboard.bench.task import Data

CARD = MethodCard(
    name="adamic-adar",
    title="Adamic-Adar index of common neighbours",
    family="graph",
    home="links/cora",
    cite="Adamic and Adar 2003; Liben-Nowell and Kleinberg 2007",
    defaults="none",
)


class AdamicAdar(Method, LinkPredictor):
    """A pair's common neighbours are found by binary search among the sorted numbers ``u N + w`` of all edges, both directions."""

    @dataclass(kw_only=True)
    class Config(Options):
        pass

    def prepare(self, data: Data) -> None:
        edges, n = data.shared["edges"], self.spec.n_nodes
        degrees = torch.bincount(edges.flatten(), minlength=n)
        keys = torch.cat((edges @ torch.tensor([n, 1]), edges @ torch.tensor([1, n]))).sort().values
        for name, tensor in (("keys", keys), ("degrees", degrees), ("starts", degrees.cumsum(0) - degrees)):
            self.register_buffer(name, tensor, persistent=False)

    def fit(self, data: Data, training: Any) -> None:
        """Nothing is learned."""

    def link_scores(self, pairs: Tensor) -> Tensor:
        u, v = pairs.T
        counts = self.degrees[u]
        pair = torch.repeat_interleave(counts)  # one entry for every neighbour of u
        within = torch.arange(len(pair), device=u.device) - (counts.cumsum(0) - counts)[pair]
        neighbour = self.keys[self.starts[u][pair] + within] % self.spec.n_nodes
        wanted = v[pair] * self.spec.n_nodes + neighbour
        place = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        weight = torch.where(self.keys[place] == wanted, 1 / self.degrees[neighbour].double().log(), 0)
        return torch.zeros(len(pairs), dtype=torch.float64, device=u.device).index_add(0, pair, weight)
