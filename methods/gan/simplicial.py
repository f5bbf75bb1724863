"""GANs of separate modes whose latents are truncated, in training and in sampling (Issenhuth, Tanielian, Mary and Picard 2023).

    z ~ N(0, I) given that  max_i softmax_i( sqrt(d) z_i / |z| ) > tau,   i among m of the d axes, one for each mode
    critic:     minimise  E[D(g(z))] - E[D(x)] + lambda E[(|grad D(x^)| - 1)^2],   x^ = e x + (1 - e) g(z),  e ~ U(0, 1)
    generator:  minimise  -E[D(g(z))]

the second and third being WGAN-GP (Gulrajani et al. 2017), by one optimiser as in ``wgan-gp``. tau is the value that ``acceptance`` of the
latents exceed, other rules are those of :class:`Truncation`; ``truncation=none`` is the same GAN without. The generators of a run are
batched matrix products with critics of their own: as the loss is a sum over them, each trains as it would alone.

Differences from the paper: dense networks of rectifiers on modes that are points in the place of TransGAN on images; WGAN-GP without its
further penalty of small values; acceptance 0.5 in the place of a given tau; no classifier's loss that aligns cells with modes; latents
keep their norm; thirty times the learning rate, as there are 2,500 steps of the generator. It was the best of 3e-4, 1e-3, 3e-3 and 1e-2,
and better than 3e-3 along half a cosine, in 750 steps, both with and without truncation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.modes import ModeGenerators, ModesSpec
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, NonNegative, Positive, Range
from elboard.bench.task import Batch
from elboard.methods.parts.batched import batched_mlp
from elboard.methods.parts.critics import held
from elboard.methods.parts.truncation import Truncation

CARD = MethodCard(
    name="simplicial-truncation",
    title="GANs with simplicial truncation of their latents",
    family="gan",
    home="samples/modes",
    paper="106",
    cite="Issenhuth et al. 2023",
    defaults={"trials": 5, "on": "samples/modes", "by": "sw1/mean", "options": ["lr", "schedule"], "rest": "convention"},
)


class SimplicialTruncation(Method, ModeGenerators):
    """See the module; a generator and a critic for each fit of the spec."""

    resting = True  # the generators

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: Positive = 3e-3  # 1e-4 in the paper
        hidden: list[Count] = field(default_factory=lambda: [64, 64])  # of either network
        truncation: Literal["norm", "simplicial", "band", "none"] = "simplicial"
        acceptance: Annotated[float, Range(above=0, high=1)] = 0.5
        penalty: NonNegative = 10.0  # lambda; Gulrajani et al. 2017
        critic_steps: Count = 4  # n_critic; the released code

    def __init__(self, config: Any, spec: ModesSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        n, (d,), fits = len(spec.fits), spec.shape, spec.fits
        self.truncation = Truncation(config.truncation, config.acceptance, fits)
        self.register_buffer("inside", torch.arange(d) < torch.tensor([fit.modes for fit in fits])[:, None, None], persistent=False)
        self.generator = batched_mlp(n, [max(fit.latent for fit in fits), *config.hidden, d])
        self.critic = batched_mlp(n, [d, *config.hidden, 1])
        for layer, own in (
            (self.generator[0], [fit.latent for fit in fits]),
            (self.generator[-1], [fit.modes for fit in fits]),
            (self.critic[0], [fit.modes for fit in fits]),
        ):
            _as_alone(layer, own)

    def parameter_groups(self) -> list[dict]:
        return [{**group, "betas": (0.0, 0.9)} for group in super().parameter_groups()]  # Gulrajani et al. 2017

    def latents(self, n: int) -> Tensor:
        return self.truncation.latents(n)

    def generate(self, z: Tensor) -> Tensor:
        return self.generator(z) * self.inside

    def slope_penalty(self, x: Tensor, fake: Tensor) -> Tensor:
        """``(|grad D| - 1)^2`` at a point of the line between each pair of ``(F, B, D)``, ``(F, B)``."""
        share = torch.rand(*x.shape[:2], 1, device=x.device)
        with torch.enable_grad():
            between = (share * x + (1 - share) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(self.critic(between.view_as(between)).sum(), between, create_graph=True)
        return ((slope * self.inside).norm(dim=2) - 1) ** 2

    def critic_loss(self, x: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self.generate(self.latents(x.shape[1]))
        distance = (self.critic(x).mean(1) - self.critic(fake).mean(1)).sum(1)  # (F,)
        penalty = self.slope_penalty(x, fake).mean(1)
        return {"loss": (self.config.penalty * penalty - distance).sum(), "distance": distance.mean(), "penalty": penalty.mean()}

    def generator_loss(self, n: int) -> Tensor:
        """Without gradients for the critics."""
        return -held(self.critic, self.generate(self.latents(n))).mean(1).sum()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Of both networks."""
        out = self.critic_loss(batch["x"])
        return {**out, "loss": out["loss"] + self.generator_loss(batch["x"].shape[1])}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        both = (self.global_step + 1) % self.config.critic_steps == 0
        out = self.loss(batch) if both else self.critic_loss(batch["x"])
        self.accumulate(out)
        return out["loss"]


@torch.no_grad()
def _as_alone(layer: nn.Module, own: list[int]) -> None:
    """Scale the weights of a layer whose models have ``own`` of the dimensions of its padded side to what each would begin with alone."""
    _, inputs, outputs = layer.weight.shape
    padded, other = (inputs, outputs) if inputs == max(own) else (outputs, inputs)
    layer.weight.mul_(((padded + other) / (torch.tensor(own) + other)).sqrt()[:, None, None])
