"""The base class of methods: optimisers, schedules, accumulation of losses and reproducible noise, once for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from elboard.bench.batches import size
from elboard.bench.card import MethodCard
from elboard.bench.epochs import seed_torch
from elboard.bench.errors import NonFiniteLoss
from elboard.bench.options import NonNegative, Options, Positive, Range, Share
from elboard.bench.task import Batch, Data, DataSpec

if TYPE_CHECKING:
    from elboard.bench.training import Training


Bases = Mapping[str, "Method | list[Method]"]


class Method(pl.LightningModule):
    """A method: one class, one file, beside its ``CARD`` literal.

    A subclass gives ``__init__`` (networks, from ``self.config`` and ``self.spec``), ``loss``, and what the protocols ask for that are
    among its base classes. Its options are the fields of a ``Config(Method.Config)``, annotated with what they may be
    (:mod:`elboard.bench.options`). A closed-form or post-hoc method overrides :meth:`fit`; a method with several optimisers sets
    ``automatic_optimization = False`` and overrides :meth:`training_step`.

    Attributes:
        config: instance of ``Config``.
        spec: shapes and counts of the data.
        bases: the trained methods that it starts from, in evaluation mode, by the role that its card names: one, or a list where that says
            ``count``.
        progress: share of training done, 0 to 1, for schedules; 1 after training.
        seed: the run's seed.
        parts: pieces of a batch that the loss is computed in, one after the other: more than 1 after an attempt ran out of memory.
    """

    card: MethodCard
    resting = False  # whether some parameters have no gradient in some steps, which processes that train together must know

    @dataclass(kw_only=True)
    class Config(Options):
        """Options shared by gradient methods."""

        lr: Positive = 1e-3
        optimizer: Literal["adam", "adamw", "sgd"] = "adam"  # adam, adamw or sgd
        momentum: Annotated[float, Range(0, below=1)] = 0.9  # of sgd
        weight_decay: NonNegative = 0.0
        schedule: Literal["constant", "cosine"] = "constant"
        warmup: Share = 0.0  # share of training over which the learning rate rises linearly
        clip: NonNegative = 0.0  # largest gradient norm; 0: no clipping

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__()
        self.config, self.spec = config, spec
        self.__dict__["bases"] = dict(bases or {})  # not submodules: their weights belong to their own runs
        self.progress = 0.0
        self.seed = 0
        self.parts = 1
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    @property
    def base(self) -> Method:
        """The one method that it starts from."""
        (base,) = self.all_bases()
        return base

    def all_bases(self) -> list[Method]:
        """The methods of all roles."""
        return [one for of in self.bases.values() for one in (of if isinstance(of, list) else [of])]

    def place_bases(self, device: torch.device) -> None:
        """Move all that it starts from to ``device``, and what that starts from: their weights are no part of its own."""
        for base in self.all_bases():
            base.to(device).place_bases(device)

    # --- what a method defines -----------------------------------------------------------------

    def prepare(self, data: Data) -> None:
        """Called once with the data (without test data), before training and before a checkpoint is read.

        For what depends on the data but is not learned by gradients: a graph, an output bias, buffers of the right shape.
        """

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The objective on a batch: ``{"loss": scalar, ...}`` and further scalars for the curves. Pure: no logging, no state;
        randomness only from torch."""
        raise NotImplementedError

    def fit(self, data: Data, training: Training) -> None:
        """Train. By default by gradients with Lightning; closed-form and post-hoc methods override this."""
        training.run(self)

    def after_step(self, batch: Batch, batch_idx: int) -> None:
        """Called after each step of the optimiser, before a checkpoint may be written.

        For state beside the parameters: averages, a memory of past weights. (Lightning's ``on_train_batch_end`` of a module comes after the
        checkpoint: a run that goes on from one would lack what the last step did there.)
        """

    def agree(self, *tensors: Tensor) -> None:
        """Put the first process's values into ``tensors``, in all that train together: for what each has drawn by noise of its own."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for tensor in tensors:
                torch.distributed.broadcast(tensor.view(torch.uint8) if tensor.dtype == torch.bool else tensor, 0)

    def before_validation(self) -> None:
        """Called at the end of each epoch, in training mode, before the task validates it and before its weights are kept.

        For what prediction needs and training does not: statistics, a threshold, a posterior's precision.
        """

    # --- Lightning ---------------------------------------------------------------------------------

    def parameter_groups(self) -> list[dict]:
        """Optimiser parameter groups; override to exempt parameters from weight decay."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def make_optimizer(self, groups: list[dict]) -> torch.optim.Optimizer:
        """The optimiser that the configuration names; override where the optimiser is the method."""
        c = self.config
        fused = all(p.device.type in ("cpu", "cuda") for g in groups for p in g["params"])
        if c.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay, fused=fused)
        classes = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        if c.optimizer not in classes:
            raise ValueError(f"optimizer {c.optimizer!r} is none of adam, adamw, sgd")
        return classes[c.optimizer](groups, lr=c.lr, weight_decay=c.weight_decay, fused=fused)

    def lr_factor(self, progress: float) -> float:
        """Factor on the learning rate at ``progress`` in [0, 1]."""
        c = self.config
        if c.warmup > 0 and progress < c.warmup:
            return max(progress / c.warmup, 1e-3)
        if c.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        return 1.0

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameter_groups())
        if self.config.schedule == "constant" and self.config.warmup == 0:
            return optimizer
        total = max(1, int(self.trainer.estimated_stepping_batches))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.lr_factor(min(1.0, step / total)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None) -> None:
        if self.config.clip > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters(), self.config.clip)

    def checked_loss(self, batch: Batch) -> dict[str, Tensor]:
        """:meth:`loss`. Raises TypeError where that is not what training needs; the message names it and what is wanted."""
        out, of = self.loss(batch), f"{type(self).__name__}.loss"
        if not isinstance(out, dict) or "loss" not in out:
            found = f"a mapping of {', '.join(map(str, out)) or 'nothing'}" if isinstance(out, dict) else type(out).__name__
            raise TypeError(f"{of} returned {found}: wanted is a dict with 'loss' and further scalars")
        for name, value in out.items():
            if not isinstance(value, Tensor) or value.shape:
                found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise TypeError(f"{of} returned {name!r} as {found}: wanted is a scalar tensor, such as a mean over the batch")
        if not out["loss"].requires_grad:
            raise TypeError(f"{of} returned a 'loss' without gradient: wanted is one computed from the method's parameters by torch")
        return out

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        out = self.checked_loss(batch) if self.parts == 1 else in_parts(self.checked_loss, batch, self.parts)
        self.accumulate(out)
        return out["loss"]

    def accumulate(self, out: dict[str, Tensor]) -> None:
        """Add scalars to the epoch's means, in single precision or what is finer: sums of bool or of half precision stick. Nothing is
        synchronised here."""
        sums = self._sums
        for name, value in out.items():
            value = at_least_single(value.detach())
            sums[name] = sums[name] + value if name in sums else value.clone()
        self._steps += 1

    def accumulated(self) -> dict[str, Any]:
        """What :meth:`accumulate` holds within an epoch, for a checkpoint."""
        return {"sums": self._sums, "steps": self._steps}

    def restore_accumulated(self, state: dict[str, Any]) -> None:
        self._sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        self._steps = state["steps"]

    def epoch_means(self) -> dict[str, float]:
        """Means of what was accumulated since the last call. Raises NonFiniteLoss if the loss is NaN or infinite."""
        means: dict[str, float] = {}
        for kind in {value.dtype for value in self._sums.values()}:  # one synchronisation for each, of which there is one as a rule
            names = [name for name, value in self._sums.items() if value.dtype == kind]
            means |= zip(names, torch.stack([self._sums[name] for name in names]).div(max(1, self._steps)).tolist(), strict=True)
        means = {name: means[name] for name in self._sums}
        self._sums, self._steps = {}, 0
        if not math.isfinite(means.get("loss", 0.0)):
            raise NonFiniteLoss(f"loss is {means['loss']} in epoch {self.current_epoch}")
        return means

    def epoch_seed(self, epoch: int, rank: int = 0) -> int:
        """The seed of torch in ``epoch``: one of (seed, epoch) makes a run that was interrupted and resumed equal to one that was not."""
        return (self.seed * 1_000_003 + 7_919 * (epoch + 1) + rank) % 2**63

    def on_train_epoch_start(self) -> None:
        seed_torch(self.epoch_seed(self.current_epoch, self.global_rank))

    def on_epoch_resumed(self) -> None:
        """Called in the place of :meth:`on_train_epoch_start` where training goes on within an epoch, before random states are put back.

        For what that hook derives from the epoch alone and a checkpoint does not hold.
        """

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        trainer, steps = self.trainer, self.trainer.num_training_batches
        self.progress = (trainer.current_epoch * steps + batch_idx) / max(1, steps * trainer.max_epochs)

    def on_train_end(self) -> None:
        self.progress = 1.0


