"""Binary perceptrons of two teachers, one after the other: errors by the number of patterns and the overlap of the teachers.

A draw has patterns x in {+-1}^N and a teacher W1 in {+-1}^N, of which students learn ``load`` N labels sign(W1 . x); then come ``loads`` N
new patterns with labels of a second teacher, whose weights are those of the first with the probability (1 + r0) / 2 each. Students of one
draw learn from the same patterns, those of fewer from the first ones; N is odd, so that no sum is 0. The error about a teacher is exact,
arccos(sign(m) . W / N) / pi, of the binary weights sign(m).

``teacher_error/first-before`` is the error about the first teacher before the second one teaches, ``first`` and ``second`` those after it,
all in the mean over settings and draws; ``first-a2-r-0.5`` is that of 2 N patterns and the overlap -0.5. ``replica_gap`` compares the mean
over draws of each setting with what :mod:`elboard.bench.metrics.perceptron` predicts for large N at the inverse temperature 20, whatever
the student minimises. ``error_trend`` says whether an error, in the mean over overlaps, rises (1) or falls (-1) with the second teacher's
patterns, and ``overlap_cost`` how much more is lost about the first teacher at the least overlap than at the largest. There is one
pattern a weight of the first teacher: of two, students know it exactly (seed 1000), and forget nothing.

Teachers are tested on, and no student sees them: ``varies`` says that each seed draws its own. Options are chosen by the share of wrong
answers on ``n_valid`` new patterns, of both teachers.

Evidence: errors before and after by draw and setting, settings, predictions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from torch import Generator, Tensor

from elboard.bench.batches import Batch, OwnBatches
from elboard.bench.card import TaskCard
from elboard.bench.errors import UserError
from elboard.bench.kinds.continual import PerceptronSpec
from elboard.bench.metrics.collapse import kendall
from elboard.bench.metrics.perceptron import error_of, first_task, second_task
from elboard.bench.options import Count, Positive, Range
from elboard.bench.task import Data, Observed, Task, Test

CARD = TaskCard(
    name="continual/perceptron",
    title="Binary perceptrons of two teachers in turn, against the replica method",
    needs=("TwoTeachers",),
    primary="teacher_error/mean",
    metrics=(
        "teacher_error/mean",
        "teacher_error/first-before",
        "teacher_error/first",
        "teacher_error/second",
        "replica_gap/first-before",
        "replica_gap/first",
        "replica_gap/second",
        "error_trend/first",
        "error_trend/second",
        "overlap_cost",
    ),
    selection="teacher_error/mean",
    varies="seed and split",
    papers=("059",),
    full="N = 1,001, about that of Li et al. 2023, with two draws a run and 5,000 steps of each task for their 20,000; lite has N = 301",
    work={"lite": (301, 24), "full": (1001, 24)},
)
BUDGETS = {
    "smoke": {
        "train": {"epochs": 4, "validate_every": 2, "keep": "last"},
        "task": {"n": 51, "steps": 10, "loads": [0.5, 1.0], "overlaps": [-0.5, 0.5], "n_valid": 50},
    },
    "lite": {"train": {"epochs": 10, "validate_every": 5, "keep": "last"}},
    "full": {"train": {"epochs": 100, "validate_every": 50, "keep": "last"}, "task": {"n": 1001, "steps": 100}},
}


class PatternBatches(OwnBatches):
    """All patterns of a teacher in each batch, of the first one in the first half of the epochs; each process sees all of them."""

    def __init__(self, data: Data, epochs: int, steps: int, seed: int):
        super().__init__(seed, steps)
        self.epochs = epochs
        self.parts = [{name: data.train[f"{name}{i}"] for name in ("x", "y", "seen")} | {"stage": torch.tensor([i])} for i in (0, 1)]

    def share(self, batch: Batch) -> Batch:
        return batch

    def make(self, epoch: int, i: int, generator: Generator) -> Batch:
        return self.parts[second(epoch, self.epochs)]


def second(epoch: int, epochs: int) -> bool:
    """Whether the second teacher teaches in ``epoch``; of a single epoch only the first does."""
    return epochs > 1 and epoch >= epochs // 2


class Perceptron(Task):
    """See the module."""

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n: Annotated[int, Range(3)] = 301  # weights; an odd number
        load: Positive = 1.0
        loads: list[Positive] = field(default_factory=lambda: [0.25, 0.5, 1.0, 2.0])
        overlaps: list[Annotated[float, Range(-1, 1)]] = field(default_factory=lambda: [-0.5, 0.0, 0.5])
        draws: Count = 2
        steps: Count = 1000  # of an epoch
        n_valid: Count = 300

    def _teachers(self) -> Tensor:
        """W1 and W2 of each draw and overlap, ``(2, R, O, N)``."""
        c, generator = self.config, Generator().manual_seed(self.seed)
        first = torch.randint(2, (c.draws, 1, c.n), generator=generator).float() * 2 - 1
        same = torch.rand(c.draws, 1, c.n, generator=generator) < (1 + torch.tensor(c.overlaps)[:, None]) / 2
        return torch.stack([first.expand(-1, len(c.overlaps), -1), torch.where(same, first, -first)])

    def _settings(self) -> tuple[tuple[float, float], ...]:
        return tuple((load, overlap) for load in self.config.loads for overlap in self.config.overlaps)

    def _answers(self, teachers: Tensor, x: Tensor) -> Tensor:
        """Labels ``(R, S, M)`` of patterns ``x`` (R, M, N) by the teachers ``(R, O, N)`` of each setting."""
        return (teachers @ x.mT).sign().repeat(1, len(self.config.loads), 1)

    def load_train(self) -> Data:
        """Raises UserError for an even number of weights, of which sums may be 0."""
        c, generator, settings = self.config, Generator().manual_seed(10_000_019 + self.seed), self._settings()
        if c.n % 2 == 0:
            raise UserError(f"task.n={c.n} of {self.card.name} is even: sums of so many +-1 may be 0; {c.n + 1} is odd")
        numbers = [round(c.load * c.n), round(max(c.loads) * c.n), c.n_valid]
        teachers = self._teachers()
        x = [torch.randint(2, (c.draws, m, c.n), generator=generator).float() * 2 - 1 for m in numbers]
        seen = torch.stack([(torch.arange(numbers[1]) < round(load * c.n)).float() for load, _ in settings])
        train = {
            **{f"x{i}": x[i] for i in (0, 1)},
            **{f"y{i}": self._answers(teachers[i], x[i]) for i in (0, 1)},
            **{"seen0": torch.ones(len(settings), numbers[0]), "seen1": seen},
        }
        valid = {"x": x[2], **{f"y{i}": self._answers(teachers[i], x[2]) for i in (0, 1)}}
        return Data(PerceptronSpec((c.n,), numbers[0], settings=settings, load=c.load, repeats=c.draws), train, valid)

    def load_test(self, data: Data) -> Test:
        return {"teachers": self._teachers().repeat(1, 1, len(self.config.loads), 1)}

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> PatternBatches:
        """Raises UserError where the teachers have no equal share of the epochs, or students are not tested between them."""
        epochs, every = train["epochs"], train["validate_every"]
        if epochs > 1 and (epochs % 2 or every == 0 or epochs // 2 % every):
            raise UserError(
                f"train.epochs={epochs}, train.validate_every={every} of {self.card.name}: "
                "epochs must be even, and half of them a multiple of validate_every"
            )
        return PatternBatches(data, epochs, self.config.steps, seed)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        found = (method.students().sign().cpu() @ data.valid["x"].mT).sign()
        wrong = [(found != data.valid[f"y{i}"]).float().mean().item() for i in (0, 1)]
        return {"teacher_error/mean": sum(wrong) / 2}

    def errors(self, method: Any, test: Test) -> np.ndarray:
        """About both teachers ``(2, R, S)``."""
        signs = torch.where(method.students().cpu() < 0, -1.0, 1.0)
        return error_of((signs * test["teachers"]).double().mean(-1).numpy())

    def track(self, method: Any, data: Data, test: Test) -> dict[str, float]:
        first = self.errors(method, test)[0]
        return {f"teacher_error/draw{r}-{s}": value for (r, s), value in np.ndenumerate(first.astype(float))}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        """Errors before the second teacher are those of ``history``; without one, those of ``method``."""
        after, told = self.errors(method, test), [row for row in history[:-1] if "track/teacher_error/draw0-0" in row]
        told = [row for row in told if not second(int(row["epoch"]), int(history[-1]["epoch"]) + 1)]
        before = after[0]
        if told:
            before = np.array([told[-1][f"track/teacher_error/draw{r}-{s}"] for r, s in np.ndindex(before.shape)]).reshape(before.shape)
        student = first_task(self.config.load)
        predicted = np.array([second_task(student, *setting) for setting in data.spec.settings])
        return Observed(
            {
                "errors": np.stack([before, *after]),
                "settings": np.array(data.spec.settings),
                "predicted": np.column_stack([np.full(len(predicted), student.error), predicted]),
            }
        )

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        errors, (loads, overlaps), found = observed["errors"].mean(1), observed["settings"].T, {}
        for i, name in enumerate(("first-before", "first", "second")):
            found |= {f"teacher_error/{name}": float(errors[i].mean())}
            found[f"replica_gap/{name}"] = float(np.abs(errors[i] - observed["predicted"][:, i]).max())
            for s, (load, overlap) in enumerate(observed["settings"]):
                found[f"teacher_error/{name}-a{load:g}-r{overlap:g}"] = float(errors[i, s])
                found[f"replica_error/{name}-a{load:g}-r{overlap:g}"] = float(observed["predicted"][s, i])
            if i:
                means = [errors[i][loads == of].mean() for of in np.unique(loads)]
                found[f"error_trend/{name}"] = kendall(np.unique(loads), np.array(means))
        against, along = (errors[1][overlaps == of].mean() for of in (overlaps.min(), overlaps.max()))
        return found | {"teacher_error/mean": float(errors[1:].mean()), "overlap_cost": float(against - along)}
