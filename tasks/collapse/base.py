"""Collapse in linear models, against closed forms (Dang, Tran, Nguyen and Ho 2024).

Gaussian vectors with known spectra. Every split has exactly the second moments that the task states: standard normal draws are centred,
whitened by their own covariance and then given the task's, so that the optimum for a finite sample is that for the distribution, and what
is left between measured and predicted is the training. A method trains one model for each setting of a grid in one run, for which the
task gives it the settings; one step is one pass over all examples.

* ``collapse_gap``: the largest difference, over settings and levels, between the number of active modes and the predicted one; 0 where
  the thresholds hold throughout. A mode is active where the signal has more than a hundredth of the code's variance.
* ``singular_gap``, ``share_gap``: the same of the decoder's singular values, in units of theta_1, and of the signal's share itself.
* ``active_units/...``: measured, by setting and, where there are two, level: ``level2`` is the largest number over the grid.

Modes are eigenvectors of the codes in units of the encoder's noise, ``Sigma^(-1/2) Cov(E[z|v]) Sigma^(-1/2)``: they do not depend on the
basis of the codes, which a fixed isotropic Sigma leaves open. Every setting keeps a distance from the thresholds, where training is slow.

Evidence: ``settings`` (G, 4), ``theta2`` (worlds, D), ``held``, and of each level the singular values and shares (G, Z).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elboard.bench.batches import Batch, OwnBatches
from elboard.bench.kinds.collapse import GridSpec, Level, Setting
from elboard.bench.metrics import collapse
from elboard.bench.options import Count
from elboard.bench.task import Data, Observed, Task, Test

STEPS = 100  # in what counts as an epoch
SPECTRUM = (4.0, 2.0, 1.0, 0.5, 0.25, 0.125)  # eigenvalues of the covariance: settings lie between powers of two


class WholeBatches(OwnBatches):
    """All examples, ``steps`` times an epoch."""

    def __init__(self, data: Batch, seed: int, steps: int):
        super().__init__(seed, steps)
        self.data = data

    def make(self, epoch: int, i: int, generator: torch.Generator) -> Batch:
        return self.data


def white(n: int, dimensions: int, seed: int) -> np.ndarray:
    """``(n, dimensions)``: normal draws, centred and transformed so that their second moments are the identity's."""
    z = np.random.default_rng(seed).normal(size=(n, dimensions))
    z -= z.mean(axis=0)
    return z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / n)).T


def rotation(dimensions: int) -> np.ndarray:
    """A rotation that belongs to the task, so that modes are not the axes of the data."""
    return np.linalg.qr(np.random.default_rng(5).normal(size=(dimensions, dimensions)))[0]


class LinearCollapse(Task):
    """The protocol; a subclass gives :meth:`settings`, :meth:`vectors` and :meth:`optimum`."""

    condition = 0

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n: Count = 500  # examples of each split

    @classmethod
    def settings(cls) -> tuple[Setting, ...]:
        """The grid."""
        raise NotImplementedError

    def vectors(self, seed: int) -> dict[str, np.ndarray]:
        """A split: ``y`` (n, worlds, D) is what is decoded, ``x`` a condition if any."""
        raise NotImplementedError

    def theta2(self) -> np.ndarray:
        """Eigenvalues ``(worlds, D)`` of what the codes have to explain, largest first."""
        return np.array([SPECTRUM])

    @staticmethod
    def optimum(theta2: np.ndarray, setting: Setting, held: tuple[float, ...]) -> list[collapse.Modes]:
        """The predicted modes of each level."""
        return [collapse.one_level(theta2, setting.beta, setting.noise, held[0])]

    def _split(self, seed: int) -> Batch:
        return {name: torch.from_numpy(values).float() for name, values in self.vectors(seed).items()}

    def load_train(self) -> Data:
        z = len(SPECTRUM)
        spec = GridSpec((z,), self.config.n, settings=self.settings(), latent_dim=z, condition=self.condition)
        return Data(spec, self._split(1), self._split(2))

    def load_test(self, data: Data) -> Test:
        return self._split(3)

    def batches(self, data: Data, train: Mapping[str, Any], seed: int) -> OwnBatches:
        return WholeBatches(data.train, seed, STEPS)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        found = self.measure(self._seen(method, data.valid), None)
        return {name: found[name] for name in ("collapse_gap", "singular_gap", "share_gap")}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        return Observed(self._seen(method, test))

    def _seen(self, method: Any, batch: Batch) -> dict[str, np.ndarray]:
        levels = method.levels({name: value.to(self.device) for name, value in batch.items()})
        seen = {"settings": np.array([astuple(setting) for setting in self.settings()]), "theta2": self.theta2()}
        for number, level in enumerate(levels, 1):
            modes = zip(("decoder", "share"), _modes(level), strict=True)
            seen |= {f"level{number}_{name}": value.cpu().numpy().astype(np.float32) for name, value in modes}
        return {**seen, "held": np.array(method.held)}

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        held, levels = tuple(observed["held"].tolist()), len(observed["held"])
        found: dict[str, float] = {}
        for i, row in enumerate(observed["settings"].tolist()):
            setting = Setting(*row[:3], int(row[3]))
            theta2 = observed["theta2"][setting.world]
            predicted = cls.optimum(theta2, setting, held)
            for number, there in enumerate(predicted, 1):
                here = collapse.Modes(*(observed[f"level{number}_{name}"][i].astype(np.float64) for name in ("decoder", "share")))
                of = f"-level{number}" if levels > 1 else ""
                found[f"active_units/{name_of(setting, levels)}{of}"] = float(here.active)
                for key, gap in collapse.gaps(here, there, float(np.sqrt(theta2[0]))).items():
                    for where in {key, f"{key}/level{number}" if levels > 1 else key}:
                        found[where] = max(found.get(where, 0.0), gap)
                if levels > 1:
                    found[f"active_units/level{number}"] = max(found.get(f"active_units/level{number}", 0.0), float(here.active))
        return found


def name_of(setting: Setting, levels: int = 1) -> str:
    """A slice's name: ``beta0.5-noise1``, with ``top2`` where there are two levels and the world where it is not the first."""
    top = f"-top{setting.top:g}" if levels > 1 else ""
    return f"beta{setting.beta:g}{top}-noise{setting.noise:g}" + (f"-world{setting.world}" if setting.world else "")


def _modes(level: Level) -> tuple[Tensor, Tensor]:
    """Singular values of the decoder and the signal's shares, both ``(G, Z)``."""
    scale = level.variance.double().rsqrt()
    ratio = torch.linalg.eigvalsh(scale[:, :, None] * level.code.double() * scale[:, None, :]).clamp(min=0)
    return torch.linalg.svdvals(level.decoder.double()), (ratio / (1 + ratio)).flip(1)
