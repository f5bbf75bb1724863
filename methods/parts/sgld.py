"""Stochastic-gradient Langevin dynamics (Welling and Teh 2011), preconditioned where asked (Li, Chen, Carlson and Carin 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class SGLD(torch.optim.Optimizer):
    """Samples weights w by gradients of U(w) = -log p(data | w) - log p(w), the likelihood a sum over all examples.

        w <- w - (lr / 2) G grad + N(0, lr G),     G = 1, or 1 / (1e-8 + sqrt(V / V_mean)) with V <- 0.99 V + 0.01 grad^2

    The variance is twice what the drift is multiplied by: with N(0, lr / 2) the law would be proportional to exp(-2 U). V_mean is the mean
    of V over all weights, so that ``lr`` means the same with and without G; the term of the derivatives of G is left out, as in the paper.
    ``noise`` is an entry of each group: false for plain descent.
    """

    def __init__(self, params: Iterable[Any], lr: float, preconditioned: bool = False):
        super().__init__(params, {"lr": lr, "preconditioned": preconditioned, "noise": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moving = [w for w in group["params"] if w.grad is not None]
            for w, g in zip(moving, self._scales(moving, group["preconditioned"]), strict=True):
                w.sub_(0.5 * group["lr"] * g * w.grad)
                if group["noise"]:
                    w.add_(torch.as_tensor(group["lr"] * g).sqrt() * torch.randn_like(w))
        return loss

    def _scales(self, moving: list[torch.Tensor], preconditioned: bool) -> list[Any]:
        if not preconditioned:
            return [1.0] * len(moving)
        for w in moving:
            state = self.state[w]
            if not state:
                state["v"] = w.grad.square()
            state["v"].lerp_(w.grad.square(), 0.01)
        squares = [self.state[w]["v"] for w in moving]
        mean = sum(v.sum() for v in squares) / sum(v.numel() for v in squares)
        return [1 / (1e-8 + (v / mean.clamp(min=1e-30)).sqrt()) for v in squares]
