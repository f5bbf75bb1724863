"""Binary classifier of normal images and anomalies, by the encoder that autoencoders of the board have (LeCun et al. 1998).

    minimise  mean_i w_{y_i} log(1 + exp((1 - 2 y_i) s(x_i))),   score(x) = s(x)

w makes normal images and anomalies weigh the same, as in balanced batches. It knows the anomalies of the training images, and nothing tells
it what a normal image is beyond them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.anomaly import AnomalyScorer
from elboard.bench.method import Bases, Method
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.convolutions import ConvEncoder

CARD = MethodCard(
    name="cnn-anomaly",
    title="Binary classifier of anomalies",
    family="anomaly",
    home="anomaly/streets",
    cite="LeCun et al. 1998",
    defaults="convention",
)


class CNNAnomaly(Method, AnomalyScorer):
    """Trained on labelled images."""

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.encoder = ConvEncoder(spec.network, spec.shape)
        self.head = nn.Linear(self.encoder.n_features, 1)
        self.register_buffer("weights", torch.ones(2))

    def prepare(self, data: Data) -> None:
        share = data.train["y"].float().mean().clamp(1e-3, 1 - 1e-3)
        self.weights.copy_(0.5 / torch.stack([1 - share, share]))

    def anomaly_score(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))[:, 0]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        y = batch["y"]
        entropy = F.binary_cross_entropy_with_logits(self.anomaly_score(batch["x"]), y.float(), reduction="none")
        return {"loss": (self.weights[y] * entropy).mean()}
