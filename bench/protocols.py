"""What a task may ask of a method: small abstract classes, named in cards under ``offers`` and ``needs``.

Tensors are batches on the method's device. Tasks call these methods in evaluation mode and without gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Generator(ABC):
    """Draws new examples."""

    @abstractmethod
    def sample(self, n: int) -> Tensor:
        """``n`` examples of the task's shape, ``(n, *shape)``, in data units (means for Bernoulli pixels)."""


class LatentModel(ABC):
    """Has a code per example."""

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each ``(B, latent)``."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Mean of p(x|z), ``(B, *shape)``, in data units."""


class LikelihoodModel(ABC):
    """Assigns a (bound on a) likelihood to examples; all values in nats per example."""

    @abstractmethod
    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        """``{"elbo", "kl", "reconstruction"}``, each ``(B,)``: one-sample evidence lower bound and its terms,
        elbo = -reconstruction - kl."""

    @abstractmethod
    def log_evidence(self, x: Tensor, k: int) -> Tensor:
        """Estimate of log p(x), ``(B,)``: the k-sample importance bound, or the exact value where ``exact`` is true."""

    exact: bool = False


class BinaryLikelihood(LikelihoodModel):
    """Likelihood of pixels in {0, 1} (Bernoulli)."""


class GreyLikelihood(LikelihoodModel):
    """Probability mass of grey levels; ``x`` holds level / (levels - 1)."""


class RealLikelihood(LikelihoodModel):
    """Density of real vectors."""


class Classifier(ABC):
    """Predicts class probabilities."""

    @abstractmethod
    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(S, B, C)``; S = n_samples draws of the weights or masks, S = 1 for a deterministic method."""


class OODScorer(ABC):
    """Scores how far out of distribution an example is."""

    @abstractmethod
    def ood_score(self, x: Tensor) -> Tensor:
        """``(B,)``; higher means more out of distribution."""


class Recommender(ABC):
    """Ranks items for users given their history."""

    @abstractmethod
    def scores(self, history: Tensor) -> Tensor:
        """Scores ``(U, I)`` for dense 0/1 click rows ``(U, I)``; the task masks the items of the history itself."""


class LinkPredictor(ABC):
    """Scores pairs of nodes of the training graph."""

    @abstractmethod
    def link_scores(self, pairs: Tensor) -> Tensor:
        """Scores ``(P,)`` of node pairs ``(P, 2)``; higher means an edge is more likely."""


PROTOCOLS = {
    cls.__name__: cls
    for cls in (
        Generator,
        LatentModel,
        LikelihoodModel,
        BinaryLikelihood,
        GreyLikelihood,
        RealLikelihood,
        Classifier,
        OODScorer,
        Recommender,
        LinkPredictor,
    )
}
