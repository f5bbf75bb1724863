"""One training by Lightning: batches, validation, curves, checkpoints, the best epoch."""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment

from elboard.bench import stopping
from elboard.bench.batches import OwnBatches
from elboard.bench.epochs import Epochs, evaluating, random_state, set_random_state
from elboard.bench.failures import class_of
from elboard.bench.metrics.conventions import better
from elboard.bench.record import save_atomically
from elboard.bench.runs import EPOCHS, LAST, begin_anew
from elboard.bench.task import Data, Task, Test

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # devices and advertisements are no news in every run

SAVE_EVERY = 30.0  # seconds between checkpoints for resuming, at the ends of epochs
SAVE_WITHIN = 300.0  # the same within an epoch, for epochs that take long
LOOPS = ("2.6.",)  # releases of Lightning whose loop bench.steps was compared with, step by step
AGREE_EVERY = 20  # batches after which processes that train together ask each other whether one was told to stop


class Unfit(Exception):
    """The checkpoint from which training was to go on cannot be read, or is not one of this method as it is; it was set aside."""


class Training:
    """What ``Method.fit`` is given: the loop for gradient methods, the folder, and where to report. Test data are not read before its end.

    Attributes:
        history: one dict per epoch with training means, validation metrics and ``epoch``.
        epochs: the method at each validated epoch, of a task that tracks; else None.
        folder: the run's folder.
        base_folders: the folders of the runs that it starts from, by role.
        chosen_epoch: the epoch whose weights were kept; None for a method that does not train by gradients.
        before: what the attempts that this one goes on from had cost at their checkpoint.
        spent: gives that of all of them so far, for the next checkpoint.
    """

    def __init__(self, task: Task, data: Data, config: dict, seed: int, folder: Path, report: Callable[[dict], None]):
        self.task, self.data, self.config, self.seed, self.folder, self.report = task, data, config, seed, folder, report
        self.history: list[dict[str, float]] = []
        self.epochs = Epochs(folder / EPOCHS) if type(task).track is not Task.track else None
        self.chosen_epoch: int | None = None
        self.global_zero = True
        self.base_folders: dict[str, list[Path]] = {}
        self.before: dict[str, float] = {}
        self.spent: Callable[[], dict[str, float]] = dict

    @property
    def last(self) -> Path:
        """The checkpoint from which an interrupted training resumes."""
        return self.folder / LAST

    def run(self, method: Any) -> None:
        """Train ``method`` by gradients. Resumes from :attr:`last` if it exists, and with it what is to be tracked.

        Raises Unfit where it cannot: ``method`` may be half restored then, and another is to be trained.
        """
        train = self.config["train"]
        if train["epochs"] == 0:
            return
        batches = self.task.batches(self.data, train, self.seed)
        loop = _Loop(self, batches)
        options = {k: v for k, v in self.config["trainer"].items() if k != "threads"}
        if options["devices"].lstrip("-").isdigit():
            options["devices"] = int(options["devices"])
        alone = options["devices"] == 1 and options["num_nodes"] == 1
        if method.resting and not alone and options["strategy"] in ("auto", "ddp"):
            options["strategy"] = "ddp_find_unused_parameters_true"
        trainer = pl.Trainer(
            **options,
            plugins=[LightningEnvironment()] if alone else None,  # else Lightning takes a packed Slurm job for a distributed run
            max_epochs=train["epochs"],
            callbacks=[loop],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            inference_mode=False,
            default_root_dir=str(self.folder),
        )
        if pl.__version__.startswith(LOOPS):
            from elboard.bench.steps import Steps

            trainer.fit_loop.epoch_loop = Steps(trainer, trainer.fit_loop.min_steps, trainer.fit_loop.max_steps)
        self.global_zero = trainer.is_global_zero
        resumes = self.last.exists()
        try:
            self._check_epochs(loop.state_key)
            trainer.fit(method, batches, ckpt_path=str(self.last) if self.last.exists() else None, weights_only=True)
        except Exception as error:  # a damaged file raises what its bytes happen to mean, one of other code what it lacks
            if not resumes or loop.begun or class_of(error) != "bug" or not self.global_zero:
                raise
            aside = begin_anew(self.folder, keep=True)
            raise Unfit(f"training starts anew: {aside} cannot be gone on from ({type(error).__name__})") from error
        loop.finish(method)

    def _check_epochs(self, key: str) -> None:
        """Start anew where :attr:`last` has validated an epoch whose weights are gone. ``key``: of the loop's state in checkpoints."""
        if self.epochs is None or self.last.is_dir():  # as some strategies write it
            return
        if self.last.exists():
            saved = torch.load(self.last, map_location="cpu", weights_only=True)["callbacks"][key]
            lost = self.epochs.lost(row["epoch"] for row in saved["history"] if _validated(row))
            if not lost:
                return
            warnings.warn(f"the weights of epoch {lost[0]} are gone: training starts anew", stacklevel=2)
            self.last.unlink(missing_ok=True)
        self.epochs.clear()

    def tracked(self, method: Any, test: Test) -> list[dict[str, float]]:
        """:attr:`history` with what the task tracks of each validated epoch. A list of its own: ``method`` knows the other one."""
        rows = {row["epoch"]: dict(row) for row in self.history}
        if self.epochs is not None:
            for epoch in self.epochs.each(method, [epoch for epoch, row in rows.items() if _validated(row)]):
                found = self.task.track(method, self.data, test)
                rows[epoch] |= {f"track/{name}": float(value) for name, value in found.items()}
        return list(rows.values())


