"""Continual learning: tasks that come one after the other, of which earlier examples are seen no more."""

from __future__ import annotations

from abc import ABC, abstractmethod
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

    Batches hold ``stage`` (B,), the number of the task that all of their examples are of. Each task has an equal share of the epochs.

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
    can be had by their ``stage``: what looks at later ones, or again at earlier ones beyond a memory that it states, is an oracle.
    """

    @abstractmethod
    def end_task(self, task: int, examples: Batch) -> None:
        """Called once after the last step of ``task`` with its training examples, before the method is evaluated as it is then and before
        a checkpoint is written; in training mode. What it keeps of them lies in parameters and buffers, so that a run goes on from a
        checkpoint within a later task."""


class ForesightOracle(ContinualLearner):
    """Sees the examples of all tasks at every step, which no learner may; its card says so (``oracle``)."""

    @abstractmethod
    def everything(self) -> Batch:
        """The examples that it draws from."""


@dataclass(frozen=True, kw_only=True)
class PerceptronSpec(DataSpec):
    """Students of ``shape`` (N,) that learn from one teacher, then from another, all patterns of the teacher at each step.

    Batches hold patterns ``x`` (R, M, N) and labels ``y`` (R, S, M), both +-1, ``seen`` (S, M), 1 of the patterns that a setting learns
    from and else 0, and ``stage`` (1,), 0 of the first teacher and 1 of the second.

    Attributes:
        settings: of each of S students the patterns of the second teacher over N, and the overlap of the teachers.
        load: patterns of the first teacher over N.
        repeats: R, draws of patterns and teachers.
    """

    settings: tuple[tuple[float, float], ...]
    load: float
    repeats: int


class TwoTeachers(ABC):
    """Learns a :class:`PerceptronSpec`: S students on each of R draws."""

    @abstractmethod
    def students(self) -> Tensor:
        """Means of their binary weights ``(R, S, N)``, in [-1, 1]."""


_OF = "accuracies a_ij on test examples of task j after task i of T"
_ARC = "arccos of the overlap of signs, over pi"
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
    share("teacher_error", "generalisation error of the binary student", "lower", f"{_ARC}; slice: which teacher, and after which"),
    share("replica_error", "generalisation error that the replica method predicts", "none", _ARC),
    share("replica_gap", "largest difference of the mean error of a setting from its prediction", "lower", "over settings"),
    Convention(
        "error_trend", "Kendall's tau of the error and the second teacher's patterns", "", "none", -1.0, 1.0, note="mean over overlaps"
    ),
    Convention("overlap_cost", "error about the first teacher where the second opposes it, minus where it agrees", "", "none", -1.0, 1.0),
)
