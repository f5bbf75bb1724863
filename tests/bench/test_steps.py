"""Steps without idle hooks against those of Lightning's own loop: the same to the last bit, whatever a method overrides."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from elboard.bench import stopping, training
from elboard.bench.config import TrainerConfig
from elboard.bench.kinds.classification import ClassSpec
from elboard.bench.method import Method
from elboard.bench.run import seed_everything
from elboard.bench.task import Data, Task
from elboard.bench.training import Training

SPEC = ClassSpec((3,), 50, n_classes=3)  # 50 examples: batches of 16, 16, 16 and 2


class Silent(Task):
    card = type("Card", (), {"selection": "accuracy"})

    def load_train(self) -> Data:
        y = torch.arange(SPEC.n_train) % SPEC.n_classes
        noise = torch.randn(SPEC.n_train, 3, generator=torch.Generator().manual_seed(0))
        return Data(SPEC, {"x": torch.eye(3)[y] + noise, "y": y})

    observe = measure = None
    __abstractmethods__ = frozenset()


class Ordinary(Method):
    lean = True

    @dataclass(kw_only=True)
    class Config(Method.Config):
        lr: float = 0.05

    def __init__(self, config: Any, spec: Any, bases: Any = None):
        super().__init__(config, spec, bases)
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.3), torch.nn.Tanh(), torch.nn.Linear(8, spec.n_classes))
        self.seen: list[Any] = []

    def loss(self, batch: Any) -> dict[str, torch.Tensor]:
        logits = self.net(batch["x"]) * (1 + self.progress)
        right = (logits.argmax(1) == batch["y"]).double().mean()
        return {"loss": F.cross_entropy(logits, batch["y"]), "accuracy": right}


class Averaged(Ordinary):
    """A moving average of the weights, by a hook."""

    def __init__(self, config: Any, spec: Any, bases: Any = None):
        super().__init__(config, spec, bases)
        self.register_buffer("average", torch.zeros_like(self.net[0].weight))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.average.lerp_(self.net[0].weight.detach(), float(outputs["loss"]) / 4)
        self.seen.append((batch_idx, self.global_step, self.progress, self.optimizers().param_groups[0]["lr"], self._current_fx_name))


class Logged(Ordinary):
    """What it logs is reduced by Lightning."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("of", loss, on_step=True, on_epoch=True, batch_size=len(batch["y"]))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log("number", float(batch_idx))
        self.seen.append({name: float(value) for name, value in self.trainer.callback_metrics.items()})


class Mapped(Ordinary):
    """A step that does not ask for the number of the batch, gives more than a loss, and one in three nothing."""

    def training_step(self, batch: Any) -> Any:
        if len(self.seen) % 3 == 2:
            return None
        out = self.checked_loss(batch)
        self.accumulate(out)
        return {"loss": out["loss"], "right": out["accuracy"]}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(outputs)


class Skipping(Ordinary):
    """Ends its epochs early."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        super().on_train_batch_start(batch, batch_idx)
        return -1 if batch_idx == 2 else None


class Ending(Ordinary):
    """Ends its training early."""

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.trainer.should_stop = self.global_step == 6


class Twofold(torch.optim.SGD):
    """Averages two gradients of a batch, with other noise."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        parameters = [p for group in self.param_groups for p in group["params"]]
        closure()
        first = [p.grad.clone() for p in parameters]
        loss = closure()
        for p, other in zip(parameters, first, strict=True):
            p.grad.add_(other).div_(2)
        super().step()
        return loss


class Sampling(Ordinary):
    def make_optimizer(self, groups: Any) -> Any:
        return Twofold(groups, lr=self.config.lr)


class Hooked(Ordinary):
    """Two hooks that Lightning calls alone."""

    lean = False

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.seen.append(float(self.net[0].weight.grad.norm()))
        self.net[0].weight.grad.mul_(0.5)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        with torch.no_grad():
            self.net[3].bias.clamp_(-0.1, 0.1)


