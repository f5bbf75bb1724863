"""What few-shot classifiers of images share: the network Conv-4, prototypes, and tasks that are mixed with the next one of the batch.

    c_k = mean of phi(x) over the support of class k,     p(y = k | x) = softmax_k(-||phi(x) - c_k||^2)        (Snell et al. 2017, eq. 1, 2)

phi is four blocks, each a 3 x 3 convolution, batch normalisation, ReLU and 2 x 2 max-pooling, then flattened (Vinyals et al. 2016); 16 maps
each on the boards, 64 there and 32 in Yao et al. 2022. Pooling rounds up, so that 14 x 14 pixels last for four blocks.

In training batch normalisation takes the statistics of all images of the batch. For tests those of the training images are taken, once each
epoch and as they are: neither mixed nor modulated, as those of tests are not either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.kinds.fewshot import EpisodeSpec, FewShot
from elboard.bench.method import Bases, Method, at_least_single
from elboard.bench.options import Count, NonNegative, Positive
from elboard.bench.task import Batch, Data

SHOWN = 1000  # training images that statistics of tests are of, at least if there are so many


class Block(nn.Module):
    """Images or maps ``(..., C, H, W)`` to maps of half the side."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, affine=False)
        self.scale, self.shift = nn.Parameter(torch.ones(outputs)), nn.Parameter(torch.zeros(outputs))

    def normalised(self, x: Tensor) -> Tensor:
        """a^ = (conv(x) - mean) / sqrt(var + 1e-5)."""
        return self.norm(self.conv(x.flatten(0, -4))).unflatten(0, x.shape[:-3])

    def out(self, normalised: Tensor, scale: Tensor | float = 0.0, shift: Tensor | float = 0.0) -> Tensor:
        """The pooled ReLU of (gamma + ``scale``) a^ + beta + ``shift``; both broadcast against ``(..., C)``."""
        gamma, beta = (torch.as_tensor(of)[..., None, None] for of in (self.scale + scale, self.shift + shift))
        maps = gamma * normalised + beta
        return F.max_pool2d(maps.flatten(0, -4), 2, ceil_mode=True).relu().unflatten(0, maps.shape[:-3])

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.normalised(x))


class Prototypical(Method, FewShot):
    """A network whose features of a class lie around their mean. A subclass gives :meth:`train_features` where it learns from others."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        filters: Count = 16

    def __init__(self, config: Any, spec: EpisodeSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        sizes = [spec.shape[0]] + 4 * [config.filters]
        self.blocks = nn.ModuleList([Block(*pair) for pair in zip(sizes, sizes[1:], strict=False)])

    def prepare(self, data: Data) -> None:
        x = data.train["x"].flatten(0, 1)
        self.shown = x[:: max(1, len(x) // SHOWN)]

    @torch.no_grad()
    def before_validation(self) -> None:
        """Statistics of batch normalisation, of all the images at once."""
        norms = [block.norm for block in self.blocks]
        for norm in norms:
            norm.momentum = 1.0
        self.embed(self.shown.to(self.device))
        for norm in norms:
            norm.momentum = 0.1

    def embed(self, x: Tensor) -> Tensor:
        """phi of images ``(..., C, H, W)``, ``(..., F)``."""
        for block in self.blocks:
            x = block(x)
        return x.flatten(-3)

    def class_log_probabilities(self, support: Tensor, query: Tensor) -> Tensor:
        return by_prototypes(self.embed(support), self.embed(query))

    def train_features(self, x: Tensor, shot: int) -> dict[str, Tensor]:
        """Of images ``(M, W, shot + queries, C, H, W)`` the ``features`` (M, W, shot + queries, F) of what is learned; beside them a
        ``penalty`` on the loss where there is one, and more for the curves."""
        return {"features": self.embed(x)}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        shot = batch["support"].shape[2]
        made = self.train_features(torch.cat([batch["support"], batch["query"]], dim=2), shot)
        error, accuracy = episode_error(made.pop("features"), shot)
        return {"loss": error + made.pop("penalty", 0.0), "error": error, "accuracy": accuracy, **made}


class Interpolating(Prototypical):
    """Learns from tasks that are mixed with others: task i of a batch with its partner j = i + 1, the last one with the first.

    Class k of the new task is class k of i mixed with that of j which a random permutation puts there, its label is k. Support and query
    are mixed alike. ``original`` weighs the loss of the tasks as they are beside it.
    """

    @dataclass(kw_only=True)
    class Config(Prototypical.Config):
        alpha: Positive = 2.0  # shares of the mixture are of Beta(alpha, alpha); released code of Yao et al. 2022
        original: NonNegative = 0.0  # beta_org, released code of Sun et al. 2023

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        found = super().loss(batch)
        if self.config.original:
            own = self.embed(torch.cat([batch["support"], batch["query"]], dim=2))
            error, _ = episode_error(own, batch["support"].shape[2])
            found |= {"loss": found["loss"] + self.config.original * error, "original": error}
        return found

    def shares(self, x: Tensor) -> Tensor:
        """Of each task what of the mixture is its own, ``(M,)``."""
        alpha = torch.full((len(x),), self.config.alpha, device=x.device)
        return torch.distributions.Beta(alpha, alpha).sample()

    def cut(self, x: Tensor) -> Tensor:
        """Images ``(M, W, N, C, H, W)`` of all tasks, mixed with those of their partners."""
        return cutmix(x, partners(x), self.shares(x))


def partners(x: Tensor) -> Tensor:
    """Of each task of ``x`` (M, W, ...) the next one, its classes in a random order."""
    m, w = x.shape[:2]
    order = torch.rand(m, w, device=x.device).argsort(1)
    return x.roll(-1, 0)[torch.arange(m, device=x.device)[:, None], order]


def cutmix(x: Tensor, other: Tensor, shares: Tensor) -> Tensor:
    """Images of ``x`` (M, ..., H, W) with a box of ``other`` (Yun et al. 2019): one for each task, around a uniform centre, whose sides are
    sqrt(1 - share) of the image's and are cut by its border."""
    inside = []
    for length, axis in zip(x.shape[-2:], ((-1, 1), (1, -1)), strict=True):
        half = (length * (1 - shares).sqrt() / 2)[:, None]
        centre = length * torch.rand(len(x), 1, device=x.device)
        at = torch.arange(length, device=x.device) + 0.5
        inside.append(((at - centre).abs() < half).view(len(x), *axis))
    box = inside[0] & inside[1]
    return torch.where(box.view(len(x), *(1,) * (x.ndim - 3), *box.shape[1:]), other, x)


def by_prototypes(support: Tensor, query: Tensor) -> Tensor:
    """Log-probabilities ``(E, N, W)`` of ``query`` (E, N, F) by the means of ``support`` (E, W, K, F)."""
    prototypes = at_least_single(support).mean(2)
    return (-(at_least_single(query)[:, :, None] - prototypes[:, None]).square().sum(-1)).log_softmax(-1)


def episode_error(features: Tensor, shot: int) -> tuple[Tensor, Tensor]:
    """Cross-entropy and accuracy of the queries of ``features`` (M, W, shot + queries, F), whose first ``shot`` are the support."""
    m, w, n = features.shape[:3]
    log_p = by_prototypes(features[:, :, :shot], features[:, :, shot:].flatten(1, 2)).flatten(0, 1)
    y = torch.arange(w, device=features.device).repeat_interleave(n - shot).repeat(m)
    return F.nll_loss(log_p, y), (log_p.detach().argmax(1) == y).float().mean()
