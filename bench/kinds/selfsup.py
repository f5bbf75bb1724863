"""Encoders that are learned from two views of each image, without its class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


class ViewEncoder(ABC):
    """Has features of each image, and an embedding in which one view is predicted from another. Batches hold both, ``x`` and ``view``."""

    @abstractmethod
    def represent(self, x: Tensor) -> Tensor:
        """Features ``(B, F)``: the output of the shared backbone, on which probes are learned."""

    @abstractmethod
    def target(self, x: Tensor) -> Tensor:
        """The embedding ``(B, d)`` that another view is to predict, in the scale in which the objective compares."""

    @abstractmethod
    def predicted(self, x: Tensor) -> Tensor:
        """What ``x`` predicts of the :meth:`target` of another view of its image, ``(B, d)``."""


class UncertainViews(ViewEncoder):
    """Says how uncertain the embedding of an image is."""

    @abstractmethod
    def uncertainty(self, x: Tensor) -> Tensor:
        """``(B,)``, larger for what is less certain; a scale of its own, so that one model's values are compared with each other alone."""


class MapEncoder(ViewEncoder):
    """Has features at the places of an image, whose means over these are what it represents it by; they may be what codes are made of.

    Attributes:
        backbone: the network of them alone, with ``places`` (images to :meth:`feature_map`) and ``n_features``, the channels.
    """

    backbone: Any

    @abstractmethod
    def feature_map(self, x: Tensor) -> Tensor:
        """Features ``(B, C, h, w)``."""


class ClassOracle(ABC):
    """Learns from the classes of the images that it trains on, which encoders from views must not look at: a reference beside them."""

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """Of the classes that it was shown, ``(B, C)``."""


METRICS = (
    share("probe_accuracy", "accuracy of a linear probe", "higher", "logistic regression on standardised features of labelled images"),
    share("knn_accuracy", "accuracy of nearest neighbours", "higher", "20 by cosine similarity, a vote each, lowest class among ties"),
    share("quantile_accuracy", "probe's accuracy by certainty", "none", "fifths of the images, q1 the least certain; ties in their order"),
    Convention("quantile_gap", "probe's accuracy of the most certain fifth minus that of the least", "", "higher", -1.0, 1.0),
    Convention("quantile_trend", "Spearman correlation of accuracy with the fifth", "", "higher", -1.0, 1.0, note="1: it rises throughout"),
    Convention("view_spearman", "Spearman correlation of uncertainty with the squared difference of views", "", "higher", -1.0, 1.0),
    Convention("uncertainty", "mean uncertainty", "", "none", note="in the method's own scale"),
    Convention("uncertainty_trend", "Spearman correlation of mean uncertainty with strength", "", "higher", -1.0, 1.0, note="0 included"),
    share("uncertainty_rise", "share of images that are less certain than unchanged", "higher", "at the largest strength; equal ones half"),
    Convention(
        "embedding_std",
        "spread of embeddings of length 1",
        "",
        "none",
        0.0,
        note="mean over dimensions of the standard deviation over images, times sqrt(d): 1 if uniform on the sphere, 0 if collapsed",
    ),
)
