"""Examples that are drawn, or bounded in their likelihood, given attributes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor


class ConditionalGenerator(ABC):
    """Draws examples with the attributes that are asked for."""

    @abstractmethod
    def sample(self, y: Tensor) -> Tensor:
        """One example for each row of whole numbers ``y`` (n, K), in data units (means for Bernoulli pixels): ``(n, *shape)``."""


class ComposedGenerator(ABC):
    """Draws examples with several attributes, though each that it learned from is labelled by one of them: of others -1 stands in ``y``."""

    @abstractmethod
    def sample(self, y: Tensor) -> Tensor:
        """One example for each row of whole numbers ``y`` (n, K), all of them known, in data units: ``(n, *shape)``."""


class ConditionalLikelihood(ABC):
    """Bounds the likelihood of examples given their attributes, in nats per example."""

    @abstractmethod
    def elbo(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """``{"elbo", "kl", "reconstruction"}`` of log p(x|y), each ``(B,)``: elbo = -reconstruction - kl, of one sample of z."""


@dataclass(frozen=True, kw_only=True)
class AttributeSpec(LikelihoodSpec):
    """Examples with attributes; batches hold them as whole numbers ``y`` (B, K) from 0.

    Attributes:
        attributes: how many values each has.
        network: of the encoder, which the decoder mirrors; empty for the method's own.
    """

    attributes: tuple[int, ...]
    network: str = ""


METRICS = (
    share(
        "control_accuracy", "attributes of samples that are those asked for", "higher", "by a classifier of real images, named in the key"
    ),
    share("control_exact", "samples all of whose attributes are those asked for", "higher", "by a classifier of real images"),
    Convention(
        "diversity", "variance of samples of equal attributes over that of test images", "", "none", 0.0, note="sum over pixels, pooled"
    ),
)
