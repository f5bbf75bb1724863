"""Scale-adapted stochastic-gradient Hamiltonian Monte Carlo (Chen, Fox and Guestrin 2014; Springenberg et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

TINY = 1e-16


class SGHMC(torch.optim.Optimizer):
    """Samples weights w by gradients of U(w) = -log p(data | w) - log p(w), the likelihood a sum over all examples.

        tau <- tau - tau g^2 / v + 1,   g <- g + (grad - g) / (tau + 1),   v <- v + (grad^2 - v) / (tau + 1)        while ``adapting``
        m <- m - lr^2 grad / sqrt(v) - decay m + N(0, max(2 lr^2 decay / sqrt(v) - lr^4, 1e-16)),   w <- w + m

    1 / (tau + 1) is that of the tau before the step. ``adapting`` is an entry of each group: true during burn-in.
    """

    def __init__(self, params: Iterable[Any], lr: float, decay: float):
        super().__init__(params, {"lr": lr, "decay": decay, "adapting": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is not None:
                    self._move(w, group)
        return loss

    def _move(self, w: torch.Tensor, group: dict[str, Any]) -> None:
        grad, state = w.grad, self.state[w]
        if not state:
            state.update({name: torch.ones_like(w) for name in ("tau", "g", "v")}, m=torch.zeros_like(w))
        tau, g, v, m = (state[name] for name in ("tau", "g", "v", "m"))
        if group["adapting"]:
            share = 1 / (tau + 1)
            tau.add_(1 - tau * g.square() / v)
            g.add_(share * (grad - g))
            v.add_(share * (grad.square() - v))
        lr, decay = group["lr"], group["decay"]
        inverse = 1 / (v.sqrt() + TINY)
        noise = (2 * lr**2 * decay * inverse - lr**4).clamp(min=TINY).sqrt()
        m.mul_(1 - decay).sub_(lr**2 * inverse * grad).add_(noise * torch.randn_like(w))
        w.add_(m)
