"""What learning curves of Wasserstein autoencoders share: laws of data, batches of fits side by side, errors on clean test data.

A run trains an autoencoder for each fit: for each law, dimension and number of training examples, all for the same number of steps. The
fits of one law start from the same training examples, of which those of smaller n see the first n. Data are in a base space of few
dimensions, and an isometry that belongs to the task embeds them. The seed draws training, validation and test examples, so that the
interval of a rate is that over data sets and networks.

Errors of each fit, on the test examples of its law: ``risk`` (mean squared distance of the reconstruction), ``sw1`` (sliced Wasserstein
distance of as many samples), and what a subclass adds. ``risk/mean``, over the fits that have a number of examples and no outliers, of
validation examples selects one epoch for all fits.

Evidence: ``fits`` (F, 5), number of the law, D, Z, n and share of outliers of each, and the errors by name (F,).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Generator, Tensor

from elboard.bench.batches import Batch
from elboard.bench.errors import UserError
from elboard.bench.kinds.rates import Fit, FitsSpec
from elboard.bench.metrics import rates
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Task, Test
from elboard.tasks.parts.stacked import StackedBatches

PARTS = {"train": 0, "valid": 1, "test": 2}
OUTLIERS = 2**31  # from the seed of clean points to that of outliers; of 2**32 and beyond a generator sees nothing
PROJECTIONS = 50
STRIDE = 2_654_435_761  # between the seeds of starts, far from those between the seeds of batches and epochs


class FitBatches(StackedBatches):
    """For each fit a batch of examples, drawn with replacement from its own ones; new ones where it has no number."""

    def __init__(self, task: Rates, data: Data, train: Mapping[str, Any], seed: int):
        super().__init__(seed, train["batch_size"])
        self.task, self.data = task, data

    def make(self, epoch: int, i: int, generator: Generator) -> Batch:
        found = {}
        for key, fits in self.data.spec.groups().items():
            found[key] = torch.stack([self.task.embedded(fit, self._base(fit, self._numbers(fit, generator))) for fit in fits])
        return found

    def _numbers(self, fit: Fit, generator: Generator) -> Generator:
        """A generator that stands at the same place for all fits of a start. Only the last 32 bits of its seed count."""
        if fit.start is None:
            return generator
        return Generator().manual_seed((generator.initial_seed() + (fit.start + 1) * STRIDE) % 2**63)

    def _base(self, fit: Fit, generator: Generator) -> Tensor:
        law = self.task.laws.index(fit.world)
        if not fit.n:
            return self.task.points(fit.world, self.batch_size, generator)
        at = torch.randint(fit.n, (self.batch_size,), generator=generator)
        x, few = self.data.train["x"][at, law], round(fit.outliers * fit.n)
        return torch.where((at < few)[:, None], self.data.train["outliers"][at, law], x) if few else x


class Rates(Task):
    """A subclass gives the laws, the fits, and what is made of their errors (``measure``)."""

    laws: ClassVar[tuple[str, ...]]
    base: ClassVar[int]  # dimensions of the base space

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n_train: Count = 800
        n_valid: Count = 500
        n_test: Count = 4000

    @abstractmethod
    def fits(self) -> tuple[Fit, ...]:
        """The estimators, those of one ambient dimension beside each other."""

    @abstractmethod
    def points(self, law: str, n: int, generator: Generator) -> Tensor:
        """``n`` clean points of the base space, ``(n, base)``."""

    def outliers(self, law: str, n: int, generator: Generator) -> Tensor:
        """What may stand in the place of training points, ``(n, base)``."""
        return self.points(law, n, generator)

    def embedded(self, fit: Fit, x: Tensor) -> Tensor:
        """Points ``(N, base)`` in the ambient space of ``fit``."""
        return x

    def _generator(self, part: str) -> Generator:
        return Generator().manual_seed(self.seed * len(PARTS) + PARTS[part])

    def _part(self, part: str, n: int) -> Tensor:
        generator = self._generator(part)
        return torch.stack([self.points(law, n, generator) for law in self.laws], dim=1)

    def load_train(self) -> Data:
        c, fits = self.config, self.fits()
        if c.n_train < (most := max(fit.n for fit in fits)):
            raise UserError(f"task.n_train={c.n_train}: a fit has {most} examples; at least task.n_train={most}")
        x, generator = self._part("train", c.n_train), Generator().manual_seed(self._generator("train").initial_seed() + OUTLIERS)
        bad = torch.stack([self.outliers(law, c.n_train, generator) for law in self.laws], dim=1)
        spec = FitsSpec((self.base,), c.n_train, fits=fits)
        return Data(spec, {"x": x, "outliers": bad}, {"x": self._part("valid", c.n_valid)})

    def load_test(self, data: Data) -> Test:
        return {"x": self._part("test", self.config.n_test)}

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> FitBatches:
        return FitBatches(self, data, train, seed)

    def _examples(self, fits: Sequence[Fit], x: Tensor) -> Tensor:
        """Of ``x`` (N, laws, base) those of each fit, ``(F, N, D)``."""
        return torch.stack([self.embedded(fit, x[:, self.laws.index(fit.world)]) for fit in fits]).to(self.device)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        found = []
        for key, fits in data.spec.groups().items():
            x = self._examples(fits, data.valid["x"])
            risks = (method.decode(key, method.encode(key, x)) - x).square().sum(-1).mean(1)
            found += [risk for fit, risk in zip(fits, risks.tolist(), strict=True) if fit.n and not fit.outliers]
        return {"risk/mean": sum(found) / len(found)}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        rows, errors = [], defaultdict(list)
        for key, fits in data.spec.groups().items():
            x = self._examples(fits, test["x"])
            z = method.encode(key, x)
            errors["risk"] += (method.decode(key, z) - x).square().sum(-1).mean(1).tolist()
            fake, along = method.draw(key, x.shape[1]), rates.directions(x.shape[2], PROJECTIONS)
            for fit, real, codes, drawn in zip(fits, *(of.float().cpu().numpy() for of in (x, z, fake)), strict=True):
                errors["sw1"].append(rates.sliced_wasserstein(drawn, real, along))
                for name, value in self.further(fit, real, codes[:, : fit.latent], drawn).items():
                    errors[name].append(value)
                rows.append((self.laws.index(fit.world), fit.ambient, fit.latent, fit.n, fit.outliers))
        return Observed({"fits": np.array(rows), "n_test": np.array(len(test["x"]))} | {name: np.array(of) for name, of in errors.items()})

    def further(self, fit: Fit, real: np.ndarray, codes: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
        """Errors that this task adds, of a fit whose test examples, their codes and as many samples these are, with an example a row."""
        return {}
