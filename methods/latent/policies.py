"""Networks that draw latents z = (z_1 ... z_L) of an example, part after part or all at once, and give their probabilities.

Sequential:  q(z|x) = prod_l q_l(z_l | x, z_<l)        a policy that sets one part a step
Factorised:  q(z|x) = prod_l q_l(z_l | x)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.methods.latent.models import codes, one_hots


def mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """Two hidden layers with leaky ReLU; at the start what it gives is 0."""
    layers = nn.Sequential(nn.Linear(inputs, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, outputs))
    nn.init.zeros_(layers[-1].weight)
    nn.init.zeros_(layers[-1].bias)
    return layers


class Sequential(nn.Module):
    """The order of the parts is fixed, so that each latent is reached in one way and the backward policy is 1."""

    def __init__(self, dimensions: int, choices: tuple[int, ...], width: int):
        super().__init__()
        self.choices = choices
        self.steps = nn.ModuleList(mlp(dimensions + sum(choices[:part]), width, k) for part, k in enumerate(choices))

    def log_probs(self, x: Tensor) -> Tensor:
        """log q(z|x) of all latents, ``(B, S)``."""
        found = x.new_zeros(len(x), 1)
        for part, step in enumerate(self.steps):
            before = one_hots(self.choices[:part]).to(x) if part else x.new_zeros(1, 0)
            given = torch.cat([x[:, None].expand(-1, len(before), -1), before.expand(len(x), -1, -1)], 2)
            found = (found[:, :, None] + step(given).log_softmax(2)).flatten(1)
        return found

    def draw(self, x: Tensor, explore: Tensor | float = 0.0, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latents z (B, L), drawn or ``given``, and log q(z|x) (B,): each step is uniform with probability ``explore``, a number or (B, 1),
        and log q is still that of the policy."""
        past, log_q, z = [x], x.new_zeros(len(x)), []
        for part, (step, k) in enumerate(zip(self.steps, self.choices, strict=True)):
            log_p = step(torch.cat(past, 1)).log_softmax(1)
            mixed = (1 - explore) * log_p.detach().exp() + explore / k
            at = torch.multinomial(mixed, 1) if given is None else given[:, part : part + 1]
            log_q = log_q + log_p.gather(1, at)[:, 0]
            z.append(at)
            past.append(F.one_hot(at[:, 0], k).to(x))
        return torch.cat(z, 1), log_q


class Factorised(nn.Module):
    """Parts are independent given the example."""

    def __init__(self, dimensions: int, choices: tuple[int, ...], width: int):
        super().__init__()
        self.choices = choices
        self.network = mlp(dimensions, width, sum(choices))
        self.register_buffer("codes", codes(choices), persistent=False)

    def parts(self, x: Tensor) -> list[Tensor]:
        """Logarithms (B, K_l) of each part."""
        return [of.log_softmax(1) for of in self.network(x).split(self.choices, 1)]

    def log_probs(self, x: Tensor) -> Tensor:
        return sum(of[:, self.codes[:, part]] for part, of in enumerate(self.parts(x)))
