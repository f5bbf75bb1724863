"""Image models of few examples: how well they reconstruct what they have not seen, and what they generate, by the number of examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FewSpec(DataSpec):
    """A model for each number of training images of ``sizes``. Batches hold the images of all, ``x`` (G, B, D)."""

    sizes: tuple[int, ...]


class FewShotModels(ABC):
    """An autoencoder for each size of a :class:`FewSpec`."""

    @abstractmethod
    def log_likelihoods(self, x: Tensor) -> Tensor:
        """Grey images ``(B, D)`` to the log-likelihood of each as reconstructed by each model, ``(G, B)``: the logarithm of the mean over
        draws of what is random in the model, codes or weights, of p(x | reconstruction of x), with Bernoulli pixels. NaN while there is
        nothing to predict with, as of a chain before its first sample."""

    @abstractmethod
    def draw(self, n: int) -> Tensor:
        """``n`` new images of each model, means of pixels, ``(G, n, D)``."""


METRICS = (
    Convention(
        "recon_nll", "minus the log-likelihood of the reconstruction", "nats", "lower", note="no density of images: each is the input too"
    ),
    Convention("recon_nll_growth", "reconstructions' NLL of the fewest training images minus that of the most", "nats", "none"),
    Convention("fd_growth", "Frechet distance of the fewest training images minus that of the most", "", "none"),
)
