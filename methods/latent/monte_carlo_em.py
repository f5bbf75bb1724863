"""Monte Carlo EM: latents of the M-step are drawn by a short chain (Wei and Tanner 1990).

    z^0 uniform;   each sweep: z_l ~ p(z_l | z_-l, x), part after part;    M-step: theta up the gradient of log p(x, z) at the last z

Gibbs steps leave p(z|x) as it is, and a chain that is too short knows only the neighbourhood of where it began: where modes differ in
several parts, it does not get from one to the other. What is taken for the posterior is the law of the last z, which is computed by
enumeration and from which z is drawn.

Differences from the paper of GFlowNet-EM, where it is a baseline of grammars: the chain, of which nothing is said there (not verified).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Count
from elboard.bench.task import Batch
from elboard.methods.latent.base import LatentModel

CARD = MethodCard(
    name="monte-carlo-em",
    title="EM with latents drawn by Gibbs sampling",
    family="latent",
    home="latent/hierarchical-mixture",
    cite="Wei and Tanner 1990",
    defaults="convention",
)


def swept(q: Tensor, joints: Tensor, choices: tuple[int, ...]) -> Tensor:
    """The law (B, S) of z after one sweep of Gibbs steps, of the law ``q`` (B, S) before it and log p(x, z) (B, S)."""
    law, table = q.view(-1, *choices), joints.view(-1, *choices)
    for part in range(1, len(choices) + 1):
        law = law.sum(part, keepdim=True) * table.softmax(part)
    return law.flatten(1)


class MonteCarloEM(LatentModel):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(LatentModel.Config):
        sweeps: Count = 1

    @torch.no_grad()
    def posterior(self, x: Tensor) -> Tensor:
        joints = self.log_joints(x)
        q = torch.full_like(joints, 1 / joints.shape[1])
        for _ in range(self.config.sweeps):
            q = swept(q, joints, self.spec.choices)
        return q

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        joints = self.log_joints(batch["x"])
        z = torch.multinomial(self.posterior(batch["x"]), 1)
        return {"loss": -joints.gather(1, z).mean(), "nll": -joints.logsumexp(1).mean().detach()}