class Several(Ordinary):
    """Two optimisers, by hand."""

    lean = False

    def __init__(self, config: Any, spec: Any, bases: Any = None):
        super().__init__(config, spec, bases)
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return [self.make_optimizer([{"params": list(self.net[i].parameters())}]) for i in (0, 3)]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            out = self.checked_loss(batch)
            optimizer.zero_grad()
            self.manual_backward(out["loss"])
            optimizer.step()
        self.accumulate(out)


class Outcome(NamedTuple):
    state: dict[str, torch.Tensor]
    history: list[dict[str, float]]
    rest: Any


def trained(made: type[Ordinary], folder: Path, known: bool, options: dict[str, Any], precision: str = "32-true") -> Outcome:
    """What comes of a training with Lightning's own loop, or with that of :mod:`elboard.bench.steps`."""
    with pytest.MonkeyPatch.context() as patch:
        if not known:
            patch.setattr(training, "LOOPS", ())
        seed_everything(0)
        task, method = Silent(Silent.Config(), "smoke", 0), made(made.Config(**options), SPEC)
        trainer = {item.name: item.default for item in fields(TrainerConfig)} | {"accelerator": "cpu", "precision": precision}
        config = {"train": {"epochs": 3, "batch_size": 16, "validate_every": 0, "keep": "last"}, "trainer": trainer}
        run = Training(task, task.load_train(), config, 0, folder, lambda event: None)
        method.fit(run.data, run)
    loop = method.trainer.fit_loop
    assert getattr(loop.epoch_loop, "lean", False) is (known and made.lean and precision == "32-true")
    kept = [optimizer.state_dict() for optimizer in method.trainer.optimizers]
    logged = {name: float(value) for name, value in method.trainer.callback_metrics.items()}
    return Outcome(
        method.state_dict(), run.history, (loop.state_dict(), kept, logged, method.seen, method.trainer.global_step, method.progress)
    )


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.equal(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


CLIPPED = {"clip": 0.05, "schedule": "cosine", "warmup": 0.2, "optimizer": "adamw", "weight_decay": 0.1}


@pytest.mark.parametrize(
    ("made", "options"),
    [
        *((made, {}) for made in (Ordinary, Averaged, Logged, Mapped, Skipping, Ending, Sampling, Hooked, Several)),
        (Ordinary, CLIPPED),
        (Averaged, CLIPPED | {"optimizer": "sgd"}),
    ],
)
def test_all_that_comes_of_a_training_is_that_of_lightnings_loop(made: type[Ordinary], options: dict[str, Any], tmp_path: Path) -> None:
    one, other = (trained(made, tmp_path / name, name == "ours", options) for name in ("lightnings", "ours"))
    assert same(one.state, other.state) and one.history == other.history
    assert same(one.rest, other.rest) and one.history and one.rest[4] > 0


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_are_lightnings_part(precision: str, tmp_path: Path) -> None:
    one, other = (trained(Averaged, tmp_path / name, name == "ours", CLIPPED, precision) for name in ("lightnings", "ours"))
    assert same(one, other)


@pytest.mark.parametrize(("before", "after"), [(False, True), (True, False), (True, True)])
@pytest.mark.parametrize("asked", [2, 4, 5])  # looked at after each of three steps, and at the end of the epoch
def test_a_checkpoint_of_one_loop_is_gone_on_from_by_the_other(before: bool, after: bool, asked: int, tmp_path: Path) -> None:
    whole, answers = trained(Ordinary, tmp_path / "whole", False, CLIPPED), iter([False] * (asked - 1) + [True])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(stopping.Preempted):
        patch.setattr(stopping, "requested", lambda: next(answers, False))
        trained(Ordinary, tmp_path / "broken", before, CLIPPED)
    found = trained(Ordinary, tmp_path / "broken", after, CLIPPED)
    assert same(whole.state, found.state) and whole.history == found.history
    assert same(whole.rest[1:], found.rest[1:])


def test_the_loop_is_ours_with_the_release_of_lightning_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pl.__version__.startswith(training.LOOPS), "compare bench/steps.py with the loop of this release"
    monkeypatch.setattr(pl, "__version__", "3.0.0")
    trained(Hooked, tmp_path, True, {})  # whose own loop is not lean
