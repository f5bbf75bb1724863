"""Tokens as digits to a base, which are masked one by one (Chao et al. 2025).

Of ``letters`` tokens each is ``count`` digits, the most significant one first, to the least base b with b^count >= letters; codes that are
no token never occur. Digits are 0 to b - 1, and b is the mask.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elboard.methods.parts.token_networks import SPREAD


class SubTokens(nn.Module):
    """The code of K ``letters``. What it is asked of may lie on another device than it: short sequences are enumerated on the CPU.

    Attributes:
        count: l, digits of a token. base: b. digits: those of each token, (K, l).
    """

    def __init__(self, letters: int, count: int):
        super().__init__()
        self.letters, self.count = letters, count
        self.base = next(b for b in range(2, letters + 2) if b**count >= letters)
        places = self.base ** torch.arange(count - 1, -1, -1)
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("digits", torch.arange(letters)[:, None] // places % self.base, persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        """Tokens ``(...)`` to digits ``(..., l)``."""
        return self.digits.to(x.device)[x]

    def decode(self, y: Tensor) -> Tensor:
        """Digits ``(..., l)`` of which none is masked to tokens ``(...)``."""
        return (y * self.places.to(y.device)).sum(-1)

    def possible(self, z: Tensor) -> Tensor:
        """Which tokens the digits ``z`` (..., l) that are seen leave: booleans (..., K)."""
        digits = self.digits.to(z.device)
        return torch.stack([(z[..., j, None] == digits[:, j]) | (z[..., j, None] == self.base) for j in range(self.count)]).all(0)

    def surprises(self, log_p: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """-log p(y^j | z) (..., l) of the masked digits of ``z``, each by its own law under that of the tokens, ``log_p`` (..., K) of
        :meth:`possible` ones; 0 where a digit is seen."""
        digits = self.digits.to(y.device)
        of_digit = [log_p.masked_fill(y[..., j, None] != digits[:, j], -torch.inf).logsumexp(-1) for j in range(self.count)]
        return torch.where(z == self.base, -torch.stack(of_digit, -1), 0.0)


class SubTokenEmbedding(nn.Module):
    """Digits ``(B, L, l)`` to vectors ``(B, L, width)``: those of the digits side by side, each from a table of its own."""

    def __init__(self, code: SubTokens, width: int):
        super().__init__()
        shares = [(width + j) // code.count for j in range(code.count)]
        self.tables = nn.ModuleList([nn.Embedding(code.base + 1, share) for share in shares])
        for table in self.tables:
            nn.init.normal_(table.weight, std=SPREAD)

    def forward(self, z: Tensor) -> Tensor:
        return torch.cat([table(of) for table, of in zip(self.tables, z.unbind(2), strict=True)], 2)
