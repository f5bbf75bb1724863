"""Codes whose dimensions stand for factors of variation, one each, and what units of a variational autoencoder do.

The key of a metric of the sampled representation ends in ``/sampled``; without a slice it is of the mean. Where a metric is of a subset of
the units, the slice names their types (``/active``, ``/active+mixed``). ``/given``: of codes that were told the very factors that they are
scored against, which is no achievement of the images' alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FactorSpec(LikelihoodSpec):
    """Images made from known factors of variation, which methods do not see.

    Attributes:
        network: of the encoder, which the decoder mirrors: the task names it, so that a difference on the board is one of methods
            (:func:`elboard.methods.parts.convolutions.widths`); empty for the method's own.
        factors: how many values each factor has, for methods that learn from the labels of some images.
    """

    network: str = ""
    factors: tuple[int, ...] = ()


class FactorsGiven(ABC):
    """Has a second posterior, of images whose factors it is told."""

    @abstractmethod
    def encode_given(self, x: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x, u), each ``(B, latent)``; ``factors`` (B, K) are whole numbers."""


METRICS = (
    share("mig", "mutual information gap", "higher", "20 equal-width bins a code; gap over the factor's entropy (Chen et al. 2018)"),
    share("dci_disentanglement", "DCI disentanglement", "higher", "of bagged trees' importances (Eastwood & Williams 2018)"),
    share("dci_completeness", "DCI completeness", "higher", "of bagged trees' importances (Eastwood & Williams 2018)"),
    share("dci_informativeness", "DCI informativeness", "higher", "accuracy of the trees on held-out codes, mean over factors"),
    share(
        "sap",
        "separated attribute predictability",
        "higher",
        "squared correlation, or a linear SVM's balanced accuracy (Kumar et al. 2018)",
    ),
    share("factorvae_score", "FactorVAE score", "higher", "majority vote over groups of 64 that share a factor (Kim & Mnih 2018)"),
    share("modularity", "modularity", "higher", "20 bins; a code without information counts 0 (Ridgeway & Mozer 2018)"),
    Convention("tc", "total correlation of a Gaussian", "nats", "lower", -1e-6, note="half of minus ln det of the correlation matrix"),
    Convention("tc_gap", "total correlation of means minus that of samples", "nats", "none", note="Bonheme & Grzes 2023; Gaussian"),
    Convention("tc_gap_left", "share of the gap that is left without passive units", "", "lower", note="absolute, where there are any"),
    Convention("pair_mi", "mutual information of two codes", "nats", "lower", 0.0, note="mean over pairs, 20 equal-width bins"),
    Convention("pair_mi_gap", "mutual information of two means minus that of samples", "nats", "none", note="mean over pairs"),
    Convention("off_diagonal", "absolute covariance of two codes", "", "lower", 0.0, note="mean over pairs"),
    Convention("effective_rank", "effective rank of the covariance", "", "none", 0.0, note="exponential of its spectrum's entropy"),
    Convention("units", "latent units of a type", "units", "none", 0.0, note="by mean and variance of sigma^2 (Bonheme & Grzes 2023)"),
    share(
        "passive_correlation",
        "largest correlation of a passive unit with another",
        "none",
        "absolute, mean over passive units; in a slice the others are of its types",
    ),
    share("logistic_accuracy", "accuracy of a logistic regression from codes", "higher", "on held-out codes, mean over factors"),
    Convention("logistic_drop", "accuracy lost without units", "", "lower", -1.0, 1.0, note="logistic regression from means"),
)
