"""The base class of tasks: data, protocol, metrics, budgets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Generator, Tensor

from elboard.bench.batches import Batch, Batches, OwnBatches
from elboard.bench.card import TaskCard
from elboard.bench.errors import UserError
from elboard.bench.evidence import Sets, cut, examples_of, number
from elboard.bench.kinds import DataSpec
from elboard.bench.metrics.conventions import of_examples, parse
from elboard.bench.options import Options

EXACT = 1e-9  # another order of summation, on another machine


@dataclass
class Data:
    """What a task's methods may see, as tensors on the CPU: there is no test data in it, nor anything that leads there.

    ``train`` and ``valid`` hold batches' fields (``x``, ``y`` ...), in memory of their own: a view would lead to what it is a view of.
    ``shared`` belongs to both (a training graph). ``on_batch(batch, generator)`` transforms each training batch on its device.
    A task may have no examples, or more than examples: ``oracle`` is what methods may query, a target density (``log_prob(z)``), an
    environment (``reset``, ``step``), a measurement, as the task says.
    """

    spec: DataSpec
    train: Batch = field(default_factory=dict)
    valid: Batch = field(default_factory=dict)
    shared: dict[str, Tensor] = field(default_factory=dict)
    on_batch: Callable[[Batch, Generator], Batch] | None = None
    oracle: Any = None


Test = dict[str, Any]  # test data by name: tensors, or dicts of them


@dataclass
class Observed:
    """What :meth:`Task.observe` saw: ``arrays`` at full precision and ``pictures``, uint8 images ``(H, W)`` or ``(H, W, 3)``."""

    arrays: dict[str, np.ndarray]
    pictures: dict[str, np.ndarray] = field(default_factory=dict)


class Task(ABC):
    """Data with a protocol. A subclass sits in ``tasks/<family>/<data>.py`` beside its ``CARD`` and ``BUDGETS`` literals.

    Attributes:
        config: an instance of the class's ``Config``, with the budget's values.
        budget: "smoke", "lite" or "full". At smoke, loading needs no download.
        seed: the run's seed; only tasks whose card says that the split varies may use it.
        device: where evaluation runs; set by ``execute``.
        sets: the sets of examples that evidence is cut in, by name; arrays and metrics of none are never cut.
        unreported: names of metrics that the evidence gives and records do not hold.
        rounding: what the rounding of the evidence does to metrics, by name without parameters and slice: see :meth:`tolerance`.
    """

    card: TaskCard
    sets: ClassVar[Sets] = {}
    unreported: ClassVar[tuple[str, ...]] = ()
    rounding: ClassVar[Mapping[str, tuple[float, float]]] = {}

    @dataclass(kw_only=True)
    class Config(Options):
        """Options of the task; ``BUDGETS`` sets them per budget."""

    def __init__(self, config: Any, budget: str, seed: int):
        self.config, self.budget, self.seed = config, budget, seed
        self.device = "cpu"

    @classmethod
    def checksums(cls) -> dict[str, str]:
        """Content checksums of the data sets named in the card, for provenance; a task that reads data overrides this."""
        return {}

    def __init_subclass__(cls, **words: Any) -> None:
        super().__init_subclass__(**words)
        if "load" in vars(cls):
            raise UserError(f"{cls.__module__}: {cls.__name__}.load: make it load_train(self) -> Data, without test data, and load_test")

    def fetch(self) -> None:
        """Have at hand what is read, so that no training is lost to test data that cannot be had. Raises as :meth:`load_train`."""
        return

    @abstractmethod
    def load_train(self) -> Data:
        """Read and split what methods may see. Raises tasks.data.DataError where it cannot be had."""

    def load_test(self, data: Data) -> Test:
        """The test data and all else that methods must not see: held-out edges, OOD sets, clean labels. Called once training is over;
        ``data`` is what :meth:`load_train` gave, for statistics and shapes."""
        return {}

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> OwnBatches:
        """The batches of a training with the options ``train``: slices of ``data.train``, or without it an empty one an epoch. A task with
        ragged sequences or episodes overrides this."""
        return Batches(data.train, train["batch_size"], seed, data.on_batch) if data.train else OwnBatches(seed)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        """Metrics on validation data, for curves and selection; must hold ``card.selection``."""
        return {}

    def track(self, method: Any, data: Data, test: Test) -> dict[str, float]:
        """Metrics on test data to be followed over epochs. A task that has them overrides this: once training is over it is called with
        ``method`` as it was at each validated epoch, with the random state that :meth:`validate` left then."""
        return {}

    @abstractmethod
    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        """What ``method`` does on the test data: all that the metrics need, once, and nothing is trained.

        ``history`` holds one dict per epoch, with what ``validate`` returned as ``valid/...`` and what ``track`` did as ``track/...``. What
        a key states and no array shows (the ``k`` of an NLL, a network) is an array too: numbers, or the array's name.
        """

    @classmethod
    @abstractmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        """Metrics by key from arrays of :meth:`observe` or :meth:`compact`: those of ``asked`` that they give, if None all reported ones.

        Needs neither data nor method. More than was asked for may be in the answer. Raises as :meth:`score`.
        """

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``observed`` as evidence keeps it: in fewer bits, statistics for what is too large. Takes its own answer for ``observed``."""
        return dict(observed)

    @classmethod
    def score(cls, observed: Mapping[str, np.ndarray], metrics: Iterable[str] | None = None) -> dict[str, float]:
        """All metrics that the task reports, or those of ``metrics`` that ``observed`` gives; it may be asked for unreported ones too.

        Of evidence that was cut, metrics of the subset are under the keys that state its size (:mod:`elboard.bench.evidence`).

        Raises:
            KeyError, ValueError, IndexError: arrays that are not of this task.
        """
        asked = None if metrics is None else list(metrics)
        found = cls.measure(observed, None if asked is None else {*asked, *map(of_examples, asked)})
        few = {name: number(cls.sets, name, observed) for name in found}
        found = {of_examples(name, few[name]) if few[name] else name: value for name, value in found.items()}
        if asked is None:
            return {name: value for name, value in found.items() if parse(name).name not in cls.unreported}
        return {name: found[name] for name in asked if name in found}

    @classmethod
    def compact(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The evidence: ``observed`` rounded, and cut to a stated subset where it takes more than 16 KB. Takes evidence too."""
        was_cut = any(name.startswith("kept_") for name in observed)
        return dict(observed) if was_cut else cut(cls.sets, cls.rounded(observed))

    @classmethod
    def tolerance(cls, metric: str, evidence: Mapping[str, np.ndarray]) -> float:
        """Largest absolute difference between a record's metric and the recomputed one that rounding explains.

        ``absolute + moved / n``, from :attr:`rounding`, with the n examples that ``metric`` is of: half precision shifts probabilities a
        little, and moves single examples over the edge of a bin or into a tie. Exact (1e-9) is what is not listed or of a subset.
        """
        if number(cls.sets, metric, evidence):
            return EXACT
        of = examples_of(cls.sets, metric)
        examples = cls.sets[of].count(evidence) if of else 1
        absolute, moved = cls.rounding.get(parse(metric).name, (EXACT, 0.0))
        return absolute + moved / max(1, examples)
