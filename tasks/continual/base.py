"""What sequences of classification tasks share: batches of one task at a time, and the matrix of accuracies.

Each of T tasks has the same number of training images and an equal share of the epochs, one after the other; no head and no label says
which task an image is of. Once task i is learned the method is tested on the test images of all tasks, which gives row i of a matrix a_ij
(:mod:`elboard.bench.metrics.continual`): by :meth:`Task.track`, from the weights at the last epoch of each task, so that nothing of the
test is read during training. Epochs must be validated there, and the last one is kept.

Options are chosen by the accuracy on validation images of all tasks, which are of no other use.

lite: 14x14 means of 2x2 pixels. Images are centred and scaled by the usual mean and deviation of MNIST's pixels. Smoke: digits scaled up.

Evidence: the matrix of hits, and how many test images each task has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from elboard.bench.batches import Batch, Batches, OwnBatches
from elboard.bench.errors import UserError
from elboard.bench.kinds.continual import SequenceSpec
from elboard.bench.metrics.continual import sequence_metrics
from elboard.bench.options import Count, Range
from elboard.bench.task import Data, Observed, Test
from elboard.tasks.data.task import DataTask, images, permutation, upsampled_digits

MEAN, SD = 0.1307, 0.3081  # of MNIST's pixels
CHUNK = 500  # images a forward pass

Labelled = tuple[np.ndarray, np.ndarray]


class TaskBatches(OwnBatches):
    """In each epoch batches of one task's examples.

    Args:
        parts: batches of each task, equally many.
        task_of: the task of an epoch.
    """

    def __init__(self, parts: list[Batches], task_of: Callable[[int], int], seed: int):
        super().__init__(seed, len(parts[0]))
        self.parts, self.task_of = parts, task_of

    @property
    def part(self) -> Batches:
        """Those of the present epoch's task."""
        part = self.parts[self.task_of(self.epoch())]
        part.epoch = self.epoch
        return part

    def place(self, device: torch.device, rank: int = 0, world: int = 1) -> None:
        for part in self.parts:
            part.place(device, rank, world)

    def state_dict(self) -> dict[str, Any]:
        return self.part.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.part.load_state_dict(state)

    def __len__(self) -> int:
        return len(self.parts[0])

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.part)


