"""Noise of training: what dropout's masks do to the path of gradient descent, and to the directions in which weights vary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DiffusionSpec(DataSpec):
    """Descent with dropout of f(x) = sum_r a_r tanh(w_r . (x, 1)), to be replaced by a diffusion; ``shape`` is that of the weights
    ``(m, 3)``, with a_r, w_r in row r, and ``n_train`` the number of points that the loss 1/(2 n) sum_i (f(x_i) - y_i)^2 is of.

    Attributes:
        settings: (model, rate) of each: all weights of "tanh" move, those of "linear" but for the w_r, and ``rate`` is that of the descent.
        keep: probability with which a unit is kept.
        step: of the time in which the diffusion is integrated, one a batch; the descent takes a step in the time ``rate``.
        samples: paths of each setting.
    """

    settings: tuple[tuple[str, float], ...]
    keep: float
    step: float
    samples: int


class DropoutDiffusion(ABC):
    """A diffusion for each setting of a :class:`DiffusionSpec`; data are ``x``, ``y`` (n,) and shared ``start`` (m, 3)."""

    @abstractmethod
    def time(self) -> float:
        """How far it has been integrated."""

    @abstractmethod
    def paths(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where it is: ends ``(S, N, m, 3)`` of independent paths for S settings, variates of the same shape whose mean is exactly 0 and
        that are near to ends - centre (zeros, if there are none), and centres ``(S, m, 3)``, which are no random variables."""


@dataclass(frozen=True, kw_only=True)
class DescentSpec(ClassSpec):
    """Classification by descent on the loss of all examples at once, a step a batch; dropout keeps units with probability ``keep``."""

    keep: float


class NoisyDescent(ABC):
    """Trains a classifier by gradients whose noise is all that is random.

    No :class:`Classifier`, as it is built for a :class:`DescentSpec` alone.
    """

    @abstractmethod
    def probabilities(self, x: Tensor) -> Tensor:
        """Of classes, without noise, ``(B, C)``."""

    @abstractmethod
    def iterates(self) -> Tensor:
        """Its weights ``(K, P)`` at the last steps, in their order."""

    @abstractmethod
    def gradients(self, n: int) -> Tensor:
        """Gradients ``(n, P)`` at the present weights, by noise drawn anew for each."""

    @abstractmethod
    def weights(self) -> Tensor:
        """The present ones, ``(P,)``."""

    @abstractmethod
    def risk(self, weights: Tensor) -> Tensor:
        """The loss of the training examples without noise, a scalar, at other weights ``(P,)``; differentiable twice."""


_OF = "slice: model and of what; over the settings of a model"
METRICS = (
    Convention(
        "weak_error",
        "error of expectations under the diffusion",
        "",
        "lower",
        0.0,
        note="against descent with dropout; geometric mean of rates",
    ),
    Convention("weak_rate", "slope of the logarithm of that error against that of the rate", "", "none", note=_OF),
    Convention("weak_signal", "error in units of its standard error", "", "higher", 0.0, note="least of the settings of a model"),
    Convention(
        "variance_share",
        "variance under the diffusion over that of descent with dropout",
        "",
        "none",
        0.0,
        note="sum over weights; at the smallest rate",
    ),
    Convention(
        "flatness_correlation",
        "Spearman's rho of noise variance and flatness of its principal directions",
        "",
        "none",
        -1.0,
        1.0,
        note="slice: of which noise",
    ),
    Convention(
        "curvature_correlation",
        "Spearman's rho of the variance along eigenvectors of the Hessian and their eigenvalues",
        "",
        "none",
        -1.0,
        1.0,
        note="the largest eigenvalues; slice: of which noise",
    ),
    Convention("flatness_power", "minus the slope of log variance against log flatness", "", "none", note="slice: of which noise"),
    Convention(
        "alignment",
        "Tr(H Sigma) in units of that of isotropic noise of the same trace",
        "",
        "none",
        note="of H Sigma: d Tr(H Sigma) / (Tr H Tr Sigma)",
    ),
    Convention("descent_loss", "loss of the training examples without noise", "nats", "lower", 0.0),
)
