"""Transformers over sequences of tokens, which compared models of text share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.methods.parts.diffusion_networks import UNet
from elboard.methods.parts.diffusion_solvers import embedding_of

TIME = 64  # width of the embedding of times
SPREAD = 0.02  # deviation of embeddings at the start, as of GPT-2
Past = list[Tensor]  # keys and values (B, heads, l, width / heads) of the l positions before


class Distances(nn.Module):
    """A learned number for each head and distance, added to the logits of attention (Raffel et al. 2020); ``causal``: none of what follows.

    Head h begins at -|distance| / 2^h (after Press et al. 2022), so that the first ones look near: in few steps nothing else is learned.
    """

    def __init__(self, length: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal, self.length = heads, causal, length
        distance = torch.arange(1 - length, length).abs()
        self.bias = nn.Parameter(-(distance / 2.0 ** torch.arange(heads)[:, None]))

    def forward(self, length: int, first: int = 0) -> Tensor:
        """``(heads, length, length)``, or what positions from ``first`` on see, ``(heads, length - first, length)``."""
        at = torch.arange(length, device=self.bias.device)
        of = at[first:, None]
        bias = self.bias[:, at - of + self.length - 1]
        return bias.masked_fill(at > of, -torch.inf) if self.causal else bias


class _Block(nn.Module):
    """Attention and a layer of 4 ``width`` GELU units, each around a shortcut behind layer normalisation (pre-norm).

    What is ``known`` of the whole sequence scales and shifts both normalisations (adaptive layer normalisation; Peebles and Xie 2023).
    """

    def __init__(self, length: int, width: int, heads: int, dropout: float, causal: bool, known: int):
        super().__init__()
        self.near = Distances(length, heads, causal)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)
        self.condition = nn.Linear(known, 4 * width) if known else None
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
            nn.init.zeros_(self.condition.bias)

    def attend(self, h: Tensor, past: Past | None) -> Tensor:
        q, k, v = self.qkv(h).unflatten(2, (3, self.near.heads, -1)).permute(2, 0, 3, 1, 4)
        if past is not None:
            if past:
                k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
            past[:] = [k, v]
        bias = self.near(k.shape[2], k.shape[2] - q.shape[2]).to(q.dtype)
        return self.mix(F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2))

    def forward(self, h: Tensor, known: Tensor | None = None, past: Past | None = None) -> Tensor:
        first, second = self.norm1(h), None
        if self.condition is not None:
            *of_first, scale, shift = self.condition(known)[:, None].chunk(4, 2)
            first, second = first * (1 + of_first[0]) + of_first[1], (scale, shift)
        h = h + self.dropout(self.attend(first, past))
        after = self.norm2(h)
        if second is not None:
            after = after * (1 + second[0]) + second[1]
        return h + self.dropout(self.mlp(after))


class Transformer(nn.Module):
    """``depth`` blocks on vectors ``(B, L, width)`` with learned positions, bidirectional or ``causal``, and a last normalisation.

    With ``timed`` it is told a time ``(B,)`` in [0, 1], with ``known`` a vector ``(B, known)`` of each sequence. ``pasts``: of each block
    what it keeps of the vectors before these, to which it adds these; empty at the start of a sequence.
    """

    def __init__(
        self,
        length: int,
        width: int,
        depth: int,
        heads: int,
        dropout: float = 0.0,
        causal: bool = False,
        timed: bool = False,
        known: int = 0,
    ):
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} cannot be shared by {heads} heads")
        self.positions = nn.Parameter(SPREAD * torch.randn(length, width))
        self.time = nn.Linear(TIME, width) if timed else None
        self.of_known = nn.Linear(known, width) if known else None
        told = width if timed or known else 0
        self.blocks = nn.ModuleList([_Block(length, width, heads, dropout, causal, told) for _ in range(depth)])
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, h: Tensor, t: Tensor | None = None, known: Tensor | None = None, pasts: list[Past] | None = None) -> Tensor:
        parts = [] if self.time is None else [self.time(embedding_of(t, TIME))]
        parts += [] if self.of_known is None else [self.of_known(known)]
        told = F.silu(torch.stack(parts).sum(0)) if parts else None
        first = pasts[0][0].shape[2] if pasts and pasts[0] else 0
        h = self.dropout(h + self.positions[first : first + h.shape[1]])
        for i, block in enumerate(self.blocks):
            h = block(h, told, pasts[i] if pasts else None)
        return self.norm(h)


class TokenTransformer(nn.Module):
    """Tokens ``(B, L)`` to log-probabilities ``(B, L, letters)`` in single precision.

    It is shown letters 0 to ``letters`` - 1, and ``letters`` for the mask (or the start), which is never predicted. 0.16 million
    parameters of width 64 and depth 3.
    """

    def __init__(self, letters: int, length: int, width: int, depth: int, heads: int, **words: float | bool | int):
        super().__init__()
        self.letters = letters
        self.embedding = nn.Embedding(letters + 1, width)
        self.body = Transformer(length, width, depth, heads, **words)
        self.head = nn.Linear(width, letters)
        nn.init.normal_(self.embedding.weight, std=SPREAD)

    def forward(self, z: Tensor, t: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        return self.head(self.body(self.embedding(z), t, known)).float().log_softmax(2)


class TokenUNet(nn.Module):
    """Tokens ``(B, L)`` that are an image of ``image`` rows and columns, in any form that ``embedding`` takes, to log-probabilities
    ``(B, L, letters)`` in single precision, by a U-Net that sees no time. 0.1 million parameters of width 16."""

    def __init__(self, letters: int, image: tuple[int, int], embedding: nn.Module, channels: int, width: int):
        super().__init__()
        self.embedding, self.image = embedding, image
        self.body = UNet((channels, *image), width, levels=2)
        self.head = nn.Linear(channels, letters)

    def forward(self, z: Tensor, t: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        h = self.embedding(z)
        h = self.body(h.transpose(1, 2).unflatten(2, self.image), h.new_zeros(len(h)))
        return self.head(h.flatten(2).transpose(1, 2)).float().log_softmax(2)


class PairEncoder(nn.Module):
    """A sequence (B, L) and its noised version (B, L) to mean and log-variance (B, latent) of its code."""

    def __init__(self, letters: int, length: int, width: int, heads: int, latent: int):
        super().__init__()
        self.of_x, self.of_z = nn.Embedding(letters + 1, width), nn.Embedding(letters + 1, width)
        self.body, self.head = Transformer(length, width, 2, heads), nn.Linear(width, 2 * latent)
        for table in (self.of_x, self.of_z):
            nn.init.normal_(table.weight, std=SPREAD)

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(self.body(self.of_x(x) + self.of_z(z)).mean(1)).float().chunk(2, 1)
