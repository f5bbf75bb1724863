"""The base class of tasks: data, protocol, metrics, budgets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from torch import Generator, Tensor

from elboard.bench.card import TaskCard
from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import parse

Batch = dict[str, Tensor]
EXACT = 1e-9  # another order of summation, on another machine


@dataclass
class Data:
    """The splits of a task as tensors on the CPU.

    ``train`` and ``valid`` hold batches' fields (``x``, ``y`` ...); ``test`` and ``sealed`` (OOD sets, held-out edges, clean labels)
    are for ``Task.evaluate`` alone: :meth:`for_training` gives methods a view without them.
    ``shared`` is what both may see (a training graph). ``on_batch(batch, generator)`` transforms each training batch on its device.
    """

    spec: DataSpec
    train: Batch
    valid: Batch = field(default_factory=dict)
    test: Batch = field(default_factory=dict)
    sealed: dict[str, Any] = field(default_factory=dict)
    shared: dict[str, Tensor] = field(default_factory=dict)
    on_batch: Callable[[Batch, Generator], Batch] | None = None

    def for_training(self) -> Data:
        return replace(self, test={}, sealed={})


@dataclass
class Scores:
    """What ``Task.evaluate`` returns.

    ``evidence`` are compact arrays from which the metrics can be computed again; ``pictures`` are uint8 images ``(H, W)`` or ``(H, W, 3)``.
    """

    metrics: dict[str, float]
    evidence: dict[str, np.ndarray] = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)


class Task(ABC):
    """Data with a protocol. A subclass sits in ``tasks/<family>/<data>.py`` beside its ``CARD`` and ``BUDGETS`` literals.

    Attributes:
        config: an instance of the class's ``Config``, with the budget's values.
        budget: "smoke", "lite" or "full". At smoke, ``load`` needs no download.
        seed: the run's seed; only tasks whose card says that the split varies may use it.
        device: where evaluation runs; set by ``execute``.
        rounding: what the rounding of the evidence does to metrics, by name without parameters and slice: see :meth:`tolerance`.
    """

    card: TaskCard
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {}

    @dataclass(kw_only=True)
    class Config:
        """Options of the task; ``BUDGETS`` sets them per budget."""

    def __init__(self, config: Any, budget: str, seed: int):
        self.config, self.budget, self.seed = config, budget, seed
        self.device = "cpu"

    @classmethod
    def checksums(cls) -> dict[str, str]:
        """Content checksums of the data sets named in the card, for provenance; a task that reads data overrides this."""
        return {}

    @abstractmethod
    def load(self) -> Data:
        """Read and split the data. Raises tasks.data.DataError where they cannot be had."""

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        """Metrics on validation data, for curves and selection; must hold ``card.selection``.

        Keys that begin with ``track/`` are recorded per epoch for reporting and never used to select.
        """
        return {}

    @abstractmethod
    def evaluate(self, method: Any, data: Data, history: list[dict[str, float]]) -> Scores:
        """Metrics on the test split. ``history`` holds one dict per epoch, with what ``validate`` returned."""

    @classmethod
    def recompute(cls, evidence: Mapping[str, np.ndarray], metrics: Iterable[str]) -> dict[str, float]:
        """Those of ``metrics`` that follow from ``evidence`` alone, by the functions that :meth:`evaluate` calls.

        Needs neither data nor method. Keys are a record's metric keys, with their parameters; a metric may be asked for that ``evaluate``
        does not report. What the evidence does not give is absent from the answer. A task that leaves evidence overrides this.

        Raises:
            KeyError, ValueError, IndexError: arrays that are no evidence of this task.
        """
        return {}

    @classmethod
    def tolerance(cls, metric: str, evidence: Mapping[str, np.ndarray]) -> float:
        """Largest absolute difference between a record's metric and the recomputed one that rounding explains.

        ``absolute + examples / n``, from :attr:`rounding`, with n of :meth:`examples`: half precision shifts probabilities a little, and
        moves single examples over the edge of a bin or into a tie. Metrics that are not listed are exact (1e-9).
        """
        absolute, moved = cls.rounding.get(parse(metric).name, (EXACT, 0.0))
        return absolute + moved / max(1, cls.examples(metric, evidence))

    @classmethod
    def examples(cls, metric: str, evidence: Mapping[str, np.ndarray]) -> int:
        """Number of examples over which ``metric`` is a mean: the length of ``y`` in the evidence, 1 if there is none."""
        return len(evidence["y"]) if "y" in evidence else 1
