"""Mult-DAE, denoising autoencoder with multinomial likelihood (Liang, Krishnan, Hoffman and Jebara 2018).

    min  - sum_i x_i log softmax(f(g(dropout(x / |x|))))_i + lambda |W|^2,      I - 200 - I, dropout 0.5 at the input

lambda is 0.01 / 500 a user, as in the paper. Scores are the logits of the history without dropout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative, Range
from elboard.bench.task import Batch, DataSpec
from elboard.methods.recommendation.base import ClickAutoencoder, multinomial_log_likelihood

CARD = MethodCard(
    name="mult-dae",
    title="Denoising autoencoder with multinomial likelihood",
    family="recommendation",
    home="recommendation/ml-100k",
    paper="045",
    cite="Liang, Krishnan, Hoffman and Jebara 2018",
    splits=True,
    defaults="paper",
)


class MultDAE(ClickAutoencoder):
    """A deterministic code."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        latent_dim: Count = 200  # section 4.3
        dropout: Annotated[float, Range(0, below=1)] = 0.5  # section 4.3
        l2: NonNegative = 2e-5  # 0.01 / 500

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, [spec.shape[0], config.latent_dim], [config.latent_dim, spec.shape[0]], bases)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(torch.tanh(self.code(x)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        log_likelihood = multinomial_log_likelihood(x, self(x)).mean()
        penalty = sum((p**2).sum() for name, p in self.named_parameters() if name.endswith("weight"))
        return {"loss": -log_likelihood + self.config.l2 * penalty, "log_likelihood": log_likelihood}

    def scores(self, history: Tensor) -> Tensor:
        return self(history)