class Sequence(DataTask):
    """The family's protocol; a subclass says what each task's images and labels are.

    Attributes:
        tasks: how many there are.
        classes: outputs of the head.
    """

    classes = 10
    tasks: int

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 6000  # images of each task
        n_valid: Count = 500
        n_test: Count = 1000
        shrink: Annotated[int, Range(1, 28)] = 2  # pixels of a side whose mean one is
        hidden: list[Count] = field(default_factory=lambda: [128, 128])  # of the board's network
        n_samples: Count = 4  # draws of the predictive

    def __init__(self, config: Any, budget: str, seed: int):
        super().__init__(config, budget, seed)
        self._read: dict[tuple[Any, str], Labelled] = {}

    def of_task(self, task: int, split: str) -> Labelled:
        """Images ``(N, 28, 28)`` uint8 with labels below :attr:`classes` of ``task``, of "train" or "test", in a fixed random order."""
        raise NotImplementedError

    def turned(self, task: int, x: Tensor) -> Tensor:
        """Images ``(N, 1, H, W)`` as they are in ``task``."""
        return x

    def read(self, source: Callable[[str], Labelled], split: str) -> Labelled:
        """Images of ``source``, at smoke digits scaled up to 28 x 28, in an order that belongs to the task; read once."""
        if (source, split) not in self._read:
            x, y = upsampled_digits() if self.budget == "smoke" else source(split)
            order = permutation(len(y), 1)
            if self.budget == "smoke":
                order = order[:1300] if split == "train" else order[1300:]
            self._read[source, split] = x[order], y[order]
        return self._read[source, split]

    def _part(self, split: str, start: int, n: int) -> Batch:
        """``n`` images of each task from position ``start`` on. Raises UserError where one has not so many."""
        side = 28 // self.config.shrink
        x, y = torch.empty(self.tasks, n, 1, side, side), torch.empty(self.tasks, n, dtype=torch.long)
        for i in range(self.tasks):
            raw, labels = (of[start : start + n] for of in self.of_task(i, split))
            if len(labels) < n:
                raise UserError(f"{self.card.name}: task {i} has {len(labels)} {split} images from {start} on, not {n}")
            x[i] = self.turned(i, F.avg_pool2d(images(raw), self.config.shrink)).sub_(MEAN).div_(SD)
            y[i] = torch.from_numpy(np.ascontiguousarray(labels))
        return {"x": x.flatten(0, 1), "y": y.flatten(), "stage": torch.arange(self.tasks).repeat_interleave(n)}

    def load_train(self) -> Data:
        c = self.config
        train, valid = self._part("train", c.n_valid, c.n_train), self._part("train", 0, c.n_valid)
        shape = tuple(train["x"].shape[1:])
        spec = SequenceSpec(shape, c.n_train, n_classes=self.classes, tasks=self.tasks, hidden=tuple(c.hidden))
        return Data(spec, train, valid)

    def load_test(self, data: Data) -> Test:
        return self._part("test", 0, self.config.n_test)

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> TaskBatches:
        """Raises UserError where tasks have no equal share of the epochs, or are not tested once they are learned."""
        spec, epochs, every = data.spec, train["epochs"], train["validate_every"]
        if epochs > spec.tasks and epochs % spec.tasks:
            raise UserError(f"train.epochs={epochs} of {self.card.name} is no multiple of its {spec.tasks} tasks")
        if epochs > 1 and (every == 0 or max(1, epochs // spec.tasks) % every):
            share = max(1, epochs // spec.tasks)
            raise UserError(
                f"train.validate_every={every}: {self.card.name} is tested after each task; set it to {share} or a divisor of it"
            )
        of = data.train["stage"]
        parts = [
            Batches({name: value[of == i] for name, value in data.train.items()}, train["batch_size"], seed) for i in range(spec.tasks)
        ]
        return TaskBatches(parts, lambda epoch: spec.task_of(epoch, epochs), seed)

    def hits(self, method: Any, of: Batch) -> np.ndarray:
        """How many images of each task are right, ``(T,)``, by the averaged predictive."""
        right = []
        for part in torch.arange(len(of["y"])).split(CHUNK):
            p = method.predict(of["x"][part].to(self.device), self.config.n_samples).mean(0)
            right.append(p.argmax(1).cpu() == of["y"][part])
        return torch.bincount(of["stage"], torch.cat(right).double(), minlength=self.tasks).numpy()

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return {"average_accuracy": float(self.hits(method, data.valid).sum() / len(data.valid["y"]))}

    def track(self, method: Any, data: Data, test: Test) -> dict[str, float]:
        counts = torch.bincount(test["stage"], minlength=self.tasks).numpy()
        return {f"task_accuracy/on{j}": value for j, value in enumerate((self.hits(method, test) / counts).tolist())}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        """Rows of tasks before the last come from ``history``, the last row from ``method``; without a history it is the only one."""
        epochs, counts = int(history[-1]["epoch"]) + 1 if history else 1, torch.bincount(test["stage"], minlength=self.tasks).numpy()
        ended = [row for row in history[:-1] if data.spec.ends(int(row["epoch"]), epochs)]
        earlier = [[row[f"track/task_accuracy/on{j}"] for j in range(self.tasks)] for row in ended]
        rows = [np.round(np.array(row) * counts) for row in earlier]
        return Observed({"hits": np.stack([*rows, self.hits(method, test)]).astype(np.int64), "images": counts})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        return sequence_metrics(observed["hits"] / observed["images"])
