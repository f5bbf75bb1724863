"""Generative models p(x, z) of S discrete latents: all of these at once, logarithms in nats.

    Means:   x = sum_l offset_l[z_l] + N(0, noise^2 I),   p(z) = 1 / S
    Tokens:  logits of x = decoder(embedding_1[z_1], ..., embedding_L[z_L]),   p(z) a table of S probabilities, learned

Latents are numbered with the last part fastest.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.kinds.compositional import CompositionalSpec


def codes(choices: tuple[int, ...]) -> Tensor:
    """The parts of all latents, ``(S, L)``."""
    return torch.cartesian_prod(*(torch.arange(k) for k in choices)).view(-1, len(choices))


def numbers(z: Tensor, choices: tuple[int, ...]) -> Tensor:
    """Numbers (...) of latents ``z`` (..., L), the other way round."""
    found = torch.zeros_like(z[..., 0])
    for part, k in enumerate(choices):
        found = found * k + z[..., part]
    return found


def one_hots(choices: tuple[int, ...]) -> Tensor:
    """``(S, sum of choices)``: parts of all latents, one-hot, beside each other."""
    z = codes(choices)
    return torch.cat([F.one_hot(z[:, part], k) for part, k in enumerate(choices)], 1).float()


class Model(nn.Module):
    """What both have: ``codes`` (S, L)."""

    codes: Tensor

    def parts_of(self, z: Tensor) -> Tensor:
        """The parts (B, L) of latents by number ``z`` (B,)."""
        return self.codes[z]


class Means(Model):
    """The mixture. Its parameters are in the units of the data."""

    def __init__(self, spec: CompositionalSpec):
        super().__init__()
        self.noise = spec.noise
        self.offsets = nn.Parameter(spec.spread * torch.randn(sum(spec.choices), *spec.shape))
        self.register_buffer("codes", codes(spec.choices), persistent=False)
        self.register_buffer("parts", one_hots(spec.choices), persistent=False)

    def start_from(self, x: Tensor, start: Tensor | None) -> None:
        """Add ``start`` (sum of choices, D) to what was drawn."""
        with torch.no_grad():
            self.offsets.add_(0 if start is None else start)

    def log_prior(self) -> Tensor:
        """``(S,)``."""
        return self.offsets.new_full((len(self.parts),), -math.log(len(self.parts)))

    def log_likelihoods(self, x: Tensor) -> Tensor:
        """log p(x|z), ``(B, S)``."""
        squares = (x[:, None] - self.parts @ self.offsets).square().sum(2)
        return -squares / (2 * self.noise**2) - 0.5 * x.shape[1] * math.log(2 * math.pi * self.noise**2)

    def draw(self, z: Tensor) -> Tensor:
        """Examples (B, D) of latents by number ``z`` (B,)."""
        mean = self.parts[z] @ self.offsets
        return mean + self.noise * torch.randn_like(mean)


class Tokens(Model):
    """The decoder of bits."""

    def __init__(self, spec: CompositionalSpec, dimension: int, width: int):
        super().__init__()
        (pixels,) = spec.shape
        self.embeddings = nn.Parameter(torch.randn(len(spec.choices), max(spec.choices), dimension))
        inputs = len(spec.choices) * dimension
        self.decoder = nn.Sequential(nn.Linear(inputs, width), nn.LeakyReLU(), nn.Linear(width, pixels))
        self.prior = nn.Parameter(torch.zeros(math.prod(spec.choices)))  # logits
        self.register_buffer("codes", codes(spec.choices), persistent=False)

    def start_from(self, x: Tensor, start: Tensor | None) -> None:
        """Let pixels begin at their means over ``x`` (N, D)."""
        with torch.no_grad():
            self.decoder[-1].bias.copy_(x.mean(0).clamp(0.01, 0.99).logit())

    def log_prior(self) -> Tensor:
        return self.prior.log_softmax(0)

    def embedded(self, z: Tensor) -> Tensor:
        """What the decoder is given for parts ``z`` (B, L): ``(B, L, dimension)``."""
        return self.embeddings[torch.arange(z.shape[1], device=z.device), z]

    def log_likelihoods(self, x: Tensor) -> Tensor:
        logits = self.decoder(self.embedded(self.codes).flatten(1))
        return x @ logits.T - F.softplus(logits).sum(1)

    def draw(self, z: Tensor) -> Tensor:
        return torch.bernoulli(self.decoder(self.embedded(self.parts_of(z)).flatten(1)).sigmoid())


def model_of(spec: CompositionalSpec, dimension: int, width: int) -> Means | Tokens:
    """That of the data's likelihood."""
    return Means(spec) if spec.likelihood == "gaussian" else Tokens(spec, dimension, width)
