"""Truncated singular value decompositions of a network that was trained without any thought of them.

    W = P S Q^T,    W_b = sum_{k <= b} s_k p_k q_k^T

of each layer of a finished classifier but the last one. Ranks of a smaller network are found as in low-rank ordered dropout: the least
important components of all layers go first, the importance of component b being the sum of the singular values from b on. A convolution is
decomposed as the matrix of its outputs and of all that enters one of them. Nothing is trained.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.compression import CompressibleClassifier
from elboard.bench.method import Bases, Method
from elboard.bench.options import Options
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.low_rank import factorise, shrunk

CARD = MethodCard(
    name="svd-post-training",
    title="Truncated SVD of a trained network",
    family="dropout",
    home="compression/mnist",
    paper="066",
    cite="textbook; baseline of Horvath et al. 2024",
    bases={"dense": {"method": "softmax", "set": {"backbone": "mlp", "optimizer": "sgd", "lr": 0.05, "schedule": "cosine"}}},
    defaults="none",
)


class SVDPostTraining(Method, CompressibleClassifier):
    """Raises UserError for a base with batch normalisation."""

    @dataclass(kw_only=True)
    class Config(Options):
        """Starts afresh: nothing is trained by gradients."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.__dict__["backbone"] = copy.deepcopy(self.base.backbone)  # not a submodule: its weights belong to the base's run
        factorise(self.backbone)

    def fit(self, data: Data, training: Any) -> None:
        """Nothing is left to do."""

    @torch.no_grad()
    def compressed(self, parameters: int) -> nn.Module:
        head = self.base.head
        return shrunk(self.backbone.to(head.weight), head, parameters)  # where the base is by now