def _validated(row: dict[str, float]) -> bool:
    """Whether the epoch of a row of the history was validated."""
    return any(name.startswith("valid/") for name in row)


class _Loop(pl.Callback):
    """Validation, curves and checkpoints at the ends of epochs. Its state travels in the checkpoint."""

    def __init__(self, training: Training, batches: OwnBatches):
        self.training, self.batches = training, batches
        self.best_value: float | None = None
        self.best_epoch = -1
        self.best_state: dict[str, torch.Tensor] | None = None
        self.saved = time.monotonic()
        self.restored = self.begun = False  # by a checkpoint; whether all that one holds is in place
        self.within: dict[str, Any] = {}  # of a checkpoint within an epoch: random states and what the epoch has accumulated

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.training.history,
            "best_value": self.best_value,
            "best_epoch": self.best_epoch,
            "best_state": self.best_state,
            "within": self.within,
            "spent": self.training.spent(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.restored = True
        self.training.history[:] = state["history"]
        self.best_value, self.best_epoch, self.best_state = state["best_value"], state["best_epoch"], state["best_state"]
        self.within = state["within"]
        self.training.before = state.get("spent", {})

    def on_fit_start(self, trainer: pl.Trainer, method: Any) -> None:
        self.batches.place(trainer.strategy.root_device, trainer.global_rank, trainer.world_size)
        # The first iterator of a fit is made before the hooks of its epoch, also after a resume; this counter is right at both moments.
        self.batches.epoch = lambda: trainer.fit_loop.epoch_progress.current.processed
        self.training.task.device = trainer.strategy.root_device
        method.place_bases(trainer.strategy.root_device)  # of several devices this process's own
        if self.within:
            self.batches.load_state_dict(self.within["batches"])

    def on_train_start(self, trainer: pl.Trainer, method: Any) -> None:
        if self.training.last.exists() and not self.restored:
            raise KeyError("the checkpoint holds no state of the loop")
        self.begun = True
        for epoch in self.training.history:
            self.training.report({"event": "epoch", **epoch})

    def on_train_batch_start(self, trainer: pl.Trainer, method: Any, batch: Any, batch_idx: int) -> None:
        if self.within:  # the first batch after a checkpoint within an epoch
            method.on_epoch_resumed()
            method.restore_accumulated(self.within["accumulated"])
            set_random_state(self.within["random"])
            self.within = {}

    def on_train_batch_end(self, trainer: pl.Trainer, method: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        method.after_step(batch, batch_idx)
        if batch_idx + 1 == trainer.num_training_batches:
            return  # the epoch's end follows at once
        stop, alone = stopping.requested(), trainer.world_size == 1
        if not alone:  # all or none: a checkpoint needs every process
            stop = (batch_idx + 1) % AGREE_EVERY == 0 and trainer.strategy.reduce_boolean_decision(stop, all=False)
        if stop or (alone and time.monotonic() - self.saved > SAVE_WITHIN):
            self.within = {"random": random_state(), "accumulated": method.accumulated(), "batches": self.batches.state_dict()}
            self._save(trainer)
            self.within = {}
        if stop:
            raise stopping.Preempted

    def _save(self, trainer: pl.Trainer) -> None:
        last = self.training.last
        last.parent.mkdir(parents=True, exist_ok=True)
        if trainer.world_size == 1:
            save_atomically(last, lambda path: trainer.save_checkpoint(path))
        else:  # a strategy may have all processes write; the rename is the first one's
            trainer.save_checkpoint(last.with_suffix(".part"))
            if trainer.is_global_zero:
                os.replace(last.with_suffix(".part"), last)
        self.saved = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, method: Any) -> None:
        row: dict[str, float] = {"epoch": trainer.current_epoch, **{f"train/{k}": v for k, v in method.epoch_means().items()}}
        method.before_validation()
        every, last = self.training.config["train"]["validate_every"], trainer.current_epoch + 1 == trainer.max_epochs
        if last or every and (trainer.current_epoch + 1) % every == 0:
            row.update(self._validate(trainer, method))
        self.training.history.append(row)
        if trainer.is_global_zero:
            self.training.report({"event": "epoch", "epochs": trainer.max_epochs, **row})
        stop, due = stopping.requested(), time.monotonic() - self.saved > SAVE_EVERY
        if trainer.world_size > 1:
            stop, due = (trainer.strategy.reduce_boolean_decision(flag, all=False) for flag in (stop, due))
        if not last and (stop or due):
            self._save(trainer)
        if not last and stop:
            raise stopping.Preempted

    def _validate(self, trainer: pl.Trainer, method: Any) -> dict[str, float]:
        with evaluating(method):
            scores = self.training.task.validate(method, self.training.data)
            if self.training.epochs is not None and trainer.is_global_zero:
                self.training.epochs.keep(trainer.current_epoch, method)
        card = self.training.task.card
        value = scores.get(card.selection)
        wanted = self.training.config["train"]["keep"] == "best" and value is not None and not math.isnan(value)
        if wanted and (self.best_value is None or better(card.selection, value, self.best_value)):
            self.best_value, self.best_epoch = float(value), method.current_epoch
            self.best_state = {name: tensor.detach().cpu().clone() for name, tensor in method.state_dict().items()}
        return {f"valid/{name}": float(value) for name, value in scores.items()}

    def finish(self, method: Any) -> None:
        """Put the chosen epoch's weights in place."""
        self.training.chosen_epoch = int(self.training.history[-1]["epoch"])
        if self.best_state is not None:
            method.load_state_dict(self.best_state)
            self.training.chosen_epoch = self.best_epoch
