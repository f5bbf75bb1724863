"""Label-agnostic forgetting with a repair by few labels, LAF+R (Shen et al. 2024).

    L = - (1/B) sum_{i in S} log softmax(W h(x_i) + b)_{y_i},   S a part of what remains

over one epoch of S, from the weights of a finished run of LAF on; only W and b, of the last layer, are trained.

Differences from the paper: how much is a little was not verified: ``share`` of what remains, a tenth; nor the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F

from elboard.bench.card import MethodCard
from elboard.bench.options import Options, Positive, Range
from elboard.bench.task import Data
from elboard.methods.unlearning.base import Unlearning

CARD = MethodCard(
    name="laf-r",
    title="Label-agnostic forgetting, repaired by few labels",
    family="unlearning",
    home="unlearning/mnist",
    paper="027",
    cite="Shen et al. 2024",
    bases={"unlearned": {"method": "laf"}},
    defaults="convention",
)


class LAFR(Unlearning):
    """Starts from LAF in the place of the original model."""

    @dataclass(kw_only=True)
    class Config(Options):
        """Starts afresh."""

        share: Annotated[float, Range(above=0, high=1)] = 0.1  # of what remains whose labels are seen
        lr: Positive = 1e-3

    def fit(self, data: Data, training: Any) -> None:
        """One epoch, in minibatches of the task's size."""
        device = next(self.base.parameters()).device
        self.to(device)
        known = (~data.train["forget"]).nonzero()[:, 0]
        few = known[torch.randperm(len(known))[: max(1, round(self.config.share * len(known)))]]
        layer = self.head[-1]
        optimizer = torch.optim.Adam(layer.parameters(), lr=self.config.lr)
        for part in few.split(training.config["train"]["batch_size"] or len(few)):
            with torch.no_grad():
                inputs = self.head[:-1](self.extractor(data.train["x"][part].to(device)))
            optimizer.zero_grad()
            F.cross_entropy(layer(inputs), data.train["y"][part].to(device)).backward()
            optimizer.step()
