"""Images of which a part is seen, completed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from elboard.bench.metrics.conventions import Convention

if TYPE_CHECKING:
    from torch import Tensor


class Inpainter(ABC):
    """Draws what is not seen of an image. ``mask`` (B, 1, H, W) is 1 where a pixel is seen; what ``x`` holds elsewhere is not to be
    read."""

    @abstractmethod
    def complete(self, x: Tensor, mask: Tensor, k: int) -> Tensor:
        """k completions of each image, ``(B, k, *shape)``: the seen pixels as they are, means of the others given one code each."""

    @abstractmethod
    def log_missing(self, x: Tensor, mask: Tensor, k: int) -> Tensor:
        """Log-likelihood of the pixels of ``x`` that are not seen given those that are, ``(B,)`` in nats: that of the mean of k codes drawn
        without knowing them, which bounds the model's own from below on average; exact where there is no code."""


class ConditionalBound(ABC):
    """Bounds the likelihood of images given what is seen of them by codes of the whole image."""

    @abstractmethod
    def bound(self, x: Tensor, mask: Tensor) -> Tensor:
        """E_q(z|x)[log p(x|z)] - KL(q(z|x) || c(z|y)) with what is seen as y, ``(B,)`` in nats, of one sample of z."""


METRICS = (
    Convention(
        "conditional_elbo", "bound on the log-likelihood of images given what is seen", "nats", "higher", note="codes of the whole image"
    ),
    Convention(
        "nll_missing", "negative log likelihood of the pixels that are not seen", "nats", "lower", note="mean likelihood of k codes"
    ),
    Convention("best_mse", "error of the best of k completions", "", "lower", 0.0, note="squared, mean over the pixels that are not seen"),
    Convention("pair_mse", "squared difference of two completions", "", "none", 0.0, note="mean over pairs of k and pixels not seen"),
)
