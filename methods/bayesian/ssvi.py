"""Sparse subspace variational inference (Li, Miao, Qiu and Zhang 2024): a Gaussian over few weights from the first step on.

    q(w) = prod_{i active} N(mu_i, sigma_i^2),   all other weights exactly 0,   p(w_i) = N(0, prior_sd^2) of the active ones
    L = (1/B) sum_i CE(f(x_i; w), y_i) + (kl_scale / N) min(2 t, 1) sum_{i active} KL(N(mu_i, sigma_i^2) || p),   t the share of training
    y_l ~ N(M_l x + b, S_l^2 x^2)                                    (local reparameterisation: of a layer's output, for each example)

A random set of weights is active at first. As training goes on (see :mod:`elboard.methods.parts.sparse_training`) those leave that have the
least signal-to-noise ratio of their size, and those come that have the largest gradient of the mean (section 3.3):

    SNR(|w|) = E|w| / sqrt(sigma^2 + mu^2 - (E|w|)^2),   E|w| = mu erf(mu / (sqrt 2 sigma)) + sigma sqrt(2 / pi) exp(-mu^2 / (2 sigma^2))

``criterion``: that ("snr-size"), E|w| ("size"), |mu| ("mean"), |mu| / sigma ("snr"). Weights that come have mu = 0 and the mean spread of
the layer's active ones. Spreads begin at |N(start_sd, start_spread^2)|, each drawn: of equal ones the ratio would order weights as |mu|.
``density=1`` is dense variational inference with the same objective, ``mask=static`` a random subspace that stays, ``mask=pruned`` the
dense one that is pruned at once by the criterion when ``until`` of training is done (``until=1``: in the end).

kl_scale below 1 makes the posterior colder than Bayes' rule has it: results are of the tempered objective.

Differences from the paper: the shared networks, with biases as estimates. These have no batch normalisation, which in the paper's lets
means begin at N(0, 0.01^2): here they begin where the dense network's do, over the root of the density. The prior is ten times as wide as
the paper's 0.005: per example the divergence weighs ten times as much in 5,000 images as in 50,000, and without normalisation small weights
are small outputs. The last epoch is kept, where the released script keeps the one of the best test accuracy. Of the criteria those by
E exp(lambda |w|) are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import NonNegative, Positive
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.noisy_layers import after, squared, weight_layers
from elboard.methods.parts.schedules import ramp
from elboard.methods.parts.scores import MaximumProbability
from elboard.methods.parts.sparse_training import SparseClassifier

CARD = MethodCard(
    name="ssvi",
    title="Sparse subspace variational inference",
    family="bayesian",
    home="calibration/fashion-mnist",
    paper="081",
    cite="Li, Miao, Qiu and Zhang 2024",
    splits=True,
    defaults={"trials": 2, "on": "calibration/fashion-mnist", "by": "class_nll", "options": ("prior_sd",), "rest": "convention"},
)
LEAST_SD = 1e-6  # a weight without spread would never leave


def mean_size(mean: Tensor, sd: Tensor) -> Tensor:
    """E|w| of w ~ N(mean, sd^2)."""
    z = mean / sd
    return mean * torch.erf(z / math.sqrt(2)) + sd * math.sqrt(2 / math.pi) * torch.exp(-0.5 * z.square())


def signal_to_noise_of_size(mean: Tensor, sd: Tensor) -> Tensor:
    """E|w| over the standard deviation of |w|, in double precision: far from zero sd^2 is the difference of two squares of the mean."""
    mean, sd = mean.double(), sd.double()
    size = mean_size(mean, sd)
    return size / (sd.square() + mean.square() - size.square()).clamp_min(0.1 * LEAST_SD**2).sqrt()


class SSVI(SparseClassifier, MaximumProbability):
    """The shared classifier under masks, whose weights are the means."""

    @dataclass(kw_only=True)
    class Config(SparseClassifier.Config):
        criterion: Literal["snr-size", "size", "mean", "snr"] = "snr-size"
        prior_sd: Positive = 0.05  # of two tried; see the module
        start_sd: Positive = 0.0006
        start_spread: NonNegative = 0.0005
        kl_scale: Positive = 0.01
        mean_gradient: bool = False  # weights come by the gradient without noise
        mean: bool = False  # predict with the means alone

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        drawn = [(config.start_sd + config.start_spread * torch.randn(w.shape)).abs().clamp_min(LEAST_SD) for w in self.weights]
        self.rho = nn.ParameterList([nn.Parameter(sd.expm1().log()) for sd in drawn])

    def parameter_groups(self) -> list[dict]:
        """Spreads have no weight decay."""
        rho = {id(r) for r in self.rho}
        return [{"params": [p for p in self.parameters() if id(p) not in rho]}, {"params": list(self.rho), "weight_decay": 0.0}]

    def sd(self, i: int) -> Tensor:
        """Of the i-th layer's weights, 0 of inactive ones."""
        return F.softplus(self.rho[i]).clamp_min(LEAST_SD) * self.masks[i]

    def logits(self, weights: dict[str, Tensor], x: Tensor, noise: bool = True) -> Tensor:
        """Under one draw of the noise, its own for each example and unit."""
        layers = weight_layers(self)
        variances = [self.sd(i).square() for i in range(len(layers))]

        def change(i: int, x: Tensor, y: Tensor) -> Tensor:
            variance = squared(layers[i], x, variances[i])
            return y + ((variance + 1e-12).sqrt() * torch.randn_like(variance)).to(y.dtype)

        with after(layers if noise else [], change):
            return functional_call(self, weights, (x,))

    def kl(self) -> Tensor:
        """KL(q || p), summed over active weights."""
        s, total = self.config.prior_sd, 0.0
        for rho, mean, mask in zip(self.rho, self.weights, self.masks, strict=True):
            sd = F.softplus(rho).clamp_min(LEAST_SD)
            total = total + ((0.5 * ((sd / s).square() + (mean / s).square() - 1) - (sd / s).log()) * mask).sum()
        return total

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits, kl = self.logits(self.active(), batch["x"]), self.kl()
        error, accuracy = F.cross_entropy(logits, batch["y"]), (logits.argmax(1) == batch["y"]).float().mean()
        weight = self.config.kl_scale * ramp(self.progress, 0.5) / self.spec.n_train
        return {"loss": error + weight * kl, "error": error, "kl": kl, "accuracy": accuracy}

    # --- which weights are active --------------------------------------------------------------

    def score(self, i: int) -> Tensor:
        mean, sd, criterion = self.weights[i], F.softplus(self.rho[i]).clamp_min(LEAST_SD), self.config.criterion
        if criterion == "mean":
            return mean.abs()
        if criterion == "snr":
            return mean.abs() / sd
        return mean_size(mean, sd) if criterion == "size" else signal_to_noise_of_size(mean, sd)

    def growing(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return self.logits(weights, x, noise=not self.config.mean_gradient)

    def begin(self, i: int, flat: Tensor) -> None:
        self.rho[i].view(-1)[flat] = self.rho[i][self.masks[i]].mean()

    def clear(self, i: int, flat: Tensor) -> None:
        super().clear(i, flat)
        self.forget(self.rho[i], flat)

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(n_samples, B, C)``, noise of its own for each sample, image and unit; ``(1, B, C)`` if ``mean``."""
        weights, noise = self.active(), not self.config.mean
        return torch.stack([self.logits(weights, x, noise).softmax(1) for _ in range(n_samples if noise else 1)])
