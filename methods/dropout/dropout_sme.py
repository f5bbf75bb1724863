"""Stochastic modified equations of descent with dropout (Zhang, Li, Luo and Xu 2024): diffusions with the law of its path.

Descent takes steps theta <- theta - eps grad R_drop(theta; eta) on all n points, with one mask a step: independent eta_r = (1-p)/p with
the probability p of keeping a unit, else -1, of f(x) = sum_r (1 + eta_r) a_r tanh(w_r . x). With v = (1-p)/p the diffusions are

    dTheta = -grad L dt + sqrt(eps) Sigma^(1/2) dW                           (order 1)
    dTheta = -grad (L + eps/4 |grad L|^2) dt + sqrt(eps) Sigma^(1/2) dW      (order 2)
    L = E_eta R_drop = R + v/(2n) sum_ir a_r^2 tanh(w_r . x_i)^2,      Sigma = Cov_eta grad R_drop

Nothing of Sigma is estimated: with u_r = a_r tanh(w_r . x), residuals e = f - y, J_r the derivatives of u_r, means over points and
b_rs = mean(u_s J_r), block r of the gradient is (1 + eta_r) grad_r L + sum_(s != r) (eta_s + eta_r eta_s) b_rs, whose random variables
eta_r, eta_r eta_s are uncorrelated and have the variances v, v^2. Normal ones in their place have the covariance Sigma.

The integrator is Heun's with a step h of its own: the gradient is the mean of that where a step begins and that where it would end, noise
included, and the noise is that of half a step without noise. Errors of expectations are O(h^2) + O(eps^2 h), those of paths are of no
account. Each setting has a path without noise, the centre, and each path a linear equation about it with the same noise and the Hessian at
the centre, whose solution has mean 0: a control variate.

Differences from the paper: ``noise=isotropic`` has the trace of Sigma and no directions, ``none`` has no noise (gradient flow); both are
for comparison. Of a network whose w_r do not move the equations are linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.dynamics import DiffusionSpec, DropoutDiffusion
from elboard.bench.method import Bases, Method
from elboard.bench.options import Range
from elboard.bench.task import Batch, Data

CARD = MethodCard(
    name="dropout-sme",
    title="Stochastic modified equations of dropout",
    family="dropout",
    home="dynamics/weak-order",
    paper="009",
    cite="Zhang, Li, Luo and Xu 2024",
    defaults="paper",
)


class DropoutSME(Method, DropoutDiffusion):
    """See the module.

    Attributes:
        theta: paths ``(S, 1 + N, m, 3)`` of S settings, the first one their centre. linear: their variates, 0 of the first one.
        moving: which weights move, ``(S, 1, 1, 3)``. taken: steps so far.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        order: Annotated[int, Range(1, 2)] = 2
        noise: Literal["dropout", "isotropic", "none"] = "dropout"
        optimizer: Literal["sgd"] = "sgd"
        lr: Annotated[float, Range(1, 1)] = 1.0  # in units of the task's step
        momentum: Annotated[float, Range(0, 0)] = 0.0
        weight_decay: Annotated[float, Range(0, 0)] = 0.0

    def __init__(self, config: Any, spec: DiffusionSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        shape = (len(spec.settings), 1 + spec.samples, *spec.shape)
        self.theta = nn.Parameter(torch.zeros(shape))
        self.register_buffer("linear", torch.zeros(shape))
        self.register_buffer("taken", torch.zeros((), dtype=torch.long))
        for name in ("x", "y"):
            self.register_buffer(name, torch.zeros(spec.n_train), persistent=False)
        rates = torch.tensor([rate for _, rate in spec.settings])[:, None, None, None]
        moving = torch.tensor([[1.0, *[float(model == "tanh")] * 2] for model, _ in spec.settings])
        self.register_buffer("rates", rates, persistent=False)
        self.register_buffer("moving", moving[:, None, None], persistent=False)
        self.kick = self.pull = torch.zeros(())  # what noise adds to the paths and to their variates in the present step

    def prepare(self, data: Data) -> None:
        self.x.copy_(data.train["x"])
        self.y.copy_(data.train["y"])
        self.theta.data.copy_(data.shared["start"].expand_as(self.theta))

    # --- the loss and its noise --------------------------------------------------------------------

    @property
    def variance(self) -> float:
        """v, that of eta."""
        return 1 / self.spec.keep - 1

    def pieces(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Residuals ``(..., n)``, outputs of units ``(..., m, n)`` and their derivatives ``(..., m, 3, n)``, of weights ``(..., m, 3)``."""
        a, w, bias = theta.split(1, dim=-1)
        h = torch.tanh(w * self.x + bias)
        inner = a * (1 - h.square())
        return (a.mT @ h).squeeze(-2) - self.y, a * h, torch.stack([h, inner * self.x, inner], dim=-2)

    def modified(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """L ``(...)`` and its gradient ``(..., m, 3)``."""
        e, u, j = self.pieces(theta)
        value = (e.square() + self.variance * u.square().sum(-2)).mean(-1) / 2
        return value, ((e.unsqueeze(-2) + self.variance * u).unsqueeze(-2) * j).mean(-1)

    def potential(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Minus the drift's ``(S, N)``, and the gradient ``(S, N, m, 3)`` of L."""
        value, slope = self.modified(theta)
        slope = slope * self.moving
        more = self.rates[..., 0, 0] / 4 * slope.square().sum((-1, -2)) if self.config.order == 2 else 0
        return value + more, slope

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Summed over paths, whose gradients it separates; that of half the potential here and half where the step would end."""
        theta = self.moving * self.theta + (1 - self.moving) * self.theta.detach()
        here, slope = self.potential(theta)
        if self.config.order == 2:  # the gradient of the second term, by a difference: grad L + eps/2 H grad L
            slope = self.modified((theta + self.rates / 2 * slope).detach())[1] * self.moving
        there, _ = self.potential(theta + (self.kick - self.spec.step * slope).detach())
        return {"loss": (here + there).sum() / 2, "potential": here.mean()}

    def noise(self, theta: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Draws of N(0, Sigma) at ``theta`` (..., m, 3), for normal ``first`` (..., m) and ``second`` (..., m, m), of which the upper
        triangle counts."""
        _, u, j = self.pieces(theta)
        slope, v, pairs = self.modified(theta)[1], self.variance, second.triu(1)
        b = torch.einsum("...rcn,...sn->...rcs", j, u) / self.spec.n_train
        factors = math.sqrt(v) * first.unsqueeze(-2) + v * (pairs + pairs.transpose(-1, -2))  # (..., r, s)
        factors = factors - torch.diag_embed(factors.diagonal(dim1=-2, dim2=-1))
        return math.sqrt(v) * first.unsqueeze(-1) * slope + (b * factors.unsqueeze(-2)).sum(-1)

    def trace(self, theta: Tensor) -> Tensor:
        """That of Sigma, over the weights that move, ``(S, N)``."""
        _, u, j = self.pieces(theta)
        slope, v, moving = self.modified(theta)[1], self.variance, self.moving
        b = torch.einsum("...rcn,...sn->...rcs", j, u) / self.spec.n_train
        b = b * (1 - torch.eye(u.shape[-2], device=u.device)).unsqueeze(-2) * moving.unsqueeze(-1)
        return v * (slope * moving).square().sum((-1, -2)) + (v + v**2) * b.square().sum((-1, -2, -3))

    # --- the integrator ------------------------------------------------------------------------------

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, lr=self.config.lr * self.spec.step)

    @torch.no_grad()
    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> Any:
        """Draw the noise of the coming step."""
        super().on_train_batch_start(batch, batch_idx)
        if self.config.noise == "none":
            return
        h, centre = self.spec.step, self.theta[:, 0]
        half = self.theta - h / 2 * self.modified(self.theta)[1] * self.moving
        scale = (self.rates * h).sqrt() * self.moving
        kick, about = (scale * drawn for drawn in self.draw(half, half[:, :1]))
        kick[:, 0], about[:, 0] = 0, 0
        with torch.enable_grad():
            hessian = torch.func.vmap(torch.func.hessian(lambda at: self.modified(at)[0]))(centre)

        def pulled(y: Tensor) -> Tensor:
            return h * self.moving * torch.einsum("srcqd,snqd->snrc", hessian, y)

        y = self.linear
        self.kick, self.pull = kick, about - pulled(y + (about - pulled(y)) / 2)
        self.agree(self.kick, self.pull)

    def draw(self, *places: Tensor) -> list[Tensor]:
        """Noise of all paths by the same normal draws at each of ``places``, ``(S, 1 + N, m, 3)`` or ``(S, 1, m, 3)``."""
        shape = self.theta.shape
        if self.config.noise == "dropout":
            first, second = self.normal(*shape[:3]), self.normal(*shape[:3], shape[2])
            return [self.noise(at, first, second) for at in places]
        z, weights = self.normal(*shape), shape[2] * self.moving.sum(-1, keepdim=True)
        return [(self.trace(at)[..., None, None] / weights).sqrt() * z for at in places]

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, dtype=self.theta.dtype, device=self.theta.device)

    @torch.no_grad()
    def after_step(self, batch: Batch, batch_idx: int) -> None:
        self.theta += self.kick
        self.linear += self.pull
        self.taken += 1

    def time(self) -> float:
        return int(self.taken) * self.spec.step

    def paths(self) -> tuple[Tensor, Tensor, Tensor]:
        theta = self.theta.detach()
        return theta[:, 1:], self.linear[:, 1:], theta[:, 0]
