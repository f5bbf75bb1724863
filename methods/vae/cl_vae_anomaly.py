"""Variational autoencoder with one cluster of codes for normal images and one for anomalies (Bogdoll, Pavlitska, Klaus and Zoellner 2023).

    p(z|y) = N(c_y, I),   c_0 = -r 1,   c_1 = r 1,   q(z|x) = N(mu(x), diag s^2(x)) does not see y
    KL = 1/2 sum_j ((mu_j - c_yj)^2 + s_j^2 - 1 - log s_j^2)
    minimise  E_q[-log p(x|z)] + beta KL + a L_distance + b L_i
    L_distance = relu(m - |mean_{y=0} mu - mean_{y=1} mu|)^2,   L_i = mean relu(|mu - c_own| - |mu - c_other| + m / 2),   m = 2 r sqrt(d)
    score(x) = |mu - c_0|^2 - |mu - c_1|^2 = 4 r sum_j mu_j

The score is twice the log-likelihood ratio of the two priors at mu; an image is called anomalous where it is above 0. r sqrt(d) is
``separation``: codes drawn from the priors are confused with probability Phi(-separation). Normal and anomalous images weigh the same in
all terms but L_distance, as in balanced batches; a batch of one kind has no L_distance.

Differences from the paper, of which the forms of L_distance and L_i, weights, centres and networks were not verified: those above are ours
(a squared L_i would only be a larger weight of the KL's mean part); pixels in the place of perceptual features; the network of the board.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.anomaly import AnomalyScorer
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.vae.detecting import ImageVAE

CARD = MethodCard(
    name="cl-vae-anomaly",
    title="VAE with clusters of normal images and anomalies",
    family="vae",
    home="anomaly/streets",
    paper="044",
    cite="Bogdoll et al. 2023",
    defaults="convention",
)


class CLVAEAnomaly(ImageVAE, AnomalyScorer):
    """Trained on labelled images; the nearer cluster classifies."""

    @dataclass(kw_only=True)
    class Config(ImageVAE.Config):
        separation: NonNegative = 3.0  # r sqrt(d): 0.13 % of the priors' mass on the wrong side
        beta: NonNegative = 1.0
        distance: NonNegative = 10.0  # a
        margin: NonNegative = 100.0  # b; of 10 nothing is seen beside thousands of nats of pixels
        balanced: bool = True

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        r = config.separation / math.sqrt(config.latent_dim)
        self.register_buffer("centres", torch.tensor([[-r], [r]]).expand(2, config.latent_dim).clone())
        self.register_buffer("weights", torch.ones(2))

    def prepare(self, data: Data) -> None:
        super().prepare(data)
        if self.config.balanced:
            share = data.train["y"].float().mean().clamp(1e-3, 1 - 1e-3)
            self.weights.copy_(0.5 / torch.stack([1 - share, share]))

    def distances(self, mean: Tensor) -> Tensor:
        """From codes ``(B, d)`` to the two centres, ``(B, 2)``."""
        return torch.linalg.vector_norm(mean[:, None] - self.centres, dim=2)

    def separating(self, mean: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """L_distance, a scalar, and what L_i is the mean of, ``(B,)``."""
        m = 2 * self.config.separation
        both = torch.stack([y == 0, y == 1]).to(mean.dtype)
        count = both.sum(1, keepdim=True)
        centroids = both @ mean / count.clamp(min=1)
        apart = (centroids[0] - centroids[1]).square().sum().clamp(min=1e-12).sqrt()
        l_distance = (m - apart).clamp(min=0).square() * (count.min() > 0)
        to = self.distances(mean)
        own, other = to.gather(1, y[:, None])[:, 0], to.gather(1, 1 - y[:, None])[:, 0]
        return l_distance, (own - other + m / 2).clamp(min=0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        c, y = self.config, batch["y"]
        terms = self.terms(batch["x"], self.centres[y])
        l_distance, l_i = self.separating(terms.pop("mean"), y)
        mean = {name: (self.weights[y] * of).mean() for name, of in {**terms, "margin": l_i}.items()} | {"distance": l_distance}
        loss = mean["reconstruction"] + c.beta * mean["kl"] + c.distance * l_distance + c.margin * mean["margin"]
        return {"loss": loss, **mean}

    def anomaly_score(self, x: Tensor) -> Tensor:
        to = self.distances(self.represent(x)).square()
        return to[:, 0] - to[:, 1]

    def generate(self, y: Tensor) -> Tensor:
        """Images of the kinds ``y`` (n,): decoded from their own clusters, not from N(0, I), which lies between them."""
        return self.decode(self.centres[y] + torch.randn_like(self.centres[y]))
