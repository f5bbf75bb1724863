"""An implicit law over all weights of a network: a mix-in of methods, beside :class:`elboard.methods.parts.mean_field.MeanFieldWeights`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from elboard.bench.options import Count, Natural, Options, Positive
from elboard.methods.parts.implicit import DenseGenerator, MatrixGenerator, entropy

PRIOR_WEIGHT = 8.5e-4  # of the released code's loss


class ImplicitWeights:
    """After the networks are built is told :meth:`begin_law`.

    The network's own parameters are c, what is added to g(z): with them it begins where networks begin.
    """

    @dataclass(kw_only=True)
    class Config(Options):
        """Of the law, and of the bound on its entropy."""

        generator: Literal["dense", "matrix"] = "dense"
        latent: Count = 10  # d; of matrices their side, and d its square
        widths: list[Count] = field(default_factory=lambda: [64, 64])  # of the generator's hidden layers, or sides of its matrices
        noise_sd: Positive = 0.001  # sigma
        start_sd: Positive = 0.1  # scale of the generator's last layer at the start
        sharing: Literal["all", "layers"] = "all"  # layers: a generator and a z of its own for each layer
        entropy: Literal["jacobian", "smallest"] = "jacobian"
        steps: Natural = 3  # towards the least singular value
        samples: Count = 5  # weights drawn in a training step
        weighting: Literal["elbo", "released"] = "elbo"
        prior_sd: Positive = 1.0

    config: Any
    spec: Any

    def begin_law(self, points: tuple[str, ...] = ()) -> None:
        """Over all parameters but ``points``, which stay estimates."""
        c = self.config
        named = [(name, w.shape) for name, w in self.named_parameters() if name not in points]
        layers = [name.rpartition(".")[0] if c.sharing == "layers" else "" for name, _ in named]
        self.groups = [[of for of, own in zip(named, layers, strict=True) if own == layer] for layer in dict.fromkeys(layers)]
        self.sizes = [sum(shape.numel() for _, shape in group) for group in self.groups]
        make = DenseGenerator if c.generator == "dense" else MatrixGenerator
        self.generators = nn.ModuleList(make(c.latent, c.widths, size, c.start_sd) for size in self.sizes)

    def draw(self, n: int) -> tuple[dict[str, Tensor], list[Tensor]]:
        """``n`` draws of all weights, by name ``(n, *shape)``, and the z of each generator, ``(n, d)``."""
        parameters, weights, codes = dict(self.named_parameters()), {}, []
        for g, group, size in zip(self.generators, self.groups, self.sizes, strict=True):
            some = parameters[group[0][0]]
            z = torch.randn(n, g.latent, dtype=some.dtype, device=some.device)
            theta = g(z) + self.config.noise_sd * torch.randn(n, size, dtype=some.dtype, device=some.device)
            parts = theta.split([shape.numel() for _, shape in group], dim=1)
            weights |= {name: parameters[name] + part.view(n, *shape) for (name, shape), part in zip(group, parts, strict=True)}
            codes.append(z)
        return weights, codes

    def entropy(self, codes: list[Tensor]) -> Tensor:
        """Of the law, a mean over the codes."""
        c = self.config
        each = zip(self.generators, codes, self.sizes, strict=True)
        return sum(entropy(g, z, c.noise_sd, size, c.entropy, c.steps).mean() for g, z, size in each)

    def log_prior(self, weights: dict[str, Tensor]) -> Tensor:
        """log p(theta) up to a constant, a mean over draws."""
        return sum(-0.5 * (w / self.config.prior_sd).square().flatten(1).sum(1).mean() for w in weights.values())

    def bound(self, error: Callable[[dict[str, Tensor]], Tensor], batch_size: int) -> dict[str, Tensor]:
        """The loss and its parts, of ``error``: weights ``(S, ...)`` to the mean -log p(y | x, theta) of the batch and of draws."""
        weights, codes = self.draw(self.config.samples)
        found = {"error": error(weights), "log_prior": self.log_prior(weights), "entropy": self.entropy(codes)}
        if self.config.weighting == "elbo":
            loss = found["error"] - (found["log_prior"] + found["entropy"]) / self.spec.n_train
        else:
            loss = found["error"] - (PRIOR_WEIGHT * found["log_prior"] + found["entropy"]) / batch_size
        return {"loss": loss, **found}
