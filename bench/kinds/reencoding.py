"""Autoencoders that read what they write: the loss of a model's own samples, and images that are encoded and decoded again and again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


class Reencoder(ABC):
    """Variational autoencoders for several weights of the KL term, side by side, whose decoded means are inputs of their own encoders.

    Images ``x`` are ``(B, *shape)``, the same for each of the G weights, or ``(G, B, *shape)``, those of each.

    Attributes:
        betas: the weights, G of them.
    """

    betas: tuple[float, ...]

    @abstractmethod
    def posteriors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of each q(z|x), both ``(G, B, Z)``."""

    @abstractmethod
    def terms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x|z) of one sample z of each posterior, and KL(q(z|x) || p(z)), both ``(G, B)``, in nats."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Means of p(x|z), ``(G, B, *shape)``, of codes ``(G, B, Z)``."""

    @abstractmethod
    def prior_codes(self, n: int) -> Tensor:
        """``(G, n, Z)`` from p(z)."""


METRICS = (
    Convention("test_loss", "-E_q log p(x|z) + beta KL of test images", "nats", "lower", note="one sample of z; cross-entropy of grey"),
    Convention(
        "generated_loss", "the same loss of the model's own samples", "nats", "none", note="decoded means, z ~ p(z); low if collapsed"
    ),
    Convention("sampled_loss", "the same loss of samples with binary pixels", "nats", "none", note="x ~ p(x|z), z ~ p(z)"),
    Convention("generated_kl", "KL(q(z|x) || p(z)) of the model's own samples", "nats", "none", 0.0, note="decoded means"),
    Convention("test_excess", "test loss without the images' own entropy", "nats", "lower", note="of pixels as Bernoulli"),
    Convention("generated_excess", "generated loss without the images' own entropy", "nats", "none", note="of pixels as Bernoulli"),
    Convention("generated_gap", "generated loss minus test loss", "nats", "none"),
    Convention("excess_gap", "generated loss minus test loss without the images' own entropies", "nats", "none"),
    Convention("gap_growth", "growth of generated loss minus validation loss", "nats", "none", note="last minus first validated epoch"),
    Convention("training_fall", "training loss of the first epoch minus the last's", "nats", "none", note="as means; summed over models"),
    share("crosses", "generated loss crosses the test loss", "none", "1: above it at the least weight of the grid, below at the largest"),
    Convention("crossing_fd", "Frechet distance at the crossing", "", "lower", 1.0, note="where losses are nearest, over the grid's least"),
    share(
        "judge_confidence", "largest probability of the judge", "none", "a classifier of real images; after t times encoding and decoding"
    ),
    Convention("confidence_gain", "confidence after t times minus before", "", "higher", -1.0, 1.0),
    Convention("iterated_loss", "loss after t times encoding and decoding", "nats", "none", note="of the code's mean each time"),
    Convention("iterated_gain", "loss before minus after t times encoding and decoding", "nats", "higher"),
    Convention("iterated_excess", "the same without the images' own entropy", "nats", "none", note="of pixels as Bernoulli"),
    Convention("iterated_excess_gain", "that before minus after t times encoding and decoding", "nats", "higher"),
    Convention("class_distance", "distance to the mean image of the class", "", "none", 0.0, note="Euclidean, after t times"),
)
