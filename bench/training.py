"""One training by Lightning: batches, validation, curves, checkpoints, the best epoch."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from bench.batches import Batches
from bench.metrics.conventions import better
from bench.task import Data, Task

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # devices and advertisements are no news in every run

SAVE_EVERY = 30.0  # seconds between checkpoints for resuming


class Training:
    """What ``Method.fit`` is given: the loop for gradient methods, the folder, and where to report.

    Attributes:
        history: one dict per epoch with training means, validation metrics and ``epoch``.
        folder: the run's folder.
        base_folder: for a post-hoc method the folder of the run that it starts from.
        chosen_epoch: the epoch whose weights were kept; None for a method that does not train by gradients.
    """

    def __init__(self, task: Task, data: Data, config: dict, seed: int, folder: Path, report: Callable[[dict], None]):
        self.task, self.data, self.config, self.seed, self.folder, self.report = task, data, config, seed, folder, report
        self.history: list[dict[str, float]] = []
        self.chosen_epoch: int | None = None
        self.global_zero = True
        self.base_folder: Path | None = None

    @property
    def last(self) -> Path:
        """The checkpoint from which an interrupted training resumes."""
        return self.folder / "checkpoints" / "last.ckpt"

    def run(self, method: Any) -> None:
        """Train ``method`` by gradients. Resumes from :attr:`last` if it exists."""
        train = self.config["train"]
        if train["epochs"] == 0:
            return
        batches = Batches(self.data.train, train["batch_size"], self.seed, self.data.on_batch)
        loop = _Loop(self, batches)
        options = {k: v for k, v in self.config["trainer"].items() if k != "threads"}
        if options["devices"].lstrip("-").isdigit():
            options["devices"] = int(options["devices"])
        trainer = pl.Trainer(
            **options,
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
        self.global_zero = trainer.is_global_zero
        trainer.fit(method, batches, ckpt_path=str(self.last) if self.last.exists() else None, weights_only=True)
        loop.finish(method)


class _Loop(pl.Callback):
    """Validation, curves and checkpoints at the ends of epochs. Its state travels in the checkpoint."""

    def __init__(self, training: Training, batches: Batches):
        self.training, self.batches = training, batches
        self.best_value: float | None = None
        self.best_epoch = -1
        self.best_state: dict[str, torch.Tensor] | None = None
        self.saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {
            "history": self.training.history,
            "best_value": self.best_value,
            "best_epoch": self.best_epoch,
            "best_state": self.best_state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.training.history[:] = state["history"]
        self.best_value, self.best_epoch, self.best_state = state["best_value"], state["best_epoch"], state["best_state"]

    def on_fit_start(self, trainer: pl.Trainer, method: Any) -> None:
        self.batches.place(trainer.strategy.root_device, trainer.global_rank, trainer.world_size)
        # The first iterator of a fit is made before the hooks of its epoch, also after a resume; this counter is right at both moments.
        self.batches.epoch = lambda: trainer.fit_loop.epoch_progress.current.processed
        self.training.task.device = trainer.strategy.root_device
        for epoch in self.training.history:
            self.training.report({"event": "epoch", **epoch})

    def on_train_epoch_end(self, trainer: pl.Trainer, method: Any) -> None:
        row: dict[str, float] = {"epoch": trainer.current_epoch, **{f"train/{k}": v for k, v in method.epoch_means().items()}}
        every, last = self.training.config["train"]["validate_every"], trainer.current_epoch + 1 == trainer.max_epochs
        if last or every and (trainer.current_epoch + 1) % every == 0:
            row.update(self._validate(method))
        self.training.history.append(row)
        if trainer.is_global_zero:
            self.training.report({"event": "epoch", "epochs": trainer.max_epochs, **row})
        if not last and time.monotonic() - self.saved > SAVE_EVERY:
            save_atomically(self.training.last, lambda path: trainer.save_checkpoint(path))
            self.saved = time.monotonic()

    def _validate(self, method: Any) -> dict[str, float]:
        with evaluating(method):
            scores = self.training.task.validate(method, self.training.data)
        card = self.training.task.card
        value = scores.get(card.selection)
        wanted = self.training.config["train"]["keep"] == "best" and value is not None
        if wanted and (self.best_value is None or better(card.selection, value, self.best_value)):
            self.best_value, self.best_epoch = float(value), method.current_epoch
            self.best_state = {name: tensor.detach().cpu().clone() for name, tensor in method.state_dict().items()}
        return {(k if k.startswith("track/") else f"valid/{k}"): float(v) for k, v in scores.items()}

    def finish(self, method: Any) -> None:
        """Put the chosen epoch's weights in place."""
        self.training.chosen_epoch = int(self.training.history[-1]["epoch"])
        if self.best_state is not None:
            method.load_state_dict(self.best_state)
            self.training.chosen_epoch = self.best_epoch


class evaluating:
    """Context: evaluation mode, no gradients, and the random state of training left as it was."""

    def __init__(self, method: Any):
        self.method = method

    def __enter__(self) -> None:
        self.state = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
        self.was_training = self.method.training
        self.method.eval()
        self.no_grad = torch.no_grad()
        self.no_grad.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.no_grad.__exit__(*error)
        self.method.train(self.was_training)
        torch.set_rng_state(self.state)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)


def save_atomically(path: Path, save: Callable[[Path], Any]) -> None:
    """``save(temporary)``, flushed to disk, then renamed to ``path``: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
