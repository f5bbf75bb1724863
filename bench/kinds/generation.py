"""New examples, and the codes behind them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.kinds.representation import GaussianPosterior, Reconstructor
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


class Generator(ABC):
    """Draws new examples."""

    @abstractmethod
    def sample(self, n: int) -> Tensor:
        """``n`` examples of the task's shape, ``(n, *shape)``, in data units (means for Bernoulli pixels)."""


class LatentModel(GaussianPosterior, Reconstructor):
    """Has a Gaussian over the code of an example, and a way back."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Mean of p(x|z), ``(B, *shape)``, in data units."""

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)[0])


METRICS = (
    Convention("class_entropy", "entropy of the classes of samples", "nats", "none", 0.0, note="by a classifier of real images"),
    Convention(
        "mse", "mean squared error of the reconstruction", "", "lower", 0.0, note="over pixels, of decoding the code's mean", counted=True
    ),
    Convention(
        "active_units",
        "active latent units",
        "units",
        "none",
        0.0,
        note="Var_x E_q[z|x] > 0.01 (Burda et al. 2016, section 5.2)",
        counted=True,
    ),
    Convention(
        "mutual_information",
        "I_q(x; z)",
        "nats",
        "none",
        note="Hoffman & Johnson 2016; a lower bound of at most ln n, where it saturates",
        ceiling=math.log,
        counted=True,
    ),
    Convention(
        "fid",
        "Frechet Inception distance",
        "",
        "lower",
        -1e-3,
        note="feature network and samples in the key (Heusel et al. 2017)",
        of=("inception-2015",),
    ),
    Convention("fd", "Frechet distance of features", "", "lower", -1e-3, note="feature network, not Inception, in the key; so not FID"),
    Convention("kid", "kernel distance of features", "", "lower", note="unbiased, cubic kernel (Binkowski et al. 2018); may be negative"),
    Convention("model_size", "trainable parameters", "", "lower", 0.0, note="those of what it starts from included"),
    Convention("sample_flops", "operations for one sample", "FLOP", "lower", 0.0, note="of matrix products and convolutions alone"),
    share("gen_precision", "precision of samples", "higher", "k = 3 (Kynkaanniemi et al. 2019)"),
    share("gen_recall", "recall of samples", "higher", "k = 3 (Kynkaanniemi et al. 2019)"),
)
