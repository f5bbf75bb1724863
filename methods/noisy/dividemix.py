"""DivideMix (Li, Socher and Hoi 2020, algorithm 1).

Warm-up by cross-entropy, then from epoch to epoch:

Co-divide. A mixture of two Gaussians is fitted to each network's losses of all training examples, scaled to [0, 1]. w_i, the probability of
the component of smaller mean, divides the examples for the *other* network: labelled where w_i >= tau, else unlabelled.

Co-refine and co-guess. With M augmented views, p_k the mean probabilities of network k over them, and sharpening p^(1/T) / sum_c p_c^(1/T),
targets of network k are

    sharpened w_i y_i + (1 - w_i) p_k   where labelled,   sharpened (p_1 + p_2) / 2   where not.

MixMatch. Each view is mixed with one drawn from all, x' = l x_a + (1 - l) x_b and targets likewise, l the larger of l' and 1 - l' of
l' ~ Beta(alpha, alpha). L_X is the cross-entropy of those whose x_a is labelled, L_U the squared error of the others (its mean over
classes), and

    L = L_X + lambda_u r(t) L_U + sum_c pi_c log(pi_c / mean_i p_ic),   pi_c = 1 / C,   r(t) a linear ramp after the warm-up.

tau = T = 0.5, alpha = 4, M = 2, and lambda_u = 25 as for CIFAR-10 with half of the labels wrong (0 with a fifth, or asymmetric noise).
``penalty`` weighs -H(p) in the warm-up, 1 in the paper for asymmetric noise. The mean of both networks' logits predicts.

Differences from the paper: the shared backbone and Adam at a constant rate. Both networks are trained on every batch, of examples as they
come, where the paper trains one after the other on as many labelled as unlabelled examples; guesses are made in evaluation mode. Views are
images shifted by up to a fourteenth of their side, without mirroring. Warm-up (10 epochs of 300 there) and ramp (16, in the official code)
are shares of training, at lite of 30 epochs. A step costs five to six times one of cross-entropy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative, Positive, Share
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.noisy.base import Pair, indexed, quietly
from elboard.methods.parts.augmentation import shifted
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.mixtures import GaussianMixture
from elboard.methods.parts.schedules import ramp

CARD = MethodCard(
    name="dividemix",
    title="Semi-supervised learning from examples divided by their losses",
    family="noisy",
    home="noisy/digits-sym40",
    cite="Li et al. 2020",
    defaults="paper",
)
CHUNK = 250


def sharpened(p: Tensor, temperature: float) -> Tensor:
    powers = p ** (1 / temperature)
    return powers / powers.sum(1, keepdim=True)


def clean_probability(losses: Tensor) -> Tensor:
    """w ``(N,)``: of which component of a mixture of two Gaussians each loss is, that of the smaller mean."""
    scaled = ((losses - losses.min()) / (losses.max() - losses.min()).clamp(min=1e-12))[:, None]
    mixture = GaussianMixture(1, 2, floor=5e-4)  # the official code's
    mixture.fit(scaled)
    return mixture.joint(scaled).softmax(1)[:, mixture.means.argmin()].to(losses.dtype)


class DivideMix(Pair):
    """Attributes:
    clean: w, ``(2, n_train)``, by which the first and the second network learn; 1 until the warm-up is over.
    dividing: whether it is.
    """

    @dataclass(kw_only=True)
    class Config(Pair.Config):
        ensemble: bool = True
        warm_up: Share = 0.33  # of training, rounded up to whole epochs
        penalty: NonNegative = 0.0
        threshold: Share = 0.5  # tau
        temperature: Positive = 0.5
        alpha: Positive = 4.0
        lambda_u: NonNegative = 25.0
        ramp: Share = 0.5  # of training
        views: Count = 2

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.register_buffer("clean", torch.ones(2, spec.n_train), persistent=False)  # nothing predicts with them
        self.dividing = False
        self._examples: Batch = {}

    def fit(self, data: Data, training: Any) -> None:
        training.data = indexed(data)
        self._examples = training.data.train
        super().fit(training.data, training)

    def divide(self) -> None:
        """Each network's w, from the losses of the other one."""
        parts = []
        with quietly(self):
            for x, y in zip(*(self._examples[of].split(CHUNK) for of in ("x", "y")), strict=True):
                x, y = x.to(self.clean.device), y.to(self.clean.device)
                parts.append(torch.stack([F.cross_entropy(network(x), y, reduction="none") for network in (self.peer, self)]))
        for w, losses in zip(self.clean, torch.cat(parts, dim=1).cpu(), strict=True):
            w.copy_(clean_probability(losses))

    def teach(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        x, y, c = batch["x"], batch["y"], self.config
        networks = (self, self.peer)
        if not self.dividing:
            log_p = [network(x).log_softmax(1) for network in networks]
            loss = sum(F.nll_loss(of, y) + c.penalty * (of.exp() * of).sum(1).mean() for of in log_p)
            return {"loss": loss, "accuracy": (log_p[0].argmax(1) == y).float().mean()}, torch.ones_like(y, dtype=torch.bool)
        views = [shifted(x) for _ in range(c.views)]
        with quietly(self):
            guesses = [torch.stack([network(view).softmax(1) for view in views]).mean(0) for network in networks]
        of_batch = self.clean[:, batch["index"]]
        terms = [
            self.mixed(network, torch.cat(views), *self.targets(w, y, guess, sum(guesses) / 2))
            for network, w, guess in zip(networks, of_batch, guesses, strict=True)
        ]
        labelled = of_batch[0] >= c.threshold
        return {"loss": sum(terms), "accuracy": (guesses[0].argmax(1) == y).float().mean(), "labelled": labelled.float().mean()}, labelled

    def targets(self, w: Tensor, y: Tensor, guess: Tensor, both: Tensor) -> tuple[Tensor, Tensor]:
        """Targets ``(B, C)`` of a network with these ``w`` and guesses, and which examples are labelled ``(B,)``."""
        labelled = w >= self.config.threshold
        refined = w[:, None] * F.one_hot(y, both.shape[1]) + (1 - w[:, None]) * guess
        return sharpened(torch.where(labelled[:, None], refined, both), self.config.temperature), labelled

    def mixed(self, network: ClassifierMethod, x: Tensor, targets: Tensor, labelled: Tensor) -> Tensor:
        """L of a network at ``views`` of each example ``(views * B, ...)``, view by view."""
        c, partner = self.config, torch.randperm(len(x), device=x.device)
        t, labelled = targets.repeat(c.views, 1), labelled.repeat(c.views)
        share = torch.distributions.Beta(x.new_tensor(c.alpha), x.new_tensor(c.alpha)).sample((len(x),))
        share = torch.maximum(share, 1 - share)
        t = share[:, None] * t + (1 - share[:, None]) * t[partner]
        share = share.view(-1, *[1] * (x.ndim - 1))
        log_p = network(share * x + (1 - share) * x[partner]).log_softmax(1)
        of_labelled = (-(t * log_p).sum(1) * labelled).sum() / labelled.sum().clamp(min=1)
        of_others = ((log_p.exp() - t).square().mean(1) * ~labelled).sum() / (~labelled).sum().clamp(min=1)
        balance = -(log_p.exp().mean(0) * t.shape[1]).log().mean()
        return of_labelled + c.lambda_u * ramp(max(0.0, self.progress - c.warm_up), c.ramp) * of_others + balance

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.on_epoch_resumed()
        if self.dividing:
            self.divide()

    def on_epoch_resumed(self) -> None:
        self.dividing = self.current_epoch / self.trainer.max_epochs + 1e-6 >= self.config.warm_up

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["clean"] = self.clean

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.clean.copy_(checkpoint["clean"])
