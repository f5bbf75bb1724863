"""What samplers by stochastic gradients share: a chain of weights, groups of them, a memory of past values, predictions of draws from it.

The energy is U(theta) = -log p(theta) - N mean_batch log p(y | x, theta), of the weights of a dense network with tanh units and a prior
N(0, prior_sd^2), or minus the log density that a task gives. The ``map_share`` of training is descent without noise (to the MAP; in it
SGHMC adapts), then the chain begins. Its memory, a ring of ``kept`` values of each weight, begins with the MAP and covers the second half
of training at its end (of one of fewer than 2 ``kept`` steps more than that); predictions average draws from it. Up to 1,000 positions of
up to 50 weights in that half are the trace by which mixing is judged.

Of a network there is one chain, of a density there are ``chains`` side by side, which have one memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from elboard.bench.kinds.classification import Classifier
from elboard.bench.kinds.posterior import MarkovChain, PosteriorSampler, TargetSpec
from elboard.bench.method import Bases, Method
from elboard.bench.options import Count, Positive, Range
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.networks import MLP
from elboard.methods.parts.sghmc import SGHMC
from elboard.methods.parts.sgld import SGLD

TRACED, POSITIONS, SECOND_HALF = 50, 1000, 0.5


class SGMCMC(Method, Classifier, MarkovChain, PosteriorSampler):
    """A chain on the joint energy; see the module.

    Attributes:
        group_of: the group of each weight, ``(P,)``; here all are of one.
        ring: past positions ``(kept, C, P)``, of which ``filled`` rows were written. positions: of the traced weights, ``(T, C, K)``.
    """

    @dataclass(kw_only=True)
    class Config(Method.Config):
        weight_decay: Annotated[float, Range(0, 0)] = 0.0  # the prior is in the energy
        lr: Positive = 1e-3  # epsilon, in units of theta^2; of sghmc in those of theta
        optimizer: Literal["sgld", "psgld", "sghmc"] = "sgld"
        decay: Annotated[float, Range(above=0, below=1)] = 0.05  # of sghmc; base_C of the released code
        hidden: list[Count] = field(default_factory=lambda: [50])
        prior_sd: Positive = 0.3  # of three tried, with steps to each
        map_share: Annotated[float, Range(0, below=0.5)] = 0.1
        kept: Count = 200
        chains: Count = 64  # on a density

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.oracle: Any = None
        if isinstance(spec, TargetSpec):
            self.position = nn.Parameter(torch.zeros(config.chains, *spec.shape))
        else:
            body = MLP([math.prod(spec.shape), *config.hidden], "tanh")
            self.network = nn.Sequential(body, nn.Linear(body.n_features, spec.n_classes))
        chains, size = self.vector().shape
        self.register_buffer("group_of", self.make_groups(size), persistent=False)
        traced = torch.randperm(size, generator=torch.Generator().manual_seed(0))[:TRACED]
        self.register_buffer("traced", traced, persistent=False)
        self.register_buffer("ring", torch.zeros(config.kept, chains, size))
        self.register_buffer("positions", torch.zeros(POSITIONS, chains, len(traced)))
        for name in ("written", "recorded", "every"):
            self.register_buffer(name, torch.zeros((), dtype=torch.long))

    def prepare(self, data: Data) -> None:
        self.oracle = data.oracle

    def make_groups(self, size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.long)

    # --- the energy --------------------------------------------------------------------------------

    def vector(self) -> Tensor:
        """The weights of all chains, ``(C, P)``."""
        if isinstance(self.spec, TargetSpec):
            return self.position
        return torch.cat([w.flatten() for w in self.network.parameters()])[None]

    def logits(self, theta: Tensor, x: Tensor) -> Tensor:
        """``(K, B, classes)`` of ``K`` weights ``(K, P)``."""
        named, at = {}, 0
        for name, w in self.network.named_parameters():
            named[name] = theta[:, at : at + w.numel()].unflatten(1, w.shape)
            at += w.numel()
        return vmap(lambda weights: functional_call(self.network, weights, (x,)))(named)

    def log_likelihood(self, theta: Tensor, batch: Batch) -> Tensor:
        """log p(data | theta), ``(C, M)`` for ``(C, M, P)``: the batch's mean times N, or the density's logarithm."""
        flat = theta.flatten(0, 1)
        if isinstance(self.spec, TargetSpec):
            return self.oracle.log_prob(flat).view(theta.shape[:2])
        log_p = self.logits(flat, batch["x"]).log_softmax(2)
        each = log_p.gather(2, batch["y"][None, :, None].expand(len(log_p), -1, 1))[..., 0]
        return self.spec.n_train * each.mean(1).view(theta.shape[:2])

    def log_prior(self, theta: Tensor) -> Tensor:
        """Up to a constant, ``(C, P)`` to ``(C,)``; densities hold theirs."""
        if isinstance(self.spec, TargetSpec):
            return theta.new_zeros(len(theta))
        return -0.5 * (theta / self.config.prior_sd).square().sum(1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """U(theta), summed over chains."""
        theta = self.vector()
        log_p = self.log_likelihood(theta[:, None], batch)
        return {"loss": -(log_p.sum() + self.log_prior(theta).sum()), "log_likelihood": log_p.mean()}

    # --- the chain -----------------------------------------------------------------------------------

    @property
    def sampling(self) -> bool:
        """Whether the chain has begun."""
        return self.progress >= self.config.map_share

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        c = self.config
        if c.optimizer == "sghmc":
            return SGHMC(groups, lr=c.lr, decay=c.decay)
        return SGLD(groups, lr=c.lr, preconditioned=c.optimizer == "psgld")

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> Any:
        super().on_train_batch_start(batch, batch_idx)
        for group in self.optimizers(use_pl_optimizer=False).param_groups:
            group.update({"adapting": not self.sampling} if self.config.optimizer == "sghmc" else {"noise": self.sampling})
        if self.sampling and not self.filled:
            self._remember()  # the MAP

    @torch.no_grad()
    def _remember(self) -> None:
        self.ring[self.written % self.config.kept] = self.vector()
        self.written += 1

    @torch.no_grad()
    def after_step(self, batch: Batch, batch_idx: int) -> None:
        self.agree(*(w.data for w in self.parameters()))  # one chain, whose noise is the first process's
        steps = self.trainer.num_training_batches
        step, total = self.current_epoch * steps + batch_idx, steps * self.trainer.max_epochs
        half = math.ceil(SECOND_HALF * total)
        if self.sampling and step % math.ceil((total - half) / self.config.kept) == 0:
            self._remember()
        self.every.fill_(math.ceil((total - half) / POSITIONS))
        if step >= half and (step - half) % int(self.every) == 0:
            self.positions[self.recorded] = self.vector()[:, self.traced]
            self.recorded += 1

    @property
    def filled(self) -> int:
        return min(int(self.written), self.config.kept)

    def trace(self) -> Tensor:
        return self.positions[: int(self.recorded)]

    @property
    def stride(self) -> int:
        return max(1, int(self.every))

    # --- what was found ------------------------------------------------------------------------------

    def draw(self, n: int) -> Tensor:
        """``(n, P)``: past weights, :meth:`recombined`; before there are any the present positions."""
        theta = self.vector().detach()
        return self.recombined((n,)) if self.filled else theta[torch.randint(len(theta), (n,), device=theta.device)]

    def recombined(self, shape: tuple[int, ...]) -> Tensor:
        """Past weights ``(*shape, P)``: for each group a row and a chain of the memory, drawn independently of the other groups."""
        chains, size, device = *self.ring.shape[1:], self.ring.device
        at = torch.randint(self.filled * chains, (*shape, int(self.group_of.max()) + 1), device=device)[..., self.group_of]
        return self.ring[at // chains, at % chains, torch.arange(size, device=device)]

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        """Probabilities ``(n_samples, B, C)``, one draw of the weights for each sample."""
        return F.softmax(self.logits(self.draw(n_samples), x), dim=2)
