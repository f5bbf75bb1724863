"""Silent gradients: the reconstruction of a linear Gaussian decoder in closed form (Shao, Liu and Van den Broeck 2025).

    E_q[-log N(x; W z + b, s^2)] = sum_i { log s + log(2 pi) / 2 + [(x_i - w_i.m - b_i)^2 + w_i^T C w_i] / (2 s^2) },   m, C = E_q, Cov_q[z]

so that with ``decoder=linear`` and ``estimator=exact`` the ELBO and its gradient have no noise but that of the batch; C is that of a
Gaussian, of bits or of one-hot groups (``latents``). A nonlinear decoder theta is trained by a stochastic estimator while a linear one psi
is trained beside it, and the gradient of the encoder goes over from the one to the other in the first share ``silent`` of training:

    g_phi = a grad_phi L_silent + (1 - a) grad_phi L_stochastic,   a: 1 -> 0;   psi follows L_silent and theta L_stochastic, in full

Gradients, not losses, are scaled: theta learns from the start. The KL is common to both losses and counted once. What is evaluated is the
ordinary VAE (phi, theta). ``silent=0`` is the stochastic estimator alone: reparameterised (Gaussian), gumbel (relaxed discrete codes,
biased for every temperature above 0), or reinforce with ``draws`` samples, each the others' baseline.

Differences from the paper, of which only abstract and first pages could be read: schedule (linear), its length, networks and data are ours.
Both decoders share s, which L_stochastic alone trains, so that the balance of reconstruction and KL does not jump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError, nearest
from elboard.bench.method import Bases
from elboard.bench.options import Positive, Range, Share
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.discrete import DiscretePosterior, Uniform, log_density, spread
from elboard.methods.parts.likelihoods import Gaussian
from elboard.methods.parts.posteriors import Draw
from elboard.methods.parts.priors import Prior
from elboard.methods.parts.schedules import ramp
from elboard.methods.vae.real import RealVAE

CARD = MethodCard(
    name="silent-vae",
    title="VAE with silent gradients",
    family="vae",
    home="density/mnist-real",
    paper="041",
    cite="Shao, Liu and Van den Broeck 2025",
    splits=True,
    defaults="convention",
)
# the estimators that there are for each kind of codes and of decoder
DISCRETE = ("exact", "gumbel", "reinforce")
LATENTS = {"gaussian": ("exact", "reparameterised", "reinforce"), "bernoulli": DISCRETE, "categorical": DISCRETE}
DECODERS = {"linear": ("reparameterised", *DISCRETE), "mlp": ("reparameterised", "gumbel", "reinforce")}


class SilentVAE(RealVAE):
    """Trained by the exact gradient of a linear decoder, by a stochastic one, or by both in turn."""

    resting = True  # the linear decoder, later

    @dataclass(kw_only=True)
    class Config(RealVAE.Config):
        latents: Literal["gaussian", "bernoulli", "categorical"] = "gaussian"
        classes: Annotated[int, Range(2)] = 10  # of a categorical group; latent_dim is the number of all entries
        decoder: Literal["mlp", "linear"] = "mlp"
        estimator: Literal["exact", "reparameterised", "gumbel", "reinforce"] = "reparameterised"  # as LATENTS and DECODERS allow
        silent: Share = 0.333  # share of training in which the encoder leaves the exact gradient; without effect on a linear decoder
        draws: Annotated[int, Range(2)] = 2  # of reinforce
        temperature: Positive = 0.5  # of gumbel

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        for option, chosen, known in (("latents", config.latents, LATENTS), ("decoder", config.decoder, DECODERS)):
            if config.estimator not in known[chosen]:
                raise UserError(f"estimator={config.estimator!r} with {option}={chosen}: {nearest(config.estimator, known[chosen])}")
        if config.latents == "categorical" and config.latent_dim % config.classes:
            raise UserError(f"latent_dim={config.latent_dim} is not a multiple of classes={config.classes}")
        super().__init__(config, spec, bases)
        self.linear = nn.Linear(config.latent_dim, math.prod(spec.shape)) if config.decoder == "mlp" and config.silent > 0 else None

    def make_posterior(self, n_features: int) -> nn.Module:
        c = self.config
        if c.latents == "gaussian":
            return super().make_posterior(n_features)
        return DiscretePosterior(n_features, c.latent_dim, c.classes if c.latents == "categorical" else 0)

    def make_prior(self) -> Prior:
        c = self.config
        return super().make_prior() if c.latents == "gaussian" else Uniform(c.latent_dim, c.classes if c.latents == "categorical" else 0)

    def make_decoder(self) -> nn.Module:
        if self.config.decoder == "mlp":
            return super().make_decoder()
        decoder = nn.Flatten()
        decoder.n_features = self.config.latent_dim
        return decoder

    def make_likelihood(self) -> nn.Module:
        return Gaussian()  # on whatever data: the closed form is of no other

    def prepare(self, data: Data) -> None:
        super().prepare(data)
        if self.linear is not None:
            with torch.no_grad():
                self.linear.bias.copy_(self.out.bias)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["x"].flatten(1)
        q = self.posterior(self.encoder(batch["x"]))
        silent = 1 - ramp(self.progress, self.config.silent) if self.linear is not None else 0.0
        reconstruction, score = (
            self.stochastic(q, x, 1 - silent) if self.config.estimator != "exact" else (self.expected(q, x, self.out), 0.0)
        )
        kl = self.prior.divergence(q, Draw(q.mean, q.mean))  # in closed form
        objective = reconstruction + score + kl
        if silent > 0:
            objective = objective + self.expected(scaled(q, silent), x, self.linear, fixed=True)
        return {"loss": objective.mean(), "elbo": -(reconstruction + kl).mean(), "kl": kl.mean()}

    def expected(self, q: Any, x: Tensor, decoder: nn.Linear, fixed: bool = False) -> Tensor:
        """``E_q[-log p(x|z)]`` of the linear decoder in closed form, ``(B,)``; ``fixed``: s is not trained by it."""
        log_std = self.likelihood.log_std.clamp(min=-7.0)
        log_std = log_std.detach() if fixed else log_std
        error = (x - decoder(q.mean)).square() + spread(q, decoder.weight)
        return 0.5 * torch.exp(-2 * log_std) * error.sum(-1) + x.shape[-1] * (log_std + 0.5 * math.log(2 * math.pi))

    def stochastic(self, q: Any, x: Tensor, share: float) -> tuple[Tensor, Tensor | float]:
        """``-log p(x|z)`` of samples, ``(B,)``, whose gradient reaches the encoder times ``share``; and a zero with that of scores."""
        c = self.config
        if c.estimator != "reinforce":
            z = q.sample().z if c.estimator == "reparameterised" else q.relaxed(c.temperature)
            return -self.likelihood.log_prob(x, self.output(faded(z, share))), 0.0
        z = q.sample(c.draws).z.detach()
        cost = -self.likelihood.log_prob(x[:, None], self.output(z))
        others = (cost.sum(1, keepdim=True) - cost) / (c.draws - 1)
        score = share * ((cost - others).detach() * log_density(q, z)).mean(1)
        return cost.mean(1), score - score.detach()


def faded(x: Tensor, share: float) -> Tensor:
    """``x``, whose gradient is scaled by ``share``."""
    return x if share == 1 else share * x + (1 - share) * x.detach()


def scaled(q: Any, share: float) -> Any:
    """``q``, whose parameters' gradients are scaled by ``share``."""
    return type(q)(*(faded(value, share) for value in vars(q).values()))
