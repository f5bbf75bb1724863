"""BatchEnsemble: members that share their weights up to a matrix of rank one each (Wen, Tran and Ba 2020).

    W_m = W o (r_m s_m^T),     y = ((x o s_m) W^T) o r_m + b_m                                                       (their eqs. 1 and 5)

W is common; r_m, s_m and the biases b_m are the member's own. In training the m-th part of a batch is the m-th member's, so that it costs
what one network does; in prediction each member sees all images, and the mean of their probabilities is the ensemble's.

Differences from the paper: the shared network; r and s start as random signs, the diversity that the paper has for large networks; they
have the weights' learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.noisy_layers import after, along, before, inputs_of, weight_layers
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="batch-ensemble",
    title="BatchEnsemble",
    family="bayesian",
    home="calibration/mnist",
    cite="Wen et al. 2020",
    defaults="paper",
)


class BatchEnsemble(ClassifierMethod, MaximumProbability):
    """The shared classifier, whose layers have vectors of each member around their weights.

    Attributes:
        s, r, b: of each layer ``(M, inputs)``, ``(M, outputs)``, ``(M, outputs)``; b is what a member has beside the layer's own bias.
    """

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        members: Count = 4

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        m = config.members
        widths = [(inputs_of(layer), layer.weight.shape[0]) for layer in weight_layers(self)]
        self.s = nn.ParameterList(nn.Parameter(_signs(m, inputs)) for inputs, _ in widths)
        self.r = nn.ParameterList(nn.Parameter(_signs(m, outputs)) for _, outputs in widths)
        self.b = nn.ParameterList(nn.Parameter(torch.zeros(m, outputs)) for _, outputs in widths)

    def logits(self, x: Tensor, member: Tensor) -> Tensor:
        """``(B, C)``, of each image by the member that ``member`` ``(B,)`` names."""
        layers = weight_layers(self)

        def scale(i: int, x: Tensor) -> Tensor:
            return x * along(x, self.s[i][member])

        def rescale(i: int, x: Tensor, y: Tensor) -> Tensor:
            bias = 0.0 if layers[i].bias is None else along(y, layers[i].bias)
            return (y - bias) * along(y, self.r[i][member]) + bias + along(y, self.b[i][member])

        with before(layers, scale), after(layers, rescale):
            return super().forward(x)

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the members' logits ``(B, C)``: the common weights alone are those of no member."""
        return torch.stack([self.logits(x, m.expand(len(x))) for m in self.every(x)]).mean(0)

    def every(self, x: Tensor) -> Tensor:
        """The numbers of all members, on the device of ``x``."""
        return torch.arange(self.config.members, device=x.device)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x, y = batch["x"], batch["y"]
        member = torch.arange(len(x), device=x.device) * self.config.members // len(x)
        logits = self.logits(x, member)
        return {"loss": F.cross_entropy(logits, y), "accuracy": (logits.argmax(1) == y).float().mean()}

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(M, B, C)`` of the members."""
        return torch.stack([self.logits(x, m.expand(len(x))).softmax(1) for m in self.every(x)])


def _signs(*shape: int) -> Tensor:
    return 2.0 * torch.randint(2, shape) - 1.0