def at_least_single(value: Tensor) -> Tensor:
    """``value`` in single precision, or in its own where that is finer."""
    return value if value.dtype == torch.float32 else value.to(torch.promote_types(value.dtype, torch.float32))


def in_parts(loss: Callable[[Batch], Batch], batch: Batch, parts: int) -> Batch:
    """``loss(batch)`` in parts, for a loss whose scalars are means over examples (or the same for any batch); each value is (n, ...).

    What an attempt does after one that ran out of memory. The configured batch stays as it is, and with it the key of the run. The
    activations of each part are dropped, and computed again with the same noise when its gradient is (Chen et al. 2016,
    arXiv:1604.06174), so that memory holds those of one part at a time. A third more work; noise other than the whole batch draws, of the
    same distribution.
    """
    n = size(batch)
    total: Batch = {}
    for index in torch.arange(n).tensor_split(min(parts, n)):
        part = {name: value[index.to(value.device)] for name, value in batch.items()}
        for name, value in checkpoint(loss, part, use_reentrant=False).items():
            share = at_least_single(value) * (len(index) / n)
            total[name] = total[name] + share if name in total else share
    return total


def may_split(method: Any) -> bool:
    """Whether the loss of ``method`` is a mean over examples: its card says so, and no layer mixes those of a batch."""
    mixes = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in method.modules())
    return method.card.splits and method.automatic_optimization and not mixes
