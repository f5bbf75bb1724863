"""What autoregressive models of images share: the exact likelihood, averaged weights, and drawing one pixel after the other.

    log p(x) = sum_i log p(x_i | x_1, .., x_{i-1}),   pixels row by row, in each row from the left; x_i all channels of a pixel

A network has two streams, one of whole rows (what is above) and one of pixels (above, and before in the row), which sees the first. Its
``head`` is the distribution of a pixel (:mod:`elboard.methods.parts.pixels`). Evaluation and samples are of an average of the weights over
steps, without dropout. Samples of a batch are drawn side by side, in H x W steps, each of which computes what is new
(:mod:`elboard.methods.parts.causal`).

Real vectors, in units of their deviation, are images of one row, whose head is a mixture of logistic densities.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.kinds.generation import Generator
from elboard.bench.kinds.likelihood import GreyLikelihood
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Share
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.averaging import follow
from elboard.methods.parts.causal import Place, start
from elboard.methods.parts.pixels import LevelSoftmax, LogisticMixture

START = 100  # training images by which weights start
AT_ONCE = 500  # images whose likelihood is computed, or which are drawn, together


class PixelNetwork(nn.Module):
    """Two streams and a head; a subclass gives the streams.

    Images have values in [-1, 1] and a channel of ones, ``(B, C + 1, H, W)``. With a place, streams give what is new there.
    """

    head: LogisticMixture | LevelSoftmax

    def rows(self, x: Tensor, at: Place | None = None) -> dict[Any, Tensor]:
        """What the stream of rows tells that of pixels, by layer."""
        raise NotImplementedError

    def pixels(self, x: Tensor, known: dict[Any, Tensor], at: Place | None = None) -> Tensor:
        """The head's maps ``(B, n_outputs, H, W)``."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.pixels(x, self.rows(x))


def with_ones(v: Tensor) -> Tensor:
    """A channel more, by which padding, 0 throughout, differs from every grey level."""
    return F.pad(v, (0, 0, 0, 0, 0, 1), value=1.0)


class Autoregressive(Method, Generator, GreyLikelihood):
    """A subclass makes the network.

    Attributes:
        image: shape of what the network sees as an image, (C, H, W).
        levels: of grey; 0 for real values.
    """

    exact = True

    @dataclass(kw_only=True)
    class Config(Method.Config):
        head: Literal["logistics", "softmax"] = "logistics"
        components: Count = 10  # of the mixture
        ema: Share = 0.9995  # Salimans et al. 2017

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.image = tuple(spec.shape) if len(spec.shape) == 3 else (1, 1, math.prod(spec.shape))
        self.levels = 0 if spec.likelihood == "gaussian" else spec.levels
        self.register_buffer("centre", torch.tensor(0.5))
        self.register_buffer("scale", torch.tensor(0.5))
        self.network = self.make_network()
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.register_buffer("averaged", torch.zeros(()))  # steps in the average

    def make_head(self) -> LogisticMixture | LevelSoftmax:
        """The distribution of a pixel that the options name."""
        if self.config.head == "logistics" or not self.levels:
            return LogisticMixture(self.image[0], self.levels, self.config.components)
        return LevelSoftmax(self.image[0], self.levels)

    def make_network(self) -> PixelNetwork:
        raise NotImplementedError

    def prepare(self, data: Data) -> None:
        """Weights start by the data, and the average with them."""
        x = data.train["x"]
        if not self.levels:
            self.centre.copy_(x.mean())
            self.scale.copy_(x.std())
        start(self.network, with_ones(self.values(x[:START])))
        self.average.load_state_dict(self.network.state_dict())

    def values(self, x: Tensor) -> Tensor:
        """Examples ``(B, *shape)`` as images of what the network sees: grey levels from -1 to 1."""
        return ((x - self.centre) / self.scale).view(-1, *self.image)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, ``(B,)``; of the present weights while it learns, else of their average."""
        network, v = self.network if torch.is_grad_enabled() else self.average.eval(), self.values(x)
        found = network.head.log_prob(v, network(with_ones(v))).flatten(1).sum(1)
        return found if self.levels else found - math.prod(self.image) * self.scale.log()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Minus log p(x) for each value, in nats, so that the rate is of no size of images."""
        nll = -self.log_prob(batch["x"]).mean()
        return {"loss": nll / batch["x"][0].numel(), "nll": nll}

    def after_step(self, batch: Batch, batch_idx: int) -> None:
        self.averaged += 1
        follow(self.average, self.network, self.averaged, self.config.ema)

    def elbo(self, x: Tensor) -> dict[str, Tensor]:
        """The likelihood itself: nothing is hidden, so that the divergence is 0."""
        log_p = self.log_evidence(x, 1)
        return {"elbo": log_p, "kl": torch.zeros_like(log_p), "reconstruction": -log_p}

    def log_evidence(self, x: Tensor, k: int) -> Tensor:
        return torch.cat([self.log_prob(part) for part in x.split(AT_ONCE)])

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        return torch.cat([self._drawn(min(AT_ONCE, n - i)) for i in range(0, n, AT_ONCE)])

    def _drawn(self, n: int) -> Tensor:
        network, (_, height, width), memory = self.average, self.image, {}
        v = self.centre.new_zeros(n, *self.image)
        for i in range(height):
            known = network.rows(with_ones(v), Place(i, None, width, memory))
            for j in range(width):
                out = network.pixels(with_ones(v), known, Place(i, j, width, memory))
                v[:, :, i : i + 1, j : j + 1] = network.head.draw(out)
        return (self.centre + self.scale * v).view(n, *self.spec.shape)
