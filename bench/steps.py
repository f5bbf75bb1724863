"""The steps of an epoch as Lightning takes them, without those of its hooks that nobody overrides.

Around each step Lightning makes some fifty calls that look up a hook, note its name and profile it: for small networks a third of the
processor time. :class:`Steps` makes those of them that do something, in the same order, so that weights, counters and checkpoints are the
same bit for bit. It knows how the releases of Lightning that :mod:`elboard.bench.training` names are built inside. What is not
:func:`ordinary`, Lightning does itself.
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.fetchers import _DataLoaderIterDataFetcher
from pytorch_lightning.loops.optimization.automatic import ClosureResult
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import SIGTERMException
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

START, END = "on_train_batch_start", "on_train_batch_end"
OTHERS = (  # hooks around a step that Steps does not call
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "on_before_zero_grad",
    "optimizer_zero_grad",
    "on_before_backward",
    "backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "optimizer_step",
    "validation_step",
)


def overrides(of: Any, base: type, name: str) -> bool:
    """Whether ``of``, an instance of ``base``, has a ``name`` of its own."""
    return name in vars(of) or getattr(type(of), name, None) is not getattr(base, name, None)


def ordinary(trainer: pl.Trainer) -> bool:
    """Whether a step of ``trainer`` is a forward pass, a backward pass and a step of one optimiser, on one device in full precision."""
    method, strategy = trainer.lightning_module, trainer.strategy
    return (
        type(strategy) is SingleDeviceStrategy
        and type(strategy.precision_plugin) is Precision
        and strategy.model is method
        and method.automatic_optimization
        and len(trainer.optimizers) == 1
        and trainer.accumulate_grad_batches == 1
        and trainer.gradient_clip_val is None
        and trainer.max_steps == -1
        and not trainer.loggers
        and type(trainer.profiler) is PassThroughProfiler
        and not any(overrides(method, pl.LightningModule, name) for name in OTHERS)
        and not any(overrides(callback, pl.Callback, name) for callback in trainer.callbacks for name in OTHERS)
    )


class Steps(_TrainingEpochLoop):
    """The loop within an epoch.

    Attributes:
        lean: whether the present epoch is one of ordinary steps.
        indexed: whether ``training_step`` takes the number of the batch; None before the first epoch.
        hooks: of callbacks, by name.
    """

    lean = False
    indexed: bool | None = None
    hooks: dict[str, list[Any]] = {}

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        trainer = self.trainer
        self.lean = ordinary(trainer) and not isinstance(data_fetcher, _DataLoaderIterDataFetcher)
        if self.indexed is None:
            self.indexed = is_param_in_hook_signature(trainer.lightning_module.training_step, "batch_idx", min_args=2)
        callbacks = trainer.callbacks
        self.hooks = {name: [getattr(of, name) for of in callbacks if overrides(of, pl.Callback, name)] for name in (START, END)}

    def advance(self, data_fetcher: Any) -> None:
        """All steps that are left of the epoch, where they are ordinary; the first after a checkpoint is Lightning's."""
        if self.restarting or not self.lean:
            super().advance(data_fetcher)
            return
        while True:
            self._advance(data_fetcher)
            self._batches_that_stepped += 1
            if self._num_ready_batches_reached() or self.trainer.should_stop:
                return
            if self.trainer.received_sigterm:
                raise SIGTERMException

    def on_advance_end(self, data_fetcher: Any) -> None:
        if self.restarting or not self.lean:
            super().on_advance_end(data_fetcher)

    def _advance(self, data_fetcher: Any) -> None:
        trainer, connector, progress, results = self.trainer, self.trainer._logger_connector, self.batch_progress, self._results
        batch, i = self._placed(next(data_fetcher)[0]), self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        progress.increment_ready()
        connector._first_loop_iter = connector._first_loop_iter is None
        results.batch, results.batch_size, results.dataloader_idx = batch, None, None
        skip, output = self._call(START, batch, i) == -1, None
        if skip:
            progress.increment_by(0, is_last_batch=True)
        else:
            progress.increment_started()
            output = self._step(trainer.optimizers[0], batch, i)
        progress.increment_processed()
        if trainer.lr_scheduler_configs:
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
            if self._num_ready_batches_reached():
                self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        if skip:
            raise StopIteration
        self._call(END, output, batch, i)
        if results:  # something was logged
            connector.on_batch_end()
        results.batch = None
        progress.increment_completed()
        if trainer.lr_scheduler_configs:
            self.update_lr_schedulers("step", update_plateau_schedulers=True)

    def _placed(self, batch: Any) -> Any:
        """``batch`` on the device, where batches of tasks are already."""
        strategy, device = self.trainer.strategy, self.trainer.strategy.root_device
        if type(batch) is dict and all(getattr(value, "device", None) == device for value in batch.values()):
            return batch
        return strategy.batch_to_device(batch, dataloader_idx=0)

    def _call(self, name: str, *words: Any) -> Any:
        """The hook ``name`` of callbacks and of the method, which logs under that name."""
        trainer, method = self.trainer, self.trainer.lightning_module
        attributes = vars(method)  # past what torch asks of whatever a module is given
        attributes["_current_fx_name"] = name
        for hook in self.hooks.get(name, ()):
            hook(trainer, method, *words)
        answer = getattr(method, name)(*words)
        attributes["_current_fx_name"] = None
        return answer

    def _step(self, optimizer: torch.optim.Optimizer, batch: Any, i: int) -> dict[str, Any]:
        """Loss, gradients and the step of ``optimizer``, which may ask for them more than once. What hooks after it are given."""
        counters, result = self.automatic_optimization.optim_progress.optimizer, {}
        zero_grad = counters.zero_grad

        def closure() -> Tensor | None:
            nonlocal result
            with torch.enable_grad():
                loss, result = _result(self._call("training_step", *((batch, i) if self.indexed else (batch,))))
                zero_grad.increment_ready()
                zero_grad.increment_started()
                optimizer.zero_grad()
                zero_grad.increment_completed()
                if loss is not None:
                    loss.backward()
            self._call("configure_gradient_clipping", optimizer, None, None)
            return result.get("loss")

        counters.step.increment_ready()
        optimizer.step(closure=closure)
        counters.step.increment_completed()
        return result


def _result(output: Any) -> tuple[Tensor | None, dict[str, Any]]:
    """The loss of what a ``training_step`` returned, and all of it without its graph."""
    if isinstance(output, Tensor):
        return output, {"loss": output.detach()}
    result = ClosureResult.from_training_step_output(output)
    return result.closure_loss, {} if result.loss is None else result.asdict()
