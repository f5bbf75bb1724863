"""Label-agnostic forgetting (Shen, Zhang, Zhao, Bialkowski, Chen and Xu 2024).

Two VAEs (:mod:`elboard.methods.unlearning.embeddings`) of the original model's embeddings g0(x): h of all examples, which stand in for
those that remain, and h_f of those to be forgotten. Then for each batch x_r of what remains and as many x_f of what does not two steps, one
after the other, each with an Adam of its own:

    L_UE = l_h(g(x_r)) - l_{h_f}(g(x_f)),    l_h(e) = sum_i exp(s_i / (s_i + 1)),   s_i = |e_i - h(e_i)|^2
    L_RA = sum_r log( exp(c_r) / sum_f exp(c_f / tau) ),    c = 1 - cos(g(x), g0(x))

The first moves what is to be forgotten out of the reach of h_f and keeps what remains within that of h; the second holds embeddings of what
remains at the original ones and drives those to be forgotten away. Losses are sums, so that rates go with the batch size; the temperature
divides c_f alone. No label is looked at: of an example only whether it is to be forgotten. The head stays what it was.

An epoch has as many batches as it takes to pass over what is to be forgotten, whose x_f are drawn with replacement; the rest of the task's
batches are left unused. ``unlearn=false`` and ``align=false`` leave out a step (ablation).

Differences from the paper: no sigmoid behind the decoder, which cannot give embeddings that have no bounds; s by the mean of q(z|e); rates
are five times those of the paper for MNIST, as at lite there are fewer steps. Either VAE takes as many steps as ``vae_epochs`` of all: with
as many epochs of the few to be forgotten alone, the other setting that was tried, h_f knew them less well, and the distance from the
retrained model was larger by validation (0.023 instead of 0.007 with one seed). How batches are paired, and where an epoch ends, was not
verified.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.kinds.unlearning import ForgetSpec
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative, Options, Positive
from elboard.bench.task import Batch, Data
from elboard.methods.unlearning.base import EMBEDDING, Unlearning
from elboard.methods.unlearning.embeddings import EmbeddingVAE

CARD = MethodCard(
    name="laf",
    title="Label-agnostic forgetting",
    family="unlearning",
    home="unlearning/mnist",
    paper="027",
    cite="Shen et al. 2024",
    bases={"original": {"method": "original"}},
    defaults={"trials": 2, "on": "unlearning/mnist", "by": "retrain_gap", "options": ("vae_epochs",), "rest": "paper"},
)


CHUNK = 500  # images a forward pass


def sharpness(errors: Tensor) -> Tensor:
    """l: the sum of ``exp(s / (s + 1))`` of squared errors ``s`` (B,), each term between 1 and e."""
    return torch.exp(errors / (errors + 1)).sum()


def alignment(remaining: Tensor, forgotten: Tensor, temperature: float) -> Tensor:
    """L_RA of the distances c_r (R,) and c_f (F,)."""
    return remaining.sum() - len(remaining) * torch.logsumexp(forgotten / temperature, dim=0)


class LAF(Unlearning):
    """Labels enter nothing but the original model."""

    resting = True  # the head, and both VAEs

    @dataclass(kw_only=True)
    class Config(Options):
        """Starts afresh: of each of two optimisers the rate."""

        latent_dim: Count = 8  # d, the paper for MNIST
        vae_epochs: Count = 10  # of all examples; the paper
        unlearn: bool = True  # the step on L_UE
        align: bool = True  # the step on L_RA
        unlearn_lr: NonNegative = 2.5e-4  # 5e-5 in the paper
        align_lr: NonNegative = 5e-4  # 1e-4 in the paper
        temperature: Positive = 20.0  # tau, the paper for classes and for wrong labels

    def __init__(self, config: Any, spec: ForgetSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.automatic_optimization = False
        self.teacher = copy.deepcopy(self.extractor).requires_grad_(False)  # g0
        self.known, self.forgotten = (EmbeddingVAE(EMBEDDING, config.latent_dim).requires_grad_(False) for _ in range(2))  # h, h_f

    def prepare(self, data: Data) -> None:
        self.__dict__["images"] = data.train["x"][data.train["forget"]]  # not in checkpoints

    @torch.no_grad()
    def embedded(self, x: Tensor) -> Tensor:
        """g0(x), ``(N, 256)``, on the device of the original model."""
        extractor = self.base.extractor
        return torch.cat([extractor(part.to(next(extractor.parameters()).device)) for part in x.split(CHUNK)])

    def fit(self, data: Data, training: Any) -> None:
        """Train the VAEs, then unlearn."""
        n = len(data.train["x"])
        size = min(training.config["train"]["batch_size"] or n, n)
        self.used = -(-len(self.images) // size)  # batches of an epoch
        steps = self.config.vae_epochs * -(-n // size)
        for vae, x in ((self.known, data.train["x"]), (self.forgotten, self.images)):
            e = self.embedded(x)
            vae.to(e.device).learn(e, steps, size)
        training.run(self)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Of L_UE, then of L_RA."""
        weights = [*self.extractor.parameters(), *self.head.parameters()]
        return [torch.optim.Adam(weights, lr=rate) for rate in (self.config.unlearn_lr, self.config.align_lr)]

    def unlearning_loss(self, remaining: Tensor, forgotten: Tensor) -> Tensor:
        """L_UE of images ``(R, ...)`` and ``(F, ...)``."""
        known, unknown = (self.extractor(x) for x in (remaining, forgotten))
        return sharpness(self.known.errors(known)) - sharpness(self.forgotten.errors(unknown))

    def alignment_loss(self, remaining: Tensor, forgotten: Tensor) -> Tensor:
        """L_RA of images ``(R, ...)`` and ``(F, ...)``."""
        x = torch.cat([remaining, forgotten])
        with torch.no_grad():
            before = self.teacher(x)
        c = 1 - F.cosine_similarity(self.extractor(x), before, dim=1)
        return alignment(c[: len(remaining)], c[len(remaining) :], self.config.temperature)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Overridden because of the two steps: the second loss is that of the weights after the first. Nothing once the epoch is over."""
        if batch_idx >= self.used:
            return
        remaining = batch["x"][~batch["forget"]]
        forgotten = self.images[torch.randint(len(self.images), (max(1, len(remaining)),))].to(remaining.device)
        steps = zip(("unlearn", "align"), self.optimizers(), (self.unlearning_loss, self.alignment_loss), strict=True)
        losses = {}
        for name, optimizer, loss in steps:
            if getattr(self.config, name):
                losses[name] = loss(remaining, forgotten)
                optimizer.zero_grad()
                self.manual_backward(losses[name])
                optimizer.step()
        self.accumulate({"loss": sum(losses.values(), torch.zeros((), device=remaining.device)), **losses})
