"""Latent variables of several discrete parts, few enough that all their values can be looked at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class CompositionalSpec(LikelihoodSpec):
    """Examples (D,) of latents z_1 to z_L.

    Attributes:
        choices: how many values each part has. There are S latents, their product, numbered with the last part fastest.
        noise: standard deviation of Gaussian examples, which is known; 0 of others.
        spread: standard deviation of what a run's seed adds to the means that training starts from.
    """

    choices: tuple[int, ...]
    noise: float = 0.0
    spread: float = 0.0


class CompositionalLatents(ABC):
    """A model p(x, z) of all S latents, and what it takes for their posterior; all in nats."""

    @abstractmethod
    def log_joints(self, x: Tensor) -> Tensor:
        """log p(x, z), ``(B, S)``, for ``x`` (B, D)."""

    @abstractmethod
    def posterior(self, x: Tensor) -> Tensor:
        """Probabilities q(z|x), ``(B, S)``."""


class MixtureLatents(CompositionalLatents):
    """Of a mixture of Gaussians whose means are sums of one offset for each part."""


class TokenLatents(CompositionalLatents):
    """Of a decoder of bits that sees an embedding of each part."""


_EXACT = "mean over test examples; by enumeration of all latents"
METRICS = (
    Convention("nll_excess", "negative log-likelihood minus that of the law of the data", "nats", "lower", note=_EXACT),
    share("posterior_tv", "total variation of q(z|x) and the model's own posterior", "lower", _EXACT),
    Convention("posterior_kl", "KL(q(z|x) || p(z|x)) of the model's own posterior", "nats", "lower", 0.0, note=_EXACT),
    Convention("latent_perplexity", "exponential of the entropy of the mean of p(z|x)", "latents", "none", 1.0, note=_EXACT),
)
