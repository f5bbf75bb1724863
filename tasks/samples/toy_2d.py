"""Samples of seven patterns of the plane side by side: the points of ``density/toy-2d``, for methods that need have no density.

2,000 samples against as many test points, at every budget, in steps of 1/4096 and at most 8 from the origin. ``mmd2`` is primary, and that
of 1,000 samples and the validation points chooses epochs and options. ``on_support``, ``share_error`` and, for the patterns of Gaussians,
``mode_coverage`` say what is wrong: samples between the patterns, patterns in wrong shares, lost modes, and ``tail_distance`` how far off
the worst are. With ``dimensions`` above two the plane lies in a space of so many, in a direction that belongs to the task; samples count by
what they are in the plane, to which they are projected (Zhang et al. 2025). The method ``trained`` scores a
model of ``density/toy-2d``. ``mse``, ``prior_mmd2``, ``model_size`` and ``sample_flops``: :mod:`elboard.tasks.parts.beside`. Batches carry
``index``, the number of the training point, for methods that keep something for each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.metrics.points import mmd2, mode_coverage, tail_distance
from elboard.bench.options import Count, Range
from elboard.bench.task import Data, Observed, Task, Test
from elboard.tasks.data.toy import NAMES, PITCH, Atlas, points
from elboard.tasks.parts.beside import beside, kept, measured

CARD = TaskCard(
    name="samples/toy-2d",
    title="Samples of seven patterns of the plane",
    needs=("Generator",),
    primary="mmd2",
    metrics=("mmd2", "on_support", "share_error", "mode_coverage/8-gaussians", "mode_coverage/25-gaussians"),
    selection="mmd2[n=1000]",
    full="five times the points of lite, for 500 instead of 100 epochs; no paper's own setting",
    work={"lite": (14_000, 2000), "full": (70_000, 2000)},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 2, "batch_size": 100, "keep": "best"}, "task": {"n_train": 500}},
    "lite": {"train": {"epochs": 100, "batch_size": 500, "validate_every": 10, "keep": "best"}, "task": {"n_train": 14_000}},
    "full": {"train": {"epochs": 500, "batch_size": 500, "validate_every": 25, "keep": "best"}, "task": {"n_train": 70_000}},
}
N, SELECT_N = 2000, 1000
SCALE, BORDER = 4096, 8 - 1 / 4096  # evidence holds 16 bits of a coordinate
METRICS = ("mmd2", "on_support", "share_error", "mode_coverage*", "tail_distance")


class ToySamples(Task):
    """See the module."""

    sets: ClassVar[Sets] = {"points": Examples(arrays=("real", "fake"), metrics=METRICS)}

    @dataclass(kw_only=True)
    class Config(Task.Config):
        n_train: Count = 70_000
        patterns: list[Literal["rings", "spirals", "checkerboard", "moons", "swiss-roll", "8-gaussians", "25-gaussians"]] = field(
            default_factory=lambda: ["rings", "spirals", "checkerboard", "moons", "swiss-roll", "8-gaussians", "25-gaussians"]
        )
        dimensions: Annotated[int, Range(2)] = 2  # of the space that the plane lies in

    def _points(self, n: int, split: str) -> Tensor:
        x = points(self.config.patterns, n, split)[0]
        return x if self.config.dimensions == 2 else x @ plane(self.config.dimensions).T

    def _projected(self, x: Tensor) -> np.ndarray:
        """Points (n, D) in the plane."""
        return (x if self.config.dimensions == 2 else x @ plane(self.config.dimensions)).numpy()

    def load_train(self) -> Data:
        train, valid = self._points(self.config.n_train, "train"), self._points(SELECT_N, "valid")
        spec = LikelihoodSpec((self.config.dimensions,), len(train), likelihood="gaussian")
        return Data(spec, {"x": train, "index": torch.arange(len(train))}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        return {"x": self._points(N, "test")}

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return {CARD.selection: mmd2(self._projected(data.valid["x"]), self._projected(method.sample(SELECT_N).float().cpu()))}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        numbers = np.array([NAMES.index(name) for name in self.config.patterns], dtype=np.uint8)
        fake = self._projected(method.sample(len(test["x"])).float().cpu())
        arrays = {"real": _coarse(self._projected(test["x"])), "fake": _coarse(fake), "patterns": numbers}
        return Observed(arrays | beside(method, test["x"], self.device), {"samples": _picture(fake)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        real, fake = (observed[name].astype(np.float64) / SCALE for name in ("real", "fake"))
        atlas = Atlas([NAMES[i] for i in observed["patterns"]])
        low = np.quantile(atlas.log_density(real), 0.01)
        shares = [np.bincount(atlas.tile(x) + 1, minlength=len(atlas.names) + 1) / len(x) for x in (real, fake)]
        found = measured(observed) | {
            "mmd2": mmd2(real, fake),
            "on_support": float((atlas.log_density(fake) >= low).mean()),
            "share_error": float(np.abs(shares[0] - shares[1]).sum() / 2),
            "tail_distance": tail_distance(fake, real),
        }
        share = 1 / len(atlas.names)
        return found | {f"mode_coverage/{name}": mode_coverage(fake, *of, share) for name, of in atlas.modes().items()}

    @classmethod
    def rounded(cls, observed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Without codes, for which there is no room beside the points."""
        return kept(observed)


def plane(dimensions: int) -> Tensor:
    """Two orthonormal directions ``(dimensions, 2)``, the same for all runs."""
    return torch.from_numpy(np.linalg.qr(np.random.default_rng(0).standard_normal((dimensions, 2)))[0]).float()


def _coarse(x: np.ndarray) -> np.ndarray:
    return np.rint(np.nan_to_num(x, nan=BORDER).clip(-BORDER, BORDER) * SCALE).astype(np.int16)


def _picture(x: np.ndarray, pixels: int = 40) -> np.ndarray:
    """Dark where there are many points: ``pixels`` a unit of length."""
    edges = [np.linspace(-half, half, round(2 * half * pixels) + 1) for half in (PITCH, 2 * PITCH)]
    count, _, _ = np.histogram2d(-x[:, 1], x[:, 0], bins=edges)
    return (255 * np.exp(-count)).astype(np.uint8)
