"""RecVAE (Shenbin, Alekseev, Tutubalina, Malykh and Nikolenko 2020).

    max  E_q(z|x)[ sum_i x_i log softmax(W z + b)_i ] - beta(x) KL(q(z|x) || p(z|x)),     beta(x) = gamma |x|
    p(z|x) = w_1 N(z; 0, I) + w_2 q_old(z|x) + w_3 N(z; 0, e^10 I),     w = 3/20, 3/4, 1/10

|x| is the number of clicks and q_old the encoder of the last cycle: the composite prior keeps codes near the standard normal and near what
they were. KL is estimated by the z of the likelihood. A cycle trains the encoder for ``encoder_epochs``, with dropout at its input, then
the decoder alone for ``decoder_epochs`` without dropout. The encoder has five layers of swish and layer normalisation, each
of which adds up what all before it gave, the decoder is linear.

``elbo`` in the curves is the bound under N(0, I), with weight 1 and the noise of the step. Scores are the logits at the mean of q(z|x).

Differences from the paper: the paper writes a mixture of whole codes, of which nearly always one part explains all coordinates
(``mixed=codes``); the authors' code, whose numbers are the published ones, mixes each coordinate by itself, and p(z|x) is a product of L
mixtures (``mixed=coordinates``). The mixture, three encoder epochs to one of the decoder and the epsilon of 0.1 within the layer
normalisation are those of that code too, as RecBole has it.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.recommendation import Recommender
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative, Range, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.recommendation.base import multinomial_log_likelihood

CARD = MethodCard(
    name="recvae",
    title="RecVAE, composite prior and alternating updates",
    family="recommendation",
    home="recommendation/ml-100k",
    cite="Shenbin et al. 2020",
    splits=True,
    defaults="paper",
)
LAYERS = 5
WIDE = 10.0  # log-variance of the third part of the prior


class DenseEncoder(nn.Module):
    """``h_k = norm(swish(A_k h_{k-1} + b_k + h_1 + ... + h_{k-1}))`` of rows ``(B, n_in)``, then a linear layer, ``(B, n_out)``."""

    def __init__(self, n_in: int, hidden: int, n_out: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(hidden if k else n_in, hidden) for k in range(LAYERS))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden, eps=0.1) for _ in range(LAYERS))
        self.last = nn.Linear(hidden, n_out)

    def forward(self, h: Tensor) -> Tensor:
        before: Tensor | float = 0.0
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = norm(F.silu(layer(h) + before))
            before = before + h
        return self.last(h)


class RecVAE(Method, Recommender):
    """A Gaussian code under a prior that moves with the encoder."""

    resting = True  # the encoder while the decoder trains, and the decoder while the encoder does

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: float = 5e-4  # as in the authors' code
        hidden: Count = 600  # Mult-VAE's
        latent_dim: Count = 200  # Mult-VAE's
        dropout: Annotated[float, Range(0, below=1)] = 0.5  # of the encoder's training
        gamma: NonNegative = 0.005  # that of ML-20M
        beta: NonNegative | None = None  # one weight of the KL for all users, in the place of gamma |x|
        mixture: list[Share] = field(default_factory=lambda: [0.15, 0.75, 0.1])  # N(0, I), q_old, N(0, e^10 I)
        mixed: Literal["coordinates", "codes"] = "coordinates"  # as in the authors' code
        encoder_epochs: Count = 3
        decoder_epochs: Count = 1

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if len(config.mixture) != 3 or not math.isclose(sum(config.mixture), 1):
            raise UserError(f"mixture={list(config.mixture)} is not three weights that sum to 1")
        self.encoder = DenseEncoder(spec.shape[0], config.hidden, 2 * config.latent_dim)
        self.decoder = nn.Linear(config.latent_dim, spec.shape[0])
        self.old = copy.deepcopy(self.encoder).requires_grad_(False)
        self.register_buffer("log_mixture", torch.tensor(config.mixture).log(), persistent=False)

    @property
    def encodes(self) -> bool:
        """Whether the encoder trains in this epoch, and not the decoder."""
        c = self.config
        return self.current_epoch % (c.encoder_epochs + c.decoder_epochs) < c.encoder_epochs

    def before_validation(self) -> None:
        c = self.config
        if (self.current_epoch + 1) % (c.encoder_epochs + c.decoder_epochs) == c.encoder_epochs:
            self.old.load_state_dict(self.encoder.state_dict())

    def log_prior(self, z: Tensor, x: Tensor) -> Tensor:
        """``log p(z|x)`` of codes ``(B, L)``, ``(B,)``."""
        mean, logvar = self.old(F.normalize(x, dim=1)).chunk(2, dim=1)
        zero = torch.zeros_like(z)
        parts = [log_normal(z, zero, zero), log_normal(z, mean, logvar), log_normal(z, zero, zero + WIDE)]
        densities = torch.stack(parts, dim=-1)  # (B, L, 3) of coordinates
        if self.config.mixed == "codes":
            densities = densities.sum(1, keepdim=True)
        return torch.logsumexp(densities + self.log_mixture, dim=-1).sum(1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        c, x = self.config, batch["x"]
        seen = F.dropout(F.normalize(x, dim=1), c.dropout, training=self.training and self.encodes)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.encodes):
            mean, logvar = self.encoder(seen).chunk(2, dim=1)
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
            kl = log_normal(z, mean, logvar).sum(1) - self.log_prior(z, x)
        weight, bias = self.decoder.weight, self.decoder.bias
        if self.encodes:
            weight, bias = weight.detach(), bias.detach()
        log_likelihood = multinomial_log_likelihood(x, F.linear(z, weight, bias))
        beta = c.gamma * x.sum(1) if c.beta is None else c.beta
        elbo = log_likelihood - kl_to_standard_normal(mean, logvar)
        return {"loss": (beta * kl - log_likelihood).mean(), "elbo": elbo.mean(), "kl": kl.mean()}

    def scores(self, history: Tensor) -> Tensor:
        return self.decoder(self.encoder(F.normalize(history, dim=1)).chunk(2, dim=1)[0])


def log_normal(z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """``log N(z_l; mean_l, exp(logvar_l))`` of each coordinate, ``(B, L)``."""
    return -0.5 * ((z - mean) ** 2 * (-logvar).exp() + logvar + math.log(2 * math.pi))
