"""A small MLP-Mixer (Tolstikhin et al. 2021), with masks on units and on paths."""

from __future__ import annotations

from torch import Tensor, nn

from elboard.methods.parts.masks import DropPath


class _Branch(nn.Module):
    """``x + path(W2 drop(gelu(W1 norm(x))))`` along the last dimension, or along the one before it where ``across``."""

    def __init__(self, channels: int, width: int, hidden: int, across: bool, dropout: float):
        super().__init__()
        self.norm, self.across = nn.LayerNorm(channels), across
        self.net = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout))
        self.path = DropPath(0.0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        y = self.net(y.mT).mT if self.across else self.net(y)
        return x + self.path(y)


class Mixer(nn.Module):
    """4 x 4 patches, ``depth`` layers that mix first tokens and then channels, and the mean over tokens: 23,000 parameters for 28 x 28.

    Dropout follows each linear layer of a branch. ``paths`` are the layers' :class:`DropPath`, two of a layer, at rate 0 until it is set.
    """

    def __init__(self, shape: tuple[int, ...], dropout: float = 0.0, channels: int = 32, depth: int = 4):
        super().__init__()
        patch = max(1, shape[1] // 4), max(1, shape[2] // 4)
        tokens = (shape[1] // patch[0]) * (shape[2] // patch[1])
        self.patches = nn.Conv2d(shape[0], channels, patch, patch)
        branches = [[_Branch(channels, tokens, 32, True, dropout), _Branch(channels, channels, 64, False, dropout)] for _ in range(depth)]
        self.layers = nn.Sequential(*[branch for pair in branches for branch in pair])
        self.norm = nn.LayerNorm(channels)
        self.n_features = channels

    @property
    def paths(self) -> list[list[DropPath]]:
        """Those of each layer, from the first to the last."""
        of = [branch.path for branch in self.layers]
        return [of[i : i + 2] for i in range(0, len(of), 2)]

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layers(self.patches(x).flatten(2).mT)).mean(1)
