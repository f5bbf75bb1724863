"""A deterministic autoencoder for each modality, and one Gaussian of all their codes: the first stage of MLD (Bounoua et al. 2024).

    L = sum_m - log p(x_m | d_m(e_m(x_m))),   z = (e_1(x_1), .., e_M(x_M)),   p(z) = N(mean, covariance) of the training examples' codes

With likelihoods of Laplace of a fixed scale the loss is the L1 error of the paper. The density of codes is fitted once the autoencoders are
trained (ex-post, Ghosh et al. 2020), and joint samples and those given some modalities are of this Gaussian and of its conditionals: what
linear dependence of codes alone makes coherent, and the least that a diffusion of the same codes must better.

Differences from the paper: networks, likelihood and length of codes are those that the family shares; its sixteen dimensions are those of
the paper for MNIST. The Gaussian is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.multimodal import MultimodalEncoder, MultimodalGenerator, MultimodalSpec
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count
from elboard.bench.task import Batch, Data
from elboard.methods.multimodal.base import Coder
from elboard.methods.parts.likelihoods import likelihood

CARD = MethodCard(
    name="multimodal-autoencoder",
    title="An autoencoder for each modality, a Gaussian of all codes",
    family="multimodal",
    home="multimodal/digits",
    paper="116",
    cite="Bounoua, Franzese and Michiardi 2024; Ghosh et al. 2020",
    splits=True,
    defaults="convention",
)
CHUNK, FLOOR = 1000, 1e-5  # examples at a time; what is added to variances


class MultimodalAutoencoder(Method, MultimodalGenerator, MultimodalEncoder):
    """See the module."""

    spec: MultimodalSpec

    @dataclass(kw_only=True)
    class Config(Method.Config):
        hidden: list[Count] = field(default_factory=lambda: [256, 128])
        latent_dim: Count = 16  # of each modality

    def __init__(self, config: Any, spec: MultimodalSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        shapes = {of.name: of.shape for of in spec.modalities}
        self.coders = nn.ModuleDict({name: Coder(shape, config.hidden, config.latent_dim, True) for name, shape in shapes.items()})
        self.likelihood = likelihood(spec)
        self.register_buffer("mean", torch.zeros(len(shapes) * config.latent_dim))
        self.register_buffer("covariance", torch.eye(len(shapes) * config.latent_dim))

    def prepare(self, data: Data) -> None:
        self.__dict__["seen"] = data.train
        with torch.no_grad():
            for name, coder in self.coders.items():
                coder.out.bias.copy_(self.likelihood.initial_bias(data.train[name].flatten(1).mean(0)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        errors = [
            -self.likelihood.log_prob(batch[name].flatten(1), coder.output(coder.encoder(batch[name])))
            for name, coder in self.coders.items()
        ]
        return {"loss": torch.stack(errors).sum(0).mean()}

    @torch.no_grad()
    def before_validation(self) -> None:
        n = len(self.seen[self.spec.names[0]])
        parts = [{name: self.seen[name][i : i + CHUNK].to(self.device) for name in self.coders} for i in range(0, n, CHUNK)]
        z = torch.cat([self.codes(part) for part in parts]).double()
        self.mean.copy_(z.mean(0))
        self.covariance.copy_(torch.cov(z.T) + FLOOR * torch.eye(z.shape[1]).to(z))

    # --- codes -----------------------------------------------------------------------------------------

    def codes(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The codes of all modalities side by side, ``(B, M Z)``; 0 of those that are not there."""
        like = next(iter(batch.values()))
        nothing = like.new_zeros(len(like), self.config.latent_dim)
        return torch.cat([coder.encoder(batch[name]) if name in batch else nothing for name, coder in self.coders.items()], dim=1)

    def there(self, given: Mapping[str, Tensor]) -> Tensor:
        """Which dimensions of the codes are of ``given`` modalities, ``(M Z,)`` of bool."""
        return torch.tensor([name in given for name in self.coders], device=self.device).repeat_interleave(self.config.latent_dim)

    def decode(self, z: Tensor) -> dict[str, Tensor]:
        """All modalities of codes ``(B, M Z)``: means of the likelihood."""
        parts = dict(zip(self.coders, z.chunk(len(self.coders), dim=1), strict=True))
        return {name: self.likelihood.mean(coder.output(parts[name])).unflatten(1, coder.shape) for name, coder in self.coders.items()}

    def conditional(self, z: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``(B, U)`` and covariance ``(U, U)`` of the dimensions that are not ``there`` given those that are, of ``z`` (B, M Z)."""
        mean, covariance = self.mean.double(), self.covariance.double()
        known, between = covariance[there][:, there], covariance[there][:, ~there]
        gain = torch.linalg.solve(known, between)
        return mean[~there] + (z.double()[:, there] - mean[there]) @ gain, covariance[~there][:, ~there] - between.T @ gain

    # --- generation --------------------------------------------------------------------------------------

    def sample_joint(self, n: int) -> dict[str, Tensor]:
        nothing = torch.zeros(n, len(self.mean), device=self.device)
        return self.decode(self._drawn(nothing, torch.zeros_like(self.mean, dtype=torch.bool)))

    def sample_given(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.decode(self._drawn(self.codes(given), self.there(given)))

    def _drawn(self, z: Tensor, there: Tensor) -> Tensor:
        if there.all():
            return z
        mean, covariance = self.conditional(z, there)
        noise = torch.randn(mean.shape, device=z.device).double()
        drawn = mean + noise @ torch.linalg.cholesky(covariance + FLOOR * torch.eye(len(covariance)).to(covariance)).T
        found = z.clone()
        found[:, ~there] = drawn.to(z.dtype)
        return found

    def represent_given(self, given: Mapping[str, Tensor]) -> Tensor:
        return self.codes(given)
