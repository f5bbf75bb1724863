"""Variational learning with the IVON optimiser (Shen et al. 2024).

    min_q  lambda E_q[(1/N) sum_i -log p(y_i | x_i, theta)] + KL(q || N(0, sigma0^2 I)),     q = N(m, diag 1 / (lambda (h + delta)))
    p(y | x) = (1/S) sum_s softmax(f(x; theta_s)),     theta_s ~ q

The optimiser is the method: :mod:`elboard.methods.bayesian.ivon_optimizer` has its steps. lambda = N unless ``ess`` is set;
``weight_decay`` is delta = 1 / (lambda sigma0^2), the prior. ``predict`` draws n_samples weights, also for n_samples = 1; ``mean=true`` is
the paper's IVON@mean, the network at m, one sample.

Differences from the paper: the shared backbone ("cnn" has no normalisation; the paper uses filter response norm. With "resnet20" batch
normalisation's running statistics are those met at perturbed weights, not recomputed at the weights drawn for prediction); 32 draws as the
task asks (64). The paper's beta2 = 0.99999 suits its 200,000 steps; here runs are a hundred times shorter and h, which is not corrected for
its start, would stay at h0, so the default forgets faster. (lr, h0) was the best of (0.1, 0.1), (0.5, 0.1), (0.5, 1) and (1, 1) by
validation NLL on calibration/fashion-mnist at lite. With a thousand examples or fewer that h0 is too small: sigma = 1 / sqrt(lambda h0) is
0.1, and training stays near chance. The recipes are for such data: h0 = 1, with lr = 0.1 where labels are wrong, each better than the
default by validation on one of the digits tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Count, NonNegative, Positive, Range
from elboard.bench.task import DataSpec
from elboard.methods.bayesian.ivon_optimizer import IVON
from elboard.methods.parts.classifier import ClassifierMethod
from elboard.methods.parts.scores import MaximumProbability

CARD = MethodCard(
    name="ivon",
    title="Variational learning with IVON",
    family="bayesian",
    home="calibration/mnist",
    paper="020",
    cite="Shen et al. 2024",
    splits=True,
    defaults={"trials": 4, "on": "calibration/fashion-mnist@1", "by": "class_nll", "options": ("lr", "h0"), "rest": "library"},
    recipes={
        "thousand-examples": {"set": {"h0": 1.0}, "trials": 2, "on": "ood/digits", "by": "auroc/validation"},
        "thousand-wrong-labels": {"set": {"h0": 1.0, "lr": 0.1}, "trials": 2, "on": "noisy/digits-sym40", "by": "accuracy"},
    },
)


class VariationalClassifier(ClassifierMethod, MaximumProbability):
    """The shared classifier with a Gaussian over all its weights.

    Attributes:
        precision: ``(P,)``, 1 / sigma^2 of all parameters in their order, as of the last epoch's end.
    """

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        optimizer: Literal["ivon"] = "ivon"
        lr: float = 0.5  # see the module; paper 0.2 on CIFAR
        momentum: float = 0.9  # beta1
        beta2: Annotated[float, Range(0, below=1)] = 0.9999
        weight_decay: Positive = 1e-4  # delta; the authors' package
        h0: Positive = 0.1
        ess: NonNegative = 0.0  # lambda; 0: the number of training examples
        radius: NonNegative = 0.0  # xi; 0: no clipping of the update, as for images in the paper
        samples: Count = 1  # weights drawn in a training step
        schedule: str = "cosine"
        warmup: float = 0.025  # 5 of 200 epochs
        mean: bool = False  # predict with m alone

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.ess = config.ess or float(spec.n_train)
        size = sum(p.numel() for p in self.parameters())
        self.register_buffer("precision", torch.full((size,), self.ess * (config.h0 + config.weight_decay)))

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        c = self.config
        betas = (c.momentum, c.beta2)
        return IVON(groups, c.lr, self.ess, c.weight_decay, betas, c.h0, c.radius, c.samples, self.seed)

    def before_validation(self) -> None:
        self.precision.copy_(self.trainer.optimizers[0].precision)

    def draw(self) -> dict[str, Tensor]:
        """Parameters from q, by name."""
        noise = torch.randn_like(self.precision) * self.precision.rsqrt()
        named = dict(self.named_parameters())
        parts = noise.split([p.numel() for p in named.values()])
        return {name: p + part.view_as(p) for (name, p), part in zip(named.items(), parts, strict=True)}

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(n_samples, B, C)``, one draw of the weights for each sample, common to the images; ``(1, B, C)`` if ``mean``."""
        if self.config.mean:
            return super().predict(x)
        return torch.stack([functional_call(self, self.draw(), (x,)).softmax(1) for _ in range(n_samples)])
