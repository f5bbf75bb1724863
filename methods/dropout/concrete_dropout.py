"""Concrete dropout: rates that are learned (Gal, Hron and Kendall 2017).

    L = (1/B) sum_i CE(f(x_i; masks), y_i) + (1/N) sum_l [ l^2 |W_l|^2 / (2 (1 - p_l)) - K_l H(p_l) ]                (their eqs. 2 to 4)
    x_l := x_l (1 - z) / (1 - p_l),   z = sigmoid((log p_l - log(1 - p_l) + log u - log(1 - u)) / t),  u ~ U(0, 1)          (eq. 5)

Each weight layer l but the first has a rate p_l for its K_l inputs, of a convolution for its input channels; z is a relaxed draw of what
is dropped, and through it p_l has a gradient. H is the entropy of a coin, l the prior's length scale. Kept inputs are scaled by
1 / (1 - p), as in dropout layers; the weights of the paper's prior are W / (1 - p), which are there with probability 1 - p, whence the
first term of the KL. The first layer's inputs, pixels, are kept and its weights have the prior with p = 0. Masks stay on in prediction.

Differences from the paper: the shared network; t = 0.1, the rates' start at 0.1 and l = 1e-4 are those of the released code (none verified
beside the paper's text); the prior on biases is left out, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Positive, Range
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.noisy_layers import along, before, inputs_of, weight_layers
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="concrete-dropout",
    title="Concrete dropout",
    family="dropout",
    home="calibration/mnist",
    cite="Gal et al. 2017",
    splits=True,
    defaults="convention",
)


class ConcreteDropout(ClassifierMethod, MaximumProbability):
    """The shared classifier with a learned rate of dropout before each weight layer but the first.

    Attributes:
        logit: log p_l - log(1 - p_l) of each of those layers.
    """

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        dropout: Annotated[float, Range(0, 0)] = 0.0  # the backbone's own
        start: Annotated[float, Range(above=0, below=1)] = 0.1  # p_l before training
        temperature: Positive = 0.1
        length_scale: Positive = 1e-4

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        start = torch.logit(torch.tensor(float(config.start)))
        self.logit = nn.Parameter(start.repeat(len(weight_layers(self)) - 1))

    def mask(self, i: int, x: Tensor) -> Tensor:
        """The input ``x`` of the i-th of the layers with rates, of which units or channels are dropped."""
        u = torch.rand(x.shape[:2], device=x.device).clamp(1e-6, 1 - 1e-6)
        z = torch.sigmoid((self.logit[i] + u.log() - (-u).log1p()) / self.config.temperature)
        return x * along(x, ((1 - z) / torch.sigmoid(-self.logit[i])).to(x.dtype))

    def masked(self, x: Tensor) -> Tensor:
        """Logits under one draw of the masks, other ones for each example."""
        with before(weight_layers(self)[1:], self.mask):
            return self(x)

    def kl(self) -> Tensor:
        """KL(q || prior) up to a constant, of all layers."""
        first, *rest = weight_layers(self)
        p = torch.sigmoid(self.logit)
        entropy = -(p * F.logsigmoid(self.logit) + (1 - p) * F.logsigmoid(-self.logit))
        norms = torch.stack([layer.weight.square().sum() for layer in rest])
        units = p.new_tensor([float(inputs_of(layer)) for layer in rest])
        half = 0.5 * self.config.length_scale**2
        return half * (first.weight.square().sum() + (norms / (1 - p)).sum()) - (units * entropy).sum()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits, y = self.masked(batch["x"]), batch["y"]
        nll, kl = F.cross_entropy(logits, y), self.kl()
        rate = torch.sigmoid(self.logit).mean()
        accuracy = (logits.argmax(1) == y).float().mean()
        return {"loss": nll + kl / self.spec.n_train, "nll": nll, "kl": kl, "rate": rate, "accuracy": accuracy}

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(n_samples, B, C)``, one mask for each sample, image and unit."""
        return torch.stack([self.masked(x).softmax(1) for _ in range(n_samples)])
