"""Posterior collapse: which codes carry nothing, over a grid of settings that are trained side by side in one run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor

    from elboard.bench.task import Batch


@dataclass(frozen=True)
class Setting:
    """One point of the grid.

    Attributes:
        beta: weight of the KL term, of the lower level's where there are two.
        top: weight of the upper level's KL term.
        noise: standard deviation of a linear decoder.
        world: number of the data set among those that the batches hold.
    """

    beta: float = 1.0
    top: float = 1.0
    noise: float = 1.0
    world: int = 0


@dataclass(frozen=True, kw_only=True)
class GridSpec(DataSpec):
    """A model for each of the ``settings``; ``condition`` is the number of dimensions that a conditional model is given, 0 for none."""

    settings: tuple[Setting, ...]
    latent_dim: int
    condition: int = 0


@dataclass(frozen=True, kw_only=True)
class BetaSpec(LikelihoodSpec):
    """A variational autoencoder for each weight of the KL term."""

    betas: tuple[float, ...]


@dataclass(frozen=True)
class Level:
    """The codes z of one level of G linear models, q(z|v) = N(W v, diag variance) with v what lies below.

    Attributes:
        decoder: matrices that turn z into the mean of v, ``(G, D, Z)``.
        code: covariance of the mean W v, ``(G, Z, Z)``.
        variance: ``(G, Z)``.
    """

    decoder: Tensor
    code: Tensor
    variance: Tensor


class LinearCodes(ABC):
    """Linear models with Gaussian codes, one for each setting of a :class:`GridSpec`.

    Attributes:
        held: the encoder variance that is held fixed, from the lowest level on; 0 where it is learned.
    """

    held: tuple[float, ...]

    @abstractmethod
    def levels(self, batch: Batch) -> list[Level]:
        """From the lowest to the highest; covariances are those of ``batch``."""


class VanillaCodes(LinearCodes):
    """One level of codes, of an autoencoder."""


class ConditionalCodes(LinearCodes):
    """One level of codes, of a model of ``y`` given ``x``."""


class HierarchicalCodes(LinearCodes):
    """Two levels of codes, the upper one of the lower one's samples."""


class PosteriorGrid(ABC):
    """A variational autoencoder for each weight of a :class:`BetaSpec`, trained side by side."""

    @abstractmethod
    def posteriors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of each q(z|x), both ``(G, B, Z)``."""

    @abstractmethod
    def log_evidences(self, x: Tensor, k: int) -> Tensor:
        """The k-sample importance bound of each model, ``(G, B)``."""


METRICS = (
    Convention("collapse_gap", "active units: measured minus predicted", "units", "lower", 0.0, note="largest absolute one over the grid"),
    Convention("singular_gap", "singular values of the decoder: measured minus predicted", "", "lower", 0.0, note="in units of theta_1"),
    Convention("share_gap", "signal's share of the codes: measured minus predicted", "", "lower", 0.0, 1.0),
    Convention("unit_kl", "largest mean KL of a unit", "nats", "none", 0.0),
    Convention(
        "collapsed_units", "collapsed units", "units", "none", 0.0, note="KL below eps for a share of at least 1 - delta of the data"
    ),
    Convention("aggregate_kl", "KL(q(z) || p(z))", "nats", "none", note="KL minus the mutual information's lower bound: an upper bound"),
    Convention("beta_trend", "Kendall's tau of the KL and beta", "", "none", -1.0, 1.0, note="-1: it falls with each step of beta"),
)
