"""How codes are distributed, and what a Gaussian decoder takes for noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


class GaussianNoise(ABC):
    """A model p(x|z) = N(x; decode(z), v I) with one variance for all dimensions."""

    @abstractmethod
    def noise_variance(self) -> Tensor:
        """v, a scalar."""


METRICS = (
    Convention("posterior_variance", "mean variance of q(z|x)", "", "none", 0.0, note="over latent units and examples", counted=True),
    Convention(
        "moments_kl",
        "KL of the codes' moments to N(0, I)",
        "nats",
        "lower",
        0.0,
        note="mean over units of KL(N(m, V) || N(0, 1)); V is that of the aggregate posterior, in the slice `means` of the posterior means",
        counted=True,
    ),
    Convention(
        "variance_law",
        "deviation from Var E[z|x] + E Var[z|x] = 1",
        "",
        "lower",
        0.0,
        note="mean absolute value over units with E Var[z|x] <= 0.8 (Asperti and Trentin 2020); 1 where there are none",
        counted=True,
    ),
    Convention(
        "noise_ratio",
        "decoder variance over the error of one sample's reconstruction",
        "",
        "none",
        0.0,
        note="1: as large as it is",
        counted=True,
    ),
)
