"""How codes are distributed, and what a Gaussian decoder takes for noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


class AggregatePosterior(ABC):
    """Draws codes of examples, which together should be distributed as the prior from which it samples."""

    @abstractmethod
    def draw_codes(self, x: Tensor) -> Tensor:
        """A draw of q(z|x) for each example, ``(B, latent)``; of a code without noise itself."""

    @abstractmethod
    def draw_prior(self, n: int) -> Tensor:
        """``(n, latent)`` draws of the prior."""


class GaussianNoise(ABC):
    """A model p(x|z) = N(x; decode(z), v I) with one variance for all dimensions."""

    @abstractmethod
    def noise_variance(self) -> Tensor:
        """v, a scalar."""


METRICS = (
    Convention(
        "aggregate_mmd2",
        "squared MMD of the aggregate posterior and the prior",
        "",
        "lower",
        note="kernel exp(-|a - b|^2 / Z), expectations in closed form, unbiased; may be negative (Zhao, Song and Ermon 2019)",
    ),
    Convention("log_det_gap", "|log det Cov q(z)|", "nats", "lower", 0.0, note="0: that of the prior (Zhao, Song and Ermon 2019)"),
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
        "prior_mmd2",
        "squared maximum mean discrepancy of codes and prior",
        "",
        "lower",
        note="unbiased, of codes over the root of their dimension; mean of Gaussian kernels of widths .1, .3, 1, 3",
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
