"""What methods of papers on the generated loss share: G autoencoders side by side, whose encoders take images of each model's own.

    l_beta(x) = -E_q(z|x)[log p(x|z)] + beta KL(q(z|x) || N(0, I)),   z = mu + sigma eps

Grey images enter by their cross-entropy, summed over the pixels, in both terms of any comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from elboard.bench.kinds.collapse import BetaSpec
from elboard.bench.kinds.reencoding import Reencoder
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Form, NonNegative
from elboard.bench.task import Data
from elboard.methods.parts.batched import batched_mlp
from elboard.methods.parts.convolutions import ConvDecoder, ConvEncoder, ConvOutput
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.likelihoods import likelihood


class Convolutional(nn.ModuleList):
    """One network a model: ``(G, N, *inputs)`` -> ``(G, N, outputs)``."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([network(part) for network, part in zip(self, x, strict=True)])


class Reencoding(Method, Reencoder):
    """Networks and losses; subclasses give the objective."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        hidden: list[Count] = field(default_factory=lambda: [256])  # not verified
        latent_dim: Count = 10  # ditto
        network: Annotated[str, Form(r"mlp|conv(-[1-9]\d*)+", "mlp or of the form conv-16-32")] = "mlp"  # or conv-16-32
        betas: list[NonNegative] = field(default_factory=list)  # the task's if empty

    def __init__(self, config: Any, spec: BetaSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.betas = tuple(config.betas or spec.betas)
        self.likelihood = likelihood(spec)
        self.encoder, self.decoder = self.make_networks(len(self.betas))

    def make_networks(self, models: int) -> tuple[nn.Module, nn.Module]:
        """Encoder ``(G, N, D)`` -> ``(G, N, 2 Z)`` and decoder ``(G, N, Z)`` -> ``(G, N, D)``."""
        c, pixels = self.config, math.prod(self.spec.shape)
        if c.network == "mlp":
            encoder, decoder = [pixels, *c.hidden, 2 * c.latent_dim], [c.latent_dim, *reversed(c.hidden), pixels]
            return batched_mlp(models, encoder), batched_mlp(models, decoder)
        encoders, decoders = Convolutional(), Convolutional()
        for _ in range(models):
            encoder, decoder = ConvEncoder(c.network, self.spec.shape), ConvDecoder(c.network, self.spec.shape, c.latent_dim)
            head = nn.Linear(encoder.n_features, 2 * c.latent_dim)
            encoders.append(nn.Sequential(nn.Unflatten(1, self.spec.shape), encoder, head))
            decoders.append(nn.Sequential(decoder, ConvOutput(decoder.n_features, self.spec.shape)))
        return encoders, decoders

    def prepare(self, data: Data) -> None:
        bias = self.likelihood.initial_bias(data.train["x"].flatten(1).mean(0))
        last = [network[-1] for network in self.decoder] if isinstance(self.decoder, Convolutional) else [self.decoder[-1]]
        with torch.no_grad():
            for layer in last:
                layer.bias.copy_(bias)

    def each(self, x: Tensor) -> Tensor:
        """Images of each model, ``(G, B, D)``."""
        per_model = x.ndim == len(self.spec.shape) + 2
        return x.flatten(2) if per_model else x.flatten(1).expand(len(self.betas), -1, -1)

    def outputs(self, z: Tensor) -> Tensor:
        """Parameters of each p(x|z), ``(G, B, Z)`` -> ``(G, B, D)``."""
        return self.decoder(z)

    def encoded(self, x: Tensor) -> Tensor:
        """Means and log-variances ``(G, B, 2 Z)`` of images ``(G, B, D)``."""
        return self.encoder(x)

    def posteriors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.encoded(self.each(x)).chunk(2, dim=-1)
        return mean, logvar.clamp(-12.0, 12.0)

    def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.posteriors(x)
        z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
        return -self.likelihood.log_prob(self.each(x), self.outputs(z)), kl_to_standard_normal(mean, logvar)

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.outputs(z)).unflatten(-1, self.spec.shape)

    def prior_codes(self, n: int) -> Tensor:
        return torch.randn(len(self.betas), n, self.config.latent_dim, device=self.device)

    def objectives(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each model and image, ``(G, B)``, and scalars for the curves."""
        reconstruction, kl = self.terms(x)
        weights = torch.tensor(self.betas, device=kl.device)[:, None]
        return reconstruction + weights * kl, {"elbo": -(reconstruction + kl).mean(), "kl": kl.mean()}
