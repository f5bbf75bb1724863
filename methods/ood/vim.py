"""Virtual-logit matching (Wang, Li, Feng and Zhang 2022).

    o = - W^+ b,   z = f(x) - o: features from where all logits are 0
    z_R = part of z outside the d principal directions of Z^T Z, Z the training images' z
    l_0 = alpha ||z_R||,   alpha = sum_i max_c l_c(x_i) / sum_i ||z_R(x_i)||   over training images
    score(x) = l_0 - log sum_c exp(l_c)

l_0 joins the logits as that of one more class, of what training images have little of; alpha makes it as large as their largest. The score
is the log odds of that class, which orders images as its probability does, without rounding to 0 or 1. Where training images have nothing
of z_R but rounding, such as few images or dead units, no alpha does that; it is 0, and the score the energy.

Differences from the paper: d is 1,000 there where there are more than 1,500 features (ResNet-50: 2,048), else 512; here half of the
features, as the networks have at most 128.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Range
from elboard.bench.task import DataSpec
from elboard.methods.ood.base import PostHoc

CARD = MethodCard(
    name="vim",
    title="Virtual-logit matching",
    family="ood",
    home="ood/digits",
    cite="Wang et al. 2022",
    bases={"classifier": {"method": "softmax"}},
    defaults="convention",
)


class ViM(PostHoc):
    """Attributes: origin: o, ``(D,)``; rest: orthonormal directions outside the principal ones, ``(D, D - d)``; alpha."""

    @dataclass(kw_only=True)
    class Config(PostHoc.Config):
        principal: Annotated[float, Range(0, below=1)] = 0.5  # d / D; 1,000 of 2,048

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        width = self.base.backbone.n_features
        self.register_buffer("origin", torch.zeros(width))
        self.register_buffer("rest", torch.eye(width)[:, int(config.principal * width) :].clone())
        self.register_buffer("alpha", torch.tensor(1.0))

    def learn(self, features: Tensor, labels: Tensor) -> None:
        w, b = self.last_layer()
        origin = -torch.linalg.pinv(w) @ b
        z = features.double() - origin
        rest = torch.linalg.eigh(z.T @ z / len(z)).eigenvectors[:, : self.rest.shape[1]]  # in ascending order
        self.origin.copy_(origin)
        self.rest.copy_(rest)
        virtual, largest = (z @ rest).norm(dim=1).mean(), (features.double() @ w.T + b).max(1).values.mean()
        rounding = len(rest) * torch.finfo(torch.float32).eps * z.norm(dim=1).mean()
        self.alpha.fill_(largest / virtual if virtual > rounding else 0.0)

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        virtual = self.alpha * ((features - self.origin) @ self.rest).norm(dim=1)
        return virtual - logits.logsumexp(1)
