"""Classifiers that are trained with random masks: what the masks do to their predictions and to their gradients."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.kinds.classification import Classifier
from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor

    from elboard.bench.batches import Batch


class MaskedClassifier(Classifier):
    """Predicts without masks, and can show its predictions and gradients with those that it is trained with at its present progress."""

    @abstractmethod
    def masked(self, x: Tensor, n: int) -> Tensor:
        """Probabilities ``(n, B, C)``, each under masks of its own, drawn anew for each example."""

    @abstractmethod
    def gradient(self, batch: Batch, masks: bool = True) -> Tensor:
        """The gradient ``(parameters,)`` of its objective on ``batch``, with masks drawn anew or without any."""


class MaskSampler(Classifier):
    """A classifier whose masks z are drawn by a learned q(z | x, y) that is to match a reward R(z) = p(z) p(y | x, z)^b."""

    @abstractmethod
    def rewards(self, batch: Batch, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """log q, log p(z) and b log p(y | x, z), each ``(n, B)``, of n masks drawn from q for each example of ``batch`` (``x``, ``y``).

        Where one q serves all examples: ``(n, 1)``, and the likelihood of all training examples, estimated from ``batch``.
        """


METRICS = (
    Convention(
        "train_nll", "negative log likelihood of the training classes", "nats", "lower", 0.0, note="without masks and without augmentation"
    ),
    Convention(
        "mask_divergence",
        "divergence of two masked passes",
        "nats",
        "lower",
        0.0,
        note="mean over test examples and pairs of masks of (KL(a, b) + KL(b, a)) / 2, probabilities floored at 1e-12",
    ),
    Convention(
        "mc_gap",
        "gap between masked and unmasked predictions",
        "nats",
        "lower",
        0.0,
        note="absolute difference of the NLL of the mean over masks and of that of the network without masks",
    ),
    Convention(
        "reward_correlation",
        "correlation of sampler and reward",
        "",
        "higher",
        -1.0,
        1.0,
        note="of log q and log R over masks drawn from q, mean over examples; 0 where one of them does not vary",
    ),
    Convention(
        "posterior_correlation",
        "correlation of sampler and likelihood",
        "",
        "higher",
        -1.0,
        1.0,
        note="of log q - log p(z) and the log likelihood over masks drawn from q, mean over examples; 0 where one does not vary",
    ),
    Convention("gdv", "gradient direction variance", "", "lower", 0.0, 1.0, note="mean over pairs of mini-batches of (1 - cosine) / 2"),
    Convention("gde", "gradient direction error", "", "lower", 0.0, 1.0, note="mean (1 - cosine) / 2 with the gradient of many, unmasked"),
)
