"""A Gaussian over all weights of a network, with independent coordinates, whose means are the weights themselves: a mix-in of methods."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.methods.parts.divergences import kl_to_standard_normal


class MeanFieldWeights:
    """Has ``config.prior_sd``, and after the networks are built is told :meth:`begin_posterior`."""

    config: Any

    def begin_posterior(self, rho: float, points: tuple[str, ...] = ()) -> None:
        """Standard deviations softplus(rho) for all parameters but ``points``, which stay estimates without a spread."""
        named = {name: weight for name, weight in self.named_parameters() if name not in points}
        self.means = list(named)
        self.rho = nn.ParameterList([nn.Parameter(torch.full_like(weight, rho)) for weight in named.values()])

    def _posterior(self) -> list[tuple[str, Tensor, Tensor]]:
        """Name, mean and standard deviation of each tensor of weights."""
        named = dict(self.named_parameters())
        return [(name, named[name], F.softplus(rho)) for name, rho in zip(self.means, self.rho, strict=True)]

    def draw(self) -> dict[str, Tensor]:
        return {name: mean + sd * torch.randn_like(sd) for name, mean, sd in self._posterior()}

    def kl(self) -> Tensor:
        """KL(q || N(0, prior_sd^2 I)), which scaling by the prior's deviation leaves as it is."""
        s = self.config.prior_sd
        return sum(kl_to_standard_normal((mean / s).flatten(), 2 * (sd / s).log().flatten()) for _, mean, sd in self._posterior())
