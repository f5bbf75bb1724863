"""What draws completions of images from codes shares: the features of what is seen, and the protocol by a hierarchy of codes.

What is seen, y, is the image with zeros in the place of what is not, and the mask, without which a black pixel and one that is not seen
would be the same.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.kinds.inpainting import ConditionalBound, Inpainter
from elboard.methods.parts.networks import MLP
from elboard.methods.vae.base import ROWS
from elboard.methods.vae.ladder import Choice, Heads, Ladder


def seen(x: Tensor, mask: Tensor) -> Tensor:
    """y, ``(B, 2 D)``."""
    return torch.cat([(x * mask).flatten(1), mask.expand_as(x).flatten(1)], dim=1)


def log_prob(x: Tensor, logits: Tensor, where: Tensor) -> Tensor:
    """Log-mass of the binary pixels ``x`` (n, D) that ``where`` (n, D) is 1 at, ``(n,)``."""
    return -(F.binary_cross_entropy_with_logits(logits, x, reduction="none") * where).sum(1)


class PartialEncoder(nn.Module):
    """c(z_l | z_<l, y): features of what is seen, and heads of the same form as those of q(z_l | z_<l, x)."""

    def __init__(self, like: Ladder):
        super().__init__()
        c = like.config
        self.features = MLP([2 * math.prod(like.spec.shape), *c.hidden], c.activation)
        for module in self.features.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.heads = Heads(c.groups, c.latent_dim, c.width, self.features.n_features)

    def copy(self, of: Ladder) -> None:
        """Begin as q of a trained model, to which a mask says nothing: its encoder with weights of 0 for the mask, and its heads."""
        state = of.encoder.state_dict()
        first = next(name for name in state if name.endswith("weight"))
        state[first] = torch.cat([state[first], torch.zeros_like(state[first])], dim=1)
        self.features.load_state_dict(state)
        self.heads.load_state_dict(of.posterior.state_dict())

    def given(self, y: Tensor) -> Choice:
        return self.heads.given(self.features(y))


class Completing(Inpainter, ConditionalBound):
    """Completions by codes of ``self.partial`` that the model ``self.model`` decodes."""

    partial: PartialEncoder

    @property
    def model(self) -> Ladder:
        raise NotImplementedError

    def states(self, x: Tensor, mask: Tensor, k: int) -> Tensor:
        """Last states of k draws of c(z|y) for each image, ``(B k, width)``, those of an image beside each other."""
        choose = self.partial.heads.given(self.partial.features(seen(x, mask)).repeat_interleave(k, dim=0))
        return self.model.decoder.descend(len(x) * k, choose, choose).state

    def bound(self, x: Tensor, mask: Tensor) -> Tensor:
        found = self.model.decoder.descend(len(x), self.model.q(x), self.partial.given(seen(x, mask)))
        return self.model.log_likelihood(x, found.state) - found.kl

    def complete(self, x: Tensor, mask: Tensor, k: int) -> Tensor:
        drawn = self.model.image(self.states(x, mask, k)).unflatten(0, (len(x), k))
        return torch.where(mask[:, None] > 0, x[:, None], drawn)

    def log_missing(self, x: Tensor, mask: Tensor, k: int) -> Tensor:
        at_once, parts = max(1, ROWS // len(x)), []
        for start in range(0, k, at_once):
            n = min(at_once, k - start)
            pixels, missing = (part.flatten(1).repeat_interleave(n, dim=0) for part in (x, (1 - mask).expand_as(x)))
            parts.append(log_prob(pixels, self.model.out(self.states(x, mask, n)), missing).unflatten(0, (len(x), n)))
        return torch.logsumexp(torch.cat(parts, dim=1), dim=1) - math.log(k)
