"""ARD-VAE: a prior whose variance an axis the codes themselves give (Saha, Joshi and Whitaker 2025).

    z_l | alpha_l ~ N(0, 1/alpha_l),   alpha_l ~ Gamma(a0, b0),   a0 = b0 = 0
    a = n / 2,   b_l = sum_i (z_l^(i))^2 / 2,   v_l = b_l / a            of sampled codes of n examples X_alpha
    L(x) = |x - Dec(z)|^2 + beta KL(q(z|x) || N(0, diag v)),   KL = sum_l (log v_l - log sigma_l^2 + (sigma_l^2 + mu_l^2) / v_l - 1) / 2

v is a constant of the step. p(z_l | D_z) is Student's t with 2a degrees of freedom, with thousands of codes N(0, v_l). Each epoch draws
X_alpha anew from the training examples, gives v, and trains on the others. Axes that the decoder does not need shrink, v_l with them;
which ones matter is told by w_l = v_l sum_d (mean |dx_d / dz_l|)^2, and samples vary on those with 99 % of the sum alone, around the
codes' mean.

For real vectors the squared error is a Gaussian likelihood of variance beta / 2, of which L is beta times minus the bound. ``elbo`` and
the NLL are of the model with this likelihood and the prior N(0, diag v).

Differences from the paper: the likelihood of the task for pixels; the family's fully connected network and the task's batches instead of
convolutions with batch normalisation; a constant rate; X_alpha is a fifth of the training examples (10,000 of 50,000).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.metrics.dimension import relevance, relevant
from elboard.bench.options import NonNegative, Range
from elboard.bench.task import Batch, Data
from elboard.methods.parts.likelihoods import Gaussian as GaussianLikelihood
from elboard.methods.parts.posteriors import Gaussian
from elboard.methods.parts.priors import Prior
from elboard.methods.vae.base import AnyDataVAE

CARD = MethodCard(
    name="ard-vae",
    title="VAE with automatic relevance determination of its axes",
    family="vae",
    home="dimension/manifold-4",
    paper="016",
    cite="Saha, Joshi and Whitaker 2025",
    defaults="paper",
)
JACOBIANS = 100


class AxisNormal(Prior):
    """N(0, diag variance), a buffer that the method sets."""

    def __init__(self, latent_dim: int):
        super().__init__()
        self.register_buffer("variance", torch.ones(latent_dim))

    def sample(self, n: int, like: Tensor) -> Tensor:
        return self.variance.sqrt() * torch.randn(n, len(self.variance), device=like.device)

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (z**2 / self.variance + self.variance.log() + math.log(2 * math.pi)).sum(-1)

    def divergence(self, q: Gaussian, draw: Any) -> Tensor:
        ratio = (q.mean**2 + q.logvar.exp()) / self.variance
        return 0.5 * (self.variance.log() - q.logvar + ratio - 1).sum(-1)


class ARDVAE(AnyDataVAE):
    """See the module; ``held`` marks the training examples that are X_alpha in the present epoch."""

    @dataclass(kw_only=True)
    class Config(AnyDataVAE.Config):
        latent_dim: int = 128  # generous
        lr: float = 5e-4
        beta: NonNegative = 0.5
        codes: Annotated[float, Range(above=0, below=1)] = 0.2  # share of the training examples that are X_alpha

    def make_prior(self) -> Prior:
        return AxisNormal(self.config.latent_dim)

    def make_likelihood(self) -> torch.nn.Module:
        made = super().make_likelihood()
        if isinstance(made, GaussianLikelihood):
            made.log_std.requires_grad_(False).fill_(0.5 * math.log(self.config.beta / 2))
        return made

    def prepare(self, data: Data) -> None:
        super().prepare(data)
        z = self.config.latent_dim
        self.register_buffer("centre", torch.zeros(z))
        self.register_buffer("used", torch.ones(z, dtype=torch.bool))
        self._data, self.held = data, torch.zeros(len(data.train["x"]), dtype=torch.bool)

    def fit(self, data: Data, training: Any) -> None:
        """Batches say which examples they hold."""
        training.data = replace(data, train={**data.train, "index": torch.arange(len(self.held))})
        super().fit(data, training)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"]
        if "index" in batch:
            x = x[~self.held.to(x.device)[batch["index"]]]
        terms = self.elbo(x)
        objective = terms["reconstruction"] + self.config.beta * terms["kl"]
        if isinstance(self.likelihood, GaussianLikelihood):
            objective = -self.config.beta * terms["elbo"]
        scalars = {"loss": objective, "elbo": terms["elbo"], "kl": terms["kl"]}
        return {name: value.sum() / max(1, len(x)) for name, value in scalars.items()}

    # --- the variances of the axes -----------------------------------------------------------------

    def hold(self) -> None:
        """Draw X_alpha of the epoch."""
        n = len(self.held)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.current_epoch) % 2**63)
        self.held = torch.zeros(n, dtype=torch.bool)
        self.held[torch.randperm(n, generator=generator)[: max(1, int(self.config.codes * n))]] = True

    @torch.no_grad()
    def estimate(self) -> Tensor:
        """Set v by X_alpha, and the mean of its codes. Returns these means, ``(n, Z)``."""
        batch = {"x": self._data.train["x"][self.held].to(self.out.weight.device)}
        if self._data.on_batch:
            batch = self._data.on_batch(batch, torch.Generator(self.out.weight.device).manual_seed(self.current_epoch))
        q = self.posterior(self.encoder(batch["x"]))
        self.prior.variance.copy_((q.sample().z ** 2).mean(0).clamp(min=1e-12))
        self.centre.copy_(q.mean.mean(0))
        return q.mean

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.hold()
        self.estimate()

    def on_epoch_resumed(self) -> None:
        super().on_epoch_resumed()
        self.hold()  # the variances are in the checkpoint

    def before_validation(self) -> None:
        codes = self.estimate()
        weights = relevance(self.decode, codes[:JACOBIANS], self.prior.variance)
        self.used.copy_(torch.from_numpy(relevant(weights.cpu().numpy())))

    def sample(self, n: int) -> Tensor:
        return self.decode(self.centre + self.used * self.prior.sample(n, like=self.out.weight))
