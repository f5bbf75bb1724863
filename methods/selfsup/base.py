"""What encoders from views share: the backbone, projections and predictions of them, a teacher that follows by moving averages.

    L = (1/2) term(view 1 -> view 2) + (1/2) term(view 2 -> view 1),     term: a method's own, of what a view is seen as and of a target

No gradient flows into targets. All methods have the same backbone, and two layers around the embedding as their papers have them; Adam
with decoupled weight decay and a learning rate that falls to zero by a cosine, for all alike. The hidden layer of the backbone "cnn" is
batch-normalised before its ReLU, as backbones of such encoders are: without it half of the 128 features were 0 for all validation images
after an epoch of SimSiam.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.kinds.selfsup import ViewEncoder
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Share
from elboard.bench.task import Batch, DataSpec
from elboard.methods.parts.networks import SmallCNN, backbone


class Seen(NamedTuple):
    """What a batch of one view is seen as: ``embedding`` (B, d), what it predicts of the other view's (``prediction``), and how uncertain
    that is (``spread``: log-variances or a concentration) where a method says it."""

    embedding: Tensor
    prediction: Tensor
    spread: Tensor | None = None


def layers(*sizes: int) -> nn.Sequential:
    """Linear layers with batch normalisation and ReLU after each but the last one."""
    parts: list[nn.Module] = []
    for a, b in zip(sizes[:-1], sizes[1:-1], strict=False):
        parts += [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(*sizes[-2:]))


class Views(Method, ViewEncoder):
    """A backbone, whose output are the features."""

    @dataclass(kw_only=True)
    class Config(Method.Config):
        backbone: Literal["cnn", "pooled", "resnet20"] = "cnn"
        optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
        weight_decay: float = 1e-4
        schedule: Literal["constant", "cosine"] = "cosine"

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.backbone = backbone(config.backbone, spec.shape)
        if isinstance(self.backbone, SmallCNN):
            self.backbone.hidden = nn.Sequential(self.backbone.hidden, nn.BatchNorm1d(self.backbone.n_features))

    def represent(self, x: Tensor) -> Tensor:
        return self.backbone(x)


class Siamese(Views):
    """Heads on the backbone, by which a view predicts another one. Subclasses build them in ``__init__`` and give :meth:`see` and
    :meth:`term`."""

    @dataclass(kw_only=True)
    class Config(Views.Config):
        latent_dim: Count = 64  # d
        hidden: Count = 256

    def see(self, features: Tensor) -> Seen:
        """Heads on features of the backbone."""
        raise NotImplementedError

    def term(self, seen: Seen, target: Seen) -> Tensor:
        """What one view contributes to the loss, a mean over the batch; ``target`` is of the other view and without gradient."""
        raise NotImplementedError

    def targets(self, views: tuple[Tensor, Tensor], seen: tuple[Seen, Seen]) -> tuple[Seen, Seen]:
        """Of each view what the other one is to predict: by default its own embedding, detached."""
        first, second = (Seen(*(None if of is None else of.detach() for of in each)) for each in seen)
        return first, second

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        views = batch["x"], batch["view"]
        seen = self.see(self.backbone(views[0])), self.see(self.backbone(views[1]))
        targets = self.targets(views, seen)
        loss = 0.5 * (self.term(seen[0], targets[1]) + self.term(seen[1], targets[0]))
        spread = F.normalize(targets[0].embedding).std(0, correction=0).mean() * math.sqrt(targets[0].embedding.shape[1])
        return {"loss": loss, "embedding_std": spread, **self.watched(seen[0])}

    def watched(self, seen: Seen) -> dict[str, Tensor]:
        """Further scalars for the curves."""
        return {}

    def target(self, x: Tensor) -> Tensor:
        return self.see(self.backbone(x)).embedding

    def predicted(self, x: Tensor) -> Tensor:
        return self.see(self.backbone(x)).prediction


class Momentum(Siamese):
    """With a teacher that gives the targets: theta_t <- tau theta_t + (1 - tau) theta_s after each step, from which tau rises to 1 by a
    cosine, tau = 1 - (1 - tau_0) (1 + cos(pi progress)) / 2 (Grill et al. 2020). Statistics of its batch normalisation are its own.

    Heads below the embedding are ``self.projector``; what is a student's alone, as a predictor, lies outside of it.
    """

    @dataclass(kw_only=True)
    class Config(Siamese.Config):
        tau: Share = 0.99  # at the beginning

    projector: nn.Module

    def with_teacher(self) -> None:
        """Copy the backbone and ``self.projector``, as they are; to be called once these are built."""
        self.teacher = copy.deepcopy(nn.ModuleList([self.backbone, self.projector])).requires_grad_(False)

    def taught(self, x: Tensor) -> Seen:
        """What the teacher sees; a target for predictions."""
        features, head = self.teacher
        embedding = head(features(x))
        return Seen(embedding, embedding)

    def targets(self, views: tuple[Tensor, Tensor], seen: tuple[Seen, Seen]) -> tuple[Seen, Seen]:
        with torch.no_grad():
            return self.taught(views[0]), self.taught(views[1])

    def after_step(self, batch: Batch, batch_idx: int) -> None:
        tau = 1 - (1 - self.config.tau) * (1 + math.cos(math.pi * self.progress)) / 2
        with torch.no_grad():
            student = [*self.backbone.parameters(), *self.projector.parameters()]
            for theirs, ours in zip(self.teacher.parameters(), student, strict=True):
                theirs.mul_(tau).add_(ours, alpha=1 - tau)

    def target(self, x: Tensor) -> Tensor:
        return self.taught(x).embedding
