"""Densities and masses of examples, and bounds on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


class LikelihoodModel(ABC):
    """Assigns a (bound on a) likelihood to examples; all values in nats per example."""

    @abstractmethod
    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        """``{"elbo", "kl", "reconstruction"}``, each ``(B,)``: one-sample evidence lower bound and its terms,
        elbo = -reconstruction - kl."""

    @abstractmethod
    def log_evidence(self, x: Tensor, k: int) -> Tensor:
        """Estimate of log p(x), ``(B,)``: the k-sample importance bound, or the exact value where ``exact`` is true."""

    exact: bool = False


class BinaryLikelihood(LikelihoodModel):
    """Likelihood of pixels in {0, 1} (Bernoulli)."""


class GreyLikelihood(LikelihoodModel):
    """Probability mass of grey levels; ``x`` holds level / (levels - 1)."""


class RealLikelihood(LikelihoodModel):
    """Density of real vectors."""


class HierarchicalLikelihood(LikelihoodModel):
    """One whose codes lie in layers, z_1 next to the example to z_L at the top.

    :meth:`elbo` also gives ``kl_1`` to ``kl_L``, each ``(B,)``, E_q KL(q(z_i|x, z_>i) || p(z_i|z_>i)), whose sum is ``kl``.

    Attributes:
        layers: L.
    """

    layers: int

    @abstractmethod
    def log_weights_above(self, x: Tensor, k: int, n: int) -> Tensor:
        """``log p(x|z) + log p(z_>k) - log q(z_>k|x)`` in nats, ``(B, n)``, of n draws of q(z_>k|x), with z_1 to z_k at the modes of
        p(z_i|z_>i); of k = 0 the weights of the ordinary bound.

        Layers are drawn from the top: of equal noise, those that two k have in common have equal codes.
        """


class AmortisedLikelihood(LikelihoodModel):
    """One whose q(z|x) is given by submodules that give nothing else.

    Attributes:
        inference: their names.
        heads: names of the last layers among them, of which each gives mean and log-variance of a layer of codes by features of x.
    """

    inference: tuple[str, ...]
    heads: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LikelihoodSpec(DataSpec):
    """What a density is of."""

    likelihood: str  # bernoulli, discretised-logistic, gaussian or laplace
    levels: int = 256  # of grey, under discretised-logistic


METRICS = (
    Convention("elbo", "evidence lower bound", "nats", "higher", note="one sample of z an example, mean over examples", counted=True),
    Convention("nll", "negative log likelihood", "nats", "lower", note="minus the k-sample bound (Burda et al. 2016, eq. 8); or ``exact``"),
    Convention("bits_per_dim", "bits per dimension", "bits", "lower", note="nats / (D ln 2); ``exact``, or a bound of k samples"),
    Convention("bits_gap", "bits per dimension of test minus of training images", "bits", "none", note="after the last epoch"),
    Convention("kl", "KL(q(z|x) || p(z))", "nats", "none", counted=True),
    Convention("layer_kl", "KL of one layer's codes", "nats", "none", 0.0, note="z_1 (``@1``) is next to the example; near 0: collapsed"),
    Convention("reconstruction", "-E_q log p(x|z)", "nats", "lower", counted=True),
)
