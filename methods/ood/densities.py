"""What scores share that start from a trained model of the likelihood of images, whatever their labels.

    score(x), higher = more out of distribution, from log p(x) >= L_k(x) = E log 1/k sum_i p(x, z_i) / q(z_i|x)

All in nats for an image, bounds of ``samples`` draws (Burda et al. 2016). They rise with k on average, so that scores of different k differ
by more than noise. Bounds stay those of the model, which is trained once for all scores.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.epochs import seed_torch
from elboard.bench.errors import UserError
from elboard.bench.kinds.likelihood import BinaryLikelihood, GreyLikelihood, LikelihoodModel
from elboard.bench.kinds.ood import OODScorer
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Options
from elboard.bench.task import Data, DataSpec


@contextlib.contextmanager
def noise_of(seed: int) -> Iterator[None]:
    """Noise of ``seed``, the random state left as it was."""
    with torch.random.fork_rng():
        seed_torch(seed)
        yield


def drawn_seed() -> int:
    return int(torch.randint(2**31, ()))


class DensityScore(Method, BinaryLikelihood, GreyLikelihood, OODScorer):
    """A score on top of a model of the likelihood of images.

    Attributes:
        wanted: the protocol that the model must have. Raises UserError for one that has not.
    """

    wanted: type = LikelihoodModel

    @dataclass(kw_only=True)
    class Config(Options):
        samples: Count = 10  # draws of the codes for each bound

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        if not isinstance(self.base, self.wanted):
            raise UserError(f"{type(self.base).__name__} cannot be the base of {type(self).__name__}: it is no {self.wanted.__name__}")

    def fit(self, data: Data, training: Any) -> None:
        """Nothing is trained by gradients."""

    def log_p(self, x: Tensor) -> Tensor:
        """The bound of ``samples`` draws, ``(B,)``."""
        return self.base.log_evidence(x, self.config.samples)

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        return self.base.elbo(x)

    def log_evidence(self, x: Tensor, k: int) -> Tensor:
        return self.base.log_evidence(x, k)
