"""Continual learning: tasks that come one after the other, of which earlier examples are seen no more."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elboard.bench.kinds import DataSpec
from elboard.bench.kinds.classification import ClassSpec, Predictor
from elboard.bench.metrics.conventions import Convention, share

if TYPE_CHECKING:
    from torch import Tensor

    from elboard.bench.task import Batch


@dataclass(frozen=True, kw_only=True)
class SequenceSpec(ClassSpec):
    """A sequence of classification tasks with one head; ``n_train`` is the number of examples of each task.

    Batches hold ``task`` (B,), the number of the task that all of their examples are of. Each task has an equal share of the epochs.

    Attributes:
        tasks: how many there are.
        hidden: widths of the hidden layers of the board's network, which is fully connected.
    """

    tasks: int
    hidden: tuple[int, ...]

    def task_of(self, epoch: int, epochs: int) -> int:
        """The task of ``epoch`` of ``epochs``. Of fewer epochs than tasks each learns another task, the last ones none."""
        return min(epoch // max(1, epochs // self.tasks), self.tasks - 1)

    def ends(self, epoch: int, epochs: int) -> bool:
        """Whether ``epoch`` is the last one of its task."""
        return epoch + 1 == epochs or self.task_of(epoch + 1, epochs) != self.task_of(epoch, epochs)


class ContinualLearner(Predictor):
    """Learns the tasks of a :class:`SequenceSpec` in their order and predicts without being told which task an example is of.

    No :class:`Classifier`, whose boards know of no tasks. ``Data.train`` holds the examples of all tasks, so that those of the present one
    can be had by their ``task``: a learner that looks at later ones, or again at earlier ones beyond a memory that it states, is an oracle.
    """

    @abstractmethod
    def end_task(self, task: int, examples: Batch) -> None:
        """Called once after the last step of ``task`` with its training examples, before the method is evaluated as it is then and before
        a checkpoint is written; in training mode. What it keeps of them lies in parameters and buffers, so that a run goes on from a
        checkpoint within a later task."""


@dataclass(frozen=True, kw_only=True)
class PerceptronSpec(DataSpec):
    """Binary perceptrons of ``shape`` (N,) that learn from a first teacher, then from a second one, all examples at each step.

    Batches hold ``x`` (R, M, N) of +-1, ``y`` (R, S, M) of +-1, ``seen`` (S, M), the examples that each setting learns from, and ``task``
    (1,), 0 or 1. The first half of the epochs is of task 0.

    Attributes:
        settings: of each of S perceptrons the examples of the second task over N, and the overlap of the teachers.
        load: examples of the first task over N.
        repeats: R, draws of inputs and teachers.
    """

    settings: tuple[tuple[float, float], ...]
    load: float
    repeats: int




_OF = "accuracies a_ij on test examples of task j after task i of T"
METRICS = (
    share("average_accuracy", "accuracy in the mean over tasks, after the last of them", "higher", _OF),
    share("learned_accuracy", "accuracy on a task just learned, in the mean over tasks", "higher", _OF),
    Convention(
        "forgetting",
        "best accuracy on a task before the last one was learned, minus that after it",
        "",
        "lower",
        -1.0,
        1.0,
        note="mean over all tasks but the last (Chaudhry et al. 2018); 0 of one task",
    ),
    Convention(
        "backward_transfer",
        "accuracy on a task after the last one was learned minus that after itself",
        "",
        "higher",
        -1.0,
        1.0,
        note="mean over all tasks but the last (Lopez-Paz and Ranzato 2017); 0 of one task",
    ),
    share("task_accuracy", "accuracy on one task", "higher", "slice: after1-on0 is task 0 after task 1"),
)
