"""Expectation maximisation whose E-step is exact, by enumeration of the latents (Dempster, Laird and Rubin 1977).

    q(z|x) = p(x, z) / sum_z' p(x, z'),    M-step: theta up the gradient of sum_z q(z|x) log p(x, z),   which is that of log p(x)

The reference of the others, where the latents are few enough.

Differences from the paper of GFlowNet-EM: none but those of the family (:mod:`elboard.methods.latent.base`).
"""

from __future__ import annotations

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.task import Batch
from elboard.methods.latent.base import LatentModel

CARD = MethodCard(
    name="exact-em",
    title="EM with the posterior by enumeration",
    family="latent",
    home="latent/hierarchical-mixture",
    cite="Dempster, Laird and Rubin 1977",
    splits=True,
    defaults="convention",
)


class ExactEM(LatentModel):
    """See the module."""

    def posterior(self, x: Tensor) -> Tensor:
        return self.log_joints(x).softmax(1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        joints = self.log_joints(batch["x"])
        return {"loss": -(joints.detach().softmax(1) * joints).sum(1).mean(), "nll": -joints.logsumexp(1).mean().detach()}
