"""GFlowNet-EM: the E-step is a policy that is trained to draw latents in proportion to p(x, z) (Hu, Malkin et al. 2023).

    R_x(z) = p_theta(z) p_theta(x|z),    P_F(z|x) = prod_t P_F(s_t | s_(t-1), x),    s_t the first t parts of z
    L_TB(x, tau) = ( log Z_x + sum_t log P_F(s_t|s_(t-1), x) - log R_x(z) - sum_t log P_B(s_(t-1)|s_t) )^2
    M-step: theta up the gradient of log p_theta(x, z),   z ~ P_F(. | x);    no gradient passes z, nor R_x in L_TB

P_B = 1, since parts are set in one order. The stabilisers of the paper:

* M-steps are taken only while a moving average of L_TB / L^2 is below ``threshold``, L the number of steps; E-steps always.
* ``explore``: share of the trajectories of L_TB whose steps are uniform; average and M-step are of the policy's own alone.
* sleep phase: with probability ``sleep`` a batch (z, x) ~ p_theta of which sum_t log P_F is raised too, with ``sleep_weight`` / L.
* log Z_x, a network of x, has a larger rate.

``balance=0`` with ``sleep=1`` is wake-sleep (recipe ``wake-sleep``).

Differences from the paper: E- and M-steps alternate batch by batch, with rates of their own, instead of in rounds of hundreds of steps; the
policy's networks have two hidden layers; tokens are set by a small network each and not by a transformer; L_TB and reward are not divided
by the number of steps, but for the threshold; threshold, decay and exploration are ours (the paper's values not verified).
:meth:`GFlowNetEM.training_step` is overridden for the moving average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.compositional import CompositionalSpec
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative, Positive, Range, Share
from elboard.bench.task import Batch
from elboard.methods.latent.base import LatentModel
from elboard.methods.latent.models import numbers
from elboard.methods.latent.policies import Sequential, mlp

CARD = MethodCard(
    name="gflownet-em",
    title="GFlowNet-EM",
    family="latent",
    home="latent/hierarchical-mixture",
    paper="075",
    cite="Hu, Malkin, Jain, Everett, Graikos and Bengio 2023",
    aliases=("gflownet-em-vae",),
    defaults="convention",
    recipes={"wake-sleep": {"set": {"balance": 0.0, "sleep": 1.0}}},
)


def trajectory_balance(log_z: Tensor, log_forward: Tensor, log_reward: Tensor, log_backward: Tensor | float = 0.0) -> Tensor:
    """Squared log-ratio of the two ways to write the probability of a trajectory, ``(B,)`` (Malkin et al. 2022)."""
    return (log_z + log_forward - log_reward - log_backward).square()


class GFlowNetEM(LatentModel):
    """See the module."""

    resting = True  # the model, until the policy is near enough

    @dataclass(kw_only=True)
    class Config(LatentModel.Config):
        lr_z: Positive = 1e-2  # 0.1 in the paper's autoencoder, of one number
        balance: NonNegative = 1.0  # weight of L_TB
        threshold: Positive = 0.25  # half a nat a step
        decay: Annotated[float, Range(0, below=1)] = 0.95  # of that
        explore: Share = 0.0  # the sleep phase looks elsewhere
        sleep: Share = 0.3  # of the paper's autoencoder
        sleep_weight: NonNegative = 10.0  # ditto

    def __init__(self, config: Any, spec: CompositionalSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.policy = Sequential(*spec.shape, spec.choices, config.width)
        self.normaliser = mlp(*spec.shape, config.width, 1)
        self.register_buffer("moving", torch.tensor(float("inf")))

    def posterior(self, x: Tensor) -> Tensor:
        """P_F(z|x), the product of its steps."""
        return self.policy.log_probs(x).exp()

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z), ``(B,)``, of parts ``z`` (B, L)."""
        return self.log_joints(x).gather(1, numbers(z, self.spec.choices)[:, None])[:, 0]

    def dreamt(self, n: int) -> Tensor:
        """-sum_t log P_F (n,) along the way to z of draws (z, x) of the model."""
        with torch.no_grad():
            z = torch.multinomial(self.model.log_prior().exp(), n, replacement=True)
            x = self.model.draw(z)
        return -self.policy.draw(x, given=self.model.parts_of(z))[1]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        c, x = self.config, batch["x"]
        explored = (torch.rand(len(x), 1, device=x.device) < c.explore).float()
        z, log_q = self.policy.draw(x, explored)
        own, log_joint = 1 - explored[:, 0], self.log_joint(x, z)
        balance = trajectory_balance(self.normaliser(x)[:, 0], log_q, log_joint.detach())
        of_own = (own * balance.detach()).sum() / own.sum().clamp_min(1)
        near = self.moving < c.threshold * len(self.spec.choices) ** 2
        out = {"balance": of_own, "m_steps": near.float()}
        loss = c.balance * balance.mean()
        if c.sleep > 0 and torch.rand(()) < c.sleep:
            loss = loss + c.sleep_weight / len(self.spec.choices) * self.dreamt(len(x)).mean()
        if c.balance == 0 or near:
            loss = loss - (own * log_joint).sum() / own.sum().clamp_min(1)
        return {"loss": loss, **out}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        out = self.checked_loss(batch)
        self.accumulate(out)
        mixed = self.config.decay * self.moving + (1 - self.config.decay) * out["balance"]
        self.moving.copy_(torch.where(self.moving.isinf(), out["balance"], mixed))
        return out["loss"]

    def parameter_groups(self) -> list[dict]:
        model, rest = super().parameter_groups()
        ours = {id(p) for p in self.normaliser.parameters()}
        policy = [p for p in rest["params"] if id(p) not in ours]
        return [model, {"params": policy}, {"params": [*self.normaliser.parameters()], "lr": self.config.lr_z}]
