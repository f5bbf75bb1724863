"""The improved variational online Newton optimiser (Shen et al. 2024, algorithm 1), written from its equations.

It minimises ``lambda E_q[loss(theta)] + KL(q || N(0, sigma0^2 I))`` over q = N(m, diag(sigma^2)), sigma^2 = 1 / (lambda (h + delta)),
delta = 1 / (lambda sigma0^2), for a loss that is a mean over examples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from elboard.bench.errors import UserError


class IVON(Optimizer):
    """A step perturbs the parameters, calls the closure, puts the mean back and updates it.

        1  theta = m + sigma eps,  eps ~ N(0, I);   g^ = gradient of the batch's loss at theta        (mean over samples)
        2  h^ = g^ (theta - m) / sigma^2                                                             (mean over samples, of the product)
        3  g <- beta1 g + (1 - beta1) g^
        4  h <- beta2 h + (1 - beta2) h^ + (1 - beta2)^2 (h - h^)^2 / (2 (h + delta))
        5  g_ = g / (1 - beta1^t)                                                                    (h is not corrected)
        6  m <- m - alpha clip((g_ + delta m) / (h + delta), -xi, xi),   alpha = lr (h0 + delta)

    ``h + delta`` stays positive: step 4 leaves at least half of it, whatever h^ is. Between steps the parameters are m.

    The noise comes from a generator seeded by (seed, step, sample): the same in all processes, which must share h, and the same after a
    resume. All parameters form one vector; g and h are kept for it as a whole, under the first parameter.

    Args:
        params: one group of parameters on one device.
        lr: in the authors' units, about ten times those of SGD; multiplied by h0 + delta.
        ess: effective sample size lambda, the number of training examples unless the posterior is to be colder (larger) or warmer.
        weight_decay: delta; it is the prior, so there must be no other weight decay.
        betas: of steps 3 and 4.
        h0: initial h.
        radius: xi; 0 for none.
        samples: of the weights in a step.
        seed: of the noise.
    """

    def __init__(
        self,
        params: list,
        lr: float,
        ess: float,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.99999),
        h0: float = 1.0,
        radius: float = 0.0,
        samples: int = 1,
        seed: int = 0,
    ):
        if min(ess, weight_decay, h0, samples) <= 0:
            raise ValueError(f"ess={ess}, weight_decay={weight_decay}, h0={h0} and samples={samples} must be positive")
        names = {"lr": lr, "ess": ess, "weight_decay": weight_decay, "betas": betas, "h0": h0, "radius": radius, "samples": samples}
        super().__init__(params, {**names, "seed": seed, "step": 0})
        if len(self.param_groups) != 1:
            raise ValueError("one group of parameters only")
        first = self._parameters()[0]
        size = sum(p.numel() for p in self._parameters())
        self.state[first] = {"g": first.new_zeros(size), "h": first.new_full((size,), h0)}

    @property
    def precision(self) -> Tensor:
        """1 / sigma^2 = lambda (h + delta) of all parameters, one vector in their order."""
        group = self.param_groups[0]
        return group["ess"] * (self._state()["h"] + group["weight_decay"])

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor:
        """One update. ``closure`` clears the gradients, computes the loss, its gradients, and returns it; called once a sample.

        Raises UserError without a closure, as with a loss scaler, which computes the gradients before it calls ``step``.
        """
        if closure is None:
            raise UserError("ivon computes gradients at perturbed weights itself: train with precision 32-true or bf16-mixed")
        group, state = self.param_groups[0], self._state()
        mean, sigma = torch.cat([p.flatten() for p in self._parameters()]), self.precision.rsqrt()
        gradient, product, loss = torch.zeros_like(mean), torch.zeros_like(mean), mean.new_zeros(())
        try:
            for sample in range(group["samples"]):
                noise = sigma * self._normal(mean, sample)
                self._assign(mean + noise)
                with torch.enable_grad():
                    loss += closure().detach()
                drawn = self._gradients()
                gradient += drawn
                product += drawn * noise
        finally:
            self._assign(mean)
        for total in (gradient, product, loss):
            total /= group["samples"]
        group["step"] += 1
        self._update(mean, state["g"], state["h"], gradient, product.mul_(self.precision))
        return loss

    def _update(self, m: Tensor, g: Tensor, h: Tensor, g_hat: Tensor, h_hat: Tensor) -> None:
        """Steps 3 to 6; g and h in place."""
        group = self.param_groups[0]
        (beta1, beta2), delta = group["betas"], group["weight_decay"]
        g.lerp_(g_hat, 1 - beta1)
        correction = (h - h_hat).square_().div_(h + delta)
        h.lerp_(h_hat, 1 - beta2).add_(correction, alpha=0.5 * (1 - beta2) ** 2)
        change = (g / (1 - beta1 ** group["step"])).add_(m, alpha=delta).div_(h + delta)
        if group["radius"] > 0:
            change.clamp_(-group["radius"], group["radius"])
        self._assign(m - group["lr"] * (group["h0"] + delta) * change)

    def _parameters(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    def _state(self) -> dict[str, Tensor]:
        return self.state[self._parameters()[0]]

    def _normal(self, like: Tensor, sample: int) -> Tensor:
        group = self.param_groups[0]
        count = group["step"] * group["samples"] + sample
        generator = torch.Generator(like.device).manual_seed((group["seed"] * 1_000_000_007 + count) % 2**63)
        return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)

    def _assign(self, vector: Tensor) -> None:
        parameters = self._parameters()
        for p, part in zip(parameters, vector.split([p.numel() for p in parameters]), strict=True):
            p.copy_(part.view_as(p))

    def _gradients(self) -> Tensor:
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in self._parameters()])
