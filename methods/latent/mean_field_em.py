"""Variational EM with a posterior that factorises over the parts of the latent (Neal and Hinton 1998).

    ELBO = E_q[log p(x, z)] + H(q) = log p(x) - KL(q(z|x) || p(z|x)),    q(z|x) = prod_l q_l(z_l|x)
    estep=coordinates   q_l propto exp E_{q_-l} log p(x, z), part after part, ``sweeps`` times from uniform q; theta follows with q fixed
    estep=encoder       q_l(z_l|x) a network, trained by the gradient of the ELBO; theta by that of the same

Both expectations are sums over all latents: the encoder's gradient has no noise but that of the batch, where REINFORCE or a relaxation
would have some, so that what it loses is lost to the factorisation and to its network alone.

Differences from the paper of GFlowNet-EM, where these are baselines: that exactness; its own update of q is not verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.compositional import CompositionalSpec
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import Batch
from elboard.methods.latent.base import LatentModel
from elboard.methods.latent.policies import Factorised

CARD = MethodCard(
    name="mean-field-em",
    title="EM with a factorised posterior",
    family="latent",
    home="latent/hierarchical-mixture",
    cite="Neal and Hinton 1998",
    splits=True,
    defaults="convention",
    recipes={"encoder": {"set": {"estep": "encoder"}}},
)


def coordinates(joints: Tensor, choices: tuple[int, ...], sweeps: int) -> Tensor:
    """The factorised q (B, S) after ``sweeps`` of coordinate ascent from uniform parts, for log p(x, z) (B, S)."""
    table = joints.view(-1, *choices)
    parts = [joints.new_full((len(joints), k), 1 / k) for k in choices]
    for _ in range(sweeps):
        for at in range(len(choices)):
            mean = table
            for part in reversed(range(len(choices))):
                if part != at:
                    shape = [1] * (mean.ndim - 1)
                    shape[part] = choices[part]
                    mean = (mean * parts[part].view(-1, *shape)).sum(part + 1, keepdim=True)
            parts[at] = mean.flatten(1).softmax(1)
    return product(parts)


def product(parts: list[Tensor]) -> Tensor:
    """``(B, S)`` of the probabilities (B, K_l) of independent parts."""
    q = parts[0]
    for of in parts[1:]:
        q = (q[:, :, None] * of[:, None]).flatten(1)
    return q


class MeanFieldEM(LatentModel):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(LatentModel.Config):
        estep: Literal["coordinates", "encoder"] = "coordinates"
        sweeps: Count = 10

    def __init__(self, config: Any, spec: CompositionalSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.encoder = Factorised(*spec.shape, spec.choices, config.width) if config.estep == "encoder" else None

    @torch.no_grad()
    def posterior(self, x: Tensor) -> Tensor:
        if self.encoder is not None:
            return self.encoder.log_probs(x).exp()
        return coordinates(self.log_joints(x), self.spec.choices, self.config.sweeps)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        joints = self.log_joints(batch["x"])
        if self.encoder is None:
            q = coordinates(joints.detach(), self.spec.choices, self.config.sweeps)
            entropy = -torch.xlogy(q, q).sum(1)
        else:
            log_q = self.encoder.log_probs(batch["x"])
            q = log_q.exp()
            entropy = -(q * log_q).sum(1)
        elbo = ((q * joints).sum(1) + entropy).mean()
        return {"loss": -elbo, "nll": -joints.logsumexp(1).mean().detach()}
