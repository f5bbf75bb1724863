"""Multiscale VAE: one model trained with several weights of the KL term at once (Chou and Hathi 2019).

    L = E_{k ~ uniform} [-E_q(z|x,k)[log p(x|z)] + beta_k KL(q(z|x, k) || N(0, I))],   beta_1 < ... < beta_K

Each example draws its scale k. The encoder is told k (one-hot), the decoder is not: a code of a high weight is decoded to a coarse variant
of its image by the decoder that serves the fine codes too. ``condition=none`` tells nobody, which in expectation is one beta-VAE of the
mean weight and so a control; ``both`` tells the decoder too, K models that share weights. Samples of all scales are the decoder's of
N(0, I); of ``both``, those of each.

Differences from the paper: its weights and whether they are inputs are not verified; those here are a choice. Losses of scales are not
divided by their weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.collapse import BetaSpec
from elboard.bench.method import Bases
from elboard.bench.task import Batch
from elboard.methods.parts.batched import batched_mlp
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.vae.reencoding import Reencoding

CARD = MethodCard(
    name="multiscale-vae",
    title="One VAE of several weights of the KL term",
    family="vae",
    home="reencoding/mnist",
    paper="048",
    cite="Chou and Hathi 2019",
    splits=True,
    defaults="convention",
)


class MultiscaleVAE(Reencoding):
    """One network; its G models are the scales of it."""

    @dataclass(kw_only=True)
    class Config(Reencoding.Config):
        betas: list[float] = field(default_factory=lambda: [0.1, 0.3, 1.0, 3.0])  # not verified
        condition: Literal["encoder", "none", "both"] = "encoder"

    def __init__(self, config: Any, spec: BetaSpec, bases: Bases | None = None):
        if config.network != "mlp":
            raise UserError(f"network={config.network!r}: {CARD.name} tells the scale to network='mlp' alone")
        super().__init__(config, spec, bases)

    def make_networks(self, models: int) -> tuple[nn.Module, nn.Module]:
        c, pixels = self.config, math.prod(self.spec.shape)
        told = {"encoder": (models, 0), "none": (0, 0), "both": (models, models)}[c.condition]
        encoder = batched_mlp(1, [pixels + told[0], *c.hidden, 2 * c.latent_dim])
        return encoder, batched_mlp(1, [c.latent_dim + told[1], *reversed(c.hidden), pixels])

    def scaled(self, network: nn.Module, given: Tensor, k: Tensor, tell: bool) -> Tensor:
        """What ``network`` makes of rows ``(N, ...)`` at the scales ``k`` (N,)."""
        told = [given, nn.functional.one_hot(k, len(self.betas)).to(given.dtype)] if tell else [given]
        return network(torch.cat(told, dim=1)[None])[0]

    def at(self, network: nn.Module, given: Tensor, tell: bool) -> Tensor:
        """``(G, B, ...)`` -> ``(G, B, ...)``, the g-th part at scale g."""
        k = torch.arange(len(given), device=given.device).repeat_interleave(given.shape[1])
        return self.scaled(network, given.flatten(0, 1), k, tell).unflatten(0, given.shape[:2])

    def encoded(self, x: Tensor) -> Tensor:
        return self.at(self.encoder, x, self.config.condition != "none")

    def outputs(self, z: Tensor) -> Tensor:
        return self.at(self.decoder, z, self.config.condition == "both")

    def losses(self, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x|z) and KL of images ``(B, *shape)`` at the scales ``k`` (B,), both ``(B,)``."""
        rows, told = x.flatten(1), self.config.condition
        mean, logvar = self.scaled(self.encoder, rows, k, told != "none").chunk(2, dim=-1)
        logvar = logvar.clamp(-12.0, 12.0)
        z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
        out = self.scaled(self.decoder, z, k, told == "both")
        return -self.likelihood.log_prob(rows, out), kl_to_standard_normal(mean, logvar)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        k = torch.randint(len(self.betas), (len(batch["x"]),), device=batch["x"].device)
        reconstruction, kl = self.losses(batch["x"], k)
        weighted = torch.tensor(self.betas, device=kl.device)[k] * kl
        return {"loss": (reconstruction + weighted).mean(), "elbo": -(reconstruction + kl).mean(), "kl": kl.mean()}
