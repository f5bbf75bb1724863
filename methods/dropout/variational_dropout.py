"""Variational dropout: Gaussian noise on weights, in proportion to them (Kingma, Salimans and Welling 2015).

    L = (1/B) sum_i CE(f(x_i; noise), y_i) + (beta / N) sum_w KL(alpha_w),   q(w) = N(theta, alpha theta^2),   p(log |w|) constant
    y_l ~ N(W_l x + b, (alpha W_l^2) x^2)                                                  (local reparameterisation, their section 2.3)
    KL(alpha) = 0.63576 (1 - sigmoid(1.87320 + 1.48695 log alpha)) + 0.5 log(1 + 1 / alpha)

Noise is drawn for what comes out of a layer, another for each example, which has the distribution that independent noise on the weights
gives it and gradients of less variance; of a convolution also another at each place, which has that distribution place by place alone, as
the places of a map share their weights.

The KL is the approximation of Molchanov, Ashukha and Vetrov (2017, eq. 14), good for all alpha, where the paper's (eq. 11) holds for alpha
up to 1. ``granularity`` is one alpha for a "layer", as in the paper's section 3.2, or for each
"weight", with its log variance as the parameter, as in sparse variational dropout (Molchanov et al., section 4.1). beta grows from 0 to 1
over the first share ``anneal`` of training (there, section 4.3; "KL warm-up").

Differences from the papers: the shared network; log alpha is held within [-8, 4].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Range, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.noisy_layers import after, squared, weight_layers
from elboard.methods.parts.schedules import ramp
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="variational-dropout",
    title="Variational dropout",
    family="dropout",
    home="calibration/mnist",
    cite="Kingma et al. 2015; Molchanov et al. 2017",
    splits=True,
    defaults="convention",
)
LOW, HIGH = -8.0, 4.0  # of log alpha


def divergence(log_alpha: Tensor) -> Tensor:
    """KL(N(1, alpha) || p(log |w|) constant), up to a constant that makes it 0 for infinite alpha."""
    return 0.63576 * torch.sigmoid(-1.87320 - 1.48695 * log_alpha) + 0.5 * F.softplus(-log_alpha)


class VariationalDropout(ClassifierMethod, MaximumProbability):
    """The shared classifier with learned Gaussian noise on the weights of all its layers, not on biases."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        dropout: Annotated[float, Range(0, 0)] = 0.0  # the backbone's own
        granularity: Literal["layer", "weight"] = "layer"
        start: Annotated[float, Range(-8, 4)] = -3.0  # log alpha before training
        anneal: Share = 0.5  # share of training over which beta grows

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        noise = [self.start(layer.weight.detach()) for layer in weight_layers(self)]
        self.noise = nn.ParameterList(nn.Parameter(of) for of in noise)

    def start(self, weight: Tensor) -> Tensor:
        """Of a layer log alpha, of each weight the log variance."""
        of_layer = self.config.granularity == "layer"
        return torch.tensor(float(self.config.start)) if of_layer else self.config.start + (weight.square() + 1e-8).log()

    def log_alpha(self, i: int) -> Tensor:
        """Of the i-th layer: a scalar, or in the shape of its weights."""
        if self.config.granularity == "layer":
            return self.noise[i].clamp(LOW, HIGH)
        return (self.noise[i] - (weight_layers(self)[i].weight.square() + 1e-8).log()).clamp(LOW, HIGH)

    def noisy(self, x: Tensor) -> Tensor:
        """Logits under one draw of the noise."""
        layers = weight_layers(self)

        def change(i: int, x: Tensor, y: Tensor) -> Tensor:
            variance = squared(layers[i], x, self.log_alpha(i).exp() * layers[i].weight.square())
            return y + ((variance + 1e-12).sqrt() * torch.randn_like(variance)).to(y.dtype)

        with after(layers, change):
            return self(x)

    def kl(self) -> Tensor:
        """Summed over all weights."""
        layers = weight_layers(self)
        return sum(divergence(self.log_alpha(i)).expand_as(layer.weight).sum() for i, layer in enumerate(layers))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits, y = self.noisy(batch["x"]), batch["y"]
        beta = ramp(self.progress, self.config.anneal)
        nll, kl = F.cross_entropy(logits, y), self.kl()
        accuracy = (logits.argmax(1) == y).float().mean()
        return {"loss": nll + beta * kl / self.spec.n_train, "nll": nll, "kl": kl, "accuracy": accuracy}

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(n_samples, B, C)``, noise of its own for each sample, image and unit."""
        return torch.stack([self.noisy(x).softmax(1) for _ in range(n_samples)])
