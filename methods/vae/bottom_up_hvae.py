"""Hierarchical variational autoencoder of bottom-up inference (Havtorn, Frellsen, Hauberg and Maaloe 2021), fully connected.

    p(x, z) = p(x|z) p(z_1|z_>1) ... p(z_(L-1)|z_L) p(z_L),   p(z_L) = N(0, I)
    q(z|x) = prod_i q(z_i|d_i(x)),   d_1 = f_1(x), d_i = f_i(d_(i-1)): features that are deterministic
    downwards:  h_L = g_L(z_L),   h_i = h_(i+1) + g_i(h_(i+1), z_i),   p(z_i|h_(i+1)),   p(x|h_1)
    L(x) = E_q log p(x|z) - sum_i KL_i,   KL_i = E_q(z_>i|x) KL(q(z_i|x) || p(z_i|z_>i))

Trained on -E_q log p(x|z) + beta sum_i max(lambda, mean_x KL_i): beta rises from 0, and lambda nats of each layer are free until the
upper layers carry something. They are of the mean over the batch, not of each image, as the free bits of Kingma et al. (2016) are: images
may share them as they need. lambda then falls to 0, so that the bound itself is trained in the end. The curves hold KL_i as ``kl_1`` to
``kl_L``: a layer whose KL_i is near 0 has collapsed, and the bounds that start above it say nothing.

Since q has no state of the codes, q(z_>k|x) is at hand for each k, as the bounds want that leave z_1 to z_k to the prior
(:meth:`log_weights_above`).

Differences from the paper: fully connected layers in the place of residual blocks of convolutions with weight normalisation, and z_1 of 32
units instead of 8 maps (the sizes above it are the paper's 16 and 8); q(z_i|x) of the features without z_(i-1); 20 % of training instead of
200 of 1,000 epochs for each of the schedules, which is the same share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.likelihood import AmortisedLikelihood, HierarchicalLikelihood
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.divergences import kl_diagonal
from elboard.methods.parts.networks import MLP
from elboard.methods.parts.posteriors import Draw, Gaussian, GaussianLayers
from elboard.methods.parts.schedules import ramp
from elboard.methods.vae.base import AnyData, Variational
from elboard.methods.vae.ladder import LOGVAR

CARD = MethodCard(
    name="bottom-up-hvae",
    title="Hierarchical VAE of three layers, bottom-up",
    family="vae",
    home="ood/fashion-mnist-generative",
    paper="113",
    cite="Havtorn et al. 2021",
    defaults="convention",
)


class Upwards(nn.Module):
    """Features d_1 to q(z_1|x), ..., q(z_L|x)."""

    def __init__(self, n_features: int, sizes: list[int], activation: str):
        super().__init__()
        self.heads = nn.ModuleList(GaussianLayers(n_features, [], size, LOGVAR) for size in sizes)
        self.steps = nn.ModuleList(MLP([n_features, n_features], activation) for _ in sizes[1:])

    def forward(self, features: Tensor) -> list[Gaussian]:
        found = [self.heads[0](features)]
        for step, head in zip(self.steps, self.heads[1:], strict=True):
            features = step(features)
            found.append(head(features))
        return found


class Downwards(nn.Module):
    """The generative path without the likelihood. Layers are numbered from 0, the lowest."""

    def __init__(self, sizes: list[int], width: int, activation: str):
        super().__init__()
        *lower, top = sizes
        self.conditionals = nn.ModuleList(GaussianLayers(width, [], size, LOGVAR) for size in lower)
        self.updates = nn.ModuleList([*(MLP([width + size, width], activation) for size in lower), MLP([top, width], activation)])
        self.top, self.n_features = top, width

    def prior(self, i: int, state: Tensor | None, z: Tensor) -> Gaussian:
        """p(z_i|h_(i+1)), of the top layer N(0, I), in the shape that n rows of codes have; ``z`` gives their kind."""
        if state is None:
            return Gaussian(z.new_zeros(len(z), self.top), z.new_zeros(len(z), self.top))
        return self.conditionals[i](state)

    def update(self, i: int, state: Tensor | None, z: Tensor) -> Tensor:
        """h_i."""
        return self.updates[i](z) if state is None else state + self.updates[i](torch.cat([state, z], dim=1))


class Layer(NamedTuple):
    """One layer on the way down: q and p of n B rows, None for q where p's mode was taken, the codes, and the state below them."""

    i: int
    q: Gaussian | None
    p: Gaussian
    z: Draw
    state: Tensor


