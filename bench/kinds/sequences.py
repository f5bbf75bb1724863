"""Sequences of vectors: models that draw them, with their likelihood or a bound, and what drawing costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


class SequenceModel(ABC):
    """Gives sequences ``(T, D)`` a probability, and draws them.

    Attributes:
        exact: whether :meth:`log_p` is log p(x); else its mean is no more.
    """

    exact: bool = False

    @abstractmethod
    def log_p(self, x: Tensor) -> Tensor:
        """An unbiased estimate of a lower bound on log p of ``x`` (B, T, D), or log p itself, ``(B,)`` in nats."""

    @abstractmethod
    def sample(self, n: int) -> Tensor:
        """``n`` new sequences, ``(n, T, D)``: draws and not means."""

    @abstractmethod
    def resized(self, length: int) -> SequenceModel:
        """An untrained model with the same options for sequences of ``length`` steps, to see what drawing costs."""


class SequenceCompleter(ABC):
    """Goes on with sequences that have begun."""

    @abstractmethod
    def complete(self, x: Tensor) -> Tensor:
        """Sequences ``(B, T, D)`` that begin with ``x`` (B, k, D), k < T: draws, one for each."""


class LatentSequence(ABC):
    """Has codes for each step."""

    @abstractmethod
    def divergences(self, x: Tensor) -> Tensor:
        """KL(q(z_t | x) || p(z_t)) ``(B, T)``, in nats, of ``x`` (B, T, D)."""


METRICS = (
    Convention(
        "sampling_depth",
        "longest chain of operations that wait for each other while one sequence is drawn",
        "operations",
        "lower",
        0.0,
        note="on tensors, each counted once however large; what is drawn in time where enough is computed at once. tN: of N steps",
    ),
    Convention(
        "depth_growth",
        "depth of drawing the longest sequences over that of the shortest",
        "",
        "lower",
        0.0,
        note="lengths in the key; as much as they differ where each step waits for the one before",
    ),
    Convention("completion_growth", "depth of completing the longest sequences over that of the shortest", "", "lower", 0.0),
    share("completion_accuracy", "share of completed images that are of the class of their seen half", "higher", "by a classifier"),
    Convention(
        "completion_gain",
        "completion accuracy above that of the seen half with the other half of an unrelated sample",
        "",
        "higher",
        -1.0,
        1.0,
        note="samples of the same model",
    ),
)
