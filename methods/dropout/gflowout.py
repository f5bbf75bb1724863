"""GFlowOut: masks drawn layer by layer by a sampler that learns their posterior (Liu et al. 2023).

    h_l := h_l z_l K_l / (sum z_l + 1e-6),    z_l ~ prod Bernoulli(sigmoid(logits / T))          of each layer's K_l units or maps
    L_TB = ( log Z + sum_l log q(z_l | .) - log R )^2,    L_p = - sum_l log p(z_l | .),    L = CE(f(x, z), y) + L_TB + L_p
    sampler=labels       q(z_l | z_<l, h_l, y),   p(z_l | z_<l, h_l),                      log R = b LL + log p(z | x),   log Z of (x, y)
    sampler=masks        q(z_l | z_<l),           p(z) = prod Bernoulli(1 - rate),         log R = b N LL + log p(z),     log Z a scalar
    sampler=independent  q(z_l)                   likewise

LL = log p(y | x, z) of the example, h_l what layer l gives before its mask, N the number of training examples. "labels" is the paper's
GFlowOut, "masks" its ID-GFlowOut. Trajectory balance (Malkin et al. 2022) has no term of the way back: each mask is reached in one way.
log q in L_TB is that of T = 1, with whatever T the masks were drawn. Each of the three losses reaches its own networks alone: masks,
activations and rewards are constants to the others. Prediction draws from p(z | x), which does not see y, or from q(z).

Where T > 1 the prior is fitted to masks that are more even than those of q, which holds it: with T = 1 and q proportional to p exp(b LL)
both would lean further at each step, however little a unit helps.

Differences from the paper: of a unit that is off log q has log (1 - pi), where the public code has log pi; one optimiser with three rates,
which for Adam is three optimisers; "independent", a learned factorised q, is ours; masks of maps see means over places, and are rescaled
too. Networks and T are the public code's; its number of draws at test time is not verified. Other options are ours: see below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.kinds.masks import MaskSampler
from elboard.bench.method import Bases, at_least_single
from elboard.bench.options import NonNegative, Positive, Range
from elboard.bench.task import Batch, DataSpec
from elboard.methods.dropout.mask_policies import WIDTH, Factorised, OfImages, OfLabels, OfMasks, mlp
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.noisy_layers import before, weight_layers
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="gflowout",
    title="GFlowOut",
    family="dropout",
    home="calibration/mnist",
    paper="002",
    cite="Liu et al. 2023",
    splits=True,
    defaults="convention",
)
POLICIES = {"labels": OfLabels, "masks": OfMasks, "independent": Factorised}


class Drawn(NamedTuple):
    """A pass under masks: logits ``(B, C)``, masks of each layer ``(B, K_l)``, log q and log p of all of them ``(B,)``."""

    logits: Tensor
    masks: list[Tensor]
    log_q: Tensor
    log_p: Tensor


def log_bernoulli(z: Tensor, logits: Tensor) -> Tensor:
    """log prod Bernoulli(z; sigmoid(logits)) over the last dimension."""
    return -F.binary_cross_entropy_with_logits(at_least_single(logits), z, reduction="none").sum(-1)


class GFlowOut(ClassifierMethod, MaximumProbability, MaskSampler):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        backbone: Literal["mlp", "cnn", "pooled"] = "mlp"
        dropout: Annotated[float, Range(0, 0)] = 0.0  # the backbone's own
        sampler: Literal["labels", "masks", "independent"] = "labels"
        rate: Annotated[float, Range(above=0, below=1)] = 0.5  # of p(z), and where learned ones start; 0.2 to 0.5 in the public code
        temperature: Annotated[float, Range(1)] = 2.0  # T in training
        beta: Positive = 1.0
        lr_masks: Positive = 1e-3
        lr_z: Positive = 1e-2  # 1e-1 in the public code
        decay_masks: NonNegative = 0.0  # 0.1 in the public code, of samplers, priors and log Z
        clip: NonNegative = 1.0  # of the gradients of samplers, of priors and of log Z, each by itself; the classifier's are not clipped

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        widths = [layer.weight.shape[0] for layer in self.layers()[:-1]]
        sizes = [(sum(widths[:i]), width, spec.n_classes, math.log(1 / config.rate - 1)) for i, width in enumerate(widths)]
        self.sampler = nn.ModuleList(POLICIES[config.sampler](*of) for of in sizes)
        self.prior = nn.ModuleList(OfImages(*of) for of in sizes) if config.sampler == "labels" else None
        self.normaliser = mlp([math.prod(spec.shape) + spec.n_classes if self.prior else 1, WIDTH, 1], 0.0)
        self.scale = spec.n_train if self.prior is None else 1

    def layers(self) -> list:
        """The classifier's weight layers; what each but the last gives is masked before the next."""
        return [*weight_layers(self.backbone), self.head]

    def draw(self, x: Tensor, y: Tensor | None = None, temperature: float = 1.0, alike: bool = False) -> Drawn:
        """One pass with masks of the prior, or with one-hot ``y`` (B, C) of the sampler, both tempered; ``alike``: one mask for all."""
        masks: list[Tensor] = []
        log_q, log_p = x.new_zeros(len(x)), x.new_zeros(len(x))

        def change(i: int, given: Tensor) -> Tensor:
            nonlocal log_q, log_p
            maps = given.flatten(1).unflatten(1, (layers[i].weight.shape[0], -1))
            past, h = torch.cat([given.new_zeros(len(x), 0), *masks], 1), maps.detach().mean(2)
            prior = self.prior[i](past, h, None) if self.prior else h.new_full(h.shape, math.log(1 / self.config.rate - 1))
            logits = prior if self.prior and y is None else self.sampler[i](past, h, y)
            z = torch.bernoulli(torch.sigmoid(at_least_single(logits.detach()) / temperature))
            z = z[:1].expand_as(z) if alike else z
            log_q, log_p = log_q + log_bernoulli(z, logits), log_p + log_bernoulli(z, prior)
            masks.append(z)
            factor = z * z.shape[1] / (z.sum(1, keepdim=True) + 1e-6)
            return (maps * factor[:, :, None].to(maps.dtype)).reshape(given.shape)

        layers = self.layers()
        with before(layers[1:], change):
            logits = self(x)
        return Drawn(logits, masks, log_q, log_p)

    def log_z(self, x: Tensor, y: Tensor) -> Tensor:
        """``(B,)``."""
        given = torch.cat((x.flatten(1), y), 1) if self.prior else x.new_ones(len(x), 1)
        return at_least_single(self.normaliser(given))[:, 0]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        c, y = self.config, F.one_hot(batch["y"], self.spec.n_classes).to(batch["x"].dtype)
        drawn = self.draw(batch["x"], y, c.temperature)
        nll = F.cross_entropy(drawn.logits, batch["y"], reduction="none")
        log_r = drawn.log_p.detach() - c.beta * self.scale * nll.detach()
        balance = (self.log_z(batch["x"], y) + drawn.log_q - log_r).square().mean()
        prior = -drawn.log_p.mean()
        loss = nll.mean() + balance + (prior if self.prior else 0.0)
        accuracy = (drawn.logits.argmax(1) == batch["y"]).float().mean()
        kept = torch.cat(drawn.masks, 1).mean()
        return {"loss": loss, "nll": nll.mean(), "balance": balance, "prior": prior.detach(), "kept": kept, "accuracy": accuracy}

    def parameter_groups(self) -> list[dict]:
        c = self.config
        learned = {"weight_decay": c.decay_masks, "lr": c.lr_masks}
        groups = [{"params": [*self.backbone.parameters(), *self.head.parameters()]}, {"params": [*self.sampler.parameters()], **learned}]
        groups += [{"params": [*self.prior.parameters()], **learned}] if self.prior else []
        return [*groups, {"params": [*self.normaliser.parameters()], "weight_decay": c.decay_masks, "lr": c.lr_z}]

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None) -> None:
        for group in optimizer.param_groups[1:] if self.config.clip > 0 else ():
            torch.nn.utils.clip_grad_norm_(group["params"], self.config.clip)

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(n_samples, B, C)``, one mask for each sample and image."""
        return torch.stack([self.draw(x).logits.softmax(1) for _ in range(n_samples)])

    def rewards(self, batch: Batch, n: int) -> tuple[Tensor, Tensor, Tensor]:
        alike, y = self.prior is None, F.one_hot(batch["y"], self.spec.n_classes).to(batch["x"].dtype)
        rows = []
        for _ in range(n):
            drawn = self.draw(batch["x"], y, alike=alike)
            log_likelihood = -self.config.beta * self.scale * F.cross_entropy(drawn.logits, batch["y"], reduction="none")
            of = (drawn.log_q, drawn.log_p, log_likelihood)
            rows.append(torch.stack([values.mean(0, keepdim=True) if alike else values for values in of]))
        return tuple(torch.stack(rows, 1))
