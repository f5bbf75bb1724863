"""Laplace's approximation of the posterior of a classifier's last layer (MacKay 1992, Kristiadi et al. 2020, Daxberger et al. 2021).

    q(w) = N(w*, (H + tau I)^-1),    H = sum_i (diag(p_i) - p_i p_i^T) (x) z_i z_i^T           (generalised Gauss-Newton, here the Hessian)
    log Z(tau) = log p(D | w*) - tau |w*|^2 / 2 + (P / 2) log tau - (1/2) log det(H + tau I)
    p(y | x) = (1/S) sum_s softmax(W_s z),  w_s ~ q

z are the features of the training images, with a 1 for the bias, p the classifier's probabilities, w* its P last weights. The prior's
precision tau is that of the greatest evidence Z. The features, and so what the classifier deems most probable at w*, stay as they are.

Differences from the papers: the whole covariance of the last layer, where Daxberger et al. have Kronecker factors by default; draws instead
of the probit approximation; w* is the maximum of the likelihood, of which the evidence is Laplace's as if it were the posterior's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.classification import Classifier
from elboard.bench.method import Bases, Method
from elboard.bench.options import Options
from elboard.bench.task import Data, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="last-layer-laplace",
    title="Laplace approximation of the last layer",
    family="bayesian",
    home="calibration/mnist",
    cite="Kristiadi et al. 2020; Daxberger et al. 2021",
    bases={"classifier": {"method": "softmax"}},
    defaults="none",
)
CHUNK = 250  # training images in a batch
LOG_TAU = -7.0, 12.0  # where the evidence is looked at


def hessian(z: Tensor, p: Tensor) -> Tensor:
    """That of the summed cross-entropy by the weights ``(C, D)`` of the features ``z`` ``(N, D)``, at probabilities ``p`` ``(N, C)``:
    ``(C D, C D)``."""
    n_classes, size = p.shape[1], z.shape[1]
    found = z.new_zeros(n_classes, size, n_classes, size)
    for c in range(n_classes):
        for d in range(c + 1):
            curvature = p[:, c] * ((1.0 if c == d else 0.0) - p[:, d])
            found[c, :, d] = found[d, :, c] = z.T @ (curvature[:, None] * z)
    return found.reshape(n_classes * size, n_classes * size)


def evidence(log_tau: float, eigenvalues: Tensor, norm: float) -> float:
    """log Z up to a constant, from the eigenvalues ``(P,)`` of H and |w*|^2."""
    tau = math.exp(log_tau)
    return -0.5 * tau * norm + 0.5 * len(eigenvalues) * log_tau - 0.5 * float((eigenvalues + tau).log().sum())


class LastLayerLaplace(Method, MaximumProbability, Classifier):
    """A Gaussian around the last weights of a finished classifier.

    Raises UserError for a base whose probabilities are not the softmax of ``head(features(x))``.

    Attributes:
        mean: w* as ``(C, D + 1)``. root: ``(P, P)``, of which root root^T is the covariance. tau: the prior's precision.
    """

    @dataclass(kw_only=True)
    class Config(Options):
        """Starts afresh: nothing is trained by gradients."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        of = type(self.base)
        if not issubclass(of, ClassifierMethod) or (of.forward, of.predict) != (ClassifierMethod.forward, ClassifierMethod.predict):
            raise UserError(f"{of.__name__} has no last layer that is known: its probabilities are not the softmax of head(features(x))")
        head = self.base.head
        self.register_buffer("mean", torch.cat([head.weight, head.bias[:, None]], 1).detach().clone())
        self.register_buffer("root", torch.zeros(self.mean.numel(), self.mean.numel()))
        self.register_buffer("tau", torch.zeros(()))

    def inputs(self, x: Tensor) -> Tensor:
        """What the last layer sees, ``(B, D + 1)``."""
        z = self.base.features(x)
        return torch.cat([z, z.new_ones(len(z), 1)], 1)

    @torch.no_grad()
    def fit(self, data: Data, training: Any) -> None:
        device = next(self.base.parameters()).device
        z = torch.cat([self.inputs(part.to(device)).cpu() for part in data.train["x"].split(CHUNK)]).double()
        mean = self.mean.double().cpu()
        values, vectors = torch.linalg.eigh(hessian(z, (z @ mean.T).softmax(1)))
        values, norm = values.clamp(min=0), float(mean.square().sum())
        best = minimize_scalar(lambda at: -evidence(at, values, norm), bounds=LOG_TAU, method="bounded", options={"xatol": 1e-6})
        self.tau.fill_(math.exp(best.x))
        self.root.copy_(vectors * (values + math.exp(best.x)).rsqrt())

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(n_samples, B, C)``, one draw of the weights for each sample, common to the inputs."""
        z = self.inputs(x)
        noise = torch.randn(n_samples, len(self.root), device=z.device) @ self.root.T
        return (z @ (self.mean + noise.unflatten(1, self.mean.shape)).transpose(1, 2)).softmax(2)
