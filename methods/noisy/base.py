"""What pairs of networks share: the second network, selection by small loss, prediction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from elboard.bench.errors import UserError
from elboard.bench.kinds.noisy import SampleSelector
from elboard.bench.method import Bases, Method
from elboard.bench.options import Range
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.parts.classifier import ClassifierMethod


@contextmanager
def quietly(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each submodule is in the mode in which it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True


def small_loss(losses: Tensor, share: float) -> Tensor:
    """Indices, ascending, of the ``round(share * B)`` smallest of ``losses`` (B,), at least one; the first among equals."""
    n = max(1, round(share * len(losses)))
    return losses.argsort(stable=True)[:n].sort().values


def indexed(data: Data) -> Data:
    """``data`` whose batches hold the place of each example, ``index``, whether their task says it or not."""
    return data if "index" in data.train else replace(data, train={**data.train, "index": torch.arange(len(data.train["x"]))})


def of_all(method: Method, *tensors: Tensor) -> tuple[Tensor, ...]:
    """``tensors`` ``(B, ...)``, with those of all processes that train together, one after the other."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return tuple(method.all_gather(of).flatten(0, 1) for of in tensors)
    return tensors


class Pair(ClassifierMethod, SampleSelector):
    """Two networks of one architecture that teach each other: ``self`` is the first, ``peer`` the second.

    One optimiser serves both. Their losses share no parameter and Adam, AdamW and SGD work element by element, so that this equals two
    optimisers exactly; gradients are clipped network by network to keep it so.

    Attributes:
        selected: boolean ``(n_train,)``: training examples that were selected when they were last seen.
    """

    @dataclass(kw_only=True)
    class Config(ClassifierMethod.Config):
        ensemble: bool = False  # predict with the mean of both networks' logits instead of the first network

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.peer = self.make_peer()
        self.register_buffer("selected", torch.zeros(spec.n_train, dtype=torch.bool))

    def selection(self) -> Tensor:
        return self.selected

    def make_peer(self) -> ClassifierMethod:
        return ClassifierMethod(self.config, self.spec)

    def teach(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Losses on a batch, and which of its examples were selected: boolean ``(B,)``."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return self.teach(batch)[0]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Overridden because the selection, which ``loss`` must not keep, is recorded for ``label_precision``: of all processes that train
        together, of which each has the first one's buffers at its next step."""
        out, kept = self.teach(batch)
        self.accumulate(out)
        if "index" in batch:
            index, kept = of_all(self, batch["index"], kept.byte())
            self.selected[index] = kept.bool()
        return out["loss"]

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None) -> None:
        if self.config.clip > 0:
            own = [p for name, p in self.named_parameters() if not name.startswith("peer.")]
            for parameters in (own, list(self.peer.parameters())):
                nn.utils.clip_grad_norm_(parameters, self.config.clip)

    def predict(self, x: Tensor, n_samples: int = 1) -> Tensor:
        logits = (self(x) + self.peer(x)) / 2 if self.config.ensemble else self(x)
        return logits.softmax(1)[None]


class CoTaught(Pair):
    """A pair of which each network is trained on what the other selects.

    Attributes:
        forget_rate: share of a batch left out, for papers that take the rate of wrong labels as known.
    """

    @dataclass(kw_only=True)
    class Config(Pair.Config):
        forget_rate: Annotated[float, Range(0, below=1)] | None = None  # share of a batch left out; None: the data's rate of wrong labels

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.forget_rate = spec.noise_rate if config.forget_rate is None else config.forget_rate
        if not 0 <= self.forget_rate < 1:
            raise UserError(f"forget_rate={self.forget_rate} is not in [0, 1)")
