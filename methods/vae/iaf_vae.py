"""Variational autoencoder with inverse autoregressive flow (Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling 2016, algorithm 1).

    (mu_0, sigma_0, h) = f(x),   z_0 = mu_0 + sigma_0 eps,   eps ~ N(0, I)
    (m_t, s_t) = AutoregressiveNN_t(z_{t-1}, h),   sigma_t = sigmoid(s_t),   z_t = sigma_t z_{t-1} + (1 - sigma_t) m_t
    log q(z_T|x) = -sum_i [ eps_i^2 / 2 + log(2 pi) / 2 + log sigma_0,i + sum_t log sigma_t,i ]

m_t and s_t of a dimension depend on those before it, so that each step's Jacobian is triangular with sigma_t on its diagonal; every second
step has the reverse order. L(x) = E_q [log p(x|z_T) + log p(z_T) - log q(z_T|x)] with one sample; the divergence has no closed form.
``steps=0`` is the VAE.

Differences from the paper: the family's dense network; of one layer of codes no residual ladder; networks of one hidden layer of 200 units
with the context added to it; no free bits, Adam instead of Adamax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count, Natural
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.flows import InverseAutoregressive
from elboard.methods.vae.base import AnyData, Variational

CARD = MethodCard(
    name="iaf-vae",
    title="VAE with inverse autoregressive flow",
    family="vae",
    home="generation/mnist",
    cite="Kingma et al. 2016",
    splits=True,
    defaults="convention",
)


class IAFVAE(Variational, AnyData):
    """Trained on the evidence lower bound."""

    @dataclass(kw_only=True)
    class Config(Variational.Config):
        steps: Natural = 2  # T
        flow_hidden: Count = 200
        context_dim: Count = 100  # of h
        gate: float = 2.0  # s_t before training: "+1 or +2", section 4

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.posterior.open()

    def make_posterior(self, n_features: int) -> nn.Module:
        c = self.config
        return InverseAutoregressive(n_features, c.latent_dim, c.steps, c.flow_hidden, c.context_dim, c.gate)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        means = {name: value.mean() for name, value in self.elbo(batch["x"]).items() if name != "z"}
        return {"loss": -means["elbo"], "elbo": means["elbo"], "kl": means["kl"]}
