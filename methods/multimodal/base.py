"""What multimodal variational autoencoders share: an encoder and a decoder a modality, products of experts, the mixture-based bound.

    p(x, z) = p(z) prod_m p(x_m|z),    q_A(z|x_A) propto p(z) prod_{m in A} N(z; mu_m(x_m), diag sigma_m^2(x_m)),    p(z) = N(0, I)
    L_S(x) = sum_{A in S} w_A { E_{q_A(z|x_A)} log p(x_1 .. x_M | z) - beta KL(q_A(z|x_A) || p(z)) },   w_A = 1 / |S|

(Daunhawer et al. 2022, definition of mixture-based models.) Methods differ in the set S of subsets alone. The product is one of Gaussians
in precisions, the prior an expert among them: precision 1 + sum 1 / sigma_m^2, mean (sum mu_m / sigma_m^2) / precision. All methods have
the prior in it, also those that never multiply two experts, so that with one modality all of them are the same autoencoder.

Training draws one subset for each example, all of S equally often in a batch up to one, so that the loss of a mixture is not split into
parts of a batch (the card's ``splits``); the reported bound has all of them. Networks,
likelihood and the weights of modalities (1) are the same for all methods; layers are those of the paper's card for this scale.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.kinds.multimodal import MultimodalEncoder, MultimodalGenerator, MultimodalLikelihood, MultimodalSpec
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative
from elboard.bench.task import Batch, Data
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.likelihoods import likelihood
from elboard.methods.parts.networks import MLP
from elboard.methods.parts.posteriors import DiagonalGaussian, Gaussian


def singletons(n: int) -> Tensor:
    """Each of ``n`` modalities by itself: masks ``(n, n)``."""
    return torch.eye(n, dtype=torch.bool)


def powerset(n: int) -> Tensor:
    """All subsets of ``n`` modalities but the empty one, small ones first: masks ``(2^n - 1, n)``."""
    chosen = [set(of) for size in range(1, n + 1) for of in itertools.combinations(range(n), size)]
    return torch.tensor([[m in of for m in range(n)] for of in chosen])


def product(experts: Gaussian, mask: Tensor) -> Gaussian:
    """The normalised product of N(0, I) and of those experts ``(B, M, Z)`` that ``mask`` (B, M) has: ``(B, Z)``."""
    precision = torch.exp(-experts.logvar) * mask[:, :, None]
    total = 1 + precision.sum(1)
    return Gaussian((precision * experts.mean).sum(1) / total, -torch.log(total))


class Coder(nn.Module):
    """Encoder and decoder of one modality; a ``deterministic`` encoder gives a code ``(B, Z)`` in the place of a Gaussian."""

    def __init__(self, shape: tuple[int, ...], hidden: list[int], latent_dim: int, deterministic: bool = False):
        super().__init__()
        self.shape, pixels = shape, math.prod(shape)
        head = nn.Linear if deterministic else DiagonalGaussian
        self.encoder = nn.Sequential(MLP([pixels, *hidden]), head(hidden[-1], latent_dim))
        self.decoder = MLP([latent_dim, *reversed(hidden)])
        self.out = nn.Linear(hidden[0], pixels)

    def output(self, z: Tensor) -> Tensor:
        """Parameters of p(x_m|z), ``(B, D)``."""
        return self.out(self.decoder(z))


class MultimodalVAE(Method, MultimodalGenerator, MultimodalLikelihood, MultimodalEncoder):
    """Trained on L_S; a subclass gives S."""

    spec: MultimodalSpec

    @dataclass(kw_only=True)
    class Config(Method.Config):
        hidden: list[Count] = field(default_factory=lambda: [256, 128])
        latent_dim: Count = 16
        beta: NonNegative = 1.0  # weight of the KL in training; reported bounds have 1

    def __init__(self, config: Any, spec: MultimodalSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.coders = nn.ModuleDict({of.name: Coder(of.shape, config.hidden, config.latent_dim) for of in spec.modalities})
        self.likelihood = likelihood(spec)

    def subsets(self) -> Tensor:
        """S as masks ``(S, M)``."""
        raise NotImplementedError

    def prepare(self, data: Data) -> None:
        with torch.no_grad():
            for name, coder in self.coders.items():
                coder.out.bias.copy_(self.likelihood.initial_bias(data.train[name].flatten(1).mean(0)))

    # --- codes -----------------------------------------------------------------------------------------

    def experts(self, batch: Mapping[str, Tensor]) -> Gaussian:
        """q(z|x_m) of each modality, ``(B, M, Z)``; N(0, I), which no mask may have, of those that are not there."""
        like = next(iter(batch.values()))
        nothing = like.new_zeros(len(like), self.config.latent_dim)
        found = [self.coders[name].encoder(batch[name]) if name in batch else Gaussian(nothing, nothing) for name in self.spec.names]
        return Gaussian(*(torch.stack([getattr(one, part) for one in found], dim=1) for part in ("mean", "logvar")))

    def posterior(self, experts: Gaussian, mask: Tensor) -> Gaussian:
        """q_A(z|x_A) of the subset that each row of ``mask`` (B, M) names."""
        return product(experts, mask)

    def code(self, z: Tensor, m: int) -> Tensor:
        """What the decoder of modality ``m`` is given of the code."""
        return z

    def drawn_masks(self, n: int) -> Tensor:
        """A subset for each of ``n`` examples: all equally often up to one, and equally likely for each; no noise where there is one."""
        of = self.subsets()
        offset = torch.randint(len(of), ()) if len(of) > 1 else 0
        return of[(torch.arange(n) + offset) % len(of)].to(self.device)

    def mask_given(self, given: Tensor, n: int) -> Tensor:
        """Which of the ``given`` modalities (M,) the posterior of each of ``n`` examples is of, ``(n, M)``: their product."""
        return given.expand(n, -1)

    # --- the bound ---------------------------------------------------------------------------------------

    def terms(self, batch: Mapping[str, Tensor], experts: Gaussian, mask: Tensor) -> dict[str, Tensor]:
        """-log p(x_m|z) by modality of one z ~ q_A, and KL(q_A || p), ``(B,)``."""
        q = self.posterior(experts, mask)
        z = q.sample().z
        found = {
            name: -self.likelihood.log_prob(batch[name].flatten(1), coder.output(self.code(z, m)))
            for m, (name, coder) in enumerate(self.coders.items())
        }
        return {**found, "kl": kl_to_standard_normal(q.mean, q.logvar)}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        experts = self.experts(batch)
        terms = self.terms(batch, experts, self.drawn_masks(len(experts.mean)))
        reconstruction = torch.stack([terms[name] for name in self.spec.names]).sum(0).mean()
        kl = terms["kl"].mean()
        return {"loss": reconstruction + self.config.beta * kl, "elbo": -reconstruction - kl, "kl": kl}

    def elbo(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        experts, of = self.experts(batch), self.subsets().to(self.device)
        each = [self.terms(batch, experts, mask.expand(len(experts.mean), -1)) for mask in of]
        mean = {name: torch.stack([terms[name] for terms in each]).mean(0) for name in each[0]}
        reconstruction = torch.stack([mean[name] for name in self.spec.names]).sum(0)
        return {**mean, "reconstruction": reconstruction, "elbo": -reconstruction - mean["kl"]}

    # --- generation --------------------------------------------------------------------------------------

    def decode(self, z: Tensor) -> dict[str, Tensor]:
        """Means of all modalities."""
        outputs = {name: coder.output(self.code(z, m)) for m, (name, coder) in enumerate(self.coders.items())}
        return {name: self.likelihood.mean(out).unflatten(1, self.coders[name].shape) for name, out in outputs.items()}

    def posterior_given(self, given: Mapping[str, Tensor]) -> Gaussian:
        experts = self.experts(given)
        there = torch.tensor([name in given for name in self.spec.names])
        return self.posterior(experts, self.mask_given(there, len(experts.mean)).to(self.device))

    def sample_joint(self, n: int) -> dict[str, Tensor]:
        nothing = torch.zeros(n, len(self.coders), self.config.latent_dim, device=self.device)
        prior = self.posterior(Gaussian(nothing, nothing), nothing[:, :, 0].bool())  # the product of no expert is the prior
        return self.decode(prior.sample().z)

    def sample_given(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.decode(self.posterior_given(given).sample().z)

    def represent_given(self, given: Mapping[str, Tensor]) -> Tensor:
        return self.posterior_given(given).mean
