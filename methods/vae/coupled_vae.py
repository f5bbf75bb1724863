"""Coupled variational autoencoder (Hao and Shafto 2023).

    min_theta min_pi  E_pi[c(x, z)] + eps KL(pi || p(x) p(z)),   c = -log p_theta(x|z),   pi has the marginals p(x) and p(z)
    pi(x, z) = p(x) p(z) exp((f(x) + g(z) - c(x, z)) / eps)

An ordinary VAE holds the marginal of x alone (g = 0) and takes a Gaussian for pi(z|x), so that its aggregate posterior need not be the
prior. Here that is a constraint, and there is no encoder: pi(.|x) is a distribution over samples z_1..z_M of the prior (the atoms), with
weights softmax_j (g(z_j) - c(x, z_j)) / eps. At the beginning and after every epoch, ``plans`` times in one, in turn

    A. the coupling: fresh atoms, and the potentials f (one for each training example, kept) and g by ``iterations`` of Sinkhorn's;
    B. the decoder: gradient steps on -log p(x|z) with a z for each example drawn from its row of the coupling.

``iterations=0`` is g = 0, the exact posterior on the atoms without the constraint: maximum likelihood, the VAE without Gaussians.

Differences from the paper: Sinkhorn's iterations in the log domain on all training examples solve the semi-dual that it climbs by averaged
stochastic gradients, which leaves one hyper-parameter of five; f goes on from one coupling to the next, and only g starts anew. One draw
of z an example and coupling. The primal variant is not here. Costs are N M evaluations of the likelihood a coupling, so that
atoms are at most 100 of discretised logistics, which are no matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.codes import AggregatePosterior
from elboard.bench.kinds.generation import Generator
from elboard.bench.method import Bases
from elboard.bench.options import Count, Natural, Positive
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.likelihoods import DiscretisedLogistic, pairs
from elboard.methods.parts.transport import choose, sinkhorn
from elboard.methods.vae.base import Autoencoding

CARD = MethodCard(
    name="coupled-vae",
    title="Coupled VAE, with a coupling of data and prior in place of an encoder",
    family="vae",
    home="samples/toy-2d",
    paper="043",
    cite="Hao and Shafto 2023",
    splits=True,
    defaults="convention",
)
FEW = 100  # atoms at most, where costs are no matrix product


class NoEncoder(nn.Module):
    """In the place of an encoder, of which it has no features."""

    n_features = 0


class CoupledVAE(Autoencoding, Generator, AggregatePosterior):
    """Trained on pairs of examples and samples of the prior that a coupling makes."""

    @dataclass(kw_only=True)
    class Config(Autoencoding.Config):
        latent_dim: int = 2  # the paper has 5; few, so that atoms lie near each other
        atoms: Count = 1000  # M
        iterations: Natural = 2  # of Sinkhorn's, a coupling
        plans: Count = 1  # couplings an epoch
        eps: Positive = 1.0  # plays beta

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("potential", torch.zeros(spec.n_train))  # f
        self.register_buffer("chosen", torch.zeros(spec.n_train, dtype=torch.long))
        atoms = min(config.atoms, FEW) if isinstance(self.likelihood, DiscretisedLogistic) else config.atoms
        self.register_buffer("atoms", torch.zeros(atoms, config.latent_dim))
        self.register_buffer("weights", torch.zeros(atoms))  # g
        self.__dict__["examples"] = None

    def make_encoder(self) -> nn.Module:
        return NoEncoder()

    def make_posterior(self, n_features: int) -> nn.Module:
        return nn.Identity()

    def prepare(self, data: Data) -> None:
        super().prepare(data)
        self.__dict__["examples"] = data.train["x"].flatten(1)

    def cost(self, x: Tensor, z: Tensor) -> Tensor:
        """``-log p(x_i | z_j)`` of ``(N, D)`` and ``(M, Z)``, ``(N, M)``."""
        return -pairs(self.likelihood, x, self.output(z))

    @torch.no_grad()
    def couple(self) -> None:
        """Stage A."""
        c = self.config
        self.atoms.normal_()
        cost = self.cost(self.examples.to(self.atoms.device), self.atoms)
        f, g = sinkhorn(cost, self.potential, c.iterations, c.eps)
        self.potential.copy_(f)
        self.weights.copy_(g)
        self.chosen.copy_(choose(cost, g, c.eps))

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self.trainer.global_step == 0:
            self.couple()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        if batch_idx and batch_idx % -(-self.trainer.num_training_batches // self.config.plans) == 0:
            self.couple()

    def before_validation(self) -> None:
        self.couple()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Stage B."""
        z = self.atoms[self.chosen[batch["index"]]]
        return {"loss": -self.likelihood.log_prob(batch["x"].flatten(1), self.output(z)).mean()}

    def draw_codes(self, x: Tensor) -> Tensor:
        """Atoms, by the last coupling's g: x need not be an example that was trained on."""
        cost = self.cost(x.flatten(1), self.atoms)
        return self.atoms[choose(cost, self.weights, self.config.eps)]

    def draw_prior(self, n: int) -> Tensor:
        return self.prior.sample(n, like=self.atoms)
