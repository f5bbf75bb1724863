"""Ways to draw from one trained model, by what they cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


class StepSampler(ABC):
    """Draws examples of given attributes in as many steps as are paid for."""

    @abstractmethod
    def draw(self, y: Tensor, evaluations: int, guidance: float) -> Tensor:
        """An example ``(n, *shape)``, in data units, for each row of ``y`` (n, K), by at most ``evaluations`` of the guided model.

        ``guidance`` is the weight w of what the condition changes: 1 is the conditional model, 0 one that does not know the condition.
        Where w is not 1, an evaluation of the guided model is two of the network.
        """

    @abstractmethod
    def reference(self, y: Tensor, evaluations: int) -> Tensor:
        """Examples of the same model by the sampler that it was made for, without guidance."""


class SteppedGenerator(ABC):
    """Draws examples in as many steps as are paid for."""

    @abstractmethod
    def sample_in(self, n: int, evaluations: int) -> Tensor:
        """``n`` examples ``(n, *shape)``, in data units, by at most ``evaluations`` of the network."""


METRICS = (
    Convention(
        "fd_ratio",
        "Frechet distance over that in many steps",
        "",
        "lower",
        0.0,
        note="of the model's own sampler where samplers are compared; same features",
    ),
    Convention(
        "log_fd", "natural logarithm of the Frechet distance", "", "lower", note="a difference is the log of a ratio; same features"
    ),
    Convention("fd_fall", "Frechet distance without guidance minus that with a moderate weight", "", "none"),
    Convention("fd_rise", "Frechet distance with the largest weight minus that with a moderate one", "", "none"),
    Convention("best_guidance", "weight of guidance with the least Frechet distance", "", "none", 0.0),
    Convention("guidance_trend", "Spearman correlation of the weight of guidance and the control accuracy", "", "none", -1.0, 1.0),
)
