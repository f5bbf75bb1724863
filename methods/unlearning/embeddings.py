"""The small VAEs of embeddings that tell whether one is of a kind (Shen et al. 2024).

encoder 256-128-32-(mu, log sigma^2),   decoder d-32-128-256,   loss = sum_dim (e - e')^2 + 0.025 KL(q(z|e) || N(0, I)), mean of a batch
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elboard.methods.parts.divergences import kl_to_standard_normal
from elboard.methods.parts.networks import MLP

KL_WEIGHT, LR = 0.025, 1e-3  # the paper's code, by the card


class EmbeddingVAE(nn.Module):
    """Of embeddings ``(B, size)`` by ``latent`` numbers; linear where they are reconstructed."""

    def __init__(self, size: int, latent: int):
        super().__init__()
        self.encoder, self.posterior = MLP([size, 128, 32]), nn.Linear(32, 2 * latent)
        self.decoder, self.out = MLP([latent, 32, 128]), nn.Linear(128, size)

    def forward(self, e: Tensor) -> Tensor:
        """The reconstruction by the mean of z."""
        return self.decode(self.posterior(self.encoder(e)).chunk(2, dim=1)[0])

    def decode(self, z: Tensor) -> Tensor:
        return self.out(self.decoder(z))

    def loss(self, e: Tensor) -> Tensor:
        mean, logvar = self.posterior(self.encoder(e)).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        return ((e - self.decode(z)) ** 2).sum(1).mean() + KL_WEIGHT * kl_to_standard_normal(mean, logvar).mean()

    def errors(self, e: Tensor) -> Tensor:
        """Squared distances of embeddings from their reconstructions, ``(B,)``."""
        return ((e - self(e)) ** 2).sum(1)

    def learn(self, e: Tensor, steps: int, batch_size: int) -> None:
        """Train on ``e`` (N, size) for so many batches, of permutations one after the other; then it is fixed."""
        optimizer = torch.optim.Adam(self.parameters(), lr=LR)
        self.requires_grad_(True)
        for i in range(steps):
            if (at := i % -(-len(e) // batch_size)) == 0:
                order = torch.randperm(len(e)).split(batch_size)
            optimizer.zero_grad()
            self.loss(e[order[at].to(e.device)]).backward()
            optimizer.step()
        self.requires_grad_(False)
