"""IDVAE, identifiable double VAE, and SSIDVAE with labels for some images (Mita, Filippone and Michiardi 2021).

    L_x = E_q(z|x,u)[-log p(x|z)] + beta KL(q(z|x, u) || q(z|u))        L_u = E_q(z|u)|u - d(z)|^2 + gamma KL(q(z|u) || N(0, I))

The prior of the image's codes is the encoder q(z|u) of a second VAE, of the factors u: an optimal code of u, and not whatever suits
q(z|x,u) as in iVAE. -(L_x + L_u) bounds the joint evidence. The prior network is moved by L_u alone: of L_x its parameters are held fixed,
while factors read from an image learn through it. With ``task.labels`` below 1 it is SSIDVAE.

Differences from the paper: the task's network and batches, hidden layers of 128 instead of 1,000 in the second VAE, Adam at 1e-3 for fewer
steps; L_u and the cross-entropy of the reader are means over the labelled images of a batch, whose set is fixed. The reader is there with
labels for all images too, where it is for ``encode`` alone: its gradients and those of the other networks do not meet. Factors enter L_u
standardised, times ``scale``, which the paper's text leaves open: at 1 and gamma = 1 half of their variance is below
what a code pays for. Weights begin as the family's do, not as N(0, 0.05^2). FullVAE, whose form was not verified, is not here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative, Positive
from elboard.bench.task import DataSpec
from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.networks import MLP
from elboard.methods.parts.posteriors import Gaussian, GaussianLayers
from elboard.methods.vae.auxiliary import LOGVAR, AuxiliaryVAE

CARD = MethodCard(
    name="idvae",
    title="IDVAE, identifiable double VAE",
    family="vae",
    home="disentanglement/sprites",
    paper="065",
    cite="Mita, Filippone and Michiardi 2021",
    defaults="convention",
)


class IDVAE(AuxiliaryVAE):
    """With a prior that a VAE of the factors learns."""

    @dataclass(kw_only=True)
    class Config(AuxiliaryVAE.Config):
        gamma: NonNegative = 1.0
        scale: Positive = 1.0  # deviation of a factor in L_u
        prior_hidden: list[Count] = field(default_factory=lambda: [128, 128])

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        n = len(spec.factors)
        self.told = GaussianLayers(n, config.prior_hidden, config.latent_dim, LOGVAR)
        decoder = MLP([config.latent_dim, *reversed(config.prior_hidden)])
        self.factors_of = nn.Sequential(decoder, nn.Linear(decoder.n_features, n))

    def parameter_groups(self) -> list[dict]:
        own = [*self.told.parameters(), *self.factors_of.parameters()]
        others = [p for name, p in self.named_parameters() if name.split(".")[0] not in ("told", "factors_of")]
        return [{"params": others}, {"params": own, "betas": (0.5, 0.9)}]  # released code

    def conditional(self, u: Tensor) -> Gaussian:
        return functional_call(self.told, {name: p.detach() for name, p in self.told.named_parameters()}, (u,))

    def of_factors(self, u: Tensor) -> Tensor:
        q = self.told(u)
        error = (self.config.scale * (u - self.factors_of(q.sample().z))).square().sum(1)
        return error + self.config.gamma * kl_to_standard_normal(q.mean, q.logvar)
