"""The generator that all tokenizers of the family are compared with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from elboard.methods.parts.token_networks import Transformer


class DiT(nn.Module):
    """A transformer on the places of latents ``(B, C, h, w)``, a token each, with times and classes in adaptive normalisation (Peebles and
    Xie 2023): velocities of their shape. The class ``n_classes`` stands for none; the last layer begins at 0.

    0.2 million parameters of width 64 and depth 3, of which 0.15 are passed for each token.
    """

    def __init__(self, channels: int, grid: tuple[int, int], n_classes: int, width: int, depth: int, heads: int):
        super().__init__()
        self.grid, self.n_classes = grid, n_classes
        self.stem = nn.Linear(channels, width)
        self.body = Transformer(grid[0] * grid[1], width, depth, heads, timed=True, known=n_classes + 1)
        self.out = nn.Linear(width, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        known = F.one_hot(y, self.n_classes + 1).to(z.dtype)
        h = self.body(self.stem(z.flatten(2).transpose(1, 2)), t, known)
        return self.out(h).transpose(1, 2).unflatten(2, self.grid)
