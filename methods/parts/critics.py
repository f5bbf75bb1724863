"""Networks that tell two laws apart, by which others are trained."""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call

from elboard.methods.parts.networks import MLP


def held(network: nn.Module, x: Tensor) -> Tensor:
    """``network(x)`` with weights that count as constants: gradients reach ``x`` alone."""
    return functional_call(network, {name: p.detach() for name, p in network.named_parameters()}, (x,))


class Critic(nn.Module):
    """A number ``(B,)`` for each example ``(B, ...)``, by dense layers of ``sizes`` units from the input on."""

    def __init__(self, sizes: list[int], activation: str = "relu"):
        super().__init__()
        self.body, self.out = MLP(sizes, activation), nn.Linear(sizes[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(x))[:, 0]

    def fixed(self, x: Tensor) -> Tensor:
        """The same with weights that are :func:`held`."""
        return held(self, x)
