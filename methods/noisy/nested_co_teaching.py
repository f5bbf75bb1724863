"""Nested co-teaching: two nested-dropout networks, fine-tuned by co-teaching (Chen et al. 2021, 2022).

Stage 1. Two networks are trained independently with nested dropout (see nested_dropout.py); of each the epoch of best accuracy on the noisy
validation set, at its k*, is taken over.

Stage 2, co-teaching. A batch is cut into halves A and B. Network 1, in evaluation mode with its k*, keeps the (1 - tau)|A| examples of
smallest loss of A, A'; network 2 likewise B'. Network 1 is trained on B' and network 2 on A', with one freshly drawn prefix for both; tau
is constant from the start and batch normalisation is frozen. k* is chosen again after each epoch.

The mean of both networks' logits, each at its own k*, predicts, as the papers have it: part of the gain over a single network is that of an
ensemble (``ensemble=false`` takes it away).

tau is the data's true rate of wrong labels, which other methods do not know; the papers use 0.2 on CIFAR-10. At equal epochs the pair costs
about twice as much as one network. Other differences from the papers: both stages lie within one training, of which the first is
``pretrain`` (20 of 30 epochs; 350 of 450 there); shared backbone; Adam, whose state is reset between the stages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elboard.bench.card import MethodCard
from elboard.bench.method import Bases
from elboard.bench.options import Positive, Share
from elboard.bench.task import Batch, Data, DataSpec
from elboard.methods.noisy.base import CoTaught, quietly, small_loss
from elboard.methods.noisy.nested_dropout import NestedDropout

CARD = MethodCard(
    name="nested-co-teaching",
    title="Nested dropout, then co-teaching",
    family="noisy",
    home="noisy/digits-sym40",
    paper="096",
    cite="Chen et al. 2021",
    defaults={"trials": 3, "on": "noisy/mnist-sym50", "by": "accuracy", "options": ("eta",), "rest": "paper"},
)


class NestedCoTeaching(CoTaught, NestedDropout):
    """Two nested-dropout networks: ``self`` and ``peer``.

    Attributes:
        fine_tuning: whether stage 2 is on.
    """

    @dataclass(kw_only=True)
    class Config(CoTaught.Config, NestedDropout.Config):
        ensemble: bool = True
        pretrain: Share = 0.66  # share of training in stage 1, rounded up to whole epochs
        fine_tune_lr: Positive = 1e-4  # a tenth of lr; a hundredth in the papers, after steps
        schedule: Literal["two-stage", "constant", "cosine"] = "two-stage"  # lr in stage 1, fine_tune_lr in stage 2; or constant, cosine

    def __init__(self, config: Any, spec: DataSpec, bases: Bases | None = None):
        super().__init__(config, spec, bases)
        self.fine_tuning = False
        self._best: list[dict[str, Any]] = [{"accuracy": -1.0, "state": {}} for _ in range(2)]

    def make_peer(self) -> NestedDropout:
        return NestedDropout(self.config, self.spec)

    def prepare(self, data: Data) -> None:
        super().prepare(data)
        self.peer.prepare(data)

    def teach(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        kept = torch.zeros_like(batch["y"], dtype=torch.bool)
        if not self.fine_tuning:
            out, other = NestedDropout.loss(self, batch), self.peer.loss(batch)
            return {**out, "loss": out["loss"] + other["loss"]}, kept
        x, y, half, share = batch["x"], batch["y"], len(batch["y"]) // 2, 1 - self.forget_rate
        with quietly(self):
            first = small_loss(F.cross_entropy(self(x[:half]), y[:half], reduction="none"), share)
            second = small_loss(F.cross_entropy(self.peer(x[half:]), y[half:], reduction="none"), share) + half
        prefix = self.draw_prefix()
        logits = self(x[second], prefix)
        loss = F.cross_entropy(logits, y[second]) + F.cross_entropy(self.peer(x[first], prefix), y[first])
        accuracy = (logits.argmax(1) == y[second]).float().mean()
        return {"loss": loss, "accuracy": accuracy, "prefix": self.prefix.float()}, kept.index_fill(0, torch.cat([first, second]), True)

    # --- the two stages ------------------------------------------------------------------------

    def second_stage(self, progress: float) -> bool:
        """Whether the epoch at ``progress`` belongs to stage 2; the rate and the loss change at the same step."""
        epochs = self.trainer.max_epochs
        return math.floor(progress * epochs + 1e-6) / epochs >= self.config.pretrain

    def lr_factor(self, progress: float) -> float:
        if self.config.schedule == "two-stage" and self.second_stage(progress):
            return self.config.fine_tune_lr / self.config.lr
        return super().lr_factor(progress)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.on_epoch_resumed()
        if self.fine_tuning and not self.second_stage((self.current_epoch - 1) / self.trainer.max_epochs):
            self.start_fine_tuning()
            self.optimizers(use_pl_optimizer=False).state.clear()

    def on_epoch_resumed(self) -> None:
        self.fine_tuning = self.second_stage(self.current_epoch / self.trainer.max_epochs)
        if self.fine_tuning:
            for part in self.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()

    def start_fine_tuning(self) -> None:
        """Take over the best epoch of each network of stage 1."""
        for network, best in zip((self, self.peer), self._best, strict=True):
            network.load_state_dict(best["state"], strict=False)
            best["state"] = {}

    def before_validation(self) -> None:
        for network, best in zip((self, self.peer), self._best, strict=True):
            accuracy = network.choose_prefix()
            if not self.fine_tuning and accuracy > best["accuracy"]:
                own = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(("peer.", "selected"))}
                best.update(accuracy=accuracy, state={name: tensor.detach().clone() for name, tensor in own.items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["best_of_stage_1"] = self._best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._best = checkpoint["best_of_stage_1"]