class BottomUpHVAE(Variational, AnyData, HierarchicalLikelihood, AmortisedLikelihood):
    """Layers of ``lower_dims`` units from the lowest up, and ``latent_dim`` at the top."""

    inference, heads = ("encoder", "posterior"), ("posterior.heads",)

    @dataclass(kw_only=True)
    class Config(Variational.Config):
        hidden: list[Count] = field(default_factory=lambda: [256])  # the last one is the width of features and states
        latent_dim: Count = 8  # z_3, the paper's
        lower_dims: list[Count] = field(default_factory=lambda: [32, 16])  # z_1; z_2, the paper's
        kl_warmup: Share = 0.2  # share of training over which beta rises
        free: NonNegative = 2.0  # lambda, nats of each layer
        free_constant: Share = 0.2  # share of training over which lambda stays
        free_decay: Share = 0.2  # share over which it then falls to 0

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.layers = len(self.sizes)

    @property
    def sizes(self) -> list[int]:
        return [*self.config.lower_dims, self.config.latent_dim]

    def make_posterior(self, n_features: int) -> nn.Module:
        return Upwards(n_features, self.sizes, self.config.activation)

    def make_decoder(self) -> nn.Module:
        return Downwards(self.sizes, self.config.hidden[-1], self.config.activation)

    def descend(self, x: Tensor, k: int, n: int) -> Iterator[Layer]:
        """Layers from the top, n draws of each example of q above layer ``k`` (counted from 1), modes of p from there down."""
        found, state = self.posterior(self.encoder(x)), None
        for i in reversed(range(self.layers)):
            q = Gaussian(*(value.repeat_interleave(n, dim=0) for value in (found[i].mean, found[i].logvar)))
            p = self.decoder.prior(i, state, q.mean)
            draw = q.sample() if i >= k else Draw(p.mean, torch.zeros_like(p.mean))
            state = self.decoder.update(i, state, draw.z)
            yield Layer(i, q if i >= k else None, p, draw, state)

    def log_likelihood(self, x: Tensor, state: Tensor) -> Tensor:
        """log p(x|h_1), ``(B, n)``, of n rows of states for each example."""
        return self.likelihood.log_prob(x.flatten(1)[:, None], self.out(state).unflatten(0, (len(x), -1)))

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        """Beside the bound of one sample and its terms ``kl_1`` to ``kl_L``."""
        layers = list(self.descend(x, 0, 1))
        kls = {f"kl_{of.i + 1}": kl_diagonal(of.q.mean, of.q.logvar, of.p.mean, of.p.logvar) for of in reversed(layers)}
        reconstruction, kl = -self.log_likelihood(x, layers[-1].state)[:, 0], sum(kls.values())
        return {"elbo": -reconstruction - kl, "kl": kl, "reconstruction": reconstruction, **kls}

    def log_weights_above(self, x: Tensor, k: int, n: int) -> Tensor:
        ratio, state = x.new_zeros(len(x) * n), None
        for of in self.descend(x, k, n):
            state = of.state
            if of.q is not None:
                standardised = Draw(of.z.z, (of.z.z - of.p.mean) * torch.exp(-0.5 * of.p.logvar))
                ratio = ratio + of.p.log_prob(standardised) - of.q.log_prob(of.z)
        return self.log_likelihood(x, state) + ratio.unflatten(0, (len(x), n))

    def log_weights(self, x: Tensor, k: int) -> Tensor:
        return self.log_weights_above(x, 0, k)

    def decode(self, z: Tensor) -> Tensor:
        """Of codes z_L ``(N, latent_dim)``, through one sample of each layer below."""
        state = self.decoder.update(self.layers - 1, None, z)
        for i in reversed(range(self.layers - 1)):
            state = self.decoder.update(i, state, self.decoder.prior(i, state, z).sample().z)
        return self.likelihood.mean(self.out(state)).unflatten(-1, self.spec.shape)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        c, terms = self.config, {name: value.mean() for name, value in self.elbo(batch["x"]).items()}
        past = max(0.0, self.progress - c.free_constant)
        free = c.free * (1 - ramp(past, c.free_decay) if past > 0 else 1.0)
        floored = sum(terms[f"kl_{i + 1}"].clamp(min=free) for i in range(self.layers))
        return {"loss": terms["reconstruction"] + ramp(self.progress, c.kl_warmup) * floored, **terms}
