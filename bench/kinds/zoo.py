"""Populations of classifiers and sparse twins of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


class Population(ABC):
    """G classifiers, each in S versions: the original, and twins of it that are sparser the later they stand."""

    @abstractmethod
    def classes(self, x: Tensor) -> Tensor:
        """The most probable class of each image, ``(S, G, B)``."""

    @abstractmethod
    def zeros(self) -> tuple[Tensor, Tensor]:
        """How many weights of each of L layers are 0, ``(S, G, L)``, and of how many, ``(L,)``; biases do not count."""


METRICS = (
    share("sparsity", "share of weights that are 0", "none", "mean over the population; without biases"),
    share("agreement", "agreement of twin and original", "higher", "share of test images that both give the same class; population mean"),
    Convention(
        "rank_correlation",
        "rank correlation of originals and twins",
        "",
        "higher",
        -1.0,
        1.0,
        note="Kendall's tau-b of the accuracies over the population; 0 where all of one side are equal",
    ),
    Convention(
        "linear_correlation",
        "correlation of originals and twins",
        "",
        "higher",
        -1.0,
        1.0,
        note="Pearson's, of the accuracies over the population; 0 where all of one side are equal",
    ),
)
